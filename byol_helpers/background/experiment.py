"""Scoring background removal on test images (thesis 4.6.4, table 4.4), without a model in
memory."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from byol_helpers.background.baselines import BASELINES
from byol_helpers.background.removal import choose_instances, merge_masks, zero_background
from byol_helpers.background.scores import REMOVAL_SCORES, score_masks
from byol_helpers.coco.images import read_image
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_bytes
from byol_helpers.core.intervals import mean_interval
from byol_helpers.core.progress import work_in_pieces

RULE_TEXTS = {
    "confident": "the most confident detection",
    "largest": "the largest detection",
    "all": "all detections",
}
# From an image's entry and its pixels: the mask, and how many detections it joins.
PredictMask = Callable[[dict, np.ndarray], tuple[np.ndarray, int]]


@dataclass(frozen=True)
class RemovalTask:
    """What all methods are scored on, and how their intervals are drawn.

    Args:
        ground_truth: COCO JSON of the test split.
        image_root: folder that ``file_name`` in it starts from.
        images: how many images the thesis's table takes, at most.
        seed: of the choice of images and of the draws of the bootstrap.
        replicates, confidence: of the bootstrap, as in ``resampling.mean_interval``.
    """

    ground_truth: Path
    image_root: Path
    images: int
    seed: int
    replicates: int = 1000
    confidence: float = 0.95


@dataclass(frozen=True)
class ImageSelection:
    """The images that every arm is scored on, and in words how they were chosen.

    ``single`` is true where each has one instance, as the thesis assumes; otherwise all instances
    of an image count.
    """

    images: list[dict]  # COCO image entries, by id
    instances: dict[int, list[dict]]  # image id -> its annotations
    rule: str
    single: bool


def choose_images(ground_truth: Path, images: int, seed: int) -> ImageSelection:
    """Choose test images by a rule that looks at the annotations only, so that all arms get the
    same ones.

    Images with exactly one instance, and that not a crowd, in an order drawn by the seed; where
    there is none, images with any number of instances and no crowd. A smaller number is a part of a
    larger one with the same seed.

    Args:
        ground_truth: COCO JSON of the test split.
        images: how many at most.
        seed: of the draw.

    Raises:
        UserError: the file is missing or not JSON, or no image in it fits.
    """
    every = choose_all_images(ground_truth)
    alone = [image for image in every.images if len(every.instances[image["id"]]) == 1]
    fitting = alone or every.images
    if alone:
        kind = "images with exactly one instance and no crowd"
    else:
        kind = (
            "images with several instances, joined by union, and no crowd, "
            "because none has exactly one"
        )
    if len(fitting) > images:
        drawn = f"{images} of {len(fitting)}, drawn with seed {seed}"
    else:
        drawn = f"all there are: {len(fitting)}, of {images} asked for"

    # A hash instead of a random generator: the same order with every version of every library.
    def draw_order(image: dict) -> bytes:
        return hashlib.sha256(f"{seed}:{image['id']}".encode()).digest()

    drawn_images = sorted(fitting, key=draw_order)[:images]
    chosen = sorted(drawn_images, key=lambda image: image["id"])
    instances = {image["id"]: every.instances[image["id"]] for image in chosen}
    return ImageSelection(chosen, instances, f"{kind}; {drawn}", bool(alone))


def choose_all_images(ground_truth: Path) -> ImageSelection:
    """Every test image with at least one instance and no crowd, however many instances it has.

    Raises:
        UserError: the file is missing or not JSON, or no image in it fits.
    """
    coco = read_json(ground_truth)
    of_image = defaultdict(list)
    for annotation in coco["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    clean = []
    for image in sorted(coco["images"], key=lambda image: image["id"]):
        annotations = of_image[image["id"]]
        if annotations and not any(a.get("iscrowd", 0) for a in annotations):
            clean.append(image)
    if not clean:
        raise UserError(
            f"{ground_truth}: no image has instances and no crowd; choose another test split"
        )
    rule = (
        f"all {len(clean)} images with instances and no crowd, "
        "the instances of an image joined by union"
    )
    instances = {image["id"]: of_image[image["id"]] for image in clean}
    return ImageSelection(clean, instances, rule, False)


def score_removals(
    task: RemovalTask, detections: Path, score_threshold: float, rule: str, out: Path
) -> dict:
    """Cut out the objects that a model found, and compare with the cut-outs by the annotations.

    Writes ``<out>/<image id>.png``, the cut-out on black, for each chosen image, and beside ``out``
    the same for the annotations in ``ground-truth/``, which all arms share.

    Args:
        task: the images.
        detections: COCO results JSON with masks in RLE.
        score_threshold: detections with a lower score are not used; 0 to 1.
        rule: ``confident``, ``largest`` or ``all``, as in ``choose_instances``. Where no image has
            a single instance, ``all`` is used whatever was asked, because the truth then is a union
            too; the result says so.
        out: folder of this arm.

    Returns:
        ``images``, how many; ``rule``, in words; ``empty``, the number of images in which nothing
        was found (cut-out black throughout); ``scores``, for each of ``REMOVAL_SCORES`` the mean
        over images as ``value`` with its bootstrap interval ``low`` to ``high``; ``per_image``, a
        list with ``image_id``, ``file_name``, ``instances`` (how many were joined) and the scores.
        ``choose_all_images`` holds the same for all images with instances and no crowd, with the
        rule ``all``; ``bootstrap`` the seed, replicates and confidence.

    Raises:
        UserError: a file is missing, broken, or does not belong to the others.
    """
    chosen = choose_images(task.ground_truth, task.images, task.seed)
    every = choose_all_images(task.ground_truth)
    found = _read_results(detections, task.ground_truth)

    def scored(images: ImageSelection, out: Path | None) -> dict:
        used = rule if images.single else "all"
        instead = f", in place of the rule {rule!r}" if images is chosen and used != rule else ""

        def keep(entry: dict, image: np.ndarray) -> tuple[np.ndarray, int]:
            kept = choose_instances(found[entry["id"]], used, score_threshold)
            return _merge_checked(kept, image.shape[:2], entry, detections), len(kept)

        kept = f"{RULE_TEXTS[used]} with a score of at least {score_threshold:g}{instead}"
        rows = [_score_image(task, images, keep, out, entry) for entry in images.images]
        return _summarise(task, images, kept, rows)

    return scored(chosen, out) | {
        "all_images": scored(every, None),
        "bootstrap": _describe_draws(task),
    }


def score_baseline(task: RemovalTask, method: str, unfinished: Path | None = None) -> dict:
    """The same for a method that needs no model, on the same images and in the same format; no
    pictures.

    Args:
        task: the images.
        method: a key of ``baselines.BASELINES``; ``keep-everything`` is the zero point of the
            cosine similarity: only what lies above it was earned.
        unfinished: as ``work_in_pieces``, and what it raises.
    """
    chosen = choose_images(task.ground_truth, task.images, task.seed)
    every = choose_all_images(task.ground_truth)

    def keep(entry: dict, image: np.ndarray) -> tuple[np.ndarray, int]:
        return BASELINES[method](image), 0

    def score(entry: dict) -> dict:
        return _score_image(task, every, keep, None, entry)

    rows = work_in_pieces(f"background/{method}", every.images, score, unfinished)
    kept = f"what the method {method} takes for the object"
    ids = {image["id"] for image in chosen.images}
    return _summarise(task, chosen, kept, [row for row in rows if row["image_id"] in ids]) | {
        "all_images": _summarise(task, every, kept, rows),
        "bootstrap": _describe_draws(task),
    }


def _score_image(
    task: RemovalTask, chosen: ImageSelection, keep: PredictMask, out: Path | None, entry: dict
) -> dict:
    """The row of scores of one image; with ``out``, the cut-outs as pictures too."""
    image = read_image(Path(task.image_root) / entry["file_name"])
    true = _merge_checked(chosen.instances[entry["id"]], image.shape[:2], entry, task.ground_truth)
    predicted, instances = keep(entry, image)
    if out is not None:
        name = f"{entry['id']}.png"
        _write_once(Path(out) / name, zero_background(image, predicted))
        _write_once(Path(out).parent / "ground-truth" / name, zero_background(image, true))
    about = {
        "image_id": entry["id"],
        "file_name": entry["file_name"],
        "instances": instances,
        "empty": not predicted.any(),
    }
    return about | score_masks(image, predicted, true)


def _summarise(task: RemovalTask, chosen: ImageSelection, kept: str, rows: list[dict]) -> dict:
    intervals = {}
    for name in REMOVAL_SCORES:
        values = [row[name] for row in rows]
        intervals[name] = mean_interval(values, task.replicates, task.seed, task.confidence)
    return {
        "images": len(rows),
        "rule": f"{chosen.rule}; kept: {kept}",
        "empty": sum(row["empty"] for row in rows),
        "scores": intervals,
        "per_image": rows,
    }


def _describe_draws(task: RemovalTask) -> dict:
    return {"replicates": task.replicates, "seed": task.seed, "confidence": task.confidence}


def _read_results(path: Path, ground_truth: Path) -> dict[int, list[dict]]:
    """COCO results by image id; refuses those that were made for other images."""
    results = read_json(path)
    is_list = isinstance(results, list)
    if not is_list or not all(isinstance(r, dict) and "segmentation" in r for r in results):
        raise UserError(
            f"{path}: no COCO results with masks; run the evaluation again to write them"
        )
    known = {image["id"] for image in read_json(ground_truth)["images"]}
    if results and not any(result["image_id"] in known for result in results):
        raise UserError(
            f"{path}: none of its images is in {ground_truth}; evaluate on that split first"
        )
    of_image = defaultdict(list)
    for result in results:
        of_image[result["image_id"]].append(result)
    return of_image


def _merge_checked(
    instances: list[dict], size: tuple[int, int], image: dict, source: Path
) -> np.ndarray:
    try:
        return merge_masks(instances, size)
    except ValueError as error:
        name = image["file_name"]
        raise UserError(f"{source}: {name}: {error}; make masks and image the same size") from None


def _write_once(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG unless the same bytes are there already."""
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    if not path.is_file() or path.read_bytes() != png.getvalue():
        write_bytes(path, png.getvalue())
