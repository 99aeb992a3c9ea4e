"""Paired bootstrap of COCO metrics over test images.

A replicate draws as many images as there are, with replacement; image i then counts ``weights[i]`` times.
Instead of evaluating duplicated images again, the matches of one evaluation are weighted: cumulative sums
of weights give recall and precision. All models share the same weights, so that differences between them
are paired. Weights of one give pycocotools' numbers to the last bit; any other weights give what
pycocotools computes on duplicated images.

The intervals cover which test images were drawn. They do not cover the variance of training: that needs
several seeds.

A class whose few instances all lie in images that were not drawn drops out of a replicate's mean, as it does in
pycocotools. With very few test images and rare, hard classes this lifts the intervals of a model's AP above its value;
differences between models keep their sign.
"""

from dataclasses import dataclass

import numpy as np

from byol_helpers.evaluation.average_precision import METRICS, RECALLS, Evaluation
from byol_helpers.evaluation.matching import AREAS, Matches

THRESHOLDS = 10  # IoU .50:.05:.95
EDGES = np.append(RECALLS, np.inf)
MEMORY = 1 << 27  # bytes of precision held at a time


@dataclass(frozen=True)
class Replicates:
    """Metrics of B replicates; nan where a replicate holds no ground truth that defines the metric."""

    metrics: np.ndarray  # [B, 7], columns METRICS
    per_class: np.ndarray  # [B, K] AP, columns as Evaluation.classes


def draw_weights(images: int, replicates: int, seed: int = 0) -> np.ndarray:
    """How often each image is drawn: integers [replicates, images], each row with the sum ``images``.

    The same arguments give the same weights, whatever the model: this is what pairs separate evaluations.
    """
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=replicates)


def replicate(evaluation: Evaluation, weights: np.ndarray) -> Replicates:
    """All metrics of one model for each row of ``weights`` [B, I], whole numbers not below zero."""
    weights = np.asarray(weights)
    step = max(1, MEMORY // (THRESHOLDS * len(RECALLS) * len(evaluation.classes) * 8))
    parts = [_chunk(evaluation, weights[start : start + step]) for start in range(0, len(weights), step)]
    return Replicates(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of replicates [B]; undefined ones are left out, (nan, nan) if all are."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _chunk(evaluation: Evaluation, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Metrics [B, 7] and AP per class [B, K] of a handful of replicates."""
    columns = np.ascontiguousarray(weights.T, dtype=np.float32)  # [I, B]: whole numbers, exact below 2^24
    metrics = np.full((len(weights), len(METRICS)), np.nan)
    for area, name in enumerate(AREAS):
        precision, recall = _curves(evaluation.matches, area, weights, columns)
        if name == "all":
            metrics[:, 0] = _means(precision)
            metrics[:, 1] = _means(precision[:, [0]])
            metrics[:, 2] = _means(precision[:, [5]])
            metrics[:, 6] = _means(recall)
            per_class = np.stack([_means(precision[..., k]) for k in range(precision.shape[-1])], axis=1)
        else:
            metrics[:, 2 + area] = _means(precision)
    return metrics, per_class


def _means(values: np.ndarray) -> np.ndarray:
    """Mean of the defined values (not -1) of each replicate, in pycocotools' order of summation."""
    rows = values.reshape(len(values), -1)
    defined = (row[row > -1] for row in rows)
    return np.array([row.mean() if row.size else np.nan for row in defined])


def _curves(matches: tuple[Matches, ...], area: int, weights: np.ndarray, columns: np.ndarray):
    """Precision [B, 10, 101, K] and final recall [B, 10, K]; -1 where a replicate has nothing to find."""
    precision = np.full((len(weights), THRESHOLDS, len(RECALLS), len(matches)), -1.0)
    recall = np.full((len(weights), THRESHOLDS, len(matches)), -1.0)
    for k, match in enumerate(matches):
        positives = weights @ match.positives[area]  # [B]
        defined = positives > 0
        if not defined.any():
            continue
        rows, copy = _repeats(match, int(weights.max()))
        for t in range(THRESHOLDS):
            kept = match.counts[area, t, rows]
            # [D, B]: how often each detection counts
            share = np.take(columns, match.image[rows[kept]], axis=0)
            turn = copy[kept]
            share[turn >= 0] = share[turn >= 0] > turn[turn >= 0, None]
            at_recalls, final = _envelope(share, match.hit[area, t, rows[kept]], positives)
            precision[defined, t, :, k] = at_recalls[defined]
            recall[defined, t, k] = final[defined]
    return precision, recall


def _repeats(match: Matches, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the detections to go through, and which copy of its image each belongs to (-1: all copies at
    once).

    Copies of one detection may be taken together, because precision rises along a run of hits and falls
    along a run of misses. Only detections of one image and class with the same score need care: copies of
    the image take turns (a, b, a, b), so that such a group is written out once for each copy.
    """
    d = len(match.scores)
    tied = np.zeros(d + 1, dtype=bool)
    tied[1:d] = (match.scores[1:] == match.scores[:-1]) & (match.image[1:] == match.image[:-1])
    if most < 2 or not tied.any():
        return np.arange(d), np.full(d, -1)
    rows, copies = [], []
    start = 0
    for end in np.flatnonzero(~tied[1:]) + 1:  # a group ends where the next detection is not tied with it
        group = np.arange(start, end)
        times = most if len(group) > 1 else 1
        rows.append(np.tile(group, times))
        copies.append(np.repeat(np.arange(times) if times > 1 else [-1], len(group)))
        start = end
    return np.concatenate(rows), np.concatenate(copies)


def _envelope(share: np.ndarray, hit: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated precision at the 101 recalls (eq. 22), [B, 101], and final recall [B], at one IoU
    threshold.

    ``share`` [D, B] are weights of the counted detections in order of score, ``hit`` [D] their matches.
    Precision is read at hits alone: the highest precision at or beyond a recall is always that of a hit.
    """
    replicates = share.shape[1]
    ends = np.flatnonzero(hit)
    if not ends.size:
        return np.zeros((replicates, len(RECALLS))), np.zeros(replicates)
    starts = np.concatenate([[0], ends[:-1] + 1])
    since = np.add.reduceat(share[: ends[-1] + 1], starts, axis=0)  # [J, B], weights since the hit before
    found = np.cumsum(share[ends].T, axis=1, dtype=float)  # [B, J]
    seen = np.cumsum(since.T, axis=1, dtype=float)
    recall = found / np.maximum(positives, 1)[:, None]
    precision = found / ((seen - found) + found + np.spacing(1))  # as pycocotools spells it
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Each hit serves the recall points above the recall before it; beyond the last hit precision is 0.
    times = np.diff(_points_reached(recall), axis=1, prepend=0, append=len(RECALLS))
    values = np.concatenate([best, np.zeros((replicates, 1))], axis=1)
    return np.repeat(values.ravel(), times.ravel()).reshape(replicates, -1), recall[:, -1]


def _points_reached(recall: np.ndarray) -> np.ndarray:
    """How many of the 101 recall points are at or below each recall; ``searchsorted``, five times faster."""
    guess = (recall * 100).astype(np.intp)
    guess += EDGES[guess + 1] <= recall
    guess -= EDGES[guess] > recall
    return guess + 1
