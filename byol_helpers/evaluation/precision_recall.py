"""Precision-recall curves as COCO reads them: the envelope at 101 recall points (eq. 21 and 22),
whose mean is AP."""

import numpy as np

from byol_helpers.core.errors import UserError
from byol_helpers.evaluation.average_precision import RECALLS, Evaluation, interpolate_precision
from byol_helpers.evaluation.matching import IOU_THRESHOLDS


def compute_precision_recall(evaluation: Evaluation, iou: float = 0.5) -> np.ndarray:
    """Precision at the 101 recalls 0, 0.01, ... 1, averaged over classes: [101], its mean is AP at
    this IoU.

    A class without objects has no curve and is left out, as in AP; nan if no class has one.

    Raises:
        UserError: ``iou`` is none of COCO's ten thresholds .50:.05:.95.
    """
    t = int(np.argmin(np.abs(IOU_THRESHOLDS - iou)))
    if abs(IOU_THRESHOLDS[t] - iou) > 1e-6:
        raise UserError(
            f"iou {iou:g}: matches are kept at 0.50, 0.55, ... 0.95; choose one of these"
        )
    curves = []
    for match in evaluation.matches:
        positives = int(match.positives[0].sum())
        if positives:
            hit = match.hit[0, t, match.counts[0, t]]
            curves.append(interpolate_precision(hit, positives))
    return np.mean(curves, axis=0) if curves else np.full(len(RECALLS), np.nan)
