"""The files of a data folder, walked once, and the picture that a name in a label file means.

Tools write names as they knew them: with backslashes, with the path of another machine, as an
address, in another case or another Unicode form. A picture is taken for such a name where it is the
only one that can be meant.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from byol_helpers.coco.images import EXTENSIONS
from byol_helpers.core.errors import UserError

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# What the name of a folder of masks consists of: one of the first, and nothing but both.
MASK_WORDS = frozenset(
    "mask masks segmap segmaps segmentation segmentations seg gt groundtruth truth label labels "
    "annotation annotations trimaps".split()
)
_BESIDE_MASK_WORDS = frozenset("ground binary object objects class instance instances png".split())
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


class FileTree:
    """All files below a folder: ``names`` with slashes, relative to ``root``, sorted.

    Hidden files and folders are left out; links to folders are followed, each folder once.

    Raises:
        UserError: no such folder.
    """

    def __init__(self, root: Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise UserError(f"{root}: no such folder; give a folder with images and their labels")
        names = []
        seen = set()
        for parent, folders, files in os.walk(self.root, followlinks=True):
            real = os.path.realpath(parent)
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
            relative = Path(parent).relative_to(self.root)
            names += [(relative / name).as_posix() for name in files if not name.startswith(".")]
        self.names = sorted(names, key=lambda name: name.split("/"))

    @cached_property
    def images(self) -> list[str]:
        """Names of all pictures, masks among them."""
        return [name for name in self.names if name.lower().endswith(EXTENSIONS)]

    @cached_property
    def known(self) -> frozenset[str]:
        """``names``, to ask whether one is there."""
        return frozenset(self.names)

    @cached_property
    def by_last_name(self) -> dict[str, list[str]]:
        """The pictures by the plain form of their last name."""
        return self._index(read_last_name)

    @cached_property
    def by_stem(self) -> dict[str, list[str]]:
        """The pictures by the plain form of their last name without its extension."""
        return self._index(lambda name: strip_extension(read_last_name(name)))

    def _index(self, key: Callable[[str], str]) -> dict[str, list[str]]:
        index = defaultdict(list)
        for name in self.images:
            index[key(name)].append(name)
        return dict(index)

    def holds(self, name: str) -> bool:
        """Whether a file of this name is there, also one beyond the folder."""
        if name in self.known:
            return True
        return name.startswith(("/", "..")) and (self.root / name).is_file()

    def may_hold(self, listed: str) -> bool:
        """Whether a picture has the last name of a listed one, or its stem, in any writing."""
        last = read_last_name(listed)
        return last in self.by_last_name or strip_extension(last) in self.by_stem


def match_name(tree: FileTree, listed: str, home: str = "") -> list[str]:
    """The pictures that a listed name can mean; one is an answer, none or several are not.

    Args:
        tree: the data folder.
        listed: a file name as a label file has it.
        home: folder of the label file; a picture below it comes before those elsewhere.
    """
    parts = plain_parts(listed)
    candidates = tree.by_last_name.get(parts[-1], [])
    if not candidates and strip_extension(parts[-1]) == parts[-1]:
        candidates = tree.by_stem.get(parts[-1], [])
    near = [name for name in candidates if is_below(name, home)]
    return _keep_longest_agreement(near or candidates, parts)


def name_lookalikes(tree: FileTree, listed: str) -> list[str]:
    """Pictures of the same stem as a listed name, whatever their extension."""
    return tree.by_stem.get(strip_extension(plain_parts(listed)[-1]), [])


def _keep_longest_agreement(candidates: list[str], parts: list[str]) -> list[str]:
    """Of several candidates those that share most folders with the listed name, from its end."""
    if len(candidates) < 2:
        return candidates
    shared = {name: _count_shared(plain_parts(name)[:-1], parts[:-1]) for name in candidates}
    most = max(shared.values())
    return [name for name in candidates if shared[name] == most]


def _count_shared(one: list[str], two: list[str]) -> int:
    count = 0
    for first, second in zip(reversed(one), reversed(two), strict=False):
        if first != second:
            break
        count += 1
    return count


def is_below(name: str, folder: str) -> bool:
    """Whether a name lies in a folder or below it; everything lies below ""."""
    return folder in ("", ".", name) or name.startswith(f"{folder}/")


def plain_parts(name: str) -> list[str]:
    """The parts of a path or an address, free of what tools write differently.

    Backslashes count as slashes, percent codes are undone, accents are one character (NFC), upper
    case is lower case, an address loses its query.
    """
    text = name.split("?")[0] if "://" in name else name
    text = unicodedata.normalize("NFC", unquote(text).replace("\\", "/")).casefold()
    return [part for part in text.split("/") if part] or [""]


def read_last_name(name: str) -> str:
    """The last of ``plain_parts``, at once where a name has nothing that tools write differently.

    Of COCO's names there are 118,287, and most of them may not be on the disk.
    """
    if name.isascii() and not any(sign in name for sign in "\\%?:"):
        return name.rpartition("/")[2].lower()
    return plain_parts(name)[-1]


def strip_extension(name: str) -> str:
    """A name without the extension of a picture; a dot elsewhere stays."""
    stem, dot, extension = name.rpartition(".")
    return stem if dot and f".{extension.lower()}" in EXTENSIONS else name


def split_into_words(text: str) -> list[str]:
    """The words of a name, in lower case: ``instances_Train2017`` is instances, train, 2017."""
    return [word.lower() for word in _WORD.findall(text)]


def read_split(name: str) -> str | None:
    """The split that a path names by a whole word: its file first, then its folders upwards.

    A part that names two splits (``train_val``) names none.
    """
    parts = name.split("/")
    parts[-1] = parts[-1].split(".")[0] or parts[-1]
    for part in reversed(parts):
        named = {SPLIT_WORDS[word] for word in split_into_words(part) if word in SPLIT_WORDS}
        if len(named) == 1:
            return named.pop()
    return None


def lies_among_masks(name: str) -> bool:
    """Whether a picture lies in a folder that is named like one of masks, as ``train_masks`` is."""
    return any(is_mask_folder(folder) for folder in name.split("/")[:-1])


def is_mask_folder(folder: str) -> bool:
    """Whether the name of a folder, without those above it, is one of masks."""
    words = {word for word in split_into_words(folder) if not word.isdigit()}
    others = words - MASK_WORDS - _BESIDE_MASK_WORDS - SPLIT_WORDS.keys()
    return bool(words & MASK_WORDS) and not others
