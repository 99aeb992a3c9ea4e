"""The COCO layout on the disk: splits, their images and their instance masks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from byol_helpers.coco import resized_cache
from byol_helpers.coco.annotations import AnnotationsByImage, Labels
from byol_helpers.coco.splits import order_ids
from byol_helpers.core.config import require
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, sha256
from byol_helpers.core.stage import Run

COCO_AREA_LIMITS = (32.0**2, 96.0**2)  # square pixels: below is small, above is large
COCO_IMAGE_AREA = 640 * 480


@dataclass(frozen=True)
class Split:
    """One split: image records, annotations by image id, categories in the order of their ids."""

    name: str
    root: Path
    images: list[dict]
    annotations: Mapping[int, list[dict]]
    categories: list[dict]
    file: Path

    def path(self, record: dict) -> Path:
        """Where the picture of an image record lies."""
        return self.root / record["file_name"]


def load_splits(run: Run) -> dict:
    """``splits.json`` of a run, written by the stage prepare."""
    if not (run.path / "splits.json").is_file():
        raise UserError(
            f"{run.path / 'splits.json'}: not there yet; run the stage that writes it first: "
            "prepare"
        )
    return read_json(run.path / "splits.json")


def find_image_root(run: Run, splits: dict) -> Path:
    """Folder that the file names of all splits are relative to."""
    return run.path / splits["image_root"]  # an absolute image_root wins over run.path


def load_split(run: Run, name: str) -> Split:
    """Read ``train``, ``val`` or ``test`` of a prepared run.

    Annotations are parsed when they are asked for.
    """
    splits = load_splits(run)
    if name not in splits:
        raise UserError(
            f"{splits['image_root']}: no annotation file, so there is no {name} split; put a COCO "
            "instances JSON into its folder annotations"
        )
    file = run.path / splits[name]
    labels = Labels(file)
    categories = sorted(labels.categories, key=lambda category: category["id"])
    return Split(
        name,
        find_image_root(run, splits),
        labels.images,
        AnnotationsByImage(labels),
        categories,
        file,
    )


def take_images(split: Split, count: int, seed: int) -> Split:
    """A part of a split: ``count`` of its images at most, drawn by the seed.

    A smaller part lies inside a larger one.
    """
    order = order_ids([record["id"] for record in split.images], seed, "part")
    kept = set(order[:count])
    return replace(split, images=[record for record in split.images if record["id"] in kept])


def list_pretraining_images(run: Run) -> list[Path]:
    """Paths of the images for pretraining: a list of files, no annotation is opened."""
    splits = load_splits(run)
    return [find_image_root(run, splits) / name for name in splits["pretrain"]]


def list_usable_images(run: Run) -> list[Path]:
    """The pretraining images that decode, or their shrunk copies, kept in ``runs/<run>/cache``."""
    side = run.profile.pretrain.cache_side
    files = list_pretraining_images(run)
    if run.profile.data.photographs:
        return files  # they were decoded by prepare
    if side is None:
        return resized_cache.keep_readable(files, "check images")
    folder = place_cache(run, str(side))
    return resized_cache.resize_images(files, folder, side, f"shrink images to {side} pixels")


def place_cache(run: Run, kind: str) -> Path:
    """A folder for what is made once of the pretraining images; another list has another one."""
    listed = sha256(run.path / "splits.json")[:8]
    return run.path / "cache" / f"{kind}-{listed}"


def get_area_limits(run: Run) -> tuple[float, float]:
    """Borders between small, medium and large, in square pixels.

    COCO's 32^2 and 96^2 belong to pictures of about 640 x 480. Generated scenes are smaller, and
    their limits shrink with the area of the picture, so that the three classes keep their meaning.
    """
    profile = run.profile
    if profile.evaluate.area_limits is not None:
        small, large = profile.evaluate.area_limits
        return small, large
    small, large = COCO_AREA_LIMITS
    if load_splits(run)["source"] != "generated":
        return small, large
    side = require(profile.data.image_size, "data.image_size", "evaluate")
    scale = side**2 / COCO_IMAGE_AREA
    return round(small * scale, 3), round(large * scale, 3)
