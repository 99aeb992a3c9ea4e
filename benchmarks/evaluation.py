"""What the evaluation costs at the size of COCO's val2017, beside pycocotools: average precision,
and its bootstrap.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks import compare
from benchmarks.memory import own_peak_memory_mb
from byol_helpers.core.environment import installed_versions
from byol_helpers.core.intervals import draw_weights
from byol_helpers.evaluation import average_precision
from byol_helpers.evaluation.average_precision import COCO_METRICS
from byol_helpers.evaluation.bootstrap import replicate_metrics

IMAGES = 5000
CLASSES = 80
WIDTH = 640
HEIGHT = 480
CORNERS = 24  # of the polygon that stands for an ellipse
INSTANCES = 7.0  # in an image on average, of which 0.9 are found
INVENTED = 10.0  # in an image on average; about 80,000 detections together
MODELS = 3
REPLICATES = 1000
PEER_REPLICATES = 2
STATS = [0, 1, 2, 3, 4, 5, 8]  # of COCOeval.stats, our METRICS


def ellipses(centres: np.ndarray, axes: np.ndarray) -> list[Any]:
    """Compressed RLE, counts as text, of ellipses with centres and half axes [N, 2].

    They are cut off at the border.
    """
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    corners = np.clip(centres[:, None] + axes[:, None] * circle, 0, [WIDTH, HEIGHT])
    encoded: list[Any] = masks.frPyObjects(
        corners.reshape(len(centres), -1).tolist(), HEIGHT, WIDTH
    )
    return [{"size": one["size"], "counts": one["counts"].decode()} for one in encoded]


def shapes(rng: np.random.Generator, many: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres and half axes; half axes of 6 to 160 pixels make all of COCO's sizes."""
    return rng.uniform(0, [WIDTH, HEIGHT], (many, 2)), np.exp(
        rng.uniform(np.log(6), np.log(160), (many, 2))
    )


def made_truth(images: int, seed: int = 0) -> tuple[dict, dict]:
    """COCO annotations and the arrays behind them.

    A few classes are frequent, as in COCO; 1 % are crowds.
    """
    rng = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, CLASSES + 1)
    image = np.repeat(np.arange(images), rng.poisson(INSTANCES, images))
    many = len(image)
    palette = rng.choice(
        CLASSES, (images, 3), p=frequency / frequency.sum()
    )  # an image shows up to three classes
    label = palette[image, rng.integers(0, 3, many)]
    centres, axes = shapes(rng, many)
    crowd = rng.random(many) < 0.01
    annotations = [
        {
            "id": i + 1,
            "image_id": int(image[i]) + 1,
            "category_id": int(label[i]) + 1,
            "segmentation": shape,
            "area": float(masks.area(shape)),
            "bbox": masks.toBbox(shape).tolist(),
            "iscrowd": int(crowd[i]),
        }
        for i, shape in enumerate(ellipses(centres, axes))
    ]
    listed = [{"id": i + 1, "width": WIDTH, "height": HEIGHT} for i in range(images)]
    categories = [{"id": k + 1, "name": f"class {k + 1}"} for k in range(CLASSES)]
    made = {"image": image, "label": label, "centres": centres, "axes": axes, "palette": palette}
    return {"images": listed, "categories": categories, "annotations": annotations}, made


def made_detections(made: dict, images: int, seed: int) -> list[dict]:
    """COCO results: nine of ten instances moved and stretched a little, and inventions with lower
    scores.
    """
    rng = np.random.default_rng([1, seed])
    seen = np.flatnonzero(rng.random(len(made["image"])) < 0.9)
    image = rng.integers(0, images, int(INVENTED * images))
    label = made["palette"][image, rng.integers(0, 3, len(image))]
    centres, axes = shapes(rng, len(image))
    size = made["axes"][seen]
    centres = np.concatenate(
        [made["centres"][seen] + 0.12 * size * rng.normal(size=size.shape), centres]
    )
    axes = np.concatenate([size * np.exp(0.12 * rng.normal(size=size.shape)), axes])
    image, label = (
        np.concatenate([made["image"][seen], image]),
        np.concatenate([made["label"][seen], label]),
    )
    score = np.concatenate([rng.beta(3, 2, len(seen)), rng.beta(1.5, 4, len(image) - len(seen))])
    return [
        {
            "image_id": int(image[i]) + 1,
            "category_id": int(label[i]) + 1,
            "segmentation": shape,
            "score": float(score[i]),
        }
        for i, shape in enumerate(ellipses(centres, axes))
    ]


def pycocotools(truth: COCO, found: list[dict]) -> list[float]:
    """pycocotools' metrics, in the order of METRICS, and AP of each class.

    From ``loadRes`` to the summary.
    """
    results = truth.loadRes(cast(Any, found))  # its types name a file alone
    evaluation = COCOeval(truth, results, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    per_class = np.moveaxis(evaluation.eval["precision"][:, :, :, 0, -1], -1, 0)
    return [*evaluation.stats[STATS], *(precision.ravel().mean() for precision in per_class)]


def difference(ours: list[float], peer: list[float]) -> float:
    """The largest one.

    Raises:
        RuntimeError: it is above rounding, or a class is defined for one of both alone.
    """
    largest = float(np.max(np.abs(np.subtract(ours, peer))))
    if not largest <= 1e-12:
        raise RuntimeError(f"our numbers {ours} and pycocotools' {peer} differ by {largest}")
    return largest


def size(truth: dict, found: list[dict]) -> dict:
    return {
        "images": len(truth["images"]),
        "classes": CLASSES,
        "instances": len(truth["annotations"]),
        "detections": len(found),
        "masks": f"ellipses on {WIDTH} x {HEIGHT}, made for this benchmark",
    }


def duplicated(entries: list[dict], weights: np.ndarray) -> list[dict]:
    """All entries of image i ``weights[i]`` times, ids of copies next to each other."""
    return [
        entry | {"image_id": entry["image_id"] * 1000 + copy}
        for entry in entries
        for copy in range(weights[entry["image_id"] - 1])
    ]


def by_brute_force(truth: dict, found: list[dict], weights: np.ndarray) -> list[float]:
    """One replicate as pycocotools would do it: the drawn images written out and evaluated."""
    images = [{"image_id": image["id"], **image} for image in truth["images"]]
    coco: Any = COCO()
    coco.dataset = {
        "images": [image | {"id": image["image_id"]} for image in duplicated(images, weights)],
        "annotations": [
            a | {"id": i} for i, a in enumerate(duplicated(truth["annotations"], weights), start=1)
        ],
        "categories": truth["categories"],
    }
    coco.createIndex()
    return pycocotools(coco, duplicated(found, weights))


def measure_evaluation(images: Path | None) -> dict:
    """From two JSON files on disk to all metrics of the masks of one model."""
    truth, made = made_truth(IMAGES)
    found = made_detections(made, IMAGES, 0)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "gt.json", Path(folder) / "dt.json"
        files[0].write_text(json.dumps(truth))
        files[1].write_text(json.dumps(found))
        start = time.perf_counter()
        ours = average_precision.evaluate_detections(*files, "segm")
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            theirs = pycocotools(COCO(str(files[0])), json.loads(files[1].read_text()))
        peer = time.perf_counter() - start
    numbers = [*(ours.metrics[name] for name in COCO_METRICS), *ours.per_class.values()]
    settings = size(truth, found) | {
        "timed": "reading of both files, matching, all metrics and AP of each class",
        "metrics": ours.metrics,
        "largest_difference": difference(numbers, theirs),
        "versions": installed_versions(),
    }
    return compare(seconds, peer, "pycocotools (COCO, loadRes, COCOeval)", "s", True, settings)


def measure_bootstrap(images: Path | None) -> dict:
    """Replicates of all mask metrics of three models on the same draws, in a process of its own."""
    truth, made = made_truth(IMAGES)
    models = [made_detections(made, IMAGES, seed) for seed in range(MODELS)]
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (
            ("gt", truth),
            *((f"dt{seed}", found) for seed, found in enumerate(models)),
        ):
            (Path(folder) / f"{name}.json").write_text(json.dumps(content))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.evaluation", folder],
            check=True,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[1],
        )
    measured = json.loads(done.stdout)
    weights = draw_weights(IMAGES, REPLICATES)
    largest = 0.0
    start = time.perf_counter()
    for ours, drawn in zip(measured.pop("drawn"), weights, strict=False):
        with contextlib.redirect_stdout(io.StringIO()):
            largest = max(largest, difference(ours, by_brute_force(truth, models[0], drawn)))
    peer = (time.perf_counter() - start) / PEER_REPLICATES * REPLICATES * MODELS
    settings = size(truth, models[0]) | {
        "models": MODELS,
        "replicates": REPLICATES,
        "timed": "draws and replicates, from evaluations in memory",
        "peer_timed_on": f"{PEER_REPLICATES} replicates of one model, and multiplied",
        "largest_difference": largest,
        "processors": os.cpu_count(),
        **measured,
        "versions": installed_versions(),
    }
    return compare(
        measured["seconds"],
        peer,
        f"pycocotools on the drawn images, {PEER_REPLICATES} replicates timed "
        f"and multiplied by {REPLICATES * MODELS // PEER_REPLICATES}",
        "s",
        True,
        settings,
    )


def measure(folder: Path) -> dict:
    """Seconds of the bootstrap of all models, its numbers in the peer's replicates, and this
    process' peak memory.
    """
    start = time.perf_counter()
    models = [
        average_precision.evaluate_detections(folder / "gt.json", folder / f"dt{seed}.json")
        for seed in range(MODELS)
    ]
    evaluated = time.perf_counter() - start
    start = time.perf_counter()
    weights = draw_weights(IMAGES, REPLICATES)
    first, *_ = [replicate_metrics(model, weights) for model in models]
    seconds = time.perf_counter() - start
    peak = own_peak_memory_mb()
    every = json.loads((folder / "dt0.json").read_text())
    scaling = {}
    for found in (every[::2], every):
        model = average_precision.evaluate_detections(folder / "gt.json", found, "segm")
        start = time.perf_counter()
        replicate_metrics(model, weights)
        scaling[str(len(found))] = round(time.perf_counter() - start, 2)
    drawn = np.concatenate([first.metrics, first.per_class], axis=1)[:PEER_REPLICATES]
    return {
        "seconds": round(seconds, 2),
        "evaluation_seconds": round(evaluated, 2),
        "peak_memory_mb": peak,
        "seconds_by_detections_of_one_model": scaling,
        "drawn": drawn.tolist(),
    }


if __name__ == "__main__":  # what ``bootstrap`` starts
    print(json.dumps(measure(Path(sys.argv[1]))))
