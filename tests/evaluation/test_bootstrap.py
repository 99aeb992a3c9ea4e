"""The bootstrap against pycocotools: exact for weights of one, and on copied images for others."""

import numpy as np
import pytest

from byol_helpers.core.intervals import draw_weights
from byol_helpers.evaluation.average_precision import (
    COCO_METRICS,
    RECALLS,
    Evaluation,
    evaluate_detections,
)
from byol_helpers.evaluation.bootstrap import _count_points_reached, replicate_metrics
from tests.helpers.detections import LIMITS, guesses, world


def of_image(entries: list[dict], image: dict) -> list[dict]:
    return [entry for entry in entries if entry["image_id"] == image["id"]]


def duplicated(truth: dict, results: list[dict], weights: np.ndarray) -> tuple[dict, list[dict]]:
    """Image i written out ``weights[i]`` times, copies next to each other."""
    images, annotations, found = [], [], []
    for image, times in zip(truth["images"], weights, strict=True):
        for copy in range(times):
            new = image["id"] * 100 + copy
            images.append(image | {"id": new})
            for annotation in of_image(truth["annotations"], image):
                annotations.append(annotation | {"image_id": new, "id": len(annotations) + 1})
            found += [r | {"image_id": new} for r in of_image(results, image)]
    return truth | {"images": images, "annotations": annotations}, found


def values(evaluation: Evaluation) -> list[float]:
    return [evaluation.metrics[name] for name in COCO_METRICS]


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("seed", range(4))
def test_weights_of_one_are_pycocotools_to_the_last_bit(iou_type, seed):
    truth, shapes = world(seed)
    evaluation = evaluate_detections(truth, guesses(shapes, seed), iou_type, LIMITS)
    ones = replicate_metrics(evaluation, np.ones((3, len(truth["images"])), dtype=int))
    assert 0.05 < evaluation.metrics["AP"] < 0.95
    for row in ones.metrics:
        np.testing.assert_array_equal(row, values(evaluation))
    np.testing.assert_array_equal(ones.per_class[0], list(evaluation.per_class.values()))


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize(
    "decimals", [1, 6]
)  # 1: many scores are tied, also within one image and class
def test_random_weights_are_pycocotools_on_duplicated_images(iou_type, decimals):
    truth, shapes = world(1)
    results = guesses(shapes, 1, decimals=decimals)
    weights = draw_weights(len(truth["images"]), 8, seed=3)
    ours = replicate_metrics(evaluate_detections(truth, results, iou_type, LIMITS), weights)
    for row, classes, drawn in zip(ours.metrics, ours.per_class, weights, strict=True):
        brute = evaluate_detections(*duplicated(truth, results, drawn), iou_type, LIMITS)
        np.testing.assert_allclose(row, values(brute), rtol=0, atol=1e-12)
        np.testing.assert_allclose(classes, list(brute.per_class.values()), rtol=0, atol=1e-12)


def test_ties_within_an_image_do_occur_in_these_tests():
    truth, shapes = world(1)
    matches = evaluate_detections(truth, guesses(shapes, 1), "segm", LIMITS).matches
    assert any(np.any((np.diff(m.scores) == 0) & (np.diff(m.image) == 0)) for m in matches)


def test_chunks_do_not_change_the_numbers(monkeypatch):
    truth, shapes = world(2)
    evaluation = evaluate_detections(truth, guesses(shapes, 2), "segm", LIMITS)
    weights = draw_weights(len(truth["images"]), 21, seed=0)
    whole = replicate_metrics(evaluation, weights)
    monkeypatch.setattr("byol_helpers.evaluation.bootstrap.MEMORY", 10 * 101 * 4 * 8 * 5)
    parts = replicate_metrics(evaluation, weights)
    np.testing.assert_array_equal(whole.metrics, parts.metrics)
    np.testing.assert_array_equal(whole.per_class, parts.per_class)


def test_a_replicate_without_ground_truth_of_a_size_is_undefined_there():
    truth, shapes = world(1)
    evaluation = evaluate_detections(truth, guesses(shapes, 1), "segm", LIMITS)
    weights = np.zeros((1, len(truth["images"])), dtype=int)
    weights[0, 4] = 12  # the fifth image is empty
    assert np.isnan(replicate_metrics(evaluation, weights).metrics).all()


def test_points_reached_is_searchsorted():
    recall = np.unique([m / n for n in range(1, 260) for m in range(n + 1)])
    np.testing.assert_array_equal(
        _count_points_reached(recall), np.searchsorted(RECALLS, recall, side="right")
    )
