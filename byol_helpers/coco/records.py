"""COCO annotations and COCO results as they come from users: read, checked, and refused in one clear line.

One trap of pycocotools is closed here: annotations are numbered anew from 1, because a match with annotation id 0
counts as none.
"""

import contextlib
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO

from byol_helpers.coco.masks import whole
from byol_helpers.core.errors import UserError

_SHAPES = {"segm": "segmentation", "bbox": "bbox"}
NO_LIST = "not a list; give COCO results, [{image_id, category_id, score, ...}, ...]"
AT_ONCE = 2000  # masks checked together, to bound the memory


def read_ground_truth(source: Path | str | dict, iou_type: str = "segm") -> COCO:
    """Annotations, checked for what ``iou_type`` (``segm`` or ``bbox``) needs.

    Raises:
        UserError: no annotations, or one that cannot be evaluated; it names the file and the annotation.
    """
    name, content = _content(source, "the ground truth")
    wrong = _wrong_head(content)
    if wrong:
        raise UserError(f"{name}: {wrong}")
    images = {image["id"]: image for image in content["images"]}
    categories, seen, annotations = (
        {category["id"] for category in content["categories"]},
        set(),
        [],
    )
    for number, annotation in enumerate(content["annotations"], start=1):
        own = annotation.get("id", number) if isinstance(annotation, dict) else number
        wrong = _wrong_annotation(annotation, images, categories, iou_type)
        if wrong is None and "id" in annotation and own in seen:
            wrong = "its id occurs twice; number the annotations anew"
        if wrong:
            raise UserError(f"{name}: annotation {own}: {wrong}")
        seen.add(own)
        annotations.append({"iscrowd": 0, **annotation, "id": number})
    if iou_type == "segm":
        bad = next(_broken_masks(annotations, images), None)
        if bad is not None:
            own = content["annotations"][bad].get("id", bad + 1)
            raise UserError(
                f"{name}: annotation {own}: its mask is damaged or not of the size of its image; "
                "export it again"
            )
    return to_coco({**content, "annotations": annotations})


def read_detections(source: Path | str | list[dict], truth: COCO, iou_type: str) -> list[dict]:
    """Checked copies that hold only what this evaluation reads; masks as compressed run lengths.

    Raises:
        UserError: not COCO results for these images and categories; it names the file and the entry.
    """
    name, content = _content(source, "the detections")
    if not isinstance(content, list):
        raise UserError(f"{name}: {NO_LIST}")
    shape = _SHAPES[iou_type]
    found = []
    for number, entry in enumerate(content):
        wrong = _wrong_detection(entry, truth, shape)
        if wrong:
            raise UserError(f"{name}: entry {number}: {wrong}")
        found.append({key: entry[key] for key in ("image_id", "category_id", "score", shape)})
    if iou_type == "segm":
        bad = next(_broken_masks(found, truth.imgs), None)
        if bad is not None:
            raise UserError(
                f"{name}: entry {bad}: its mask is damaged: the run lengths do not add up to its image; "
                "export it again"
            )
        for entry in found:
            entry["segmentation"] = _compressed(
                entry["segmentation"], truth.imgs[entry["image_id"]]
            )
    return found


def shapes_in_ground_truth(path: Path) -> set[str]:
    """Which of ``segmentation`` and ``bbox`` the annotations of a file have, any of them."""
    name, content = _content(path, "the ground truth")
    wrong = _wrong_head(content)
    if wrong:
        raise UserError(f"{name}: {wrong}")
    return _shapes(content["annotations"])


def shapes_in_detections(path: Path) -> set[str]:
    """Which of ``segmentation`` and ``bbox`` the entries of a results file have, any of them; no entries: an error."""
    name, content = _content(path, "the detections")
    if not isinstance(content, list):
        raise UserError(f"{name}: {NO_LIST}")
    if not content:
        raise UserError(
            f"{name}: holds no detections, so there is no AP to speak of; export it again"
        )
    return _shapes(content)


def _shapes(entries: list) -> set[str]:
    return {
        shape
        for shape in _SHAPES.values()
        if any(isinstance(entry, dict) and shape in entry for entry in entries)
    }


def to_coco(content: dict) -> COCO:
    """pycocotools' index of annotations, without its prints."""
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _content(source: Path | str | dict | list, kind: str) -> tuple[str, dict | list]:
    if isinstance(source, (dict, list)):
        return kind, source
    try:
        return str(source), json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{source}: no such file; {kind} must be an existing JSON file") from None
    except IsADirectoryError:
        raise UserError(f"{source}: a folder; {kind} must be a JSON file") from None
    except ValueError as error:
        raise UserError(f"{source}: not valid JSON ({error}); write it again") from None


def _wrong_head(content: dict | list) -> str | None:
    """What is wrong with an annotation file as a whole."""
    if not isinstance(content, dict):
        return "a list, as results are; give annotations in COCO's format"
    missing = [
        key
        for key in ("images", "annotations", "categories")
        if not isinstance(content.get(key), list)
    ]
    if missing:
        return f"no {missing[0]!r}; give annotations in COCO's format"
    if not content["annotations"]:
        return "no annotations to evaluate against; choose a split with labelled objects"
    for key, needed in (("images", ("id", "height", "width")), ("categories", ("id", "name"))):
        ids = set()
        for number, entry in enumerate(content[key]):
            lacking = [part for part in needed if not isinstance(entry, dict) or part not in entry]
            if lacking:
                return f"{key}, entry {number}: no {lacking[0]!r}; add it"
            if entry["id"] in ids:
                return f"{key}: id {entry['id']} occurs twice; number them anew"
            ids.add(entry["id"])
    return None


def _wrong_annotation(annotation: dict, images: dict, categories: set, iou_type: str) -> str | None:
    """What is wrong with one annotation, apart from the run lengths of its mask; None for a good one."""
    if not isinstance(annotation, dict):
        return "not an object; give annotations in COCO's format"
    for key in ("image_id", "category_id", "bbox", "area", _SHAPES[iou_type]):
        if key not in annotation:
            return f"no {key!r}; add it"
    if annotation["image_id"] not in images:
        return f"image_id {annotation['image_id']} is not among the images; add the image or drop the annotation"
    if annotation["category_id"] not in categories:
        return f"category_id {annotation['category_id']} is not among the categories; add it or drop the annotation"
    if not _finite(annotation["bbox"], 4):
        return f"bbox {annotation['bbox']} is not four finite numbers [x, y, width, height]"
    return (
        None
        if iou_type == "bbox"
        else _wrong_mask(annotation["segmentation"], images[annotation["image_id"]])
    )


def _wrong_detection(entry: dict, truth: COCO, shape: str) -> str | None:
    """What is wrong with one detection, apart from the run lengths of its mask; None for a good one."""
    if not isinstance(entry, dict):
        return "not an object; give COCO results"
    for key in ("image_id", "category_id", "score", shape):
        if key not in entry:
            return f"no {key!r}; write it for every detection"
    if not isinstance(entry["image_id"], (int, str)) or entry["image_id"] not in truth.imgs:
        return f"image_id {entry['image_id']} is not in the ground truth; evaluate on the predicted images"
    if not isinstance(entry["category_id"], (int, str)) or entry["category_id"] not in truth.cats:
        return f"category_id {entry['category_id']} is not in the ground truth; use its ids, not indices"
    if not isinstance(entry["score"], (int, float)) or not math.isfinite(entry["score"]):
        return f"score {entry['score']} is not a finite number; drop it, or train with a lower learning rate"
    if shape == "bbox":
        wrong = not _finite(entry["bbox"], 4)
        return (
            f"bbox {entry['bbox']} is not four finite numbers [x, y, width, height]"
            if wrong
            else None
        )
    return _wrong_mask(entry["segmentation"], truth.imgs[entry["image_id"]])


def _wrong_mask(mask: object, image: dict) -> str | None:
    """What is wrong with the form of a mask: polygons, or run lengths of the image's size."""
    if isinstance(mask, list):
        good = mask and all(
            isinstance(part, list)
            and len(part) >= 6
            and len(part) % 2 == 0
            and _finite(part, len(part))
            for part in mask
        )
        return (
            None
            if good
            else "its polygons are not lists of at least three points [x, y, x, y, ...]"
        )
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), (str, bytes, list)):
        return "its mask is neither polygons nor run lengths {size, counts}; export it again"
    size = [image["height"], image["width"]]
    if list(mask.get("size", ())) != size:
        return f"mask of size {mask.get('size')}, but the image is {size}; resize it"
    return None


def _finite(values: object, length: int) -> bool:
    return (
        isinstance(values, (list, tuple))
        and len(values) == length
        and all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
    )


def _broken_masks(entries: list[dict], images: dict) -> Iterator[int]:
    """Positions of the entries whose run lengths do not cover their image exactly."""
    for start in range(0, len(entries), AT_ONCE):
        places, counts, pixels = [], [], []
        for place, entry in enumerate(entries[start : start + AT_ONCE], start):
            mask, image = entry["segmentation"], images[entry["image_id"]]
            if isinstance(mask, list):
                continue
            area = image["height"] * image["width"]
            if isinstance(mask["counts"], list):
                lengths = mask["counts"]
                if not all(isinstance(n, int) and n >= 0 for n in lengths) or sum(lengths) != area:
                    yield place
                continue
            text = mask["counts"]
            places.append(place)
            counts.append(text.encode() if isinstance(text, str) else text)
            pixels.append(area)
        yield from np.array(places, dtype=int)[~whole(counts, np.array(pixels))].tolist()


def _compressed(mask: dict | list, image: dict) -> dict:
    """Polygons and plain run lengths as compressed ones; compressed ones as they are."""
    if isinstance(mask, list):
        return rle.merge(rle.frPyObjects(mask, image["height"], image["width"]))
    if isinstance(mask["counts"], list):
        return rle.frPyObjects(mask, image["height"], image["width"])
    return mask
