"""Every figure of the course, in one style. None of it needs torch."""

from byol_helpers.figures.ablations import plot_pretraining_variants, plot_setting
from byol_helpers.figures.background import plot_removal_scores, plot_treatments
from byol_helpers.figures.bars import (
    plot_average_precision,
    plot_category_counts,
    plot_class_ap,
    plot_differences,
    plot_size_shares,
)
from byol_helpers.figures.curves import (
    plot_compared_losses,
    plot_losses,
    plot_pretraining,
    plot_rates,
)
from byol_helpers.figures.diagrams import draw_byol, draw_pipeline
from byol_helpers.figures.pictures import (
    draw_cutouts,
    draw_detections,
    draw_gallery,
    draw_masks,
    draw_scenes,
)
from byol_helpers.figures.style import ARM_COLOURS, ARM_LINES, show, use_style
from byol_helpers.figures.tide import (
    draw_extreme_images,
    plot_confusion,
    plot_error_types,
    plot_precision_recall,
)

__all__ = [
    "ARM_COLOURS",
    "ARM_LINES",
    "plot_average_precision",
    "draw_byol",
    "plot_category_counts",
    "plot_class_ap",
    "plot_confusion",
    "draw_cutouts",
    "draw_detections",
    "plot_differences",
    "draw_masks",
    "plot_error_types",
    "draw_extreme_images",
    "plot_treatments",
    "draw_gallery",
    "plot_losses",
    "plot_compared_losses",
    "draw_pipeline",
    "plot_precision_recall",
    "plot_pretraining",
    "plot_pretraining_variants",
    "plot_rates",
    "plot_removal_scores",
    "draw_scenes",
    "plot_setting",
    "show",
    "plot_size_shares",
    "use_style",
]
