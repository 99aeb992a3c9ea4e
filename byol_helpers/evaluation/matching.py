"""Which detection matches which ground truth: COCO's greedy rules, for all images and classes at once.

pycocotools decides this in ``COCOeval.evaluateImg``, in Python loops over every image, class, area, threshold,
detection and instance. Here its C code (``pycocotools.mask.iou``) still gives every IoU, but the loop runs only over
the few pairs of detection and instance that overlap enough to match at all, and takes one such pair of every image and
class at a time: they cannot touch each other. The results are the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pycocotools import mask as masks
from pycocotools.coco import COCO

AREA_RANGES = ("all", "small", "medium", "large")
IOU_THRESHOLDS = np.linspace(
    0.5, 0.95, 10
)  # of IoU, as ``Params.setDetParams`` spells them, to the last bit
LARGEST_AREA = 1e10  # square pixels: pycocotools' upper end of "large"
DETECTIONS_PER_CLASS = 100  # detections of one image and class that count, best first


@dataclass(frozen=True)
class Matches:
    """All detections of one class, best score first; equal scores in the order of images, then of the file.

    D detections, I images, 4 areas (``AREA_RANGES``), 10 IoU thresholds .50:.05:.95; at most 100 detections an
    image.
    """

    scores: np.ndarray  # [D] float
    image: np.ndarray  # [D] index into Evaluation.image_ids
    hit: np.ndarray  # [4, 10, D] bool: true positive
    counts: (
        np.ndarray
    )  # [4, 10, D] bool: counts at all; False for detections on crowds or outside the area
    positives: np.ndarray  # [4, I] int: ground-truth instances to be found


@dataclass(frozen=True)
class _Table:
    """Annotations or detections, N rows sorted by class, then image; of one class and image the best score first."""

    entries: list[dict]  # [N]
    image: np.ndarray  # [N] position among the sorted image ids
    label: np.ndarray  # [N] position among the sorted category ids
    scores: np.ndarray  # [N]; zeros for annotations, which stay in the order of the file

    def groups(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each class and image that occurs: (class, image) as one number, its first row, how many rows."""
        return np.unique(self.label * (1 << 40) + self.image, return_index=True, return_counts=True)


def match_detections(
    truth: COCO,
    found: list[dict],
    iou_type: Literal["segm", "bbox"],
    area_limits: tuple[float, float],
) -> tuple[Matches, ...]:
    """Matches of every class, in the order of category ids.

    Args:
        truth: annotations, numbered from 1 (``coco_files.read_ground_truth``).
        found: checked COCO results on its images and categories.
        iou_type: ``segm`` compares masks, ``bbox`` boxes.
        area_limits: square pixels where small ends and where large begins.
    """
    images = {identity: i for i, identity in enumerate(sorted(truth.imgs))}
    labels = {identity: k for k, identity in enumerate(sorted(truth.cats))}
    known = [
        a
        for a in truth.dataset["annotations"]
        if a["image_id"] in images and a["category_id"] in labels
    ]
    gt = _table(known, np.zeros(len(known)), images, labels)
    dt = _table(found, np.array([entry["score"] for entry in found], dtype=float), images, labels)
    dt, rank = _best(dt)
    crowd = np.array([bool(a.get("iscrowd")) for a in gt.entries], dtype=bool)
    shapes = _shapes(dt, truth, iou_type)
    pairs = _close_pairs(dt, gt, shapes, crowd, truth, iou_type)

    low, high = np.array(
        [(0, LARGEST_AREA), (0, area_limits[0]), area_limits, (area_limits[1], LARGEST_AREA)]
    ).T[..., None]
    sizes = np.array([a["area"] for a in gt.entries], dtype=float)
    ignored = crowd | (sizes < low) | (sizes > high)  # [4, G]
    sizes = _sizes(shapes, iou_type)
    outside = (sizes < low) | (sizes > high)  # [4, D]
    positives = np.zeros((len(AREA_RANGES), len(labels), len(images)), dtype=np.int64)
    hit = np.empty((len(AREA_RANGES), len(IOU_THRESHOLDS), len(dt.entries)), dtype=bool)
    counts = np.empty_like(hit)
    for area in range(len(AREA_RANGES)):
        np.add.at(positives[area], (gt.label, gt.image), ~ignored[area])
        matched, wasted = _greedy(*pairs, rank, ignored[area], crowd)
        hit[area] = (matched & ~wasted).T
        counts[area] = ~(wasted | ~matched & outside[area][:, None]).T
    return tuple(_of_class(k, dt, hit, counts, positives[:, k]) for k in range(len(labels)))


def _table(entries: list[dict], scores: np.ndarray, images: dict, labels: dict) -> _Table:
    """Sorted by class and image as ``_Table`` wants it; ties keep the order of the file (pycocotools' mergesort)."""
    image = np.array([images[entry["image_id"]] for entry in entries], dtype=np.int64)
    label = np.array([labels[entry["category_id"]] for entry in entries], dtype=np.int64)
    order = np.lexsort((-scores, image, label))
    return _Table([entries[i] for i in order.tolist()], image[order], label[order], scores[order])


def _best(dt: _Table) -> tuple[_Table, np.ndarray]:
    """The first 100 rows of each class and image, and their rank there [D], from 0."""
    _, first, many = dt.groups()
    rank = np.arange(len(dt.entries)) - np.repeat(first, many)
    kept = np.flatnonzero(rank < DETECTIONS_PER_CLASS)
    entries = [dt.entries[i] for i in kept.tolist()]
    return _Table(entries, dt.image[kept], dt.label[kept], dt.scores[kept]), rank[kept]


def _shapes(table: _Table, truth: COCO, iou_type: str) -> list[dict] | np.ndarray:
    """What ``pycocotools.mask.iou`` compares: compressed RLE [N], or boxes [N, 4] (x, y, width, height)."""
    if iou_type == "segm":
        return [
            _rle(entry["segmentation"], truth.imgs[entry["image_id"]]) for entry in table.entries
        ]
    return np.array([entry["bbox"] for entry in table.entries], dtype=float).reshape(-1, 4)


def _rle(segmentation: dict | list, image: dict) -> dict:
    """Polygons, plain RLE or compressed RLE as compressed RLE (``COCO.annToRLE``)."""
    if isinstance(segmentation, list):
        return masks.merge(masks.frPyObjects(segmentation, image["height"], image["width"]))
    if isinstance(segmentation["counts"], list):
        return masks.frPyObjects(segmentation, image["height"], image["width"])
    return segmentation


def _sizes(shapes: list[dict] | np.ndarray, iou_type: str) -> np.ndarray:
    """Square pixels of detections [D] (``COCO.loadRes``): of the mask itself, or of the box."""
    if iou_type == "bbox":
        return shapes[:, 2] * shapes[:, 3]
    step = 255  # pycocotools up to 2.0.11 puts the number of masks into a uint8 on its way
    parts = [masks.area(shapes[start : start + step]) for start in range(0, len(shapes), step)]
    return np.concatenate([np.zeros(0), *parts])


def _close_pairs(
    dt: _Table, gt: _Table, dt_shapes: Sequence, crowd: np.ndarray, truth: COCO, iou_type: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of detections [C], rows of annotations [C] and IoU [C] of all pairs that match at some threshold.

    A pair is of one image and class. The IoU with a crowd is intersection over the detection alone.
    """
    gt_shapes = _shapes(gt, truth, iou_type)
    (dt_keys, dt_first, dt_many), (gt_keys, gt_first, gt_many) = dt.groups(), gt.groups()
    _, a, b = np.intersect1d(dt_keys, gt_keys, assume_unique=True, return_indices=True)
    spans = dt_first[a], dt_many[a], gt_first[b], gt_many[b]
    ious = [
        masks.iou(dt_shapes[d : d + n], gt_shapes[g : g + m], crowd[g : g + m]).ravel()
        for d, n, g, m in zip(*(span.tolist() for span in spans), strict=True)
    ]
    flat = np.concatenate([[], *ious])
    close = np.flatnonzero(flat >= IOU_THRESHOLDS[0])
    ends = np.cumsum(spans[1] * spans[3])
    group = np.searchsorted(ends, close, side="right")
    first_dt, many_dt, first_gt, many_gt = (span[group] for span in spans)
    row, column = np.divmod(close - (ends[group] - many_dt * many_gt), many_gt)
    return first_dt + row, first_gt + column, flat[close]


def _greedy(
    d: np.ndarray,
    g: np.ndarray,
    iou: np.ndarray,
    rank: np.ndarray,
    ignored: np.ndarray,
    crowd: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Which detections match [D, 10], and which of them match an instance that is ignored [D, 10].

    ``COCOeval.evaluateImg``: the best detection chooses first. It takes, of the instances that overlap by at least the
    threshold and are not taken (a crowd never is), one that is not ignored if there is one, then the one of highest
    IoU, then the last of the file.

    Args:
        d, g, iou: pairs [C] from ``_close_pairs``.
        rank: of each detection [D] in its image and class, 0 the best.
        ignored, crowd: of each instance [G].
    """
    matched, wasted = np.zeros((2, len(rank), len(IOU_THRESHOLDS)), dtype=bool)
    taken = np.zeros((len(ignored), len(IOU_THRESHOLDS)), dtype=bool)
    order = np.lexsort((-g, -iou, ignored[g], d))  # each detection's wishes, best first
    d, g = d[order], g[order]
    enough = iou[order, None] >= IOU_THRESHOLDS  # [C, 10]
    first = np.flatnonzero(np.diff(d, prepend=-1))
    wish = np.arange(len(d)) - np.repeat(first, np.diff(first, append=len(d)))
    order = np.lexsort((wish, rank[d]))
    turns = np.flatnonzero(np.diff(rank[d][order]) | np.diff(wish[order])) + 1
    # In one turn every image and class has at most one pair, so that no row is written twice.
    for turn in np.split(order, turns):
        row, column = d[turn], g[turn]
        took = enough[turn] & ~taken[column] & ~matched[row]
        matched[row] |= took
        wasted[row] |= took & ignored[column, None]
        taken[column] |= took & ~crowd[column, None]
    return matched, wasted


def _of_class(
    k: int, dt: _Table, hit: np.ndarray, counts: np.ndarray, positives: np.ndarray
) -> Matches:
    """The rows of class ``k`` in the order in which ``COCOeval.accumulate`` goes through them."""
    start, end = np.searchsorted(dt.label, [k, k + 1])
    order = start + np.argsort(-dt.scores[start:end], kind="mergesort")
    return Matches(
        dt.scores[order], dt.image[order], hit[:, :, order], counts[:, :, order], positives
    )
