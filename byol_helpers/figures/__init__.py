"""Every figure of the course, in one style. None of it needs torch."""

from byol_helpers.figures.ablations import pretraining_compared, setting_compared
from byol_helpers.figures.background import flattery, removal_scores
from byol_helpers.figures.bars import (
    average_precision,
    category_counts,
    class_ap,
    differences,
    size_shares,
)
from byol_helpers.figures.curves import losses, losses_compared, pretraining, rates
from byol_helpers.figures.diagrams import byol_diagram, pipeline_diagram
from byol_helpers.figures.pictures import (
    cutout_columns,
    detections_grid,
    draw_masks,
    gallery,
    scene_grid,
)
from byol_helpers.figures.style import ARM_COLOURS, ARM_LINES, show, use_style
from byol_helpers.figures.tide import confusion, error_types, extreme_images, precision_recall

__all__ = [
    "ARM_COLOURS",
    "ARM_LINES",
    "average_precision",
    "byol_diagram",
    "category_counts",
    "class_ap",
    "confusion",
    "cutout_columns",
    "detections_grid",
    "differences",
    "draw_masks",
    "error_types",
    "extreme_images",
    "flattery",
    "gallery",
    "losses",
    "losses_compared",
    "pipeline_diagram",
    "precision_recall",
    "pretraining",
    "pretraining_compared",
    "rates",
    "removal_scores",
    "scene_grid",
    "setting_compared",
    "show",
    "size_shares",
    "use_style",
]
