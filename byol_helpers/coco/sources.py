"""Which files of a data folder hold its labels, of which form, and for which split.

COCO instances files come first, wherever they lie; then the forms that have a reader in
``formats``. A split is named by a whole word of the file's name or of a folder above it. What looks
like labels and is of no known form is named, so that it is never taken for "no labels".
"""

import gzip
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from byol_helpers.coco.file_tree import (
    SPLIT_WORDS,
    FileTree,
    lies_among_masks,
    plain_parts,
    read_split,
    strip_extension,
)
from byol_helpers.coco.formats.mask_images import find_mask_pairs
from byol_helpers.coco.formats.yolo import read_yaml_folders
from byol_helpers.core.errors import UserError

SPLIT_NAMES = ("train", "val", "test")
JSON = (".json", ".json.gz")
# Files that are labels of some tool, read or not.
LABEL_FILES = (*JSON, ".jsonl", ".ndjson", ".geojson", ".xml", ".mat", ".npy", ".npz", ".tfrecord")
_TABLE_HEAD = re.compile(rb"segmentation|polygon|region_shape|encodedpixels|rle|bbox|xmin|x_min")
_YEAR = re.compile(r"(19|20)\d\d")
WITHOUT_LABELS = "set data.labels=none to use the pictures without labels"


@dataclass
class Sources:
    """The labels of a data folder.

    ``files`` are those of each split (``train``, ``val``, ``test``, or ``all`` for a single set),
    relative to the folder; none where it holds pictures alone. ``form`` is ``coco`` or a key of
    ``formats.READERS``. ``notes`` are lines worth saying.
    """

    form: str = "none"
    files: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_sources(tree: FileTree) -> Sources:
    """The labels of a data folder.

    Raises:
        UserError: labels of an unknown form, or files of which none says which split it is.
    """
    found = _find_below(tree)
    beside = _describe_neighbours(tree.root.absolute(), found)
    if beside:
        found.notes.append(beside)
    return found


def _describe_neighbours(root: Path, found: Sources) -> str:
    """A line where the folder above seems to be meant: its other labels lie beside this folder."""
    above = root.parent
    said = f"lie beside it; give {above} to use them"
    own = read_split(f"{root.name}/.")
    if own is not None and list(found.files) == ["all"]:
        others = set()
        for word, split in SPLIT_WORDS.items():
            if split != own and any((above / word).glob("*.json")):
                others.add(split)
        if others:
            ordered = [split for split in SPLIT_NAMES if split in others]
            return f"{root}: labels for {' and '.join(ordered)} {said}"
    if not found.files and any((above / "annotations").glob("*.json")):
        return f"{root}: labels in {above / 'annotations'} {said}"
    return ""


def _find_below(tree: FileTree) -> Sources:
    forms = _sort_json_files(tree)
    if forms["coco"]:
        return _choose_instances(tree, forms["coco"])
    yolo = _list_yolo_files(tree)
    if yolo:
        return _arrange(tree, "yolo", yolo)
    if forms["labelme"]:
        return _arrange(tree, "labelme", forms["labelme"])
    masks = find_mask_pairs(tree)
    if masks:
        found = _arrange(tree, "masks", list(masks))
        if forms["via"]:
            found.notes.append(f"{tree.root / forms['via'][0]}: not used, the masks are")
        return found
    if forms["via"]:
        return _arrange(tree, "via", forms["via"])
    if forms["broken"]:  # opening it says what is wrong with it
        return Sources("coco", {"all": forms["broken"][:1]})
    unknown = find_unknown_labels(tree)
    if unknown:
        raise UserError(
            f"{tree.root / unknown}: labels of a form that is not read here; export them as COCO "
            f"instances, or {WITHOUT_LABELS}"
        )
    return Sources()


def find_unknown_labels(tree: FileTree) -> str | None:
    """The first file that looks like labels, None in a folder of nothing but pictures."""
    stems = {strip_extension(name) for name in tree.images}
    for name in tree.names:
        lower = name.lower()
        if lower.endswith(LABEL_FILES):
            return name
        if lower.endswith(".txt") and name[:-4] in stems:
            return name
        if lower.endswith((".csv", ".tsv")) and _holds_shapes(tree.root / name):
            return name
    return next((name for name in tree.images if lies_among_masks(name)), None)


def _holds_shapes(table: Path) -> bool:
    with open(table, "rb") as file:
        return bool(_TABLE_HEAD.search(file.read(4096).split(b"\n")[0].lower()))


def _sort_json_files(tree: FileTree) -> dict[str, list[str]]:
    """JSON files by what they hold: ``coco``, ``labelme``, ``via``, ``broken``; others are none.

    Files named ``instances...`` are taken for COCO's without a look, and no other beside them.
    """
    forms = defaultdict(list)
    files = [name for name in tree.names if name.lower().endswith(JSON)]
    named = [name for name in files if name.lower().split("/")[-1].startswith("instances")]
    if named:
        forms["coco"] = named
        return forms
    for name in files:
        forms[recognise_json(tree.root / name)].append(name)
    return forms


def recognise_json(file: Path) -> str:
    """What a JSON file holds: ``coco``, ``labelme``, ``via``, ``broken`` or ``other``."""
    opened = gzip.open(file) if file.suffix.lower() == ".gz" else open(file, "rb")
    try:
        with opened:
            text = opened.read()
        content = msgspec.json.decode(text, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError, EOFError):
        return "broken"
    if isinstance(content, list):
        return "broken"
    if len(content.keys() & {"images", "annotations", "categories"}) >= 2:
        return "coco"
    if {"shapes", "imagePath"} <= content.keys():
        return "labelme"
    if "_via_img_metadata" in content:
        return "via"
    first = bytes(next(iter(content.values()), b"")) if content else b""
    return "via" if b'"regions"' in first and b'"filename"' in first else "other"


def _list_yolo_files(tree: FileTree) -> list[str]:
    """Text files with a line of numbers for each object, named after a picture each."""
    stems = {strip_extension(name.split("/")[-1]) for name in tree.images}
    found = []
    for name in tree.names:
        if not name.lower().endswith(".txt") or name.split("/")[-1][:-4] not in stems:
            continue
        if _looks_like_yolo(tree.root / name):
            found.append(name)
    return found


def _looks_like_yolo(file: Path) -> bool:
    """Whether the first line that is not empty begins with a number, a class, and goes on so."""
    with open(file, encoding="utf-8", errors="replace") as opened:
        words = next((line.split() for line in opened if line.strip()), [])
    try:
        return all(float(word) == float(word) for word in words)
    except ValueError:
        return False


def _arrange(tree: FileTree, form: str, names: list[str]) -> Sources:
    """Files of a form by split: the one that their folders name, else a list in a file of its own.

    Raises:
        UserError: some lie in folders of val or test and none in train.
    """
    found = Sources(form, _group_by_folder(names))
    if list(found.files) == ["all"]:
        listed = read_split_lists(tree)
        groups = defaultdict(list)
        for name in names:
            groups[listed.get(_plain_stem(name), "all")].append(name)
        found.files = dict(groups)
    unnamed = found.files.pop("all", [])
    if not found.files or list(found.files) == ["train"] and not unnamed:
        return Sources(form, {"all": names}, found.notes)
    if "train" not in found.files and len(found.files) == 1 and not unnamed:
        return Sources(form, {"all": names}, found.notes)
    _need_train(tree, found.files, names)
    if unnamed:
        found.notes.append(_note_unused(tree, unnamed, "it belongs to none of train, val and test"))
    found.files = {split: found.files[split] for split in SPLIT_NAMES if split in found.files}
    return found


def _group_by_folder(names: Iterable[str]) -> dict[str, list[str]]:
    """Files by the split that their folders name, ``all`` for those without."""
    groups = defaultdict(list)
    for name in names:
        groups[read_split(f"{name.rpartition('/')[0]}/.") or "all"].append(name)
    return dict(groups)


def _need_train(tree: FileTree, files: dict[str, list[str]], names: list[str]) -> None:
    if "train" not in files:
        said = " and ".join(sorted(files))
        raise UserError(
            f"{tree.root}: labels for {said} and none for train ({_name_some(names)}); name one "
            "'train'"
        )


def _note_unused(tree: FileTree, names: list[str], why: str) -> str:
    more = f" (and {len(names) - 1:,} more like it)" if len(names) > 1 else ""
    return f"{tree.root / names[0]}: not used, {why}{more}"


def read_split_lists(tree: FileTree) -> dict[str, str]:
    """The split of each picture's stem by lists of names: ``train.csv``, ``ImageSets/val.txt``.

    A file counts whose name is a split's and whose lines begin with names of pictures. Folders that
    a YOLO YAML file gives for its splits count as lists of what lies in them.
    """
    stems = {_plain_stem(name) for name in tree.images}
    listed = {}
    for name in tree.names:
        split = read_split(name.split("/")[-1])
        if split is None or not name.lower().endswith((".txt", ".csv")):
            continue
        text = (tree.root / name).read_text(encoding="utf-8-sig", errors="replace")
        words = [re.split(r"[,;\t]", line)[0].strip().strip('"') for line in text.splitlines()]
        found = {_plain_stem(word) for word in words if word} & stems
        if 2 * len(found) > len(words):
            listed |= dict.fromkeys(found, split)
    for folder, split in read_yaml_folders(tree).items():
        inside = [name for name in tree.images if f"/{folder}/" in f"/{name}"]
        listed |= {_plain_stem(name): split for name in inside}
    return listed


def _plain_stem(name: str) -> str:
    last = plain_parts(name)[-1]
    return strip_extension(last.removesuffix(".txt").removesuffix(".json"))


def _choose_instances(tree: FileTree, names: list[str]) -> Sources:
    """COCO instances files by split; several of one split are parts of it, or years of COCO."""
    by_split = defaultdict(list)
    for name in names:
        by_split[read_split(name) or "all"].append(name)
    unnamed = by_split.pop("all", [])
    if not by_split or len(names) == 1:
        return Sources("coco", {"all": _keep_parts(tree, names)})
    found = Sources("coco")
    for split in SPLIT_NAMES:
        if split in by_split:
            found.files[split] = _keep_parts(tree, by_split[split])
    _need_train(tree, found.files, names)
    if list(found.files) == ["train"]:
        found.files = {"all": found.files["train"]}
    if unnamed:
        found.notes.append(_note_unused(tree, unnamed, "its name is none of train, val and test"))
    return found


def _keep_parts(tree: FileTree, names: list[str]) -> list[str]:
    """Of COCO's years the newest; equal names in several folders are parts of one set.

    Raises:
        UserError: files of which nothing says how they belong together.
    """
    if len(names) == 1:
        return names
    if len({_YEAR.sub("", name) for name in names}) == 1:
        return [max(names)]
    last_names = {name.split("/")[-1].lower() for name in names}
    folders = {name.rpartition("/")[0] for name in names}
    if len(last_names) == 1 and len(folders) == len(names):
        return names
    raise UserError(
        f"{tree.root}: {_name_some(names)}: keep one annotation file, or name one 'train' and one "
        "'val'"
    )


def _name_some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
