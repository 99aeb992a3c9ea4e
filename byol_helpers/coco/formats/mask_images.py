"""Masks as pictures beside the pictures: ``images/`` and ``masks/``, or both in one folder.

A folder's masks are of one of three kinds, decided by their values (0 is the background):

- numbered: each value of a mask is an object;
- binary, one value beside the background: each connected part is an object;
- classes, few values that are the same in every mask: each connected part of a value is an object
  of the class that the value stands for.
"""

import re
from collections import defaultdict

import cv2
import numpy as np
from PIL import Image

from byol_helpers.coco.file_tree import (
    FileTree,
    lies_among_masks,
    plain_parts,
    split_into_words,
    strip_extension,
)
from byol_helpers.coco.formats.content import Content
from byol_helpers.coco.images import DECODER_ERRORS, MAX_PIXELS
from byol_helpers.core.errors import UserError

VOID = 255  # in masks with a palette, as VOC's: the seam around an object, no object
MOST_CLASSES = 32  # masks with more values in all are numbered
LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif")
_AFFIX = re.compile(r"[_\- ]?(masks?|labels?|seg(mentation|map)?|gt|groundtruth)$")
_OBJECTS = {
    "object",
    "objects",
    "instance",
    "instances",
}  # beside masks of classes, as VOC has them
OBJECT = "object"


def find_mask_pairs(tree: FileTree) -> dict[str, list[str]]:
    """The masks of each picture that has any, by the picture's name; none where none are found."""
    masks = [name for name in tree.images if lies_among_masks(name)]
    if masks:
        return _pair_folders(tree, masks)
    return _pair_within_folders(tree)


def _pair_folders(tree: FileTree, masks: list[str]) -> dict[str, list[str]]:
    """Masks in folders of their own: those of a picture's name, or all that lie beside it alone."""
    among = set(masks)
    of_objects = [name for name in masks if _OBJECTS & set(_list_folder_words(name))]
    pictures = [name for name in tree.images if name not in among]
    by_stem = defaultdict(list)
    by_place = defaultdict(list)
    for picture in pictures:
        by_stem[_stem(picture)].append(picture)
        by_place[_place(picture)].append(picture)
    pairs = defaultdict(list)
    for mask in of_objects or masks:
        candidates = by_stem.get(_stem(mask)) or by_stem.get(_bare_stem(mask)) or []
        if not candidates and len(by_place[_place(mask)]) == 1:
            candidates = by_place[_place(mask)]
        if candidates:
            pairs[_nearest(mask, candidates)].append(mask)
    return dict(sorted(pairs.items()))


def _pair_within_folders(tree: FileTree) -> dict[str, list[str]]:
    """Masks among their pictures: ``1.png`` beside ``1.bmp``, ``1_mask.png`` beside ``1.jpg``."""
    groups = defaultdict(list)
    for name in tree.images:
        groups[name.rpartition("/")[0], _bare_stem(name)].append(name)
    pairs = {}
    for names in groups.values():
        if len(names) != 2:
            continue
        lossless = [name for name in names if name.lower().endswith(LOSSLESS)]
        named = [name for name in lossless if _stem(name) != _bare_stem(name)]
        masks = [name for name in named or lossless if _has_few_values(tree, name)]
        if len(masks) == 1:
            picture = next(name for name in names if name != masks[0])
            pairs[picture] = masks
    return pairs if 4 * len(pairs) > len(tree.images) else {}  # at least half of them are in pairs


def _has_few_values(tree: FileTree, name: str) -> bool:
    values = np.unique(read_mask_values(tree, name))
    return len(values) <= MOST_CLASSES


def _list_folder_words(name: str) -> list[str]:
    return split_into_words(name.rpartition("/")[0])


def _stem(name: str) -> str:
    return strip_extension(plain_parts(name)[-1])


def _bare_stem(name: str) -> str:
    """The stem of a mask without what calls it a mask."""
    return _AFFIX.sub("", _stem(name)) or _stem(name)


def _place(name: str) -> str:
    """The folder above the one that a picture lies in."""
    return name.rpartition("/")[0].rpartition("/")[0]


def _nearest(mask: str, pictures: list[str]) -> str:
    """The picture that shares most folders with a mask."""
    folders = set(mask.split("/")[:-1])
    return max(pictures, key=lambda name: len(folders & set(name.split("/")[:-1])))


def read_mask_values(tree: FileTree, name: str) -> np.ndarray:
    """The values of a mask, int [H, W]; colours count as numbers, a palette's as its places."""
    path = tree.root / name
    try:
        with Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UserError(f"{path}: more than {MAX_PIXELS:,} pixels; make the mask smaller")
            if image.mode not in ("1", "L", "P", "I", "F") and not image.mode.startswith("I;"):
                image = image.convert("RGB")
            values = np.asarray(image).astype(np.int64)
            if image.mode == "P" and (values % VOID).any():
                values %= VOID
    except DECODER_ERRORS as error:
        raise UserError(f"{path}: does not decode ({error}); replace the mask") from None
    if values.ndim == 3:
        values = (values[..., 0] << 16) + (values[..., 1] << 8) + values[..., 2]
    if name.lower().endswith((".jpg", ".jpeg")):  # compression leaves no exact values
        values = (values > values.max() / 2).astype(np.int64)
    return values


def read_mask_images(tree: FileTree, files: dict[str, list[str]]) -> Content:
    """Read the masks of pictures by split.

    Args:
        tree: the data folder.
        files: for each split its pictures, keys of ``find_mask_pairs``.

    Raises:
        UserError: a mask of another size than its picture.
    """
    content = Content(tree)
    pairs = find_mask_pairs(tree)
    masks = [mask for names in pairs.values() for mask in names]
    one_each = any(len(names) > 1 for names in pairs.values())
    kind = "one for each object" if one_each else decide_kind(tree, masks)
    for split, pictures in files.items():
        for picture in pictures:
            record = content.add_image(split, picture)
            for mask in pairs[picture]:
                _add_objects(content, split, record, mask, kind)
    content.notes.append(
        f"{tree.root}: {len(masks):,} masks, {_EXPLAINED[kind]}: {content.count_objects():,} "
        "objects"
    )
    content.note_unlabelled(masks)
    return content


_EXPLAINED = {
    "one for each object": "each of one object",
    "numbered": "numbered, each value is an object",
    "binary": "binary, each connected part is an object",
    "classes": "of classes, each connected part of a value is an object",
}


def decide_kind(tree: FileTree, masks: list[str]) -> str:
    """``numbered``, ``binary`` or ``classes``, by the values of all masks of a folder."""
    every = set()
    in_order = 0
    for name in masks:
        values = [int(value) for value in np.unique(read_mask_values(tree, name)) if value]
        every.update(values)
        in_order += values == list(range(1, len(values) + 1))
    if len(every) <= 1:
        return "binary"
    if len(every) > MOST_CLASSES or 2 * in_order >= len(masks):
        return "numbered"
    return "classes"


def _add_objects(content: Content, split: str, record: dict, name: str, kind: str) -> None:
    values = read_mask_values(content.tree, name)
    if values.shape != (record["height"], record["width"]):
        raise UserError(
            f"{content.tree.root / name}: a mask of {values.shape[1]} x {values.shape[0]} for a "
            f"picture of {record['width']} x {record['height']}; resize or rotate it"
        )
    if kind == "one for each object":
        content.add_mask(split, record, OBJECT, values > 0)
        return
    values = np.asfortranarray(values.astype(np.int32))  # the order that run lengths follow
    for value in np.unique(values[values > 0]):
        if kind == "numbered":
            content.add_mask(split, record, OBJECT, values == value)
            continue
        category = OBJECT if kind == "binary" else f"class {value}"
        count, parts = cv2.connectedComponents((values == value).astype(np.uint8))
        for part in range(1, count):
            content.add_mask(split, record, category, parts == part)
