"""COCO average precision and the matches that a bootstrap needs.

The rules and, to the last bit, the numbers are those of pycocotools, which the tests hold them
against; ``matching`` decides the matches. A mask is sized by itself and never by a box beside it
(detectron2 does the same).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from byol_helpers.coco.results import read_detections, read_ground_truth
from byol_helpers.core.errors import UserError
from byol_helpers.evaluation.matching import (
    AREA_RANGES,
    IOU_THRESHOLDS,
    LARGEST_AREA,
    Matches,
    match_detections,
)

COCO_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
COCO_LIMITS = (32.0**2, 96.0**2)
RECALLS = np.linspace(0.0, 1.0, 101)  # as pycocotools spells it, to the last bit


@dataclass(frozen=True)
class Evaluation:
    """What one model scores on one ground truth. Metrics are fractions; nan: not defined by the
    ground truth."""

    iou_type: str
    area_limits: tuple[float, float]
    image_ids: tuple[int, ...]
    classes: tuple[str, ...]
    detections: int
    metrics: dict[str, float]  # COCO_METRICS -> value
    per_class: dict[str, float]  # class -> AP
    matches: tuple[Matches, ...]  # one for each class


def evaluate_detections(
    ground_truth: Path | str | dict,
    detections: Path | str | list[dict],
    iou_type: Literal["segm", "bbox"] = "segm",
    area_limits: tuple[float, float] = COCO_LIMITS,
) -> Evaluation:
    """Score COCO results against COCO annotations (thesis 4.3.2, eq. 18-22; COCO's 101 recall
    points).

    Args:
        ground_truth: annotation file or its content.
        detections: results file or its content; an empty list is a model that detects nothing: AP
            0.
        iou_type: ``segm`` compares masks, ``bbox`` boxes.
        area_limits: square pixels where small ends and where large begins, COCO's 32^2 and 96^2 by
            default.

    Raises:
        UserError: no annotations, or a detection that is not a COCO result for these images and
            categories.
    """
    small, large = area_limits
    if not 0 < small < large < LARGEST_AREA:
        raise UserError(
            f"area_limits {small:g}, {large:g}: give two increasing areas in square pixels"
        )
    annotations = read_ground_truth(ground_truth, iou_type)
    results = read_detections(detections, annotations, iou_type)
    matches = match_detections(annotations, results, iou_type, area_limits)
    precision, recall = accumulate_precision(matches)
    classes = tuple(annotations.cats[k]["name"] for k in sorted(annotations.cats))
    every, small_only, medium_only, large_only = precision
    metrics = {
        "AP": _mean_defined(every),
        "AP50": _mean_defined(every[0]),
        "AP75": _mean_defined(every[5]),
        "APs": _mean_defined(small_only),
        "APm": _mean_defined(medium_only),
        "APl": _mean_defined(large_only),
        "AR100": _mean_defined(recall[0]),
    }
    return Evaluation(
        iou_type=iou_type,
        area_limits=(float(small), float(large)),
        image_ids=tuple(int(i) for i in sorted(annotations.imgs)),
        classes=classes,
        detections=len(results),
        metrics=metrics,
        per_class={name: _mean_defined(every[:, :, k]) for k, name in enumerate(classes)},
        matches=matches,
    )


def accumulate_precision(matches: tuple[Matches, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated precision [4, 10, 101, K] and final recall [4, 10, K]; -1 without ground truth.

    The same numbers as ``COCOeval.accumulate``, for the areas ``AREA_RANGES`` and the thresholds
    ``IOU_THRESHOLDS``.
    """
    shape = (len(AREA_RANGES), len(IOU_THRESHOLDS))
    precision = np.full((*shape, len(RECALLS), len(matches)), -1.0)
    recall = np.full((*shape, len(matches)), -1.0)
    for k, match in enumerate(matches):
        for area, positives in enumerate(match.positives.sum(axis=1)):
            if not positives:
                continue
            for t in range(len(IOU_THRESHOLDS)):
                hit = match.hit[area, t, match.counts[area, t]]
                precision[area, t, :, k] = interpolate_precision(hit, positives)
                recall[area, t, k] = np.count_nonzero(hit) / positives
    return precision, recall


def interpolate_precision(hit: np.ndarray, positives: int) -> np.ndarray:
    """Best precision at or beyond each of the 101 recalls (eq. 22), [101]; 0 where a recall is
    never reached.

    Args:
        hit: bool [D], true positives among the detections of one class, best score first.
        positives: objects to be found. With none there is no recall, and all values are 0.
    """
    if not positives:
        return np.zeros(len(RECALLS))
    found = np.cumsum(hit, dtype=float)
    precision = found / (np.arange(1, len(hit) + 1) + np.spacing(1))  # as pycocotools spells it
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    envelope = np.append(envelope, 0.0)  # beyond the last detection
    return envelope[np.searchsorted(found / positives, RECALLS)]


def _mean_defined(values: np.ndarray) -> float:
    """Mean of what is defined (``COCOeval.summarize``)."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else math.nan
