"""Scoring background removal on test images (thesis 4.6.4, table 4.4), without a model in memory."""

import hashlib
import io
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from byol_helpers.background.removal import choose_instances, remove_background, union
from byol_helpers.background.scores import SCORES, mean_with_interval, score
from byol_helpers.data.images import read_image
from byol_helpers.errors import UserError
from byol_helpers.runs import read_json, write_bytes

KEPT = {
    "confident": "the most confident detection",
    "largest": "the largest detection",
    "all": "all detections",
}


@dataclass(frozen=True)
class Chosen:
    """The images that every arm is scored on, and in words how they were chosen.

    ``single`` is true where each has one instance, as the thesis assumes; otherwise all instances of an image
    count.
    """

    images: list[dict]  # COCO image entries, by id
    instances: dict[int, list[dict]]  # image id -> its annotations
    rule: str
    single: bool


def choose_images(ground_truth: Path, images: int, seed: int) -> Chosen:
    """Choose test images by a rule that looks at the annotations only, so that all arms get the same ones.

    Images with exactly one instance, and that not a crowd, in an order drawn by the seed; where there is
    none, images with any number of instances and no crowd. A smaller number is a part of a larger one with
    the same seed.

    Args:
        ground_truth: COCO JSON of the test split.
        images: how many at most.
        seed: of the draw.

    Raises:
        UserError: the file is missing or not JSON, or no image in it fits.
    """
    coco = read_json(ground_truth)
    of_image = defaultdict(list)
    for annotation in coco["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    clean = [
        image for image in coco["images"]
        if of_image[image["id"]] and not any(a.get("iscrowd", 0) for a in of_image[image["id"]])
    ]
    fitting = [image for image in clean if len(of_image[image["id"]]) == 1]
    single = bool(fitting)
    fitting = fitting or clean
    if not fitting:
        raise UserError(f"{ground_truth}: no image has instances and no crowd; choose another test split")
    if single:
        kind = "images with exactly one instance and no crowd"
    else:
        kind = "images with several instances, joined by union, and no crowd, because none has exactly one"
    if len(fitting) > images:
        drawn = f"{images} of {len(fitting)}, drawn with seed {seed}"
    else:
        drawn = f"all there are: {len(fitting)}, of {images} asked for"
    # A hash instead of a random generator: the same order with every version of every library.
    fitting = sorted(fitting, key=lambda i: hashlib.sha256(f"{seed}:{i['id']}".encode()).digest())[:images]
    chosen = sorted(fitting, key=lambda image: image["id"])
    rule = f"{kind}; {drawn}"
    return Chosen(chosen, {image["id"]: of_image[image["id"]] for image in chosen}, rule, single)


def score_removals(
    ground_truth: Path,
    image_root: Path,
    detections: Path,
    images: int,
    seed: int,
    score_threshold: float,
    rule: str,
    out: Path,
) -> dict:
    """Cut out the objects that a model found, and compare with the cut-outs by the annotations.

    Writes ``<out>/<image id>.png``, the cut-out on black, for each chosen image, and beside ``out`` the same
    for the annotations in ``ground-truth/``, which all arms share.

    Args:
        ground_truth: COCO JSON of the test split.
        image_root: folder that ``file_name`` in it starts from.
        detections: COCO results JSON with masks in RLE.
        images, seed: as in ``choose_images``.
        score_threshold: detections with a lower score are not used; 0 to 1.
        rule: ``confident``, ``largest`` or ``all``, as in ``choose_instances``. Where no image has a single
            instance, ``all`` is used whatever was asked, because the truth then is a union too; the result
            says so.
        out: folder of this arm.

    Returns:
        ``images``, how many; ``rule``, in words; ``empty``, the number of images in which nothing was found
        (cut-out black throughout); ``scores``, for each of ``cosine``, ``iou``, ``mae``, ``f_beta`` the mean
        over images as ``value`` with its 95 % bootstrap interval ``low`` to ``high``; ``per_image``, a list
        with ``image_id``, ``file_name``, ``instances`` (how many were joined) and the four scores.

    Raises:
        UserError: a file is missing, broken, or does not belong to the others.
    """
    chosen = choose_images(ground_truth, images, seed)
    found = _detections(detections, ground_truth)
    used = rule if chosen.single else "all"

    def keep(image: dict, size: tuple[int, int]) -> tuple[np.ndarray, int]:
        kept = choose_instances(found[image["id"]], used, score_threshold)
        return _mask(kept, size, image, detections), len(kept)

    instead = "" if used == rule else f", in place of the rule {rule!r}"
    said = f"{KEPT[used]} with a score of at least {score_threshold:g}{instead}"
    return _metrics(chosen, ground_truth, image_root, seed, said, keep, out)


def keep_everything(ground_truth: Path, image_root: Path, images: int, seed: int) -> dict:
    """The baseline that removes nothing, on the same images and in the same format as ``score_removals``.

    What it reaches is the zero point of the cosine similarity: only what lies above it was earned.
    """

    def keep(image: dict, size: tuple[int, int]) -> tuple[np.ndarray, int]:
        return np.ones(size, bool), 0

    chosen = choose_images(ground_truth, images, seed)
    return _metrics(chosen, ground_truth, image_root, seed, "every pixel", keep, None)


def _metrics(
    chosen: Chosen,
    ground_truth: Path,
    image_root: Path,
    seed: int,
    kept: str,
    keep: Callable[[dict, tuple[int, int]], tuple[np.ndarray, int]],
    out: Path | None,
) -> dict:
    per_image, empty = [], 0
    for entry in chosen.images:
        image = read_image(Path(image_root) / entry["file_name"])
        size = image.shape[:2]
        true = _mask(chosen.instances[entry["id"]], size, entry, ground_truth)
        predicted, instances = keep(entry, size)
        empty += not predicted.any()
        per_image.append(
            {"image_id": entry["id"], "file_name": entry["file_name"], "instances": instances}
            | score(image, predicted, true)
        )
        if out is not None:
            name = f"{entry['id']}.png"
            _write_once(Path(out) / name, remove_background(image, predicted))
            _write_once(Path(out).parent / "ground-truth" / name, remove_background(image, true))
    return {
        "images": len(per_image),
        "rule": f"{chosen.rule}; kept: {kept}",
        "empty": empty,
        "scores": {name: mean_with_interval([row[name] for row in per_image], seed) for name in SCORES},
        "per_image": per_image,
    }


def _detections(path: Path, ground_truth: Path) -> dict[int, list[dict]]:
    """COCO results by image id; refuses those that were made for other images."""
    results = read_json(path)
    if not isinstance(results, list) or not all(isinstance(r, dict) and "segmentation" in r for r in results):
        raise UserError(f"{path}: no COCO results with masks; run the evaluation again to write them")
    known = {image["id"] for image in read_json(ground_truth)["images"]}
    if results and not any(result["image_id"] in known for result in results):
        raise UserError(f"{path}: none of its images is in {ground_truth}; evaluate on that split first")
    of_image = defaultdict(list)
    for result in results:
        of_image[result["image_id"]].append(result)
    return of_image


def _mask(instances: list[dict], size: tuple[int, int], image: dict, source: Path) -> np.ndarray:
    try:
        return union(instances, size)
    except ValueError as error:
        name = image["file_name"]
        raise UserError(f"{source}: {name}: {error}; make masks and image the same size") from None


def _write_once(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG unless the same bytes are there already."""
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    if not path.is_file() or path.read_bytes() != png.getvalue():
        write_bytes(path, png.getvalue())
