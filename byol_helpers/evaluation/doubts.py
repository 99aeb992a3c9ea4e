"""Whether a results file means what COCO's format means: an AP of 0 may be a wrong file.

Nothing is changed on a suspicion; each one is a line beside the numbers.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as rle

from byol_helpers.coco.boxes import clip_corners, find_corners, find_relative, measure_overlap
from byol_helpers.coco.masks import box_masks
from byol_helpers.coco.results import GroundTruth, read_detections

_MISSED = 0.1  # IoU up to which a detection meets no object
_MET = 0.5  # IoU from which it does
_BETTER = 0.2  # of mean IoU, by which another reading of the boxes has to fit better
_EDGE = 3.0  # pixels by which an edge may lie elsewhere
_REMEDY = "COCO wants x, y, width, height in pixels"


def describe_doubts(truth: GroundTruth, entries: list[dict], kinds: Sequence[str]) -> list[str]:
    """Lines on what makes a results file doubtful; none for a file like any other.

    Args:
        truth: the annotations.
        entries: of the results file, as read; they were scored already.
        kinds: what was scored, of ``mask`` and ``box``.
    """
    if not entries:
        return ["holds no detections, so every AP is 0"]
    lines: list[str] = []
    found: list[dict] = []
    masked = np.zeros((0, 4))
    boxed = np.zeros((0, 4))
    if "mask" in kinds:
        found = read_detections(entries, truth, "segm")
        masked = box_masks([entry["segmentation"] for entry in found])
    if "box" in kinds:
        found = read_detections(entries, truth, "bbox")
        boxed = np.array([entry["bbox"] for entry in found], dtype=float)
        lines += _judge_boxes(truth, found, boxed)
    if len(masked) and len(boxed) and not lines:
        lines += _compare_with_masks(boxed, masked)
    return lines + _judge_classes(truth, found, masked if len(masked) else boxed)


def _compare_with_masks(boxed: np.ndarray, masked: np.ndarray) -> list[str]:
    first = find_corners(boxed)
    second = find_corners(masked)
    apart = (np.abs(first - second).max(axis=1) > _EDGE) & (measure_overlap(first, second) < 0.5)
    if 2 * apart.sum() <= len(boxed):
        return []
    return [f"{apart.sum():,} of {len(boxed):,} boxes lie elsewhere than their masks"]


def _judge_boxes(truth: GroundTruth, found: list[dict], boxes: np.ndarray) -> list[str]:
    """Boxes that are relative, negative, corners, or elsewhere than in their images."""
    images = [truth.imgs[entry["image_id"]] for entry in found]
    sizes = np.array([(image["height"], image["width"]) for image in images])
    corners = find_corners(boxes)
    many = f"of {len(boxes):,} boxes"
    relative = find_relative(corners, sizes).sum()
    if 2 * relative > len(boxes):
        return [f"{relative:,} {many} lie within 0..1, relative to the image; {_REMEDY}"]
    as_given = _match_boxes(truth, found, boxes)
    as_corners = boxes.copy()
    as_corners[:, 2:] -= boxes[:, :2]
    if _match_boxes(truth, found, as_corners) > as_given + _BETTER:
        return [f"boxes fit the objects better when read as x0, y0, x1, y1; {_REMEDY}"]
    negative = (boxes[:, 2:] < 0).any(axis=1).sum()
    if negative:
        return [f"{negative:,} {many} have a negative width or height; {_REMEDY}"]
    beyond = np.abs(corners - clip_corners(corners, sizes)).max(axis=1)
    leaving = (beyond > np.maximum(_EDGE, 0.1 * sizes.max(axis=1))).sum()
    return [f"{leaving:,} {many} leave their images"] if 10 * leaving > len(boxes) else []


def _match_boxes(truth: GroundTruth, found: list[dict], boxes: np.ndarray) -> float:
    """Mean over detections of the best IoU with an object of the same image."""
    best = np.zeros(len(boxes))
    for rows, _, iou in _iterate_images(truth, found, boxes):
        best[rows] = iou.max(axis=1)
    return float(best.mean())


def _judge_classes(truth: GroundTruth, found: list[dict], boxes: np.ndarray) -> list[str]:
    """Classes whose detections lie on the objects of another class only."""
    labels = np.array([entry["category_id"] for entry in found])
    own = np.zeros(len(boxes))  # best IoU with an object of the detection's class
    other = np.zeros(len(boxes))  # best IoU with any object
    met = np.zeros(len(boxes), dtype=int)  # the class of that object
    for rows, annotations, iou in _iterate_images(truth, found, boxes):
        classes = np.array([annotation["category_id"] for annotation in annotations])
        same = classes[None, :] == labels[rows][:, None]
        own[rows] = np.where(same, iou, 0).max(axis=1)
        other[rows] = iou.max(axis=1)
        met[rows] = classes[iou.argmax(axis=1)]
    lines = []
    for label in np.unique(labels).tolist():
        mine = labels == label
        meeting = mine & (other >= _MET)
        if own[mine].max() > _MISSED or 2 * meeting.sum() <= mine.sum():
            continue
        instead, _ = Counter(met[meeting].tolist()).most_common(1)[0]
        names = [f"{truth.cats[key]['name'][:40]!r} ({key})" for key in (label, instead)]
        said = f"no detection of {names[0]} overlaps an object of it, most overlap {names[1]}"
        lines.append(f"{said}; the classes may be off by one")
    more = f" (and {len(lines) - 1} more classes)" if len(lines) > 1 else ""
    return [lines[0] + more] if lines else []


def _iterate_images(
    truth: GroundTruth, found: list[dict], boxes: np.ndarray
) -> Iterator[tuple[list[int], list[dict], np.ndarray]]:
    """Of each image with both: rows of its detections, its annotations, and their IoU."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row, entry in enumerate(found):
        rows[entry["image_id"]].append(row)
    for image_id, mine in rows.items():
        annotations: list[Any] = truth.imgToAnns[image_id]
        if annotations:
            objects = np.array([annotation["bbox"] for annotation in annotations], dtype=float)
            yield mine, annotations, np.asarray(rle.iou(boxes[mine], objects, [0] * len(objects)))
