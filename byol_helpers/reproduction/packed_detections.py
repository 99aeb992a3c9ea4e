"""The detections of a committed model in some 40 KB: what every one of its metrics is computed
from.

Of each detection are kept image, class and score to four decimals. A mask counts by its overlap
with objects of its class and, where it overlaps none by half at least, by its size alone: no such
mask can be a hit. So there are kept of the masks that can be hits their areas and, for each object
overlapped by half, the pixels in common, which give the IoU to the last bit; of the boxes that can
be hits their corners to a tenth of a pixel; of all others whether they are small, medium or large.

``detections.npz.xz`` is NumPy's archive, compressed once more; I images in the order of their ids,
N detections:

- ``area_limits`` [2]: square pixels where small ends and where large begins;
- ``found`` [I]: detections of each image;
- ``score`` [N]: in steps of 1 / 10,000; an image's best one, then how much each following is lower;
- ``category`` [N]: place among the category ids in their order;
- ``mask_size``, ``box_size`` [N]: how often the area reaches or exceeds a limit (``_code_sizes``);
  ``KEPT``: more is kept of it, in the order of the detections;
- ``mask_area`` [M]; ``objects`` [M]: how many objects the mask overlaps;
- ``object``, ``common`` [P]: place of each such object among those of its image, and the pixels;
- ``box`` [4, K]: x, y, width, height in tenths of a pixel.

Numbers of several bytes lie there as rows of their lowest, second, ... bytes, which compress
better.
"""

import io
import lzma
from collections import defaultdict
from pathlib import Path

import numpy as np

from byol_helpers.coco.masks import compress_mask, count_common, measure_masks
from byol_helpers.coco.results import (
    AREAS,
    OVERLAPS,
    GroundTruth,
    Shape,
    read_detections,
    read_ground_truth,
)
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_bytes
from byol_helpers.evaluation.matching import find_overlaps

PACKED_FILE = "detections.npz.xz"
SCORE_STEPS = 10_000  # a score of 1
BOX_STEPS = 10  # a pixel
KEPT = 5  # in place of a size

Columns = dict[str, np.ndarray]


def pack_detections(
    detections: list[dict], ground_truth: Path | dict, area_limits: tuple[float, float]
) -> Columns:
    """COCO results with masks and boxes as the columns that the module describes.

    Args:
        detections: of one model.
        ground_truth: annotations of the same images.
        area_limits: square pixels where small ends and where large begins.
    """
    truth = read_ground_truth(ground_truth)
    images = sorted(truth.imgs)
    categories = sorted(truth.cats)
    steps = [round(SCORE_STEPS * found["score"]) for found in detections]
    order = sorted(
        range(len(detections)), key=lambda k: (detections[k]["image_id"], -steps[k])
    )  # equal ones stay in their order
    found = [_round_box(detections[k]) for k in order]
    scores = np.array([steps[k] for k in order], dtype=int)
    image = np.searchsorted(images, [entry["image_id"] for entry in found])
    first = np.diff(image, prepend=-1) > 0
    areas = measure_masks([entry["segmentation"] for entry in found])
    overlaps = _list_overlaps(found, truth, "segm")
    boxed = _list_overlaps(found, truth, "bbox")
    columns = {
        "area_limits": np.array(area_limits, dtype=float),
        "found": np.bincount(image, minlength=len(images)),
        "score": np.where(first, scores, -np.diff(scores, prepend=0)),
        "category": np.searchsorted(categories, [entry["category_id"] for entry in found]),
        "mask_size": _code_sizes(areas, area_limits),
        "box_size": _code_sizes(_measure_boxes(found), area_limits),
    }
    columns["mask_size"][list(overlaps)] = KEPT
    columns["box_size"][list(boxed)] = KEPT
    kept = sorted(overlaps)
    place = {}
    for image_id in images:
        for k, annotation in enumerate(truth.imgToAnns[image_id]):
            place[annotation["id"]] = k
    pairs = []
    for row in kept:
        size = found[row]["segmentation"]["size"]
        for number in overlaps[row]:
            other = compress_mask(truth.anns[number], *size)
            pairs.append((place[number], count_common(found[row]["segmentation"], other)))
    columns["mask_area"] = areas[kept].astype(int)
    columns["objects"] = np.array([len(overlaps[row]) for row in kept], dtype=int)
    columns["object"], columns["common"] = np.array(pairs, dtype=int).reshape(-1, 2).T
    boxes = [found[row]["bbox"] for row in sorted(boxed)]
    columns["box"] = np.rint(BOX_STEPS * np.array(boxes).reshape(-1, 4)).astype(int).T
    return columns


def unpack_detections(columns: Columns, ground_truth: Path | dict) -> list[dict]:
    """COCO results of ``pack_detections``.

    Masks are empty, and boxes that are no hits; beside them stand an area of their size
    (``coco.results.AREAS``) and what masks have in common with objects (``OVERLAPS``), which the
    evaluation reads.
    """
    truth = read_ground_truth(ground_truth)
    sizes = _list_areas(tuple(columns["area_limits"]))
    masks = iter(zip(columns["mask_area"].tolist(), columns["objects"].tolist(), strict=True))
    pairs = iter(zip(columns["object"].tolist(), columns["common"].tolist(), strict=True))
    boxes = iter((columns["box"].T / BOX_STEPS).tolist())
    of_all = [columns[name].tolist() for name in ("score", "category", "mask_size", "box_size")]
    rows = iter(zip(*of_all, strict=True))
    categories = sorted(truth.cats)
    results = []
    for image_id, found in zip(sorted(truth.imgs), columns["found"].tolist(), strict=True):
        image = truth.imgs[image_id]
        size = [image["height"], image["width"]]
        objects = truth.imgToAnns[image_id]
        steps = 0
        for k in range(found):
            score, category, mask_size, box_size = next(rows)
            steps = steps - score if k else score
            entry = {
                "image_id": image_id,
                "category_id": categories[category],
                "score": steps / SCORE_STEPS,
                "segmentation": {"size": size, "counts": [size[0] * size[1]]},
                "bbox": [0.0, 0.0, 0.0, 0.0],
            }
            if mask_size == KEPT:
                entry[AREAS["segm"]], many = next(masks)
                overlaps = [next(pairs) for _ in range(many)]
                entry[OVERLAPS] = {objects[place]["id"]: common for place, common in overlaps}
            else:
                entry[AREAS["segm"]] = sizes[mask_size]
            if box_size == KEPT:
                entry["bbox"] = next(boxes)
            else:
                entry[AREAS["bbox"]] = sizes[box_size]
            results.append(entry)
    return results


def write_packed(path: Path, columns: Columns) -> Path:
    """``detections.npz.xz``; equal columns give equal bytes."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **{k: _split_bytes(v) for k, v in columns.items()})
    return write_bytes(path, lzma.compress(stream.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def read_packed(path: Path) -> Columns:
    """What ``write_packed`` wrote; ``UserError`` for a missing or damaged file."""
    try:
        with np.load(io.BytesIO(lzma.decompress(path.read_bytes()))) as archive:
            return {name: _join_bytes(archive[name]) for name in archive.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; restore it") from None
    except (lzma.LZMAError, ValueError, OSError) as error:
        raise UserError(f"{path}: damaged ({error}); restore it") from None


def _round_box(found: dict) -> dict:
    return found | {"bbox": [round(BOX_STEPS * side) / BOX_STEPS for side in found["bbox"]]}


def _measure_boxes(found: list[dict]) -> np.ndarray:
    return np.array([entry["bbox"][2] * entry["bbox"][3] for entry in found], dtype=float)


def _list_overlaps(found: list[dict], truth: GroundTruth, shape: Shape) -> dict[int, list[int]]:
    """Which objects of its class each detection overlaps by half, {row: [annotation id, ...]}."""
    overlaps = defaultdict(list)
    for row, number in find_overlaps(truth, read_detections(found, truth, shape), shape):
        overlaps[row].append(number)
    return dict(overlaps)


def _code_sizes(areas: np.ndarray, area_limits: tuple[float, float]) -> np.ndarray:
    """0 small, 2 medium, 4 large; 1 and 3 on a limit, which belongs to both sides."""
    codes = np.zeros(len(areas), dtype=int)
    for limit in area_limits:
        codes += (areas >= limit).astype(int) + (areas > limit)
    return codes


def _list_areas(area_limits: tuple[float, float]) -> list[float]:
    """An area for each of ``_code_sizes``, in square pixels."""
    small, large = map(float, area_limits)
    return [small / 2, small, (small + large) / 2, large, 2 * large]


def _split_bytes(values: np.ndarray) -> np.ndarray:
    """Whole numbers as rows of bytes, the lowest first: uint8 [4, ...]; floats as they are."""
    if values.dtype.kind == "f":
        return values
    four = values.astype("<i4")[..., None].view(np.uint8)
    return np.ascontiguousarray(np.moveaxis(four, -1, 0))


def _join_bytes(rows: np.ndarray) -> np.ndarray:
    """The numbers of ``_split_bytes``."""
    if rows.dtype.kind == "f":
        return rows
    return np.ascontiguousarray(np.moveaxis(rows, 0, -1)).view("<i4")[..., 0]
