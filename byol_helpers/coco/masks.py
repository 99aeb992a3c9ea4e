"""Masks in COCO's notations (polygons, plain and packed run lengths): read, checked, measured.

pycocotools trusts what it is given: where run lengths do not add up to the picture, or a polygon
lies a million pixels away, it reads and writes beyond its memory. So nothing goes there unchecked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np
from pycocotools import mask as rle

_LONGEST = 7  # characters of one run length: 5 bits each, for numbers below 2^32
_FAR = 10  # sides of its picture that a point may lie away from it
MASKS_AT_ONCE = 255  # pycocotools up to 2.0.11 puts the number of masks into a uint8 on its way

NO_MASK = "has no mask (segmentation)"
DAMAGED = "has run lengths that do not fill its mask"
SHORT = "has a polygon of fewer than three points"
_NEITHER = "has a mask that is neither polygons nor run lengths"

Polygons = list[list[float]]
_Segmentation = Polygons | dict[str, msgspec.Raw] | None
_SEGMENTATION = msgspec.json.Decoder(_Segmentation)


class ReadMask(NamedTuple):
    """A segmentation as read: what is wrong with its form, or the mask without its stray parts."""

    fault: str = ""  # goes on after "annotation 7 "; empty for a good one
    polygons: Polygons | None = None
    runs: dict[str, Any] | None = None  # {"size": [height, width], "counts": bytes or list}
    dropped: int = 0  # polygons of fewer than three points beside a good one


def read_mask(text: bytes | msgspec.Raw, height: int, width: int) -> ReadMask:
    """Read a segmentation from its JSON, for an image of some size.

    Whether run lengths cover the image is not asked here (``find_damaged``).
    """
    try:
        mask = _SEGMENTATION.decode(text)
    except msgspec.ValidationError:
        return ReadMask(fault=_name_form(msgspec.json.decode(text)))
    except msgspec.MsgspecError:
        return ReadMask(fault=_NEITHER)  # a number beyond all floats
    if not mask:
        return ReadMask(fault=NO_MASK)
    if isinstance(mask, list):
        return _read_polygons(mask)
    return _read_runs(mask, height, width)


def _read_polygons(mask: Polygons) -> ReadMask:
    if min(map(len, mask)) >= 6 and not any(len(part) % 2 for part in mask):
        return ReadMask(polygons=mask)
    good = [part for part in mask if len(part) >= 6 and len(part) % 2 == 0]
    if good:
        return ReadMask(polygons=good, dropped=len(mask) - len(good))
    if all(len(part) == 0 for part in mask):
        return ReadMask(fault=NO_MASK)
    if all(len(part) == 2 for part in mask) and len(mask) >= 3:
        fault = "has a polygon as a list of points [x, y]; COCO has one flat list [x, y, x, y, ...]"
        return ReadMask(fault=fault)
    if any(len(part) % 2 for part in mask):
        return ReadMask(fault="has a polygon of an odd number of coordinates")
    return ReadMask(fault=SHORT)


def _read_runs(mask: dict[str, msgspec.Raw], height: int, width: int) -> ReadMask:
    try:
        size = msgspec.json.decode(mask["size"], type=tuple[int, int])
        counts = msgspec.json.decode(mask["counts"], type=list[int] | str)
    except (msgspec.MsgspecError, KeyError):
        return ReadMask(fault=_NEITHER)
    if size != (height, width):
        said = f"has a mask of {size[1]} x {size[0]} for an image of {width} x {height}"
        return ReadMask(fault=said)
    if isinstance(counts, str) and counts.startswith(("b'", 'b"')):
        return ReadMask(fault="has run lengths printed by Python (b'...'); decode() them")
    packed = counts.encode() if isinstance(counts, str) else counts
    return ReadMask(runs={"size": list(size), "counts": packed})


def _name_form(mask: object) -> str:
    """Which other form a segmentation has, as far as it is known."""
    if isinstance(mask, list) and mask:
        if all(isinstance(value, (int, float)) for value in mask):
            return "has a flat list of numbers as its mask; COCO has a list of such lists"
        if isinstance(mask[0], dict) and "counts" in mask[0]:
            return "has run lengths inside a list; take them out of it"
        if isinstance(mask[0], list) and mask[0] and isinstance(mask[0][0], list):
            return "has polygons as lists of points [x, y]; COCO has flat lists [x, y, x, y, ...]"
    if isinstance(mask, str):
        return f"has the text {mask[:20]!r} as its mask, neither polygons nor run lengths"
    return _NEITHER


def find_damaged(masks: Sequence[dict[str, Any]]) -> np.ndarray:
    """Which of N masks in run lengths do not cover their picture exactly: bool [N]."""
    damaged = np.zeros(len(masks), dtype=bool)
    places = []
    for place, mask in enumerate(masks):
        counts = mask["counts"]
        if not isinstance(counts, list):
            places.append(place)
            continue
        plain = all(isinstance(count, int) and count >= 0 for count in counts)
        damaged[place] = not plain or sum(counts) != mask["size"][0] * mask["size"][1]
    counts = [_as_bytes(masks[place]["counts"]) for place in places]
    pixels = [masks[place]["size"][0] * masks[place]["size"][1] for place in places]
    damaged[places] = ~whole(counts, np.array(pixels, dtype=np.int64))
    return damaged


def _as_bytes(counts: str | bytes) -> bytes:
    return counts.encode(errors="replace") if isinstance(counts, str) else counts


def whole(counts: list[bytes], pixels: np.ndarray) -> np.ndarray:
    """Which of N masks in packed run lengths are well formed and cover their picture exactly.

    What the C code of ``rleFrString`` does, for thousands of masks at once.

    Args:
        counts: the ``counts`` of each mask.
        pixels: [N] height x width of each picture.

    Returns:
        bool [N].
    """
    lengths = np.array([len(text) for text in counts], dtype=np.int64)
    good = lengths > 0
    owner = np.repeat(np.arange(len(counts)), lengths)
    characters = np.frombuffer(b"".join(counts), np.uint8).astype(np.int64) - 48
    good[owner[(characters < 0) | (characters > 63)]] = False
    ends = (characters & 32) == 0  # the other characters are continued by the next one
    good[good] = ends[np.cumsum(lengths)[good] - 1]
    keep = good[owner]
    numbers, owner = _join_characters(characters[keep], ends[keep], owner[keep], good)
    runs, owner = _undo_differences(numbers, owner, len(counts))
    good[owner[runs < 0]] = False
    return good & (np.bincount(owner, runs, len(counts)) == pixels)


def _join_characters(
    characters: np.ndarray, ends: np.ndarray, owner: np.ndarray, good: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Signed numbers of five bits a character, lowest first, and the mask of each.

    Too long ones are not good.
    """
    if not characters.size:
        return characters, owner
    starts = np.flatnonzero(np.concatenate([[True], ends[:-1]]))
    sizes = np.diff(np.append(starts, len(characters)))
    good[owner[starts[sizes > _LONGEST]]] = False
    place = np.minimum(np.arange(len(characters)) - np.repeat(starts, sizes), _LONGEST)
    values = np.add.reduceat((characters & 31) << 5 * place, starts)
    negative = (characters[starts + sizes - 1] & 16) > 0
    return values - (negative * (1 << 5 * np.minimum(sizes, _LONGEST))), owner[starts]


def _undo_differences(
    numbers: np.ndarray, owner: np.ndarray, masks: int
) -> tuple[np.ndarray, np.ndarray]:
    """Run lengths: from the fourth on, each is kept as its difference to the last but one."""
    if not numbers.size:
        return numbers, owner
    firsts = np.searchsorted(owner, np.arange(masks))
    place = np.arange(len(numbers)) - firsts[owner]
    # Within a mask: runs 0, 2, 4, ... and then 1, 3, 5, ...
    order = np.lexsort((place, place % 2, owner))
    numbers = numbers[order]
    place = place[order]
    total = np.cumsum(numbers)
    chain_begins = place <= 2  # a chain of differences begins at the runs 0, 1 and 2
    before = (total - numbers)[chain_begins]
    return total - before[np.cumsum(chain_begins) - 1], owner


@dataclass(frozen=True)
class Outlines:
    """What N masks given as polygons look like, measured on their points: no pixel is painted."""

    areas: np.ndarray  # [N] square pixels, the parts' added up
    corners: np.ndarray  # [N, 4] x0, y0, x1, y1 of the points


def measure_outlines(masks: Sequence[Polygons]) -> Outlines:
    """Area (the shoelace formula) and extent of masks given as polygons."""
    if not masks:
        return Outlines(np.zeros(0), np.zeros((0, 4)))
    parts = list(chain.from_iterable(masks))
    points = np.array(list(chain.from_iterable(parts)), dtype=float).reshape(-1, 2)
    many = np.array([len(part) // 2 for part in parts])
    ends = np.cumsum(many)
    starts = ends - many
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = starts
    x, y = points.T
    with np.errstate(over="ignore", invalid="ignore"):
        twice = np.add.reduceat(x * y[following] - x[following] * y, starts)
    owner = np.repeat(np.arange(len(masks)), [len(mask) for mask in masks])
    areas = np.bincount(owner, np.abs(twice) / 2, len(masks))
    first_parts = np.flatnonzero(np.diff(owner, prepend=-1))
    lowest = np.minimum.reduceat(points, starts[first_parts])
    highest = np.maximum.reduceat(points, starts[first_parts])
    return Outlines(areas, np.hstack([lowest, highest]))


def find_far_outlines(polygons: Sequence[Polygons], sizes: Sequence[tuple[int, int]]) -> np.ndarray:
    """``find_far`` for masks given as polygons."""
    return find_far(measure_outlines(polygons).corners, np.array(sizes))


def find_far(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which extents [N, 4] lie so far from their images [N, 2] (height, width): bool [N]."""
    limit = _FAR * sizes.max(axis=1, initial=0)[:, None]
    return ~(np.abs(corners) <= limit).all(axis=1)  # NaN is far, too


def compress_mask(annotation: Mapping[str, Any], height: int, width: int) -> Any:
    """Compressed RLE of an annotation given as polygons, uncompressed RLE or compressed RLE."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return rle.frPyObjects(segmentation, height, width)
    return segmentation


def decode_mask(annotation: Mapping[str, Any], height: int, width: int) -> np.ndarray:
    """Mask of an annotation: bool [height, width]."""
    return rle.decode(compress_mask(annotation, height, width)).astype(bool)


def measure_masks(masks: Any) -> np.ndarray:
    """Pixels [N] of a list of masks in compressed RLE."""
    return np.concatenate([np.zeros(0), *map(rle.area, _cut(masks))])


def count_common(a: Any, b: Any) -> int:
    """Pixels that two masks in compressed RLE have in common."""
    return int(rle.area(rle.merge([a, b], intersect=True)))


def box_masks(masks: Any) -> np.ndarray:
    """Boxes [N, 4] (x, y, width, height) of a list of masks in compressed RLE."""
    return np.concatenate([np.zeros((0, 4)), *map(rle.toBbox, _cut(masks))])


def _cut(masks: Any) -> list:
    starts = range(0, len(masks), MASKS_AT_ONCE)
    return [masks[start : start + MASKS_AT_ONCE] for start in starts]
