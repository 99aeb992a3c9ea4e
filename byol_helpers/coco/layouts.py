"""A folder in COCO layout, one's own or COCO itself: found, checked and split.

DIR/annotations/instances_train.json      one file, or one for train and one for val
DIR/annotations/instances_val.json
DIR/train/*.jpg, DIR/val/*.jpg            or DIR/images/, or beside the annotations
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from byol_helpers.coco.annotations import Labels
from byol_helpers.coco.images import list_images
from byol_helpers.coco.splits import count_part, order_ids, stratify
from byol_helpers.coco.validation import Problems, check_image, check_labels
from byol_helpers.core.config import Data
from byol_helpers.core.errors import UserError
from byol_helpers.core.progress import Progress

# Of a single annotation file; the profile's counts are upper limits.
_SHARES = {"test": 0.2, "val": 0.1, "train": 1.0}


@dataclass(frozen=True)
class Labelled:
    """One annotation file and the folder of its pictures, relative to the data folder."""

    labels: Labels
    folder: Path

    def named(self, records: Iterable[dict]) -> list[dict]:
        """Image records whose file names are relative to the data folder."""
        named = []
        for record in records:
            name = (self.folder / record["file_name"]).as_posix()
            named.append(record | {"file_name": name})
        return named


def locate_annotations(data: Path) -> dict[str, Path]:
    """The annotation files of a folder: ``{"train": ..., "val": ...}``, or ``{"all": ...}`` for a
    single one.
    """
    files = list_annotation_files(data)
    if not files:
        raise UserError(
            f"{data}: no annotation file; put a COCO instances JSON into {data / 'annotations'}"
        )
    train = [file for file in files if "train" in file.stem]
    val = [file for file in files if "val" in file.stem]
    if train and val:  # of several years the newest
        return {"train": train[-1], "val": val[-1]}
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise UserError(
            f"{data}: {names}: keep one annotation file, or name one 'train' and one 'val'"
        )
    return {"all": files[0]}


def list_annotation_files(data: Path) -> list[Path]:
    """The files that may hold annotations; none in a folder of pictures without labels."""
    if not data.is_dir():
        raise UserError(
            f"{data}: no such folder; give a folder in COCO layout (annotations/*.json and images)"
        )
    files = sorted([*data.glob("annotations/*.json"), *data.glob("*.json")])
    return [file for file in files if file.name.startswith("instances")] or files


def list_unlabelled(data: Path) -> list[str]:
    """Names of the pictures of a folder without any annotation file, which serves BYOL alone.

    Else none.
    """
    if list_annotation_files(data):
        return []
    return [path.relative_to(data).as_posix() for path in list_images(data)]


def find_labelled(data: Path) -> dict[str, Labelled]:
    """The annotation files of a folder, opened, each with the folder of its pictures."""
    return {name: _labelled(data, file) for name, file in locate_annotations(data).items()}


def _labelled(data: Path, file: Path) -> Labelled:
    labels = Labels(file)
    folders = [Path(place) for place in list_image_folders(file)]
    for record in labels.images[:100]:  # of a partial copy the first images may be absent
        for folder in folders:
            if (data / folder / str(record.get("file_name"))).is_file():
                return Labelled(labels, folder)
    if not labels.images:
        return Labelled(labels, folders[0])
    there = next((folder for folder in folders[:-1] if (data / folder).is_dir()), None)
    if there is not None and any((data / there).iterdir()):
        return Labelled(labels, there)
    raise UserError(
        f"{file}: its image {labels.images[0].get('file_name')} is neither in {data / folders[0]} "
        f"nor in {data / 'images'}; put it there"
    )


def list_image_folders(file: Path) -> list[str]:
    """Where the pictures of an annotation file may lie, relative to the data folder."""
    suffix = file.stem.removeprefix("instances_")
    return [suffix, f"images/{suffix}", "images", "."]


def fingerprint_images(data: Path) -> str:
    """A digest of names, sizes and times of the pictures: it changes when one of them does."""
    digest = hashlib.sha256()
    for path in list_images(data):
        kept = path.stat()
        digest.update(f"{path.relative_to(data)} {kept.st_size} {kept.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def check_labelled(labelled: Labelled) -> Problems:
    """Refuse an annotation file that would give numbers without meaning, naming the entry.

    Say what was mended.
    """
    found = check_labels(labelled.labels)
    if errors := found.errors():
        raise UserError(errors[0])
    if found.mended:
        print(found.mended, flush=True)
    return found


def draw_splits(
    found: dict[str, Labelled], settings: Data, seed: int
) -> dict[str, tuple[Labelled, list[dict]]]:
    """Draw train, val and test from image ids (see ``splits``); records come sorted by id.

    A single file is divided 70 / 10 / 20; with files for train and val the test split is a fifth of
    train. The counts of ``settings`` are upper limits; its ``fraction`` takes the beginning of each
    split, its ``licenses`` leave other images out, ``stratified`` keeps the categories' shares in
    every beginning.
    """
    source = found.get("all") or found["train"]
    order = _order(source, settings, seed)
    drawn = {}
    taken = 0
    for name, share in _SHARES.items():
        if name == "val" and "val" in found:
            order_of_val = _order(found["val"], settings, seed)
            drawn["val"] = _part(found["val"], order_of_val[: settings.val], settings)
            continue
        count = max(1, min(getattr(settings, name), round(share * len(order))))
        drawn[name] = _part(source, order[taken : taken + count], settings)
        taken += count
    for name, (labelled, records) in drawn.items():
        ids = {record["id"] for record in records}
        if not any(a.image_id in ids and not a.iscrowd for _, a in labelled.labels):
            raise UserError(
                f"{labelled.labels.file}: no annotation falls into the {name} split of "
                f"{len(records)} images; label more images"
            )
    return drawn


def _order(labelled: Labelled, settings: Data, seed: int) -> list[dict]:
    """The usable records in the order that the seed draws."""
    usable = {}
    for record in labelled.labels.images:
        if settings.licenses is None or record.get("license") in settings.licenses:
            usable[record["id"]] = record
    if not usable:
        raise UserError(
            f"{labelled.labels.file}: no image has one of the licences {settings.licenses}; see "
            'its list "licenses"'
        )
    order = order_ids(usable, seed, "labelled")
    if settings.stratified:
        categories = {}
        for _, annotation in labelled.labels:
            categories.setdefault(annotation.image_id, set()).add(annotation.category_id)
        wanted = settings.test + settings.val + settings.train
        order = stratify(order, categories, min(wanted, len(order)))
    return [usable[i] for i in order]


def _part(labelled: Labelled, records: list[dict], settings: Data) -> tuple[Labelled, list[dict]]:
    part = records[: count_part(len(records), settings.fraction)]
    return labelled, sorted(part, key=lambda record: record["id"])


def check_images(root: Path, records: list[dict], progress: Progress) -> None:
    """Decode every picture once and compare its size with the annotations.

    Names are relative to ``root``.
    """
    for record in records:
        found = Problems()
        check_image(found, root / record["file_name"], record)
        if errors := found.errors():
            raise UserError(errors[0])
        progress.update()
