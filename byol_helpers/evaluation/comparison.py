"""One model's ``metrics.json`` and ``bootstrap.csv``, and ``comparison.json``: paired differences
between arms.

``metrics.json``: ``arm, label, seed, engine, profile, images, iterations, detections, area_limits
[small, large], image_ids_sha256, bootstrap {replicates, seed, confidence}``, and ``{"value", "low",
"high"}`` for each metric under ``mask`` and ``box`` (AP AP50 AP75 APs APm APl AR100) and for the
mask AP of each class under ``per_class``. All are fractions 0-1; null where the ground truth does
not define them. ``interval`` names the kind of interval (``core.intervals``): of values by
themselves bias-corrected, of differences by percentiles. ``class_images`` says in how many images
there is an object of each class, for each IoU type and size.

``bootstrap.csv``: a row for each replicate, columns ``mask/AP`` ... ``box/AR100``,
``class/<name>``. Because every model of a test split shares the draws, two such files give the
paired difference of two models that were evaluated apart, on different machines even.
"""

import csv
import hashlib
import io
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from byol_helpers.core.arms import ARMS, label_arm
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_json, write_text
from byol_helpers.core.intervals import (
    ENOUGH_SEEDS,
    SINGLE_VALUE,
    combine_intervals,
    corrected_interval,
    draw_weights,
    measure_shared_spread,
    percentile_interval,
    t_interval,
)
from byol_helpers.evaluation.average_precision import (
    COCO_LIMITS,
    COCO_METRICS,
    Evaluation,
    evaluate_detections,
)
from byol_helpers.evaluation.bootstrap import Replicates, replicate_metrics
from byol_helpers.evaluation.curves import read_metrics
from byol_helpers.evaluation.matching import AREA_RANGES

IOU_TYPES: dict[str, Literal["segm", "bbox"]] = {"mask": "segm", "box": "bbox"}
GROUPS = tuple(IOU_TYPES)
SIZE_OF_METRIC = {"APs": "small", "APm": "medium", "APl": "large"}  # every other metric: "all"


@dataclass(frozen=True)
class ModelResult:
    """One evaluated model: the content of ``metrics.json`` and the columns of ``bootstrap.csv``,
    [B] each."""

    metrics: dict
    columns: dict[str, np.ndarray]

    def value(self, key: str) -> float:
        """The metric of a column, such as ``mask/AP``; nan where it is not defined."""
        return _read_value(self.metrics, key)


def evaluate_model(
    ground_truth: Path | dict,
    detections: Path | list,
    *,
    arm: str,
    seed: int,
    engine: str,
    profile: str,
    iterations: int,
    area_limits: tuple[float, float] = COCO_LIMITS,
    replicates: int = 1000,
    confidence: float = 0.95,
    draw_seed: int = 0,
    kinds: tuple[str, ...] = GROUPS,
) -> ModelResult:
    """Masks and boxes of one model, with bootstrap intervals over the test images.

    Args:
        ground_truth, detections, area_limits: as ``average_precision.evaluate_detections``.
        arm, seed, engine, profile, iterations: provenance, written into the metrics.
        replicates, confidence: of the bootstrap.
        draw_seed: of the draws of images; the same for all models that are to be compared.
        kinds: which of masks and boxes there are; AP per class is that of the first.
    """
    evaluations = {}
    for kind in kinds:
        iou_type = IOU_TYPES[kind]
        evaluations[kind] = evaluate_detections(ground_truth, detections, iou_type, area_limits)
    weights = draw_weights(len(evaluations[kinds[0]].image_ids), replicates, draw_seed)
    replicated = {kind: replicate_metrics(evaluations[kind], weights) for kind in kinds}
    provenance = {
        "arm": arm,
        "label": label_arm(arm),
        "seed": seed,
        "engine": engine,
        "profile": profile,
        "iterations": iterations,
        "bootstrap": {"replicates": replicates, "seed": draw_seed, "confidence": confidence},
    }
    return _join_results(evaluations, replicated, provenance)


def _join_results(
    evaluations: dict[str, Evaluation], replicated: dict[str, Replicates], provenance: dict
) -> ModelResult:
    """Join evaluations and replicates of masks and boxes into the two files of one model."""
    first = next(iter(evaluations))
    main = evaluations[first]
    values = {}
    columns = {}
    for kind, evaluation in evaluations.items():
        for i, name in enumerate(COCO_METRICS):
            values[f"{kind}/{name}"] = evaluation.metrics[name]
            columns[f"{kind}/{name}"] = replicated[kind].metrics[:, i]
    for k, (name, value) in enumerate(main.per_class.items()):
        values[f"class/{name}"] = value
        columns[f"class/{name}"] = replicated[first].per_class[:, k]
    about = provenance | {
        "images": len(main.image_ids),
        "detections": main.detections,
        "area_limits": list(main.area_limits),
        "image_ids_sha256": hashlib.sha256(json.dumps(main.image_ids).encode()).hexdigest(),
        "interval": SINGLE_VALUE,
        "class_images": {kind: _count_images(found) for kind, found in evaluations.items()},
    }
    entries = {key: _describe_value(about, key, values[key], columns[key]) for key in columns}
    return ModelResult(about | _nest_entries(entries), columns)


def _count_images(evaluation: Evaluation) -> dict[str, dict[str, int]]:
    """How many images hold an object of each class: ``{size: {class: images}}``."""
    counts = {}
    for area, size in enumerate(AREA_RANGES):
        counts[size] = {}
        for name, match in zip(evaluation.classes, evaluation.matches, strict=True):
            counts[size][name] = int(np.count_nonzero(match.positives[area]))
    return counts


def save_result(result: ModelResult, folder: Path) -> Path:
    """Write ``bootstrap.csv`` and then ``metrics.json`` into ``folder``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(result.columns)
    for row in zip(*result.columns.values(), strict=True):
        writer.writerow(["" if math.isnan(value) else repr(float(value)) for value in row])
    write_text(Path(folder) / "bootstrap.csv", text.getvalue())
    write_json(Path(folder) / "metrics.json", result.metrics)
    return Path(folder)


def load_result(folder: Path) -> ModelResult:
    """Read what ``save_result`` wrote; ``UserError`` for a missing or broken file.

    The intervals of a file that is older than the present kind are computed again from its draws.
    """
    metrics = read_json(Path(folder) / "metrics.json")
    packed = Path(folder) / "bootstrap.csv.xz"
    columns = read_metrics(packed if packed.is_file() else packed.with_suffix(""))
    result = ModelResult(metrics, columns)
    return result if metrics.get("interval") == SINGLE_VALUE else describe_again(result)


def describe_again(result: ModelResult) -> ModelResult:
    """The same values, with intervals computed from the draws at hand."""
    metrics = result.metrics
    entries = {}
    for key, draws in result.columns.items():
        entries[key] = _describe_value(metrics, key, _read_value(metrics, key), draws)
    return ModelResult(
        metrics | _nest_entries(entries) | {"interval": SINGLE_VALUE}, result.columns
    )


def load_results(run_path: Path) -> dict[str, ModelResult]:
    """All evaluated models of a run, by ``<arm>-seed<k>``."""
    found = sorted(Path(run_path).glob("evaluate/*/metrics.json"))
    return {path.parent.name: load_result(path.parent) for path in found}


def compare_arms(results: dict[str, ModelResult]) -> dict:
    """Content of ``comparison.json``: means over seeds of each arm, and paired differences of all
    pairs of arms.

    Returns:
        ``arms``: {arm: {label, seeds, mask, box, per_class}}; ``differences``: a list of {a, b,
            label, seeds, mask, box, per_class, between_seeds, images_and_seeds}, value a minus b.
            Intervals are over test images. The last two hold, where the arms have at least three
            seeds in common, else null, Student's intervals over those seeds, and intervals over
            test images and seeds together.

    Raises:
        UserError: the models were not evaluated on the same images with the same draws.
    """
    if not results:
        return {"arms": {}, "differences": []}
    first = _check_same_draws(results)
    confidence = first["bootstrap"]["confidence"]
    arms = {arm: _select_arm(results, arm) for arm in _order_arms(results)}
    means = {arm: _average_seeds(members) for arm, members in arms.items()}
    described = {}
    for arm, members in arms.items():
        entries = {}
        for key, mean in means[arm].items():
            entries[key] = _describe_value(members[0].metrics, key, *mean)
        described[arm] = {
            "label": members[0].metrics["label"],
            "seeds": [member.metrics["seed"] for member in members],
        } | _nest_entries(entries)
    differences = []
    for a, b in itertools.combinations(arms, 2):
        differences.append(_subtract_arms(arms, means, a, b, confidence))
    shared = {key: first[key] for key in ("images", "area_limits", "bootstrap", "interval")}
    return shared | {"arms": described, "differences": differences}


def _check_same_draws(results: dict[str, ModelResult]) -> dict:
    """The first model's metrics, after a check that all others can be paired with it."""
    (first_key, first), *others = results.items()
    for key, other in others:
        for part in ("image_ids_sha256", "bootstrap", "area_limits"):
            if other.metrics[part] != first.metrics[part]:
                raise UserError(
                    f"evaluate/{key} and evaluate/{first_key} differ in {part}: "
                    "evaluate both again, on the same test split with the same settings"
                )
    return first.metrics


def _order_arms(results: dict[str, ModelResult]) -> list[str]:
    found = dict.fromkeys(result.metrics["arm"] for result in results.values())
    known = [arm for arm in ARMS if arm in found]
    return known + [arm for arm in found if arm not in ARMS]


def _select_arm(results: dict[str, ModelResult], arm: str) -> list[ModelResult]:
    return [result for result in results.values() if result.metrics["arm"] == arm]


def _average_seeds(members: list[ModelResult]) -> dict[str, tuple[float, np.ndarray]]:
    """Mean over seeds of each value and, replicate by replicate, of its draws."""
    means = {}
    for key in members[0].columns:
        value = float(np.mean([_read_value(member.metrics, key) for member in members]))
        means[key] = (value, np.mean([member.columns[key] for member in members], axis=0))
    return means


def _subtract_arms(
    arms: dict[str, list[ModelResult]], means: dict, a: str, b: str, confidence: float
) -> dict:
    """The paired difference a minus b: over the test images, over the common seeds, over both.

    Over the images it is that of the means over the common seeds; over all seeds where the arms
    have none in common.
    """
    compared = {a: arms[a], b: arms[b]}
    seeds = {arm: [member.metrics["seed"] for member in arms[arm]] for arm in (a, b)}
    common = set(seeds[a]) & set(seeds[b])
    if common and set(seeds[a]) != set(seeds[b]):
        for arm in (a, b):
            compared[arm] = [m for m in arms[arm] if m.metrics["seed"] in common]
            seeds[arm] = [member.metrics["seed"] for member in compared[arm]]
        means = {arm: _average_seeds(members) for arm, members in compared.items()}
    entries = {}
    for key, (value, draws) in means[a].items():
        other_value, other_draws = means[b][key]
        entries[key] = _describe_difference(value - other_value, draws - other_draws, confidence)
    return {
        "a": a,
        "b": b,
        "label": f"{arms[a][0].metrics['label']} - {arms[b][0].metrics['label']}",
        "seeds": seeds,
        **_subtract_seeds(arms[a], arms[b], list(means[a]), confidence),
    } | _nest_entries(entries)


def _subtract_seeds(
    first: list[ModelResult], second: list[ModelResult], keys: list[str], confidence: float
) -> dict[str, dict | None]:
    """Mean differences over the seeds that two arms share; None for too few of them.

    ``between_seeds`` has Student's intervals, which cover the training alone, ``images_and_seeds``
    those that cover the choice of the test images too.
    """
    results_a = {member.metrics["seed"]: member for member in first}
    results_b = {member.metrics["seed"]: member for member in second}
    common = sorted(results_a.keys() & results_b.keys())
    if len(common) < ENOUGH_SEEDS:
        return {"between_seeds": None, "images_and_seeds": None}
    between = {}
    together = {}
    for key in keys:
        values = []
        draws = []
        for seed in common:
            a = results_a[seed]
            b = results_b[seed]
            values.append(_read_value(a.metrics, key) - _read_value(b.metrics, key))
            draws.append(a.columns[key] - b.columns[key])
        between[key], together[key] = describe_seeds(values, np.array(draws), confidence)
    return {
        "between_seeds": _nest_entries(between) | {"seeds": common},
        "images_and_seeds": _nest_entries(together) | {"seeds": common},
    }


def describe_seeds(values: list[float], draws: np.ndarray, confidence: float) -> tuple[dict, dict]:
    """The mean of one difference for each seed: over seeds, and over images and seeds together.

    Args:
        draws: of the test images, a row for each seed, [S, B].
    """
    mean = float(np.mean(values))
    over_seeds = t_interval(values, confidence)
    assert over_seeds is not None  # there are enough
    over_images = percentile_interval(draws.mean(axis=0), confidence)
    both = combine_intervals(mean, over_images, over_seeds, measure_shared_spread(draws))
    return _make_entry(mean, *over_seeds), _make_entry(mean, *both)


def _read_value(metrics: dict, key: str) -> float:
    group, name = key.split("/", 1)
    value = metrics["per_class" if group == "class" else group][name]["value"]
    return math.nan if value is None else value


def _nest_entries(entries: dict[str, dict]) -> dict:
    """``{"mask/AP": entry}`` as ``{"mask": {"AP": entry}}``; classes under ``per_class``."""
    tree: dict = {"mask": {}, "box": {}, "per_class": {}}
    for key, entry in entries.items():
        group, name = key.split("/", 1)
        tree["per_class" if group == "class" else group][name] = entry
    return tree


def _describe_value(about: dict, key: str, value: float, draws: np.ndarray) -> dict:
    """A value by itself, with its bias-corrected interval.

    Args:
        about: ``metrics.json`` of a model on the same images.
    """
    confidence = about["bootstrap"]["confidence"]
    held = count_class_images(about, key)
    low, high = corrected_interval(value, draws, held, about["images"], confidence)
    return _make_entry(value, low, high)


def count_class_images(about: dict, key: str) -> list[int]:
    """In how many images there are objects of each class that a metric is a mean over."""
    if "class_images" not in about:  # an older file: as if each class were in every image
        return [about["images"]]
    group, name = key.split("/", 1)
    if group == "class":
        first = next(iter(about["class_images"].values()))
        return [first["all"][name]]
    return list(about["class_images"][group][SIZE_OF_METRIC.get(name, "all")].values())


def _describe_difference(value: float, draws: np.ndarray, confidence: float) -> dict:
    return _make_entry(value, *percentile_interval(draws, confidence))


def _make_entry(value: float, low: float, high: float) -> dict:
    return {"value": nan_to_none(value), "low": nan_to_none(low), "high": nan_to_none(high)}


def nan_to_none(value: float | None) -> float | None:
    """A number as JSON takes it: None for nan."""
    return None if value is None or math.isnan(value) else float(value)
