"""Precision-recall curves as COCO reads them: the envelope at 101 recall points (eq. 21 and 22), whose mean is AP."""

import numpy as np

from byol_helpers.core.errors import UserError
from byol_helpers.evaluation.average_precision import Evaluation
from byol_helpers.evaluation.bootstrap import RECALLS, THRESHOLDS

IOUS = np.linspace(0.5, 0.95, THRESHOLDS)


def interpolate_precision(hit: np.ndarray, positives: int) -> np.ndarray:
    """Best precision at or beyond each of the 101 recalls, [101]; 0 where a recall is never reached.

    Args:
        hit: bool [D], true positives among the detections of one class, best score first.
        positives: objects to be found. With none there is no recall, and all values are 0.
    """
    values = np.zeros(len(RECALLS))
    if not positives or not len(hit):
        return values
    found = np.cumsum(hit, dtype=float)
    precision = found / (np.arange(1, len(hit) + 1) + np.spacing(1))  # as pycocotools spells it
    best = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(found / positives, RECALLS, side="left")
    reached = first < len(hit)
    values[reached] = best[first[reached]]
    return values


def compute_precision_recall(evaluation: Evaluation, iou: float = 0.5) -> np.ndarray:
    """Precision at the 101 recalls 0, 0.01, ... 1, averaged over classes: [101], its mean is AP at this IoU.

    A class without objects has no curve and is left out, as in AP; nan if no class has one.

    Raises:
        UserError: ``iou`` is none of COCO's ten thresholds .50:.05:.95.
    """
    number = int(np.argmin(np.abs(IOUS - iou)))
    if abs(IOUS[number] - iou) > 1e-6:
        raise UserError(
            f"iou {iou:g}: matches are kept at 0.50, 0.55, ... 0.95; choose one of these"
        )
    curves = [
        interpolate_precision(
            match.hit[0, number, match.counts[0, number]], int(match.positives[0].sum())
        )
        for match in evaluation.matches
        if match.positives[0].any()
    ]
    return np.mean(curves, axis=0) if curves else np.full(len(RECALLS), np.nan)
