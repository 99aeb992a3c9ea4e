"""What is scored: COCO annotations as pycocotools wants them, and COCO results as they come from
users: read, checked, and refused in one clear line.

One trap of pycocotools is closed here: annotations are numbered anew from 1, because a match with
annotation id 0 counts as none.
"""

import contextlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from pycocotools.coco import COCO

from byol_helpers.coco import masks
from byol_helpers.coco.annotations import Labels, map_file, parse_json
from byol_helpers.coco.masks import read_mask
from byol_helpers.coco.normalisation import (
    Ids,
    Unusable,
    as_box,
    as_mask,
    as_number,
    show_value,
    write_counts_as_text,
)
from byol_helpers.coco.validation import AT_ONCE, Problems, check_labels
from byol_helpers.core.errors import UserError

Shape = Literal["segm", "bbox"]
SHAPES: dict[Shape, str] = {"segm": "segmentation", "bbox": "bbox"}
# Of a shape that is left out (``reproduction.packed_detections``): its area in square pixels; and
# what a mask has in common with objects of its class, {annotation id: pixels}.
AREAS: dict[Shape, str] = {"segm": "mask_area", "bbox": "box_area"}
OVERLAPS = "mask_overlaps"
NO_LIST = "not a list; give COCO results, [{image_id, category_id, score, ...}, ...]"

Entry = dict[str, Any]


class GroundTruth(COCO):
    """pycocotools' index of annotations, and the names that results may call images by."""

    def __init__(self, labels: Labels, found: Problems):
        super().__init__()
        self.image_ids = labels.image_ids
        self.category_ids = labels.category_ids
        self.found = found
        annotations = []
        for number, (raw, _) in enumerate(labels, start=1):
            annotations.append({"iscrowd": 0, **msgspec.json.decode(raw), "id": number})
        content: Any = {"images": labels.images, "categories": labels.categories}
        self.dataset = content | {"annotations": annotations}
        with contextlib.redirect_stdout(io.StringIO()):
            self.createIndex()


def read_ground_truth(source: Path | str | dict, iou_type: Shape = "segm") -> GroundTruth:
    """Annotations, checked for what ``iou_type`` (``segm`` or ``bbox``) needs.

    Raises:
        UserError: no annotations, or one that cannot be evaluated; it names the file and the
            annotation.
    """
    labels = Labels(source)
    found = check_labels(labels, iou_type, scoring=True)
    if errors := found.errors():
        raise UserError(errors[0])
    return GroundTruth(labels, found)


def read_detections(
    source: Path | str | list[Entry], truth: GroundTruth, iou_type: Shape
) -> list[Entry]:
    """Checked copies that hold only what this evaluation reads; masks as compressed run lengths.

    Raises:
        UserError: not COCO results for these images and categories; it names the file and the
            entry.
    """
    name, entries = read_entries(source)
    shape = SHAPES[iou_type]
    found = []
    images = _choose_references(entries, "image_id", truth.image_ids)
    categories = _choose_references(entries, "category_id", truth.category_ids)
    for number, entry in enumerate(entries):
        if wrong := _name_fault(entry, shape):
            raise UserError(f"{name}: entry {number}: {wrong}")
        kept = {
            "image_id": images(entry["image_id"]),
            "category_id": categories(entry["category_id"]),
            "score": as_number(entry["score"]),
            shape: as_box(entry[shape]) if iou_type == "bbox" else entry[shape],
        }
        for key in ("image_id", "category_id"):
            if kept[key] is None:
                said = f"{key} {show_value(entry[key])} is not in the ground truth"
                remedy = "use its ids" + (" or file names" if key == "image_id" else "")
                raise UserError(f"{name}: entry {number}: {said}; {remedy}")
        for key in (AREAS[iou_type], OVERLAPS):
            if key in entry:
                kept[key] = entry[key]
        found.append(kept)
    if iou_type == "segm":
        _compress_entries(found, truth, name)
    return found


def read_entries(source: Path | str | list[Entry]) -> tuple[str, list[Entry]]:
    """The list of a results file, and what messages call it.

    Raises:
        UserError: no such file, or it holds no list.
    """
    if isinstance(source, list):
        return "the detections", source
    file = Path(source)
    content = parse_json(map_file(file, "COCO results, an existing JSON file"), file)
    if isinstance(content, list):
        return str(source), content
    inner = content.get("annotations") if isinstance(content, dict) else None
    if isinstance(inner, list) and inner and all(_is_result(entry) for entry in inner):
        return str(source), inner  # as datumaro and some scripts write them: a whole COCO file
    raise UserError(f"{source}: {NO_LIST}")


def _is_result(entry: object) -> bool:
    return isinstance(entry, dict) and "score" in entry


def list_shapes(entries: Sequence[Any]) -> set[str]:
    """Which of ``segmentation`` and ``bbox`` some entries have, any of them; an empty one is
    none."""
    shapes = set()
    for shape in SHAPES.values():
        if any(isinstance(entry, dict) and entry.get(shape) for entry in entries):
            shapes.add(shape)
    return shapes


def list_shapes_of_labels(labels: Labels) -> set[str]:
    """``list_shapes`` of annotations."""
    shapes = set()
    for _, annotation in labels:
        if annotation.bbox:
            shapes.add("bbox")
        if bytes(annotation.segmentation) not in (b"null", b"[]", b"[[]]", b"{}"):
            shapes.add("segmentation")
        if len(shapes) == len(SHAPES):
            break
    return shapes


def _choose_references(
    entries: Sequence[Any], key: str, ids: Ids
) -> Callable[[object], int | None]:
    """How the entries of a file refer: by id, or, where some do not, all by another name.

    A number that is both the id of one image and the file name of another is read as what all
    entries of the file can be read as, ids first.
    """
    values = []
    for entry in entries:
        value = entry.get(key) if isinstance(entry, dict) else None
        if isinstance(value, (int, str, float)):
            values.append(value)
    different = set(values)
    if all(ids.find(value) in ids.known for value in different):
        return lambda value: _find_by_id(value, ids)
    if all(ids.find_alias(value) is not None for value in different):
        return ids.find_alias
    return ids.find_known


def _find_by_id(value: object, ids: Ids) -> int | None:
    number = ids.find(value)
    return number if number in ids.known else None


def _name_fault(entry: object, shape: str) -> str:
    """What is wrong with a detection, apart from its references and run lengths."""
    if not isinstance(entry, dict):
        return "not an object; give {image_id, category_id, score, ...}"
    for key in ("image_id", "category_id", "score", shape):
        if entry.get(key) is None or (key == shape and entry[key] in ([], {})):
            return f"no {key!r}; every entry needs image_id, category_id, score and {shape}"
    if as_number(entry["score"]) is None:
        said = f"score {show_value(entry['score'])} is not a finite number"
        return f"{said}; drop it, or train with a lower learning rate"
    if shape == "bbox" and as_box(entry["bbox"]) is None:
        said = f"bbox {show_value(entry['bbox'])} is not four finite numbers"
        return f"{said} [x, y, width, height]"
    return ""


def _compress_entries(found: list[Entry], truth: GroundTruth, name: str) -> None:
    """Masks as compressed run lengths, after a look whether they are whole."""
    for start in range(0, len(found), AT_ONCE):
        packed = []
        for number, entry in enumerate(found[start : start + AT_ONCE], start):
            image: Any = truth.imgs[entry["image_id"]]
            mask = entry["segmentation"]
            if _is_packed(mask, image):
                packed.append((number, mask))
                continue
            entry["segmentation"] = _read_other(mask, image, f"{name}: entry {number}")
            if "runs" in entry["segmentation"]:
                packed.append((number, entry["segmentation"]["runs"]))
        damaged = masks.find_damaged([mask for _, mask in packed])
        for (number, mask), broken in zip(packed, damaged.tolist(), strict=True):
            if broken:
                raise UserError(f"{name}: entry {number} {masks.DAMAGED}; export it again")
            size = mask["size"]
            found[number]["segmentation"] = masks.compress_mask({"segmentation": mask}, *size)


def _is_packed(mask: object, image: Entry) -> bool:
    """Whether a mask is in compressed run lengths of its image's size, as nearly all are."""
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), (str, bytes)):
        return False
    return mask.get("size") == [image["height"], image["width"]] and mask["counts"][:1] != "b"


def _read_other(mask: object, image: Entry, where: str) -> Entry:
    """A mask in polygons, compressed; or under ``runs`` its run lengths, still to be checked."""
    size = (image["height"], image["width"])
    try:
        text = msgspec.json.encode(as_mask(write_counts_as_text(mask)))
    except Unusable as error:
        raise UserError(f"{where} {error}") from None
    read = read_mask(text, *size)
    if read.fault:
        raise UserError(f"{where} {read.fault}; export it again")
    if read.runs:
        return {"runs": read.runs}
    polygons = read.polygons or []
    if masks.find_far_outlines([polygons], [size])[0]:
        raise UserError(f"{where} has a point far outside its image of {size[1]} x {size[0]}")
    return masks.compress_mask({"segmentation": polygons}, *size)
