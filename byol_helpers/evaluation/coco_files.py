"""COCO annotations and COCO results as they come from users: read, checked, and refused in one clear line.

One trap of pycocotools is closed here: annotations are numbered anew from 1, because a match with annotation id 0
counts as none.
"""

import contextlib
import io
import json
import math
from pathlib import Path

from pycocotools.coco import COCO

from byol_helpers.errors import UserError


def read_ground_truth(source: Path | str | dict) -> COCO:
    name, content = _content(source, "the ground truth")
    missing = [key for key in ("images", "annotations", "categories") if key not in content]
    if missing:
        raise UserError(f"{name}: no {missing[0]!r}; give annotations in COCO's format")
    if not content["annotations"]:
        raise UserError(f"{name}: no annotations to evaluate against; choose a split with labelled objects")
    annotations = []
    for number, annotation in enumerate(content["annotations"], start=1):
        for key in ("image_id", "category_id", "bbox", "area", "segmentation"):
            if key not in annotation:
                raise UserError(f"{name}: annotation {annotation.get('id', number)} has no {key!r}; add it")
        annotations.append({"iscrowd": 0, **annotation, "id": number})
    return to_coco({**content, "annotations": annotations})


def _content(source: Path | str | dict | list, kind: str) -> tuple[str, dict | list]:
    if isinstance(source, (dict, list)):
        return kind, source
    try:
        return str(source), json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{source}: no such file; {kind} must be an existing JSON file") from None
    except ValueError as error:
        raise UserError(f"{source}: not valid JSON ({error}); write it again") from None


def read_detections(source: Path | str | list[dict], truth: COCO, iou_type: str) -> list[dict]:
    """Checked copies that hold only what this evaluation reads."""
    name, content = _content(source, "the detections")
    if not isinstance(content, list):
        raise UserError(f"{name}: not a list; give COCO results, [{{image_id, category_id, ...}}, ...]")
    shape = {"segm": "segmentation", "bbox": "bbox"}[iou_type]
    found = []
    for number, entry in enumerate(content):
        wrong = _problem(entry, truth, shape)
        if wrong:
            raise UserError(f"{name}: entry {number}: {wrong}")
        found.append({key: entry[key] for key in ("image_id", "category_id", "score", shape)})
    return found


def _problem(entry: dict, truth: COCO, shape: str) -> str | None:
    """What is wrong with one detection, and what to do; None for a good one."""
    for key in ("image_id", "category_id", "score", shape):
        if key not in entry:
            return f"no {key!r}; write it for every detection"
    if entry["image_id"] not in truth.imgs:
        return f"image_id {entry['image_id']} is not in the ground truth; evaluate on the predicted images"
    if entry["category_id"] not in truth.cats:
        return f"category_id {entry['category_id']} is not in the ground truth; use its ids, not indices"
    if not isinstance(entry["score"], (int, float)) or not math.isfinite(entry["score"]):
        return f"score {entry['score']} is not a finite number; drop it, or train with a lower learning rate"
    if shape == "bbox" and not (len(entry["bbox"]) == 4 and all(map(math.isfinite, entry["bbox"]))):
        return f"bbox {entry['bbox']} is not four finite numbers [x, y, width, height]"
    if shape == "segmentation" and isinstance(entry[shape], dict):
        image = truth.imgs[entry["image_id"]]
        size = [image["height"], image["width"]]
        if list(entry[shape].get("size", ())) != size:
            return f"mask of size {entry[shape].get('size')}, but the image is {size}; resize it"
    return None


def to_coco(content: dict) -> COCO:
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
