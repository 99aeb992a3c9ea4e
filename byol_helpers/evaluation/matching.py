"""Which detection matches which ground truth: COCO's greedy rules, for all images and classes at
once.

pycocotools decides this in ``COCOeval.evaluateImg``, in Python loops over every image, class, area,
threshold, detection and instance. Here its C code (``pycocotools.mask.iou``) still gives every IoU,
but the loop runs only over the few pairs of detection and instance that overlap enough to match at
all, and takes one such pair of every image and class at a time: they cannot touch each other. The
results are the same bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO

from byol_helpers.coco.masks import compress_mask, measure_masks
from byol_helpers.coco.results import AREAS, OVERLAPS

AREA_RANGES = ("all", "small", "medium", "large")
# Of IoU, as ``Params.setDetParams`` spells them, to the last bit.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
LARGEST_AREA = 1e10  # square pixels: pycocotools' upper end of "large"
DETECTIONS_PER_CLASS = 100  # of one image and class that count, best first


@dataclass(frozen=True)
class Matches:
    """All detections of one class, best score first; equal scores in the order of images, then of
    the file.

    D detections, I images, 4 areas (``AREA_RANGES``), 10 IoU thresholds .50:.05:.95; at most 100
    detections an image. A detection counts at all unless it lies on a crowd or outside the area.
    """

    scores: np.ndarray  # [D] float
    image: np.ndarray  # [D] index into Evaluation.image_ids
    hit: np.ndarray  # [4, 10, D] bool: true positive
    counts: np.ndarray  # [4, 10, D] bool
    positives: np.ndarray  # [4, I] int: ground-truth instances to be found


@dataclass(frozen=True)
class _Table:
    """Annotations or detections, N rows sorted by class, then image; of one class and image the
    best score first."""

    entries: Sequence[Mapping[str, Any]]  # [N]
    image: np.ndarray  # [N] position among the sorted image ids
    label: np.ndarray  # [N] position among the sorted category ids
    scores: np.ndarray  # [N]; zeros for annotations, which stay in the order of the file

    def group_rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each class and image that occurs: (class, image) as one number, its first row, how
        many rows."""
        return np.unique(self.label * (1 << 40) + self.image, return_index=True, return_counts=True)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a detection and an annotation of the same image and class that overlap enough to
    match."""

    detection: np.ndarray  # [C] row of the detection
    instance: np.ndarray  # [C] row of the annotation
    iou: np.ndarray  # [C]; with a crowd: intersection over the detection alone


def match_detections(
    annotations: COCO,
    results: list[dict],
    iou_type: Literal["segm", "bbox"],
    area_limits: tuple[float, float],
) -> tuple[Matches, ...]:
    """Matches of every class, in the order of category ids.

    Args:
        annotations: numbered from 1 (``coco.results.read_ground_truth``).
        results: checked COCO results on the same images and categories.
        iou_type: ``segm`` compares masks, ``bbox`` boxes.
        area_limits: square pixels where small ends and where large begins.
    """
    images = {image_id: i for i, image_id in enumerate(sorted(annotations.imgs))}
    labels = {category_id: k for k, category_id in enumerate(sorted(annotations.cats))}
    known = []
    for annotation in annotations.dataset["annotations"]:
        if annotation["image_id"] in images and annotation["category_id"] in labels:
            known.append(annotation)
    gt = _sort_table(known, np.zeros(len(known)), images, labels)
    scores = np.array([result["score"] for result in results], dtype=float)
    dt, rank = _keep_best(_sort_table(results, scores, images, labels))
    crowd = np.array([bool(a.get("iscrowd")) for a in gt.entries], dtype=bool)
    if iou_type == "segm":
        dt_shapes = _compress_masks(dt, annotations)
        gt_shapes = _compress_masks(gt, annotations)
        dt_areas = measure_masks(dt_shapes)
    else:
        dt_shapes = _stack_boxes(dt)
        gt_shapes = _stack_boxes(gt)
        dt_areas = dt_shapes[:, 2] * dt_shapes[:, 3]
    for row, entry in enumerate(dt.entries):
        dt_areas[row] = entry.get(AREAS[iou_type], dt_areas[row])
    pairs = _pair_overlapping(dt, gt, dt_shapes, gt_shapes, crowd)
    if iou_type == "segm":
        pairs = _add_given_pairs(pairs, dt, gt, dt_areas, measure_masks(gt_shapes), crowd)

    small, large = area_limits
    low = np.array([[0], [0], [small], [large]])
    high = np.array([[LARGEST_AREA], [small], [large], [LARGEST_AREA]])
    gt_areas = np.array([a["area"] for a in gt.entries], dtype=float)
    ignored = crowd | (gt_areas < low) | (gt_areas > high)  # [4, G]
    outside = (dt_areas < low) | (dt_areas > high)  # [4, D]
    positives = np.zeros((len(AREA_RANGES), len(labels), len(images)), dtype=np.int64)
    hit = np.empty((len(AREA_RANGES), len(IOU_THRESHOLDS), len(dt.entries)), dtype=bool)
    counts = np.empty_like(hit)
    for area in range(len(AREA_RANGES)):
        np.add.at(positives[area], (gt.label, gt.image), ~ignored[area])
        taken = match_greedily(
            pairs.detection,
            pairs.instance,
            pairs.iou,
            IOU_THRESHOLDS,
            rank=rank,
            ignored=ignored[area],
            crowd=crowd,
        )
        matched = taken >= 0
        wasted = matched & np.append(ignored[area], False)[taken]  # -1 is the one appended
        hit[area] = (matched & ~wasted).T
        counts[area] = ~(wasted | (~matched & outside[area][:, None])).T
    return tuple(_select_class(k, dt, hit, counts, positives[:, k]) for k in range(len(labels)))


def find_overlaps(
    annotations: COCO, results: list[dict], iou_type: Literal["segm", "bbox"]
) -> list[tuple[int, int]]:
    """Which detections may be hits of which objects: those whose shapes overlap enough.

    Args:
        annotations, results, iou_type: as ``match_detections``.

    Returns:
        Pairs of a place in ``results`` and an annotation id, in this order.
    """
    images = {image_id: i for i, image_id in enumerate(sorted(annotations.imgs))}
    labels = {category_id: k for k, category_id in enumerate(sorted(annotations.cats))}
    known = annotations.dataset["annotations"]
    gt = _sort_table(known, np.zeros(len(known)), images, labels)
    numbered = [{**result, "number": number} for number, result in enumerate(results)]
    dt = _sort_table(numbered, np.zeros(len(numbered)), images, labels)
    if iou_type == "segm":
        shapes = (_compress_masks(dt, annotations), _compress_masks(gt, annotations))
    else:
        shapes = (_stack_boxes(dt), _stack_boxes(gt))
    crowd = np.array([bool(a.get("iscrowd")) for a in gt.entries], dtype=bool)
    pairs = _pair_overlapping(dt, gt, *shapes, crowd)
    found = []
    for row, column in zip(pairs.detection.tolist(), pairs.instance.tolist(), strict=True):
        found.append((dt.entries[row]["number"], gt.entries[column]["id"]))
    return sorted(found)


def match_greedily(
    detection: np.ndarray,
    instance: np.ndarray,
    iou: np.ndarray,
    thresholds: np.ndarray,
    *,
    rank: np.ndarray,
    ignored: np.ndarray,
    crowd: np.ndarray,
) -> np.ndarray:
    """The instance that each detection takes at each threshold, [D, T]; -1 for none.

    ``COCOeval.evaluateImg``: the best detection chooses first. It takes, of the instances that
    overlap by at least the threshold and are not taken (a crowd never is), one that is not ignored
    if there is one, then the one of highest IoU, then the last of the file.

    Args:
        detection, instance, iou: the pairs [C] that may match; all others have no overlap to speak
            of.
        thresholds: of IoU, [T].
        rank: of each detection [D] in its group (image and class), 0 the best. Pairs join
            detections and instances of one group only.
        ignored, crowd: of each instance, bool [G].
    """
    taken_by = np.full((len(rank), len(thresholds)), -1)
    taken = np.zeros((len(ignored), len(thresholds)), dtype=bool)
    order = np.lexsort((-instance, -iou, ignored[instance], detection))  # best wishes first
    detection = detection[order]
    instance = instance[order]
    enough = iou[order, None] >= thresholds  # [C, T]
    first = np.flatnonzero(np.diff(detection, prepend=-1))
    many = np.diff(first, append=len(detection))
    wish = np.arange(len(detection)) - np.repeat(first, many)
    order = np.lexsort((wish, rank[detection]))
    turns = np.flatnonzero(np.diff(rank[detection][order]) | np.diff(wish[order])) + 1
    # In one turn every image and class has at most one pair, so that no row is written twice.
    for turn in np.split(order, turns):
        row = detection[turn]
        column = instance[turn]
        takes = enough[turn] & ~taken[column] & (taken_by[row] < 0)
        taken_by[row] = np.where(takes, column[:, None], taken_by[row])
        taken[column] |= takes & ~crowd[column, None]
    return taken_by


def _sort_table(
    entries: Sequence[Mapping[str, Any]], scores: np.ndarray, images: dict, labels: dict
) -> _Table:
    """Sorted by class and image as ``_Table`` wants it; ties keep the order of the file
    (pycocotools' mergesort)."""
    image = np.array([images[entry["image_id"]] for entry in entries], dtype=np.int64)
    label = np.array([labels[entry["category_id"]] for entry in entries], dtype=np.int64)
    order = np.lexsort((-scores, image, label))
    return _Table([entries[i] for i in order.tolist()], image[order], label[order], scores[order])


def _keep_best(dt: _Table) -> tuple[_Table, np.ndarray]:
    """The first 100 rows of each class and image, and their rank there [D], from 0."""
    _, first, many = dt.group_rows()
    rank = np.arange(len(dt.entries)) - np.repeat(first, many)
    kept = np.flatnonzero(rank < DETECTIONS_PER_CLASS)
    entries = [dt.entries[i] for i in kept.tolist()]
    return _Table(entries, dt.image[kept], dt.label[kept], dt.scores[kept]), rank[kept]


def _compress_masks(table: _Table, annotations: COCO) -> list:
    """Compressed RLE [N]."""
    masks = []
    for entry in table.entries:
        image = annotations.imgs[entry["image_id"]]
        masks.append(compress_mask(entry, image["height"], image["width"]))
    return masks


def _stack_boxes(table: _Table) -> np.ndarray:
    """Boxes [N, 4]: x, y, width, height."""
    return np.array([entry["bbox"] for entry in table.entries], dtype=float).reshape(-1, 4)


def _pair_overlapping(
    dt: _Table, gt: _Table, dt_shapes: Any, gt_shapes: Any, crowd: np.ndarray
) -> _Pairs:
    """All pairs that match at some threshold.

    Args:
        dt_shapes, gt_shapes: what ``pycocotools.mask.iou`` compares, masks or boxes.
        crowd: bool [G].
    """
    dt_keys, dt_first, dt_many = dt.group_rows()
    gt_keys, gt_first, gt_many = gt.group_rows()
    _, a, b = np.intersect1d(dt_keys, gt_keys, assume_unique=True, return_indices=True)
    spans = np.stack([dt_first[a], dt_many[a], gt_first[b], gt_many[b]], axis=1)  # [groups, 4]
    ious = [np.zeros(0)]
    for d, n, g, m in spans.tolist():
        iou = rle.iou(dt_shapes[d : d + n], gt_shapes[g : g + m], crowd[g : g + m].tolist())
        ious.append(np.asarray(iou).ravel())
    flat = np.concatenate(ious)
    close = np.flatnonzero(flat >= IOU_THRESHOLDS[0])
    sizes = spans[:, 1] * spans[:, 3]
    ends = np.cumsum(sizes)
    group = np.searchsorted(ends, close, side="right")
    place = close - (ends - sizes)[group]
    row, column = np.divmod(place, spans[group, 3])
    return _Pairs(spans[group, 0] + row, spans[group, 2] + column, flat[close])


def _add_given_pairs(
    pairs: _Pairs,
    dt: _Table,
    gt: _Table,
    dt_areas: np.ndarray,
    gt_areas: np.ndarray,
    crowd: np.ndarray,
) -> _Pairs:
    """The pairs and those of detections that have ``coco.results.OVERLAPS`` in place of a mask.

    Args:
        dt_areas, gt_areas: pixels of the masks, [D] and [G].
        crowd: bool [G].
    """
    column_of = {entry["id"]: column for column, entry in enumerate(gt.entries)}
    rows = []
    columns = []
    ious = []
    for row, entry in enumerate(dt.entries):
        for number, common in entry.get(OVERLAPS, {}).items():
            column = column_of[number]
            other = 0 if crowd[column] else gt_areas[column] - common
            rows.append(row)
            columns.append(column)
            ious.append(common / (dt_areas[row] + other))
    if not rows:
        return pairs
    return _Pairs(
        np.append(pairs.detection, rows),
        np.append(pairs.instance, columns),
        np.append(pairs.iou, ious),
    )


def _select_class(
    k: int, dt: _Table, hit: np.ndarray, counts: np.ndarray, positives: np.ndarray
) -> Matches:
    """The rows of class ``k`` in the order in which ``COCOeval.accumulate`` goes through them."""
    start, end = np.searchsorted(dt.label, [k, k + 1])
    order = start + np.argsort(-dt.scores[start:end], kind="mergesort")
    return Matches(
        dt.scores[order], dt.image[order], hit[:, :, order], counts[:, :, order], positives
    )
