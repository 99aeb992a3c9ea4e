"""A folder of labelled images, of any tool: its labels found, opened, checked and split.

DIR/annotations/instances_train.json      one file, or one for train, one for val, one for test
DIR/annotations/instances_val.json
DIR/train/*.jpg, DIR/val/*.jpg            or DIR/images/, or beside the annotations

DIR/train/_annotations.coco.json, ...     a folder for each split, pictures beside the file or below
DIR/images/, DIR/labels/, DIR/masks/      forms without a COCO file (``formats``)
"""

import gzip
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from byol_helpers.coco.annotations import Labels
from byol_helpers.coco.file_tree import (
    FileTree,
    is_below,
    lies_among_masks,
    match_name,
    name_lookalikes,
    read_split,
)
from byol_helpers.coco.formats import READERS
from byol_helpers.coco.images import list_images
from byol_helpers.coco.sources import Sources, find_sources
from byol_helpers.coco.splits import count_part, order_ids, stratify, take_groups
from byol_helpers.coco.validation import Problems, check_image, check_labels, list_left_out
from byol_helpers.core.config import Data
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing
from byol_helpers.core.progress import Progress

# Of a single annotation file; the profile's counts are upper limits.
_SHARES = {"test": 0.2, "val": 0.1, "train": 1.0}
# Folders that tools put pictures in, beside the one named like the annotation file.
_IMAGE_FOLDERS = ("images", ".", "data", "img", "imgs", "JPEGImages", "image", "photos")
_LABEL_FOLDERS = ("annotations", "annotation", "labels")
_TRIED = 100  # of the listed names; of a partial copy the first images may be absent


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


def list_unlabelled(data: Path, sources: Sources | None = None) -> list[str]:
    """Names of the pictures of a folder without any labels, which serves BYOL alone.

    Else none. Masks are no pictures.

    Args:
        data: the folder.
        sources: its labels, where they are known.
    """
    sources = find_sources(FileTree(data)) if sources is None else sources
    if sources.files:
        return []
    names = [path.relative_to(data).as_posix() for path in list_images(data)]
    return [name for name in names if not lies_among_masks(name)]


def find_labelled(data: Path, converted: Path | None = None) -> dict[str, Labelled]:
    """The labels of a folder, opened: for ``train``, ``val``, ``test``, or ``all`` of a single set.

    Lines worth knowing are printed: files left aside, names written differently, shapes left out.

    Args:
        data: the folder.
        converted: gets COCO files of labels of another form; null, a temporary folder does.

    Raises:
        UserError: no labels, or labels that cannot be read.
    """
    tree = FileTree(data)
    return open_sources(tree, find_sources(tree), converted)


def open_sources(
    tree: FileTree, sources: Sources, converted: Path | None = None, skip_invalid: bool = False
) -> dict[str, Labelled]:
    """``find_labelled`` for labels that are found already.

    ``skip_invalid`` leaves out what cannot be used where parts of one split are put together.
    """
    if not sources.files:
        raise UserError(
            f"{tree.root}: no annotation file; put a COCO instances JSON into "
            f"{tree.root / 'annotations'}"
        )
    say_notes(sources)
    if sources.form != "coco":
        return _convert(tree, sources, converted)
    found = {}
    for split, names in sources.files.items():
        parts = [_open_instances(tree, name, converted) for name in names]
        if len(parts) == 1:
            found[split] = parts[0]
        else:
            found[split] = _merge(tree, names, parts, converted, skip_invalid)
    _compare_categories(found)
    return found


def say_notes(sources: Sources) -> None:
    """Print what is worth knowing about the labels that were found."""
    for line in sources.notes:
        print(f"note: {line}", flush=True)


def _convert(tree: FileTree, sources: Sources, converted: Path | None) -> dict[str, Labelled]:
    """Labels of another form as COCO files."""
    content = READERS[sources.form](tree, sources.files)
    for reason, count in content.left_out.items():
        if count:
            content.notes.append(f"{tree.root}: {count:,} {reason} left out")
    for line in content.notes:
        print(f"note: {line}", flush=True)
    found = {}
    for split, names in sources.files.items():
        labels = _write_labels(content.to_coco(split), split, converted)
        labels.file = tree.root / os.path.commonpath([name.rpartition("/")[0] for name in names])
        found[split] = Labelled(labels, Path("."))
    return found


def _write_labels(content: dict, name: str, converted: Path | None) -> Labels:
    with replacing(_place_converted(converted) / f"{name}.json") as part:
        part.write_bytes(msgspec.json.encode(content))
    return Labels(_place_converted(converted) / f"{name}.json")


def _place_converted(converted: Path | None) -> Path:
    return Path(tempfile.mkdtemp(prefix="byol-labels-")) if converted is None else converted


def _open_instances(tree: FileTree, name: str, converted: Path | None) -> Labelled:
    """One COCO file, unpacked where it is packed, with names as they are on the disk."""
    file = tree.root / name
    if file.suffix.lower() == ".gz":
        unpacked = _place_converted(converted) / name.replace("/", "-").removesuffix(".gz")
        with replacing(unpacked) as part, gzip.open(file) as packed, open(part, "wb") as out:
            shutil.copyfileobj(packed, out)
        labels = Labels(unpacked)
        labels.file = file
    else:
        labels = Labels(file)
    folder = _choose_folder(tree, name, labels)
    _correct_names(tree, name, labels, folder)
    return Labelled(labels, Path(folder))


def _choose_folder(tree: FileTree, name: str, labels: Labels) -> str:
    """The folder that the listed names start from: the one that holds most of the first of them."""
    listed = [str(record.get("file_name")) for record in labels.images[:_TRIED]]
    relative = [each for each in listed if not Path(each).is_absolute()]
    folders = list_image_folders(name)
    with_pictures = sorted({image.rpartition("/")[0] or "." for image in tree.images})
    home = _find_home(name)
    own = [folder for folder in folders if is_below(folder, home)]
    below = [folder for folder in with_pictures if is_below(folder, home)]
    # The folders of the file itself come first: other splits may have pictures of equal names.
    for places in (own, below, folders, with_pictures):
        held = {place: sum(tree.holds(_join(place, each)) for each in relative) for place in places}
        best = max(held, key=lambda place: held[place], default="")
        if best and held[best]:
            return best
    if not listed:
        return folders[0]
    for each in listed:
        found = match_name(tree, each, _find_home(name)) or match_name(tree, each)
        if len(found) == 1:
            return found[0].rpartition("/")[0] or "."
    there = [folder for folder in folders if folder != "." and folder in with_pictures]
    if there:
        return there[0]
    above = tree.root.absolute().parent
    if any((above / folder / listed[0]).is_file() for folder in folders):
        raise UserError(
            f"{tree.root / name}: its image {listed[0]} lies beside the folder {tree.root}; give "
            f"{above} instead"
        )
    raise UserError(
        f"{tree.root / name}: its image {listed[0]} is neither in {tree.root / folders[0]} nor in "
        f"{tree.root / 'images'}; put it there"
    )


def list_image_folders(name: str) -> list[str]:
    """Where the pictures of an annotation file may lie, relative to the data folder."""
    suffix = name.split("/")[-1].split(".")[0].removeprefix("instances_")
    folders = []
    for base in dict.fromkeys([_find_home(name), name.rpartition("/")[0], ""]):
        places = [suffix, f"images/{suffix}", *_IMAGE_FOLDERS, f"data/{suffix}"]
        folders += [_join(base, place) for place in places]
    return list(dict.fromkeys(folders))


def _find_home(name: str) -> str:
    """The folder that an annotation file speaks for: its own, or the one above ``annotations``."""
    folder = name.rpartition("/")[0]
    above, _, last = folder.rpartition("/")
    return above if last.lower() in _LABEL_FOLDERS else folder


def _join(folder: str, name: str) -> str:
    return PurePosixPath(folder, name).as_posix()


def _correct_names(tree: FileTree, name: str, labels: Labels, folder: str) -> None:
    """Write file names as they are on the disk, where only one picture can be meant."""
    corrected = {}
    unclear = {}
    for record in labels.images:
        listed = record.get("file_name")
        if not isinstance(listed, str):
            continue
        path = listed if folder == "." else f"{folder}/{listed}"
        if path in tree.known or not tree.may_hold(listed):
            continue
        path = _join(folder, listed)
        if not tree.holds(path):
            found = match_name(tree, listed, _find_home(name)) or match_name(tree, listed)
            if len(found) != 1 or _is_of_another_split(name, found[0]):
                unclear[listed] = found or name_lookalikes(tree, listed)
                continue
            path = found[0]
            corrected[listed] = path
        elif Path(listed).is_absolute() and Path(listed).is_relative_to(tree.root.resolve()):
            path = Path(listed).relative_to(tree.root.resolve()).as_posix()
        else:
            continue
        record["file_name"] = Path(os.path.relpath(path, folder)).as_posix()
    if corrected:
        listed, path = next(iter(corrected.items()))
        print(
            f"note: {tree.root / name}: {len(corrected):,} of {len(labels.images):,} file names "
            f"are written differently on the disk, or lie elsewhere: {listed} is {path}",
            flush=True,
        )
    lost = {listed: found for listed, found in unclear.items() if found}
    if lost:
        listed, found = next(iter(lost.items()))
        print(
            f"note: {tree.root / name}: {len(lost):,} file names are not there and look like "
            f"others: {listed} may be {' or '.join(found[:2])}; rename one of them",
            flush=True,
        )


def _is_of_another_split(file: str, picture: str) -> bool:
    """Whether an annotation file and the folder of a picture name two splits."""
    splits = {read_split(file), read_split(f"{picture.rpartition('/')[0]}/.")}
    return len(splits - {None}) == 2


def _merge(
    tree: FileTree,
    names: list[str],
    parts: list[Labelled],
    converted: Path | None,
    skip_invalid: bool,
) -> Labelled:
    """Files of one split as one: ids numbered anew, categories brought together by their names."""
    print(
        f"note: {len(names)} files are read as parts of one set: "
        f"{' and '.join(str(tree.root / name) for name in names[:2])}",
        flush=True,
    )
    categories = {}
    images = []
    annotations = []
    for part in parts:
        check_labelled(part, skip_invalid)
        category_of = {}
        for category in part.labels.categories:
            number = categories.setdefault(category["name"], len(categories) + 1)
            category_of[category["id"]] = number
        image_of = {}
        for record in part.named(part.labels.images):
            image_of[record["id"]] = len(images) + 1
            images.append(record | {"id": len(images) + 1})
        for raw, annotation in part.labels:
            changed = {
                "id": len(annotations) + 1,
                "image_id": image_of[annotation.image_id],
                "category_id": category_of[annotation.category_id],
            }
            annotations.append(msgspec.json.decode(raw) | changed)
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
    }
    labels = _write_labels(content, "merged", converted)
    labels.left_out = [line for part in parts for line in part.labels.left_out]
    return Labelled(labels, Path("."))


def _compare_categories(found: dict[str, Labelled]) -> None:
    """Refuse files whose categories share an id and not a name: their AP would mean nothing."""
    known = {}
    for labelled in found.values():
        for category in labelled.labels.categories:
            if not isinstance(category.get("id"), int):
                continue  # named by the check of the file
            name = category.get("name")
            if type(category.get("id")) is not int:
                continue  # refused with the rest of its file
            first = known.setdefault(category["id"], (name, labelled.labels.file))
            if first[0] != name:
                raise UserError(
                    f"{labelled.labels.file}: category {category.get('id')} is {name!r}, in "
                    f"{first[1].name} it is {first[0]!r}; export both from one project"
                )


def fingerprint_images(data: Path) -> str:
    """A digest of names, sizes and times of the pictures: it changes when one of them does."""
    return _fingerprint(data, list_images(data))


def fingerprint_labels(data: Path) -> str:
    """``fingerprint_images`` of all other files, for labels that lie in many."""
    tree = FileTree(data)
    pictures = set(tree.images)
    return _fingerprint(data, [data / name for name in tree.names if name not in pictures])


def _fingerprint(data: Path, files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        kept = path.stat()
        digest.update(f"{path.relative_to(data)} {kept.st_size} {kept.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def check_labelled(labelled: Labelled, skip_invalid: bool = False) -> Problems:
    """Refuse an annotation file that would give numbers without meaning, naming the entry.

    Say what was mended. ``skip_invalid`` takes out of the labels what cannot be used.
    """
    found = check_labels(labelled.labels, skip_invalid=skip_invalid)
    if errors := found.errors():
        raise UserError(errors[0])
    if found.mended:
        print(found.mended, flush=True)
    return found


def draw_splits(
    found: dict[str, Labelled], settings: Data, seed: int, groups: Mapping[int, int] | None = None
) -> dict[str, tuple[Labelled, list[dict]]]:
    """Draw train, val and test from image ids (see ``splits``); records come sorted by id.

    A single file is divided 70 / 10 / 20; with a file for train, what has none of its own is drawn
    from it: a fifth for test, a tenth for val. The counts of ``settings`` are upper limits; its
    ``fraction`` takes the beginning of each split, its ``licenses`` leave other images out,
    ``stratified`` keeps the categories' shares in every beginning.

    Args:
        found: the annotation files.
        settings: of the profile.
        seed: of the draw.
        groups: the group of an image id of the file for ``all`` or ``train``; no group is divided.
    """
    source = found.get("all") or found["train"]
    order = _order(source, settings, seed)
    drawn = {}
    rest = order
    for name, share in _SHARES.items():
        limit = getattr(settings, name)
        if name in found and name != "train":
            records = _order(found[name], settings, seed)[:limit]
            drawn[name] = _part(found[name], records, settings)
            continue
        count = max(1, min(limit, round(share * len(order))))
        if name == "train":
            records = rest[:count]
        else:
            records, rest = _take(source, rest, count, limit, groups or {})
        drawn[name] = _part(source, records, settings)
    for name, (labelled, records) in drawn.items():
        if not _holds_objects(labelled, {record["id"] for record in records}):
            raise UserError(
                f"{labelled.labels.file}: no annotation falls into the {name} split of "
                f"{len(records)} images; label more images"
            )
    return drawn


def _holds_objects(labelled: Labelled, ids: set[int]) -> bool:
    return any(a.image_id in ids and not a.iscrowd for _, a in labelled.labels)


def _take(
    source: Labelled, order: list[dict], count: int, limit: int, groups: Mapping[int, int]
) -> tuple[list[dict], list[dict]]:
    """The records of a split and those that are left, without the rest of a divided group.

    A split in which nothing is labelled gives its last image for the next one with objects.
    """
    by_id = {record["id"]: record for record in order}
    chosen = take_groups(list(by_id), count, limit, groups)
    if chosen and not _holds_objects(source, set(chosen)):
        labelled = {a.image_id for _, a in source.labels if not a.iscrowd}
        singles = [i for i in by_id if i not in groups and i in labelled]
        chosen = [*chosen[:-1], *(singles[:1] or chosen[-1:])]
    touched = {groups[i] for i in chosen if i in groups}
    gone = set(chosen)
    rest = [r for i, r in by_id.items() if i not in gone and groups.get(i) not in touched]
    return [by_id[i] for i in chosen], rest


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


def check_images(
    root: Path, records: list[dict], progress: Progress, left_out: list[str] | None = None
) -> list[dict]:
    """Decode every picture once and compare its size with the annotations.

    Args:
        root: what the names of the records are relative to.
        records: image records.
        progress: told of each picture.
        left_out: takes a line for each picture that cannot be used; None, and the first one is an
            error.

    Returns:
        The records whose pictures can be used.
    """
    usable = []
    for record in records:
        found = Problems()
        check_image(found, root / record["file_name"], record)
        errors = found.errors()
        if not errors:
            usable.append(record)
        elif left_out is None:
            raise UserError(errors[0])
        else:
            left_out += list_left_out(found)
        progress.update()
    if records and not usable:
        raise UserError(
            f"{root}: no image of a split can be used; {left_out[0] if left_out else ''}"
        )
    return usable
