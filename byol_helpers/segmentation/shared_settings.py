"""What every arm and both engines share, so that arms differ in their initial weights alone."""

from bisect import bisect_right
from pathlib import Path

from byol_helpers.coco.dataset import Split
from byol_helpers.core.config import Finetune
from byol_helpers.core.errors import UserError
from byol_helpers.training.loop import Plan

SCORE_THRESHOLD = 0.05  # both engines' default
DETECTIONS = 100  # both engines' default, for one image
WARMUP_FROM = 1e-3  # detectron2's WARMUP_FACTOR
_METRICS_EVERY = 20  # iterations; detectron2's rhythm
TRAINING_METRICS = (
    "mask_rcnn/accuracy",
    "mask_rcnn/false_positive",
    "mask_rcnn/false_negative",
    "fast_rcnn/cls_accuracy",
    "fast_rcnn/fg_cls_accuracy",
    "fast_rcnn/false_negative",
)


def scale_learning_rate(step: int, settings: Finetune) -> float:
    """Factor of the learning rate, 0..1: detectron2's schedule.

    A linear warm-up from 1e-3, then a tenth at each of ``decay_steps``.
    """
    decayed = 0.1 ** bisect_right(settings.decay_steps, step)
    if step >= settings.warmup_steps:
        return decayed
    return decayed * (WARMUP_FROM + (1 - WARMUP_FROM) * step / settings.warmup_steps)


def make_plan(settings: Finetune, split: Split, folder: Path, title: str, seed: int) -> Plan:
    """How long a fine-tuning is and where it leaves its files."""
    if not split.images:
        raise UserError(f"{split.file}: no images to train on")
    return Plan(
        title,
        folder,
        seed,
        settings.steps,
        settings.batch_size,
        settings.checkpoint_every,
        _METRICS_EVERY,
        settings.workers,
        settings.gradient_clip,
        settings.devices,
        settings.precision,
    )
