"""Paired bootstrap of COCO metrics over test images.

A replicate draws images with replacement; image i then counts ``weights[i]`` times
(``core.intervals.draw_weights``). Instead of evaluating duplicated images again, the matches of one
evaluation are weighted: cumulative sums of weights give recall and precision. All models share the
same weights, so that differences between them are paired. Weights of one give pycocotools' numbers
to the last bit; any other weights give what pycocotools computes on duplicated images.

The intervals cover which test images were drawn. They do not cover the variance of training: that
needs several seeds.

A class whose few instances all lie in images that were not drawn drops out of a replicate's mean,
as it does in pycocotools. The draws of a model's AP lie too high, most of all with few images and
rare classes; ``core.intervals.corrected_interval`` makes up for it. In differences between models
this cancels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from byol_helpers.evaluation.average_precision import COCO_METRICS, RECALLS, Evaluation
from byol_helpers.evaluation.matching import AREA_RANGES, IOU_THRESHOLDS, Matches

EDGES = np.append(RECALLS, np.inf)
MEMORY = 1 << 28  # bytes of precision held at a time
CELLS = 1 << 20  # weights of detections gone through at a time


@dataclass(frozen=True)
class Replicates:
    """Metrics of B replicates; nan where a replicate holds no ground truth that defines the
    metric."""

    metrics: np.ndarray  # [B, 7], columns METRICS
    per_class: np.ndarray  # [B, K] AP, columns as Evaluation.classes


def replicate_metrics(evaluation: Evaluation, weights: np.ndarray) -> Replicates:
    """All metrics of one model for each row of ``weights`` [B, I], whole numbers not below zero."""
    weights = np.asarray(weights)
    cells = len(IOU_THRESHOLDS) * len(RECALLS) * len(evaluation.classes)
    step = max(1, MEMORY // (cells * 8))
    copies = [_write_out_copies(match, int(weights.max())) for match in evaluation.matches]
    metrics = []
    per_class = []
    for start in range(0, len(weights), step):
        chunk = weights[start : start + step].T.astype(float, order="C")
        of_chunk = _replicate_chunk(evaluation.matches, copies, chunk)
        metrics.append(of_chunk.metrics)
        per_class.append(of_chunk.per_class)
    return Replicates(np.concatenate(metrics), np.concatenate(per_class))


def _replicate_chunk(
    matches: tuple[Matches, ...], copies: list[tuple[np.ndarray, np.ndarray]], weights: np.ndarray
) -> Replicates:
    """A handful of replicates.

    Args:
        copies: ``_write_out_copies`` of each class.
        weights: [I, B] float.
    """
    replicates = weights.shape[1]
    classes = len(matches)
    metrics = np.full((replicates, len(COCO_METRICS)), np.nan)
    per_class = np.full((replicates, classes), np.nan)
    precision = np.zeros((replicates, len(IOU_THRESHOLDS), classes, len(RECALLS)))
    recall = np.zeros((replicates, len(IOU_THRESHOLDS), classes, 1))
    for area, name in enumerate(AREA_RANGES):
        positives = np.stack([match.positives[area] for match in matches]) @ weights  # [K, B]
        for k, match in enumerate(matches):
            rows, copy = copies[k]
            step = max(1, CELLS // max(1, len(rows)))
            for start in range(0, replicates, step):
                part = slice(start, start + step)
                curves = _weigh_curves(
                    match, area, rows, copy, weights[:, part], positives[k, part]
                )
                for t, of_precision, of_recall in curves:
                    precision[part, t, k] = of_precision
                    recall[part, t, k, 0] = of_recall
        defined = positives.T > 0
        if name == "all":
            metrics[:, 0] = _average(precision, defined)
            metrics[:, 1] = _average(precision[:, [0]], defined)
            metrics[:, 2] = _average(precision[:, [5]], defined)
            metrics[:, 6] = _average(recall, defined)
            for k in range(classes):
                of_class = precision[:, :, k].reshape(replicates, -1).mean(axis=1)
                per_class[:, k] = np.where(defined[:, k], of_class, np.nan)
        else:
            metrics[:, 2 + area] = _average(precision, defined)
    return Replicates(metrics, per_class)


def _average(values: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """Mean of each replicate [B] over thresholds, recalls and the classes that it defines.

    Args:
        values: [B, T, K, R]; rubbish where not defined. pycocotools sums them in the order T, R, K,
            and so do we.
        defined: [B, K] bool.
    """
    means = np.full(len(values), np.nan)
    for b, known in enumerate(defined):
        if known.any():
            means[b] = values[b][:, known].transpose(0, 2, 1).ravel().mean()
    return means


def _weigh_curves(
    match: Matches,
    area: int,
    rows: np.ndarray,
    copy: np.ndarray,
    weights: np.ndarray,
    positives: np.ndarray,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Of one class, for each threshold t: t, interpolated precision [B, 101] (eq. 22), final recall
    [B].

    The weights are summed over all detections once. Each threshold then looks only at its hits,
    because the highest precision at or beyond a recall is always that of a hit. All sums are of
    whole numbers and therefore exact.
    """
    kept = match.counts[area].any(axis=0)[rows]
    rows = rows[kept]
    copy = copy[kept]
    hit = match.hit[area][:, rows]
    silent = ~match.counts[area][:, rows]
    share = weights[match.image[rows]]  # [D, B]: how often each detection counts
    single = np.flatnonzero(copy >= 0)
    share[single] = share[single] > copy[single, None]
    seen = _accumulate_in_place(np.add, share.copy())
    counted = np.arange(positives.max(initial=0) + 1)[:, None]
    all_recalls = np.minimum(counted / np.maximum(positives, 1), 1.0)  # [P + 1, B]
    column = np.arange(len(positives))
    reached = _count_points_reached(all_recalls) * len(positives) + column
    for t in range(len(IOU_THRESHOLDS)):
        hits = np.flatnonzero(hit[t])
        out = np.flatnonzero(silent[t])
        if not hits.size:
            yield t, np.zeros((len(positives), len(RECALLS))), np.zeros(len(positives))
            continue
        found = _accumulate_in_place(np.add, share[hits])  # [J, B]
        total = seen[hits]  # [J, B]
        before = np.searchsorted(out, hits)
        first = np.searchsorted(before, 1)
        if first < len(hits):
            total[first:] -= _accumulate_in_place(np.add, share[out])[before[first:] - 1]
        precision = _interpolate_weighted(found, total, reached)
        yield t, precision.T, found[-1] / np.maximum(positives, 1)


def _accumulate_in_place(operation: np.ufunc, values: np.ndarray) -> np.ndarray:
    """``operation.accumulate`` down the rows [N, B], in place, in blocks of rows: twice as fast."""
    size = int(np.sqrt(len(values))) + 1
    for i in range(1, size):  # row i of all blocks
        ours = values[i::size]
        operation(ours, values[i - 1 :: size][: len(ours)], out=ours)
    for start in range(size, len(values), size):
        block = values[start : start + size]
        operation(block, values[start - 1], out=block)
    return values


def _write_out_copies(match: Matches, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the detections to go through, and the copy of its image that each belongs to (-1: all
    copies).

    Copies of one detection may be taken together, because precision rises along a run of hits and
    falls along a run of misses. Only detections of one image and class with the same score need
    care: copies of the image take turns (a, b, a, b), so that such a group is written out once for
        each copy.
    """
    d = len(match.scores)
    tied = (match.scores[1:] == match.scores[:-1]) & (match.image[1:] == match.image[:-1])
    starts = np.flatnonzero(np.append(True, ~tied)[:d])
    sizes = np.diff(starts, append=d)
    times = np.where(sizes > 1, max(most, 1), 1)
    group = np.repeat(np.arange(len(starts)), sizes * times)
    before = np.cumsum(sizes * times) - sizes * times
    place = np.arange(len(group)) - np.repeat(before, sizes * times)
    copies, rows = np.divmod(place, sizes[group])
    return starts[group] + rows, np.where(times[group] > 1, copies, -1)


def _interpolate_weighted(found: np.ndarray, seen: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Interpolated precision at the 101 recalls, [101, B], at one IoU threshold.

    Args:
        found, seen: weights of hits and of all detections up to each hit, [J, B].
        reached: [P + 1, B]; how many of the recall points are reached when a weight of 0 ... P has
            been found, as a position in an array [102, B].
    """
    hits, replicates = found.shape
    column = np.arange(replicates)
    best = np.zeros((hits + 1, replicates))  # beyond the last hit precision is 0
    # pycocotools spells it tp / (fp + tp + spacing); fp + tp is exact
    np.divide(found, seen + np.spacing(1), out=best[:-1])
    _accumulate_in_place(np.maximum, best[-2::-1])
    points = reached.ravel()[found.astype(np.intp) * replicates + column]
    many = np.bincount(points.ravel(), minlength=(len(RECALLS) + 1) * replicates)
    # The first hit that reaches a recall point: as many do not reach it.
    first = _accumulate_in_place(np.add, many.reshape(-1, replicates)[:-1])
    return best.ravel()[first * replicates + column]


def _count_points_reached(recall: np.ndarray) -> np.ndarray:
    """How many of the 101 recall points are at or below each recall; ``searchsorted``, five times
    faster."""
    guess = (recall * 100).astype(np.intp)
    guess += EDGES[guess + 1] <= recall
    guess -= EDGES[guess] > recall
    return guess + 1
