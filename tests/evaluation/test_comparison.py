"""Files of one model, paired differences between models, and intervals between seeds."""

import json

import numpy as np
import pytest

from byol_helpers.core.errors import UserError
from byol_helpers.core.intervals import SINGLE_VALUE, corrected_interval
from byol_helpers.evaluation.average_precision import evaluate_detections
from byol_helpers.evaluation.comparison import (
    ModelResult,
    compare_arms,
    evaluate_model,
    load_result,
    load_results,
    nan_to_none,
    save_result,
)
from tests.helpers.detections import LIMITS, guesses, world

TRUTH, SHAPES = world(0)
SETTINGS = {
    "engine": "torchvision",
    "profile": "smoke",
    "iterations": 40,
    "replicates": 50,
    "area_limits": LIMITS,
}


@pytest.fixture(scope="module")
def results():
    """BYOL is closer to the truth than random, three seeds each."""
    return {
        f"{arm}-seed{k}": evaluate_model(
            TRUTH, guesses(SHAPES, k, noise), arm=arm, seed=k, **SETTINGS
        )
        for arm, noise in (("random", 4.0), ("byol", 1.0))
        for k in range(3)
    }


def test_metrics_hold_pycocotools_numbers_and_intervals_around_them(results):
    metrics = results["byol-seed1"].metrics
    expected = evaluate_detections(TRUTH, guesses(SHAPES, 1, 1.0), "segm", LIMITS)
    assert {name: entry["value"] for name, entry in metrics["mask"].items()} == expected.metrics
    assert {
        name: entry["value"] for name, entry in metrics["per_class"].items()
    } == expected.per_class
    assert (
        metrics["mask"]["AP"]["low"]
        < metrics["mask"]["AP"]["value"]
        < metrics["mask"]["AP"]["high"]
    )
    assert (metrics["label"], metrics["images"], metrics["area_limits"]) == (
        "BYOL",
        12,
        list(LIMITS),
    )
    json.dumps(metrics, allow_nan=False)


def test_saved_and_loaded_again_it_is_the_same(results, tmp_path):
    for key, result in results.items():
        save_result(result, tmp_path / "evaluate" / key)
    again = load_results(tmp_path)
    assert {key: r.metrics for key, r in again.items()} == {
        key: r.metrics for key, r in results.items()
    }
    assert compare_arms(dict(sorted(results.items()))) == compare_arms(again)
    with pytest.raises(UserError, match="metrics.json"):
        load_result(tmp_path)


def test_an_interval_of_a_single_value_is_the_corrected_one(results):
    metrics = results["byol-seed1"].metrics
    columns = results["byol-seed1"].columns
    assert metrics["interval"] == SINGLE_VALUE
    held = {name: set() for name in metrics["per_class"]}
    categories = {entry["id"]: entry["name"] for entry in TRUTH["categories"]}
    for annotation in TRUTH["annotations"]:
        if not annotation.get("iscrowd"):
            held[categories[annotation["category_id"]]].add(annotation["image_id"])
    counted = {name: len(images) for name, images in held.items()}
    assert metrics["class_images"]["mask"]["all"] == counted
    for key, entry, images in (
        ("mask/AP", metrics["mask"]["AP"], list(counted.values())),
        *((f"class/{name}", metrics["per_class"][name], [counted[name]]) for name in counted),
    ):
        low, high = corrected_interval(entry["value"], columns[key], images, 12)
        assert (entry["low"], entry["high"]) == (nan_to_none(low), nan_to_none(high))


def test_intervals_of_an_older_file_are_computed_again(results, tmp_path):
    """A file with percentile intervals and without counts of images."""
    result = results["byol-seed0"]
    old = {
        key: value
        for key, value in result.metrics.items()
        if key not in ("class_images", "interval")
    }
    low, high = np.quantile(result.columns["mask/AP"], [0.025, 0.975])
    old["mask"] = old["mask"] | {"AP": old["mask"]["AP"] | {"low": low, "high": high}}
    save_result(ModelResult(old, result.columns), tmp_path)
    again = load_result(tmp_path).metrics
    assert again["interval"] == SINGLE_VALUE
    value = again["mask"]["AP"]["value"]
    expected = corrected_interval(value, result.columns["mask/AP"], [12], 12)
    assert (again["mask"]["AP"]["low"], again["mask"]["AP"]["high"]) == expected


def test_differences_are_paired_and_means_over_seeds(results):
    found = compare_arms(results)
    assert list(found["arms"]) == ["byol", "random"]
    (difference,) = found["differences"]
    assert (difference["a"], difference["b"], difference["label"]) == (
        "byol",
        "random",
        "BYOL - random",
    )
    draws = [
        np.mean([results[f"{arm}-seed{k}"].columns["mask/AP"] for k in range(3)], axis=0)
        for arm in ("byol", "random")
    ]
    low, high = np.quantile(draws[0] - draws[1], [0.025, 0.975])
    assert difference["mask"]["AP"]["low"] == pytest.approx(low, abs=1e-12)
    assert difference["mask"]["AP"]["high"] == pytest.approx(high, abs=1e-12)
    assert difference["mask"]["AP"]["low"] > 0
    assert difference["between_seeds"]["seeds"] == [0, 1, 2]
    between = difference["between_seeds"]["mask"]["AP"]
    assert between["value"] == pytest.approx(difference["mask"]["AP"]["value"])
    together = difference["images_and_seeds"]["mask"]["AP"]
    assert together["value"] == between["value"]
    assert together["low"] < min(between["low"], together["value"])
    assert together["high"] > max(between["high"], together["value"])


def test_a_model_does_not_differ_from_itself():
    same = guesses(SHAPES, 0)
    models = {}
    for arm in ("byol", "random"):
        models[f"{arm}-seed0"] = evaluate_model(TRUTH, same, arm=arm, seed=0, **SETTINGS)
    found = compare_arms(models)
    assert found["differences"][0]["mask"]["AP"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["differences"][0]["between_seeds"] is None
    assert found["differences"][0]["images_and_seeds"] is None


def test_models_that_cannot_be_paired_are_refused(results):
    other = evaluate_model(TRUTH, [], arm="supervised", seed=0, **(SETTINGS | {"replicates": 51}))
    message = "evaluate/supervised-seed0 and evaluate/random-seed0 differ in bootstrap"
    with pytest.raises(UserError, match=message):
        compare_arms(results | {"supervised-seed0": other})
    assert compare_arms({}) == {"arms": {}, "differences": []}
