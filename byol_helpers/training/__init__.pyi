from .kept import keep_tensors as keep_tensors
from .loop import Plan as Plan
from .loop import Task as Task
from .loop import cosine_with_warmup as cosine_with_warmup
from .loop import fit as fit
from .sampler import Item as Item
from .sampler import StepBatches as StepBatches
from .sampler import rng as rng
