"""A folder of one's own in COCO layout: found, checked and split.

    DIR/annotations/instances_train.json      one file, or one for train and one for val
    DIR/annotations/instances_val.json
    DIR/train/*.jpg, DIR/val/*.jpg            or DIR/images/, or beside the annotations
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from byol_helpers.data.images import list_images, read_image
from byol_helpers.errors import UserError
from byol_helpers.runs import Progress, read_json

SHARES = {"test": 0.2, "val": 0.1}  # of a single annotation file; the profile's counts are upper limits


@dataclass(frozen=True)
class Labelled:
    """One annotation file and the folder of its pictures, relative to the data folder."""

    file: Path
    folder: Path
    content: dict


def find(data: Path) -> dict[str, Labelled]:
    """The annotation files of a folder: ``{"train": ..., "val": ...}``, or ``{"all": ...}`` for a single one."""
    if not data.is_dir():
        raise UserError(f"{data}: no such folder; give a folder in COCO layout (annotations/*.json and images)")
    files = sorted([*data.glob("annotations/*.json"), *data.glob("*.json")])
    files = [file for file in files if file.name.startswith("instances")] or files
    if not files:
        raise UserError(f"{data}: no annotation file; put a COCO instances JSON into {data / 'annotations'}")
    train = [file for file in files if "train" in file.stem]
    val = [file for file in files if "val" in file.stem]
    if train and val:  # of several years the newest
        return {"train": _labelled(data, train[-1]), "val": _labelled(data, val[-1])}
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise UserError(f"{data}: {names}: keep one annotation file, or name one 'train' and one 'val'")
    return {"all": _labelled(data, files[0])}


def _labelled(data: Path, file: Path) -> Labelled:
    content = read_json(file)
    _check(file, content)
    suffix = file.stem.removeprefix("instances_")
    name = content["images"][0]["file_name"]
    for folder in (suffix, f"images/{suffix}", "images", "."):
        if (data / folder / name).is_file():
            return Labelled(file, Path(folder), content)
    raise UserError(f"{file}: its image {name} is neither in {data / suffix} nor in {data / 'images'}; put it there")


def fingerprint(data: Path, found: Iterable[Labelled]) -> str:
    """A digest of names, sizes and times of the pictures: it changes when one of them does."""
    digest = hashlib.sha256()
    for labelled in found:
        for path in list_images(data / labelled.folder):
            kept = path.stat()
            digest.update(f"{path.relative_to(data)} {kept.st_size} {kept.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _check(file: Path, content: object) -> None:
    """Refuse what would give numbers without meaning, naming the entry."""
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= content.keys():
        raise UserError(f"{file}: not a COCO instances file (needs images, annotations, categories)")
    if not content["images"]:
        raise UserError(f"{file}: lists no images; export it again with its images")
    if not content["annotations"]:
        raise UserError(f"{file}: holds no annotations; label some images first")
    images = {record["id"] for record in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    if len(images) < len(content["images"]):
        raise UserError(f"{file}: two images share an id; give every image its own")
    for annotation in content["annotations"]:
        where = f"{file}: annotation {annotation.get('id')}"
        if annotation.get("image_id") not in images:
            raise UserError(f"{where} belongs to image {annotation.get('image_id')}, which is missing; remove it or "
                            "add the image")
        if annotation.get("category_id") not in categories:
            raise UserError(f"{where} has the unknown category {annotation.get('category_id')}; add the category")
        if not annotation.get("segmentation"):
            raise UserError(f"{where} has no mask (segmentation); instance segmentation needs one for every object")


def split(found: dict[str, Labelled], counts: dict[str, int], seed: int) -> dict[str, tuple[Labelled, list[dict]]]:
    """Draw train, val and test from sorted image ids.

    A single file is divided 70 / 10 / 20; with files for train and val the test split is a fifth of train. ``counts``
    holds upper limits. The draw depends on the ids and the seed, not on the order in the file.
    """
    source = found.get("all") or found["train"]
    records = sorted(source.content["images"], key=lambda record: record["id"])
    order = np.random.default_rng(seed).permutation(len(records))
    taken, drawn = 0, {}
    for name in ("test", "val"):
        if name == "val" and "val" in found:
            val = sorted(found["val"].content["images"], key=lambda record: record["id"])
            keep = np.random.default_rng(seed).permutation(len(val))[:counts["val"]]
            drawn["val"] = (found["val"], [val[i] for i in sorted(keep)])
            continue
        count = max(1, min(counts[name], round(SHARES[name] * len(records))))
        drawn[name] = (source, [records[i] for i in sorted(order[taken:taken + count])])
        taken += count
    rest = order[taken:taken + counts["train"]]
    drawn["train"] = (source, [records[i] for i in sorted(rest)])
    for name, (labelled, images) in drawn.items():
        ids = {record["id"] for record in images}
        if not any(a["image_id"] in ids and not a.get("iscrowd") for a in labelled.content["annotations"]):
            raise UserError(f"{labelled.file}: no annotation falls into the {name} split of {len(images)} images; "
                            "label more images")
    return drawn


def subset(labelled: Labelled, images: list[dict]) -> dict:
    """COCO content of some images, file names relative to the data folder."""
    ids = {record["id"] for record in images}
    return {
        "images": [record | {"file_name": (labelled.folder / record["file_name"]).as_posix()} for record in images],
        "annotations": [a for a in labelled.content["annotations"] if a["image_id"] in ids],
        "categories": labelled.content["categories"],
    }


def check_images(root: Path, content: dict, progress: Progress) -> None:
    """Decode every picture once and compare its size with the annotations: better now than in mid-training."""
    for record in content["images"]:
        height, width = read_image(root / record["file_name"]).shape[:2]
        if (height, width) != (record["height"], record["width"]):
            raise UserError(f"{root / record['file_name']}: is {width} x {height}, its annotations say "
                            f"{record['width']} x {record['height']}; rotate or resize it back")
        progress.update()
