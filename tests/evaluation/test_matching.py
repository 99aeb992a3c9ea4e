"""The matching against pycocotools' own evaluation: all metrics and every class's AP, to the last
bit.
"""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from byol_helpers.evaluation.average_precision import COCO_LIMITS, COCO_METRICS, evaluate_detections
from tests.helpers.detections import LIMITS, SIDE, from_one, guesses, rle, world


def reference(
    truth: dict, results: list[dict], iou_type: str, limits: tuple[float, float]
) -> tuple[list, list]:
    """pycocotools' metrics and AP of each class; boxes hidden from the mask evaluation."""
    hidden = "bbox" if iou_type == "segm" else "segmentation"
    small, large = limits
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(from_one(truth))
        coco.createIndex()
        found = coco.loadRes([{k: v for k, v in r.items() if k != hidden} for r in results])
        evaluation = COCOeval(coco, found, iou_type)
        evaluation.params.areaRng = [[0, 1e10], [0, small], [small, large], [large, 1e10]]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    defined = [of_class[of_class > -1] for of_class in np.moveaxis(precision, -1, 0)]
    per_class = [of_class.mean() if of_class.size else np.nan for of_class in defined]
    return [v if v > -1 else np.nan for v in evaluation.stats[[0, 1, 2, 3, 4, 5, 8]]], per_class


def assert_same(
    truth: dict, results: list[dict], iou_type: str, limits: tuple[float, float] = LIMITS
) -> None:
    ours = evaluate_detections(truth, results, iou_type, limits)
    metrics, per_class = reference(truth, results, iou_type, limits)
    np.testing.assert_array_equal([ours.metrics[name] for name in COCO_METRICS], metrics)
    np.testing.assert_array_equal(list(ours.per_class.values()), per_class)


def contested(seed: int) -> tuple[dict, list[dict]]:
    """Detections that compete for instances: twins of both, and a third of the instances are
    crowds.
    """
    truth, shapes = world(seed, images=6, per_image=8)
    results = guesses(shapes, seed, noise=0.7)
    rng = np.random.default_rng(seed)
    twins = [truth["annotations"][i] for i in rng.integers(0, len(truth["annotations"]), 12)]
    annotations = [a | {"iscrowd": int(rng.random() < 0.3)} for a in truth["annotations"] + twins]
    twins = [results[i] for i in rng.integers(0, len(results), 40)]
    results += [r | {"score": round(float(rng.random()), 1)} for r in twins]
    return truth | {"annotations": [a | {"id": i} for i, a in enumerate(annotations)]}, results


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(20, 30))
def test_random_worlds(iou_type, seed):
    truth, shapes = world(seed, images=8)
    assert_same(
        truth, guesses(shapes, seed, noise=0.5 * (seed % 4), decimals=1 + seed % 3), iou_type
    )
    assert_same(truth, guesses(shapes, seed, decimals=seed % 2), iou_type, COCO_LIMITS)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(10))
def test_twins_and_crowds_compete(iou_type, seed):
    truth, results = contested(seed)
    assert_same(truth, results, iou_type)
    assert_same(truth, results, iou_type, (60.0, 61.0))


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_more_than_a_hundred_detections_of_one_image_and_class(iou_type):
    truth, shapes = world(5, images=2)
    results = guesses(shapes, 5, noise=4) * 25
    rng = np.random.default_rng(0)
    results = [
        r | {"score": round(float(rng.random()), 2), "category_id": int(rng.choice([3, 7]))}
        for r in results
    ]
    ours = evaluate_detections(truth, results, iou_type, LIMITS)
    assert ours.detections == len(results) > 500
    assert [len(m.scores) for m in ours.matches] == [200, 200, 0, 0]
    assert_same(truth, results, iou_type)


def test_limits_on_the_very_size_of_an_object():
    truth, shapes = world(6)
    sizes = sorted(a["area"] for a in truth["annotations"])
    assert_same(truth, guesses(shapes, 6), "segm", (sizes[10], sizes[-10]))


def test_annotations_of_every_spelling():
    """Polygons, plain RLE and compressed RLE."""
    truth, shapes = world(7)
    annotations = copy.deepcopy(truth["annotations"])
    for number, annotation in enumerate(annotations):
        x, y, w, h = annotation["bbox"]
        if number % 3 == 0:
            middle = x + w / 2
            annotation["segmentation"] = [
                [x, y, middle, y, middle, y + h, x, y + h],
                [middle, y, x + w, y, x + w, y + h, middle, y + h],
            ]
        elif number % 3 == 1:
            runs = masks.decode(annotation["segmentation"]).ravel(order="F")
            changes = np.flatnonzero(np.diff(runs, prepend=0, append=1 - runs[-1]))
            annotation["segmentation"] = {
                "size": [SIDE, SIDE],
                "counts": np.diff(changes, prepend=0).tolist(),
            }
    truth |= {"annotations": [a | {"id": i} for i, a in enumerate(annotations)]}
    assert_same(truth, guesses(shapes, 7), "segm")


def test_the_matches_are_in_order_and_know_their_images():
    truth, shapes = world(1)
    ours = evaluate_detections(truth, guesses(shapes, 1), "segm", LIMITS)
    for found in ours.matches:
        assert (np.diff(found.scores) <= 0).all()
        tied = np.diff(found.scores) == 0
        assert (np.diff(found.image)[tied] >= 0).all()
        assert not (found.hit & ~found.counts).any()
        assert (found.hit.sum(axis=2) <= found.positives.sum(axis=1)[:, None]).all()


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_real_annotations_worn_moved_dropped_and_invented(iou_type, photographs):
    truth = json.loads((photographs / "annotations" / "instances_train2017.json").read_text())
    coco = COCO()
    coco.dataset = copy.deepcopy(truth)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    rng = np.random.default_rng(1)
    results = []
    for annotation in truth["annotations"]:
        if rng.random() < 0.2:
            continue
        mask = coco.annToMask(annotation)
        for turn in range(2):  # detectors find many an instance twice
            moved = np.roll(mask, rng.integers(-3, 4, 2), axis=(0, 1))
            worn = moved & np.roll(moved, 1, axis=turn) & np.roll(moved, -2, axis=1)
            results.append(entry(worn, annotation["image_id"], annotation["category_id"], rng))
    categories = [c["id"] for c in truth["categories"]]
    for image in truth["images"]:
        mask = np.zeros((image["height"], image["width"]), dtype=np.uint8)
        mask[10:90, 20:120] = 1
        results += [entry(mask, image["id"], int(rng.choice(categories)), rng) for _ in range(3)]
    assert_same(truth, results, iou_type, COCO_LIMITS)


def entry(mask: np.ndarray, image: int, category: int, rng: np.random.Generator) -> dict:
    """One COCO result; scores of two digits are often tied."""
    encoded = masks.encode(np.asfortranarray(mask))
    encoded["counts"] = encoded["counts"].decode()
    return {
        "image_id": image,
        "category_id": category,
        "score": round(float(rng.random()), 2),
        "bbox": [float(v) for v in masks.toBbox(encoded)],
        "segmentation": encoded,
    }


def test_a_detection_takes_an_instance_that_counts_before_a_better_crowd():
    """It overlaps the crowd entirely and the instance by 0.6.

    The crowd is taken only where 0.6 is too little.
    """
    part = rle(7, 10, 10, 5, 3)
    whole = rle(7, 10, 10, 5, 5)
    annotations = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 7,
            "segmentation": s,
            "area": int(masks.area(s)),
            "bbox": [float(v) for v in masks.toBbox(s)],
            "iscrowd": crowd,
        }
        for i, (s, crowd) in enumerate(((whole, 1), (part, 0)))
    ]
    truth = world(0)[0] | {"annotations": annotations}
    found = [{"image_id": 1, "category_id": 7, "score": 0.5, "segmentation": whole}]
    matches = evaluate_detections(truth, found, "segm", LIMITS).matches[1]
    np.testing.assert_array_equal(matches.hit[0, :, 0], np.arange(10) < 3)  # thresholds .50 .55 .60
    np.testing.assert_array_equal(matches.counts[0], matches.hit[0])


def test_of_two_equally_good_instances_the_later_is_taken():
    """The first detection lies just between two boxes and takes the second, which the other
    detection then misses.
    """
    boxes = [[10, 10, 10, 10], [14, 10, 10, 10]]
    annotations = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 7,
            "segmentation": [],
            "area": 100,
            "bbox": box,
            "iscrowd": 0,
        }
        for i, box in enumerate(boxes)
    ]
    truth = world(0)[0] | {"annotations": annotations}
    found = [
        {"image_id": 1, "category_id": 7, "score": score, "bbox": box}
        for score, box in ((0.9, [12, 10, 10, 10]), (0.8, boxes[1]))
    ]
    np.testing.assert_array_equal(
        evaluate_detections(truth, found, "bbox", LIMITS).matches[1].hit[0, 0], [True, False]
    )
    assert_same(truth, found, "bbox")
