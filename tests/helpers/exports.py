"""The folders that labelling tools export, written anew from one set of labelled pictures."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as rle

from byol_helpers.coco.masks import decode_mask
from byol_helpers.synthetic.scene_files import GeneratedFolder, write_split

SIDE = 96
COUNTS = {"train": 8, "val": 3, "test": 4}
Part = dict[str, list[dict]]  # images, annotations, categories


def draw_parts(folder: Path) -> dict[str, Part]:
    """Generated scenes as PNG below ``folder``, outlined by polygons: what the writers start from.

    Names in ``images`` are relative to ``folder``, as ``train/00000.png``.
    """
    parts = {}
    number = 0
    for split, count in COUNTS.items():
        images = GeneratedFolder(folder / split, 0, count, SIDE)
        write_split(images, folder / f"{split}.json", split)
        content = json.loads((folder / f"{split}.json").read_text())
        kept = []
        for annotation in content["annotations"]:
            polygon = outline(decode_mask(annotation, SIDE, SIDE))
            if polygon is not None:
                number += 1
                kept.append(describe(polygon, number, annotation))
        parts[split] = {"images": content["images"], "annotations": kept}
    every = {c["id"]: c["name"] for c in content["categories"]}
    used = sorted({a["category_id"] for part in parts.values() for a in part["annotations"]})
    categories = [{"id": k, "name": every[key]} for k, key in enumerate(used, start=1)]
    renumbered = {key: k for k, key in enumerate(used, start=1)}
    shift = 0
    for part in parts.values():
        part["categories"] = categories
        for annotation in part["annotations"]:
            annotation["category_id"] = renumbered[annotation["category_id"]]
            annotation["image_id"] += shift
        for record in part["images"]:
            record["id"] += shift
        shift = max(record["id"] for record in part["images"])
    return parts


def outline(mask: np.ndarray) -> list[float] | None:
    """The longest outline of a mask as a polygon that holds pixels."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygon = max(found, key=len).reshape(-1).astype(float).tolist()
    if len(polygon) < 8 or not rle.area(rle.frPyObjects([polygon], SIDE, SIDE))[0]:
        return None
    return polygon


def describe(polygon: list[float], number: int, annotation: dict) -> dict:
    """A COCO annotation of a polygon, its area and box from its pixels."""
    packed = rle.merge(rle.frPyObjects([polygon], SIDE, SIDE))
    return {
        "id": number,
        "image_id": annotation["image_id"],
        "category_id": annotation["category_id"],
        "iscrowd": 0,
        "area": int(rle.area(packed)),
        "bbox": rle.toBbox(packed).tolist(),
        "segmentation": [polygon],
    }


def place(source: Path, record: dict, target: Path) -> None:
    """Copy the picture of a record."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / record["file_name"], target)


def write_json(file: Path, content: object) -> None:
    """A JSON file, in a folder that is made for it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")


def rename(part: Part, name) -> Part:
    """The part with other file names: ``name(record)``."""
    return part | {"images": [r | {"file_name": name(r)} for r in part["images"]]}


def last(record: dict) -> str:
    """The last part of a record's file name."""
    return record["file_name"].split("/")[-1]


def list_objects(part: Part, record: dict) -> list[tuple[str, list[float]]]:
    """Category and polygon of each object of a picture."""
    names = {category["id"]: category["name"] for category in part["categories"]}
    own = [a for a in part["annotations"] if a["image_id"] == record["id"]]
    return [(names[a["category_id"]], a["segmentation"][0]) for a in own]


def write_coco(source: Path, parts: dict[str, Part], out: Path) -> None:
    """COCO's own: ``annotations/instances_train.json``, ``train/``."""
    for split, part in parts.items():
        write_json(out / f"annotations/instances_{split}.json", rename(part, last))
        for record in part["images"]:
            place(source, record, out / split / last(record))


def write_roboflow(source: Path, parts: dict[str, Part], out: Path) -> None:
    """``train|valid|test/_annotations.coco.json``, pictures beside; two of valid lie one below."""
    for split, part in parts.items():
        folder = out / {"val": "valid"}.get(split, split)
        write_json(folder / "_annotations.coco.json", rename(part, last))
        for place_, record in enumerate(part["images"]):
            below = "images" if split == "val" and place_ < 1 else "."
            place(source, record, folder / below / last(record))


def write_cvat(source: Path, parts: dict[str, Part], out: Path) -> None:
    """``annotations/instances_Train.json``, ``images/Train/``."""
    for split, part in parts.items():
        subset = {"train": "Train", "val": "Validation", "test": "Test"}[split]
        write_json(out / f"annotations/instances_{subset}.json", rename(part, last))
        for record in part["images"]:
            place(source, record, out / "images" / subset / last(record))


def write_fiftyone(source: Path, parts: dict[str, Part], out: Path) -> None:
    """``train/labels.json``, ``train/data/``."""
    for split, part in parts.items():
        write_json(out / split / "labels.json", rename(part, last))
        for record in part["images"]:
            place(source, record, out / split / "data" / last(record))


def write_supervisely(source: Path, parts: dict[str, Part], out: Path) -> None:
    """A project with a data set for each split: ``val/annotations/instances.json``, ``val/img``."""
    for split, part in parts.items():
        write_json(out / "project" / split / "annotations" / "instances.json", rename(part, last))
        for record in part["images"]:
            place(source, record, out / "project" / split / "img" / last(record))


def write_label_studio(source: Path, parts: dict[str, Part], out: Path) -> None:
    """Names as Windows writes them, ``images\\train-00000.png``, in ``train.json``."""
    for split, part in parts.items():
        start = f"images\\{split}-"
        write_json(out / f"{split}.json", rename(part, lambda r, start=start: start + last(r)))
        for record in part["images"]:
            place(source, record, out / "images" / f"{split}-{last(record)}")


def write_yolo(source: Path, parts: dict[str, Part], out: Path) -> None:
    """``images/train/``, ``labels/train/*.txt`` with shares of the size, ``data.yaml``."""
    names = [category["name"] for category in parts["train"]["categories"]]
    out.mkdir(parents=True, exist_ok=True)
    (out / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {names}\n")
    for split, part in parts.items():
        for record in part["images"]:
            place(source, record, out / "images" / split / last(record))
            lines = []
            for category, polygon in list_objects(part, record):
                shares = " ".join(repr(value / SIDE) for value in polygon)
                lines.append(f"{names.index(category)} {shares}")
            file = out / "labels" / split / f"{Path(last(record)).stem}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            if lines:  # a picture without objects has no file
                file.write_text("\n".join(lines) + "\n")


def write_labelme(source: Path, parts: dict[str, Part], out: Path) -> None:
    """``train/00000.json`` beside ``train/00000.png``."""
    for split, part in parts.items():
        for record in part["images"]:
            place(source, record, out / split / last(record))
            shapes = []
            for category, polygon in list_objects(part, record):
                points = np.reshape(polygon, (-1, 2)).tolist()
                shapes.append({"label": category, "points": points, "shape_type": "polygon"})
            content = {"version": "5.4", "shapes": shapes, "imagePath": last(record)}
            content |= {"imageData": None, "imageHeight": SIDE, "imageWidth": SIDE}
            write_json(out / split / f"{Path(last(record)).stem}.json", content)


def write_via(source: Path, parts: dict[str, Part], out: Path) -> None:
    """``train/via_region_data.json`` beside the pictures."""
    for split, part in parts.items():
        entries = {}
        for record in part["images"]:
            place(source, record, out / split / last(record))
            regions = []
            for category, polygon in list_objects(part, record):
                shape = {"name": "polygon", "all_points_x": polygon[::2]}
                shape["all_points_y"] = polygon[1::2]
                regions.append({"shape_attributes": shape, "region_attributes": {"type": category}})
            entries[last(record)] = {"filename": last(record), "size": -1, "regions": regions}
        write_json(out / split / "via_region_data.json", entries)


def write_masks(source: Path, parts: dict[str, Part], out: Path) -> dict[str, Part]:
    """``train/images/``, ``train/masks/`` with numbered masks of 16 bits; later objects lie above.

    Returns:
        The parts as the masks hold them: visible pixels, one category.
    """
    seen = {}
    for split, part in parts.items():
        annotations = []
        for record in part["images"]:
            place(source, record, out / split / "images" / last(record))
            numbered = np.zeros((SIDE, SIDE), np.uint16)
            for _, polygon in list_objects(part, record):
                mask = rle.decode(rle.merge(rle.frPyObjects([polygon], SIDE, SIDE))) > 0
                numbered[mask] = numbered.max() + 1
            values = [int(value) for value in np.unique(numbered) if value]
            for k, value in enumerate(values, start=1):
                numbered[numbered == value] = k
                packed = rle.encode(np.asfortranarray(numbered == k).view(np.uint8))
                counts = packed["counts"].decode()
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": record["id"],
                        "category_id": 1,
                        "iscrowd": 0,
                        "area": int(rle.area(packed)),
                        "bbox": rle.toBbox(packed).tolist(),
                        "segmentation": {"size": [SIDE, SIDE], "counts": counts},
                    }
                )
            file = out / split / "masks" / f"{Path(last(record)).stem}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(numbered).save(file)
        categories = [{"id": 1, "name": "object"}]
        seen[split] = {
            "images": part["images"],
            "annotations": annotations,
            "categories": categories,
        }
    return seen


WRITERS = {
    "Roboflow": write_roboflow,
    "CVAT": write_cvat,
    "FiftyOne": write_fiftyone,
    "Supervisely": write_supervisely,
    "Label Studio": write_label_studio,
    "YOLO": write_yolo,
    "labelme": write_labelme,
    "VIA": write_via,
}
