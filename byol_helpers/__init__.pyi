from .ablations import run_study as run_study
from .coco.preparation import prepare as prepare
from .core.arms import ARMS as ARMS
from .core.arms import label_arm as label_arm
from .core.config import PROFILES as PROFILES
from .core.config import load_profile as load_profile
from .core.environment import describe_machine as describe_machine
from .core.environment import device_name as device_name
from .core.errors import UserError as UserError
from .core.files import read_json as read_json
from .core.stage import Run as Run
from .download.coco import fetch_coco as fetch_coco
from .pipeline import compare as compare
from .pipeline import evaluate as evaluate
from .pipeline import finetune as finetune
from .pipeline import list_models as list_models
from .pipeline import list_pretrained_arms as list_pretrained_arms
from .pipeline import open_run as open_run
from .pipeline import pretrain as pretrain
from .pipeline import remove_background as remove_background
from .pipeline import run_stage_by_name as run_stage_by_name
from .pipeline import run_up_to as run_up_to
from .pipeline import scorecard as scorecard
from .pipeline import supervised as supervised
from .pipeline import transfer as transfer
from .reproduction.thesis import load_thesis as load_thesis

__version__: str
