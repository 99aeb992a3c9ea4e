"""COCO average precision and the matches that a bootstrap needs.

The rules and, to the last bit, the numbers are those of pycocotools, which the tests hold them against; ``matching``
decides the matches. A mask is sized by itself and never by a box beside it (detectron2 does the same).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from byol_helpers.coco.records import read_detections, read_ground_truth
from byol_helpers.core.errors import UserError
from byol_helpers.evaluation.matching import IOU_THRESHOLDS, LARGEST_AREA, Matches, match_detections

COCO_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR100")
COCO_LIMITS = (32.0**2, 96.0**2)
RECALLS = np.linspace(0.0, 1.0, 101)  # as pycocotools spells it, to the last bit


@dataclass(frozen=True)
class Evaluation:
    """What one model scores on one ground truth. Metrics are fractions; nan: no ground truth defines it."""

    iou_type: str
    area_limits: tuple[float, float]
    image_ids: tuple[int, ...]
    classes: tuple[str, ...]
    detections: int
    metrics: dict[str, float]  # METRICS -> value
    per_class: dict[str, float]  # class -> AP
    matches: tuple[Matches, ...]  # one for each class


def evaluate_detections(
    ground_truth: Path | str | dict,
    detections: Path | str | list[dict],
    iou_type: Literal["segm", "bbox"] = "segm",
    area_limits: tuple[float, float] = COCO_LIMITS,
) -> Evaluation:
    """Score COCO results against COCO annotations (thesis 4.3.2, eq. 18-22; COCO's 101 recall points).

    Args:
        ground_truth: annotation file or its content.
        detections: results file or its content; an empty list is a model that finds nothing: AP 0.
        iou_type: ``segm`` compares masks, ``bbox`` boxes.
        area_limits: square pixels where small ends and where large begins, COCO's 32^2 and 96^2 by default.

    Raises:
        UserError: no annotations, or a detection that is not a COCO result for these images and categories.
    """
    small, large = area_limits
    if not 0 < small < large < LARGEST_AREA:
        raise UserError(
            f"area_limits {small:g}, {large:g}: give two increasing areas in square pixels"
        )
    truth = read_ground_truth(ground_truth, iou_type)
    found = read_detections(detections, truth, iou_type)
    matches = match_detections(truth, found, iou_type, area_limits)
    precision, recall = accumulate_precision(matches)
    names = tuple(truth.cats[k]["name"] for k in sorted(truth.cats))
    values = (
        *(_mean(part) for part in (precision[0], precision[0, 0], precision[0, 5], *precision[1:])),
        _mean(recall[0]),
    )
    return Evaluation(
        iou_type=iou_type,
        area_limits=(float(small), float(large)),
        image_ids=tuple(int(i) for i in sorted(truth.imgs)),
        classes=names,
        detections=len(found),
        metrics=dict(zip(COCO_METRICS, values, strict=True)),
        per_class={name: _mean(precision[0, :, :, k]) for k, name in enumerate(names)},
        matches=matches,
    )


def accumulate_precision(matches: tuple[Matches, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated precision [4, 10, 101, K] (eq. 22) and final recall [4, 10, K]; -1 where there is nothing to find.

    ``COCOeval.accumulate_precision`` with the same operations in the same order, all thresholds at a time.
    """
    areas, thresholds, classes = 4, len(IOU_THRESHOLDS), len(matches)
    precision = np.full((areas, thresholds, len(RECALLS), classes), -1.0)
    recall = np.full((areas, thresholds, classes), -1.0)
    for k, found in enumerate(matches):
        for area, positives in enumerate(found.positives.sum(axis=1)):
            if not positives:
                continue
            tp = np.cumsum(found.hit[area], axis=1, dtype=float)  # [10, D]
            fp = np.cumsum(found.counts[area] & ~found.hit[area], axis=1, dtype=float)
            reached, exact = tp / positives, tp / (fp + tp + np.spacing(1))
            best = np.maximum.accumulate(exact[:, ::-1], axis=1)[:, ::-1]
            best = np.concatenate(
                [best, np.zeros((thresholds, 1))], axis=1
            )  # beyond the last detection
            recall[area, :, k] = reached[:, -1] if reached.size else 0.0
            for t in range(thresholds):
                precision[area, t, :, k] = best[t, np.searchsorted(reached[t], RECALLS)]
    return precision, recall


def _mean(values: np.ndarray) -> float:
    """Mean of what is defined (``COCOeval.summarize``)."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else math.nan
