"""Whether compressed masks are whole, found out without unpacking one.

pycocotools trusts the run lengths of a mask: where they do not add up to the picture, it reads and
writes beyond its memory. This is what the C code of ``rleFrString`` does, for thousands of masks at
once.
"""

import numpy as np
from pycocotools import mask as rle

_LONGEST = 7  # characters of one run length: 5 bits each, for numbers below 2^32


def whole(counts: list[bytes], pixels: np.ndarray) -> np.ndarray:
    """Which of N masks in COCO's compressed run lengths are well formed and cover their picture
    exactly.

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
    numbers, owner = _numbers(characters[keep], ends[keep], owner[keep], good)
    runs, owner = _differences_undone(numbers, owner, len(counts))
    good[owner[runs < 0]] = False
    return good & (np.bincount(owner, runs, len(counts)) == pixels)


def _numbers(
    characters: np.ndarray, ends: np.ndarray, owner: np.ndarray, good: np.ndarray
) -> tuple:
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


def _differences_undone(
    numbers: np.ndarray, owner: np.ndarray, masks: int
) -> tuple[np.ndarray, np.ndarray]:
    """Run lengths: from the fourth on, each is kept as its difference to the one before the
    previous.
    """
    if not numbers.size:
        return numbers, owner
    firsts = np.searchsorted(owner, np.arange(masks))
    place = np.arange(len(numbers)) - firsts[owner]
    order = np.lexsort(
        (place, place % 2, owner)
    )  # within a mask: runs 0, 2, 4, ... and then 1, 3, 5, ...
    numbers, place = numbers[order], place[order]
    total, chain = (
        np.cumsum(numbers),
        place <= 2,
    )  # a chain of differences begins at the runs 0, 1 and 2
    before = (total - numbers)[chain]
    return total - before[np.cumsum(chain) - 1], owner


def compress_mask(annotation: dict, height: int, width: int) -> dict:
    """Compressed RLE of an annotation given as polygons, uncompressed RLE or compressed RLE."""
    segmentation = annotation["segmentation"]
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return rle.frPyObjects(segmentation, height, width)
    return segmentation


def decode_mask(annotation: dict, height: int, width: int) -> np.ndarray:
    """Mask of an annotation: bool [height, width]."""
    return rle.decode(compress_mask(annotation, height, width)).astype(bool)
