from .dataset import InstanceDataset as InstanceDataset
from .dataset import collate as collate
from .engine import Engine as Engine
from .engine import load_engine as load_engine
from .engine import make_predictor as make_predictor
from .shared_settings import scale_learning_rate as scale_learning_rate
from .torchvision_engine import DETECTRON2_NAMES as DETECTRON2_NAMES
from .training_metrics import compute_mask_metrics as compute_mask_metrics
