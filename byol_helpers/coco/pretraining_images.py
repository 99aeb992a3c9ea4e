"""Which images BYOL sees: names only, drawn by the seed, and not those of the test split unless
that is wanted.
"""

from collections.abc import Iterable
from pathlib import Path

from byol_helpers.coco.annotations import Labels
from byol_helpers.coco.file_tree import FileTree, lies_among_masks
from byol_helpers.coco.formats.mask_images import find_mask_pairs
from byol_helpers.coco.images import list_images
from byol_helpers.coco.near_duplicates import identify_photograph
from byol_helpers.coco.splits import count_part, order_ids
from byol_helpers.core.config import Data
from byol_helpers.core.errors import UserError


def draw_pretraining_images(
    root: Path,
    records: dict[str, list[dict]],
    settings: Data,
    seed: int,
    withheld: Iterable[str] = (),
) -> tuple[list[str], dict]:
    """File names of the pretraining images, relative to ``root``, and what they share with the test
    split.

    Args:
        root: the data folder.
        records: image records of ``train``, ``val`` and ``test``, names relative to ``root``.
        settings: ``pretrain_folder`` says where the candidates come from; null, the three splits.
        seed: of the draw, where there are more candidates than wanted.
        withheld: names of further test images, which the profile does not use.
    """
    of_test = [record["file_name"] for record in records["test"]]
    test = {identify_photograph(name) for name in [*of_test, *withheld]}
    if settings.pretrain_folder:
        candidates = list_candidates(root, settings.pretrain_folder)
    else:
        candidates = sorted({record["file_name"] for split in records.values() for record in split})
    shared = {name for name in candidates if identify_photograph(name) in test}
    kept = [name for name in candidates if not settings.exclude_pretraining or name not in shared]
    wanted = count_part(min(settings.unlabelled, len(candidates)), settings.fraction)
    drawn = sorted(order_ids(kept, seed, "pretrain")[:wanted])
    return drawn, {"shared_with_test": len(shared), "excluded": settings.exclude_pretraining}


def list_candidates(root: Path, folder: str) -> list[str]:
    """Names of a folder's images: from an annotation file of that name, of which no label is read,
    or from the disk. Masks are none.

    With the file the answer is the same on every machine, whatever part of the images lies there.
    """
    files = sorted(root.glob(f"annotations/*_{folder}.json"))
    if files:
        return sorted(f"{folder}/{record['file_name']}" for record in Labels(files[0]).images)
    if not (root / folder).is_dir():
        raise UserError(
            f"{root / folder}: no such folder; put the pretraining images there, or set "
            "data.pretrain_folder"
        )
    tree = FileTree(root / folder)
    pairs = find_mask_pairs(tree)
    masks = {mask for names in pairs.values() for mask in names}
    names = [path.relative_to(root / folder).as_posix() for path in list_images(root / folder)]
    pictures = [name for name in names if name not in masks and not lies_among_masks(name)]
    return [(Path(folder) / name).as_posix() for name in pictures]
