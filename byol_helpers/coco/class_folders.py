"""Photographs as they are downloaded for classification: a folder for each class, or all in one.

Understood are ``train/<class>/...`` beside ``val/`` or ``test/`` of the same form (CIFAR-10's
folders), ``val/`` with ``val_annotations.txt`` (Tiny ImageNet), class folders without such a
division, of which a tenth is held out here, and a folder without classes. A picture belongs to the
class folder above it, however deep it lies. Pretraining sees those for training, without their
classes; nothing is trained on those held out.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from byol_helpers.coco.images import list_images
from byol_helpers.coco.splits import order_ids
from byol_helpers.core.errors import UserError

TRAIN = "train"
HELD_OUT_PARTS = ("val", "valid", "validation", "test")  # the first one with classes is taken
LABELS_FILE = "val_annotations.txt"  # name of a picture, tab, its class, ...
HELD_OUT_SHARE = 0.1  # of class folders that are not divided
Parts = tuple[str, ...]  # of a file name: folders, and the name itself


class Photograph(NamedTuple):
    """One picture: its name relative to the folder, and its class, empty where there is none."""

    name: str
    label: str


@dataclass(frozen=True)
class Photographs:
    """The pictures of a folder.

    Attributes:
        root: the folder that names start from.
        train: for pretraining, and with their classes for the supervised arm.
        held_out: with classes, for probes; empty where there are none.
    """

    root: Path
    train: list[Photograph]
    held_out: list[Photograph]

    @property
    def classes(self) -> list[str]:
        """Names of the classes for training, sorted."""
        return sorted({photograph.label for photograph in self.train} - {""})


def read_photographs(folder: Path) -> Photographs:
    """The photographs of a folder, and their classes where they lie in class folders.

    A folder that holds nothing but one other folder is gone into.

    Raises:
        UserError: no such folder, no picture in it, a class without pictures, held-out pictures of
            a class that training lacks, or a list of labels that does not fit its pictures.
    """
    root = folder
    skipped = len(root.parts)
    names = [path.parts[skipped:] for path in list_images(root)]
    while names and len({name[0] for name in names}) == 1 and len(names[0]) > 1:
        if names[0][0].lower() == TRAIN:
            break
        root = root / names[0][0]
        names = [name[1:] for name in names]
    if not names:
        raise UserError(f"{folder}: no pictures in it; give a folder of photographs")
    parts = _divide(names)
    if TRAIN not in parts:
        listed = _read_part(root, names)
        return _hold_out(root, listed)
    train = _read_below(root, names, parts[TRAIN], TRAIN)
    held_out: list[Photograph] = []
    for part in HELD_OUT_PARTS:
        if part in parts and not held_out:
            listed = _read_below(root, names, parts[part], part)
            held_out = [photograph for photograph in listed if photograph.label]
    found = Photographs(root, train, held_out)
    _check_held_out(found)
    return found if held_out or not found.classes else _hold_out(root, train)


def require_classes(photographs: Photographs) -> None:
    """Refuse photographs that cannot teach or ask for classes.

    Raises:
        UserError: there are fewer than two classes, or pictures without one among the others.
    """
    root = photographs.root
    if len(photographs.classes) < 2:
        raise UserError(
            f"{root}: no class folders, and the supervised arm and the probes need some; put the "
            "pictures into one folder for each class, or train BYOL from random weights alone: "
            "pretrain.init=random, and finetune.arms without photographs"
        )
    loose = [photograph.name for photograph in photographs.train if not photograph.label]
    if loose:
        raise UserError(
            f"{root / loose[0]}: one of {len(loose):,} pictures beside the class folders; put each "
            "into the folder of its class, or elsewhere"
        )


def _divide(names: list[Parts]) -> dict[str, list[Parts]]:
    """Names below ``train``, ``val`` and so on, relative to it; by the part in lower case."""
    parts: dict[str, list[Parts]] = {}
    for name in names:
        part = name[0].lower()
        if len(name) > 1 and part in (TRAIN, *HELD_OUT_PARTS):
            parts.setdefault(part, []).append(name[1:])
    return parts


def _read_below(root: Path, names: list[Parts], inner: list[Parts], part: str) -> list[Photograph]:
    """The pictures of a part, named from ``root``; its folder is spelled as on the disk."""
    folder = next(name[0] for name in names if name[0].lower() == part)
    listed = _read_part(root / folder, inner)
    return [Photograph(f"{folder}/{name}", label) for name, label in listed]


def _read_part(folder: Path, names: list[Parts]) -> list[Photograph]:
    """Pictures of one part with their classes: from a list of labels, or from class folders."""
    if (folder / LABELS_FILE).is_file():
        return _read_labels_file(folder, names)
    inner = {name[0] for name in names if len(name) > 1}
    if len(inner) < 2:  # one folder inside is not a class
        return [Photograph("/".join(name), "") for name in names]
    for path in sorted(folder.iterdir()):
        is_class = path.is_dir() and not path.name.startswith(".")
        if is_class and path.name not in inner:
            raise UserError(
                f"{path}: a class folder without pictures; fetch them again, or remove the folder"
            )
    listed = []
    for name in names:
        listed.append(Photograph("/".join(name), name[0] if len(name) > 1 else ""))
    return listed


def _read_labels_file(folder: Path, names: list[Parts]) -> list[Photograph]:
    """Pictures with the classes that ``val_annotations.txt`` gives to their file names."""
    file = folder / LABELS_FILE
    label_of = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        cells = line.split("\t")
        if line.strip() and len(cells) < 2:
            raise UserError(f"{file}: line {number} is not NAME, tab, CLASS; fetch the file again")
        if line.strip():
            label_of[cells[0]] = cells[1]
    listed = []
    for name in names:
        if name[-1] not in label_of:
            raise UserError(f"{file}: no class for {name[-1]}; fetch the file again")
        listed.append(Photograph("/".join(name), label_of.pop(name[-1])))
    if label_of:
        raise UserError(
            f"{folder / next(iter(label_of))}: not there, and {len(label_of):,} pictures of "
            f"{LABELS_FILE} are not; fetch them again"
        )
    return listed


def _check_held_out(photographs: Photographs) -> None:
    """Held-out pictures are of classes that training has."""
    known = set(photographs.classes)
    strange = Counter(p.label for p in photographs.held_out if p.label not in known)
    if strange and known:
        label, count = strange.most_common(1)[0]
        raise UserError(
            f"{photographs.root}: {count:,} held-out pictures are of the class {label!r}, of which "
            "there is no picture for training; give both the same class folders"
        )


def _hold_out(root: Path, listed: list[Photograph]) -> Photographs:
    """A tenth of each class held out, by a hash of the names; nothing of pictures without."""
    held_out = set()
    of_class: dict[str, list[str]] = {}
    for name, label in listed:
        of_class.setdefault(label, []).append(name)
    of_class.pop("", None)
    for names in of_class.values():
        held_out.update(order_ids(names, 0, "held out")[: round(HELD_OUT_SHARE * len(names))])
    return Photographs(
        root,
        [photograph for photograph in listed if photograph.name not in held_out],
        [photograph for photograph in listed if photograph.name in held_out],
    )
