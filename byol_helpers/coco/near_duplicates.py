"""Do the splits share pictures? By name, and by looks, with a perceptual hash.

The hash is the difference hash in both directions (dHash, 2 x 64 bits): is a cell of a 9 x 9
thumbnail brighter than its left and its upper neighbour? It survives scaling, recompression and
other brightness, but no crop. Pictures whose hashes differ in few bits are compared once more, by
the correlation of thumbnails: plain ones share hashes by chance.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from byol_helpers.coco.images import (
    DECODER_ERRORS,
    ORIENTATION_TAG,
    open_image,
    read_image,
)
from byol_helpers.core.errors import UserError
from byol_helpers.core.progress import Progress

BITS = 20  # of 128 that may differ
CORRELATION = 0.95  # of 32 x 32 thumbnails, at least
HASHED_SIDE = 9  # side of the thumbnail that is hashed
COMPARED_SIDE = 32  # side of the thumbnails that are correlated
PAIRS = (
    ("pretrain", "test"),
    ("pretrain", "val"),
    ("train", "test"),
    ("train", "val"),
    ("val", "test"),
)


def hash_image(path: Path) -> np.ndarray:
    """Difference hash of a picture, uint64 [2]: rows and columns."""
    cells = np.asarray(_grey(path, HASHED_SIDE), np.int16)
    across = cells[:8, 1:] > cells[:8, :-1]
    down = cells[1:, :8] > cells[:-1, :8]
    return np.packbits(np.stack([across.ravel(), down.ravel()]), axis=1).view(np.uint64)[:, 0]


def hash_images(
    paths: Sequence[Path], progress: Progress | None = None, skip_broken: bool = False
) -> np.ndarray:
    """``hash_image`` of each picture, uint64 [N, 2]; zeros where a broken one is skipped."""
    found = np.zeros((len(paths), 2), np.uint64)
    work = _hash_readable if skip_broken else hash_image
    with ThreadPoolExecutor() as pool:
        for k, value in enumerate(pool.map(work, paths)):
            found[k] = value
            if progress:
                progress.update()
    return found


def _hash_readable(path: Path) -> np.ndarray:
    try:
        return hash_image(path)
    except (UserError, *DECODER_ERRORS):
        return np.zeros(2, np.uint64)


def find_near_pairs(
    first: np.ndarray, second: np.ndarray, bits: int = BITS, rows: int = 64
) -> list[tuple[int, int]]:
    """Pairs of hashes that differ in at most ``bits`` bits.

    Args:
        first: [N, 2], uint64.
        second: [M, 2], uint64.
        bits: of the 128, that may differ.
        rows: of ``first`` compared at once, so that memory does not grow with N.

    Returns:
        Indices (i, k) into ``first`` and ``second``, in ascending order.
    """
    found = []
    for start in range(0, len(first), rows):
        block = first[start : start + rows, None] ^ second[None]
        differ = np.bitwise_count(block).sum(axis=-1, dtype=np.uint8)
        for i, k in np.argwhere(differ <= bits):
            found.append((start + int(i), int(k)))
    return found


def make_thumbnails(paths: Sequence[Path]) -> list[np.ndarray]:
    """Grey thumbnails of pictures, for ``correlate``."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_make_thumbnail, paths))


def _make_thumbnail(path: Path) -> np.ndarray:
    return np.asarray(_grey(path, COMPARED_SIDE), np.float64).ravel()


def correlate(one: np.ndarray, two: np.ndarray) -> float:
    """Correlation of two thumbnails, -1 to 1; 1 for two plain ones of equal brightness."""
    spread = one.std() * two.std()
    if not spread:
        return float(np.array_equal(one, two))
    return float(((one - one.mean()) * (two - two.mean())).mean() / spread)


def correlate_thumbnails(first: Path, second: Path) -> float:
    """``correlate`` for two pictures."""
    return correlate(_make_thumbnail(first), _make_thumbnail(second))


def audit_splits(
    root: Path,
    splits: dict[str, list[str]],
    progress: Progress | None = None,
    known: Mapping[str, np.ndarray] | None = None,
) -> list[dict]:
    """Which pictures two splits share.

    Args:
        root: folder that the names start from.
        splits: file names of ``pretrain``, ``train``, ``val`` and ``test``.
        progress: updated once for each picture.
        known: hashes of pictures by name that need not be computed.

    Returns:
        For each of ``PAIRS`` a dictionary: ``first``, ``second``, the splits; ``same``, how many
        pictures of the second have a namesake in the first; ``near``, pairs (name, name) of
        near-duplicates among the others.
    """
    names = sorted({name for listed in splits.values() for name in listed})
    hash_of = dict(known or {})
    unknown = [name for name in names if name not in hash_of]
    hashes = hash_images([root / name for name in unknown], progress)
    hash_of |= dict(zip(unknown, hashes, strict=True))
    if progress:
        progress.update(len(names) - len(unknown))
    rows = []
    for first, second in PAIRS:
        here = splits[first]
        there = splits[second]
        listed = {identify_photograph(name) for name in here}
        namesakes = {identify_photograph(name) for name in there} & listed
        near = []
        for i, k in find_near_pairs(_stack(hash_of, here), _stack(hash_of, there)):
            if _look_alike(root, here[i], there[k]):
                near.append((here[i], there[k]))
        rows.append({"first": first, "second": second, "same": len(namesakes), "near": near})
    return rows


def _look_alike(root: Path, first: str, second: str) -> bool:
    """Whether two pictures of similar hashes are no namesakes and their thumbnails correlate."""
    if identify_photograph(first) == identify_photograph(second):
        return False
    return correlate_thumbnails(root / first, root / second) >= CORRELATION


def identify_photograph(name: str) -> str:
    """What identifies a picture: in COCO the number that its file name ends in.

    COCO 2014 calls COCO_train2014_000000000009.jpg what COCO 2017 calls 000000000009.jpg. Names of
    other collections are taken whole, with their folder.
    """
    last = Path(name).name
    return last.split("_")[-1] if last.startswith("COCO_") or last[:12].isdigit() else name


def _stack(hash_of: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    return np.array([hash_of[name] for name in names], np.uint64).reshape(-1, 2)


def _grey(path: Path, side: int) -> Image.Image:
    """A grey thumbnail. JPEG files are decoded at a fraction of their size where that is enough."""
    with open_image(path) as image:
        plain = image.format == "JPEG" and image.mode == "RGB"
        if plain and image.getexif().get(ORIENTATION_TAG, 1) == 1:
            image.draft("L", (4 * COMPARED_SIDE, 4 * COMPARED_SIDE))
            return image.convert("L").resize((side, side), Image.Resampling.BOX)
    return Image.fromarray(read_image(path)).convert("L").resize((side, side), Image.Resampling.BOX)
