"""Do the splits share pictures? By name, and by looks: near-duplicates found with a perceptual hash.

The hash is the difference hash in both directions (dHash, 2 x 64 bits): is a cell of a 9 x 9 thumbnail brighter than
its left and its upper neighbour? It survives scaling, recompression and other brightness, but no crop. Pictures whose
hashes differ in few bits are compared once more, by the correlation of thumbnails: plain ones share hashes by chance.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from byol_helpers.coco.images import ORIENTATION_TAG, read_image
from byol_helpers.core.progress import Progress

BITS = 20  # of 128 that may differ
CORRELATION = 0.95  # of 32 x 32 thumbnails, at least
CELLS, THUMBNAIL = 9, 32
PAIRS = (
    ("pretrain", "test"),
    ("pretrain", "val"),
    ("train", "test"),
    ("train", "val"),
    ("val", "test"),
)
_SHOWN = 6  # pairs kept as examples


def hash_image(path: Path) -> np.ndarray:
    """Difference hash of a picture, uint64 [2]: rows and columns."""
    cells = np.asarray(_grey(path, CELLS), np.int16)
    across, down = cells[:8, 1:] > cells[:8, :-1], cells[1:, :8] > cells[:-1, :8]
    return np.packbits(np.stack([across.ravel(), down.ravel()]), axis=1).view(np.uint64)[:, 0]


def hash_images(paths: Sequence[Path], progress: Progress | None = None) -> np.ndarray:
    """``hash_image`` of each picture, uint64 [N, 2]."""
    found = np.zeros((len(paths), 2), np.uint64)
    with ThreadPoolExecutor() as pool:
        for k, value in enumerate(pool.map(hash_image, paths)):
            found[k] = value
            if progress:
                progress.update()
    return found


def find_near_pairs(
    first: np.ndarray, second: np.ndarray, bits: int = BITS, rows: int = 64
) -> list[tuple[int, int]]:
    """Indices (i, k) of hashes first [N, 2] and second [M, 2], uint64, that differ in at most ``bits`` bits."""
    found = []
    for start in range(
        0, len(first), rows
    ):  # a block of rows at a time: memory does not grow with N
        differ = np.bitwise_count(first[start : start + rows, None] ^ second[None]).sum(
            axis=-1, dtype=np.uint8
        )
        found += [
            (start + int(i), int(k)) for i, k in zip(*np.nonzero(differ <= bits), strict=True)
        ]
    return found


def correlate_thumbnails(first: Path, second: Path) -> float:
    """Correlation of two pictures' grey thumbnails, -1 to 1; 1 for two plain pictures of equal brightness."""
    one, two = (np.asarray(_grey(path, THUMBNAIL), np.float64).ravel() for path in (first, second))
    spread = one.std() * two.std()
    if not spread:
        return float(np.array_equal(one, two))
    return float(((one - one.mean()) * (two - two.mean())).mean() / spread)


def audit_splits(
    root: Path, splits: dict[str, list[str]], progress: Progress | None = None
) -> list[dict]:
    """Which pictures two splits share.

    Args:
        root: folder that the names start from.
        splits: file names of ``pretrain``, ``train``, ``val`` and ``test``.
        progress: updated once for each picture.

    Returns:
        For each of ``PAIRS`` a dictionary: ``first``, ``second``, the splits; ``same``, how many pictures of the second
        have a namesake in the first; ``near``, pairs (name, name) of near-duplicates among the others.
    """
    names = sorted({name for listed in splits.values() for name in listed})
    of = dict(zip(names, hash_images([root / name for name in names], progress), strict=True))
    rows = []
    for first, second in PAIRS:
        here, there = splits[first], splits[second]
        known = {identify_photograph(name) for name in here}
        namesakes = {identify_photograph(name) for name in there} & known
        near = [
            (here[i], there[k])
            for i, k in find_near_pairs(_stacked(of, here), _stacked(of, there))
            if identify_photograph(here[i]) != identify_photograph(there[k])
            and correlate_thumbnails(root / here[i], root / there[k]) >= CORRELATION
        ]
        rows.append({"first": first, "second": second, "same": len(namesakes), "near": near})
    return rows


def identify_photograph(name: str) -> str:
    """What identifies a picture: COCO 2014 calls COCO_train2014_000000000009.jpg what COCO 2017 calls 000000000009.jpg.

    Names of other collections are taken whole, with their folder.
    """
    last = Path(name).name
    return last.split("_")[-1] if last.startswith("COCO_") or last[:12].isdigit() else name


def _stacked(of: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    return np.array([of[name] for name in names], np.uint64).reshape(-1, 2)


def _grey(path: Path, side: int) -> Image.Image:
    """A grey thumbnail. JPEG files are decoded at a fraction of their size where that is enough."""
    with Image.open(path) as image:
        if (
            image.format == "JPEG"
            and image.mode == "RGB"
            and image.getexif().get(ORIENTATION_TAG, 1) == 1
        ):
            image.draft("L", (4 * THUMBNAIL, 4 * THUMBNAIL))
            return image.convert("L").resize((side, side), Image.Resampling.BOX)
    return Image.fromarray(read_image(path)).convert("L").resize((side, side), Image.Resampling.BOX)
