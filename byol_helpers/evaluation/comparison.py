"""One model's ``metrics.json`` and ``bootstrap.csv``, and ``comparison.json``: differences between arms,
paired.

``metrics.json``: ``arm, label, seed, engine, profile, images, iterations, detections, area_limits [small,
large], image_ids_sha256, bootstrap {replicates, seed, confidence}``, and ``{"value", "low", "high"}`` for
each metric under ``mask`` and ``box`` (AP AP50 AP75 APs APm APl AR100) and for the mask AP of each class
under ``per_class``. All are fractions 0-1; null where the ground truth does not define them.

``bootstrap.csv``: a row for each replicate, columns ``mask/AP`` ... ``box/AR100``, ``class/<name>``.
Because every model of a test split shares the draws, two such files give the paired difference of two
models that were evaluated apart, on different machines even.
"""

import csv
import hashlib
import io
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from byol_helpers.core.arms import ARM_LABELS
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_json, write_text
from byol_helpers.core.intervals import ENOUGH_SEEDS, draw_weights, percentile_interval, t_interval
from byol_helpers.evaluation.average_precision import (
    COCO_LIMITS,
    COCO_METRICS,
    Evaluation,
    evaluate_detections,
)
from byol_helpers.evaluation.bootstrap import Replicates, replicate_metrics
from byol_helpers.evaluation.curves import read_metrics

ARM_ORDER = (
    "byol",
    "byol-random",
    "file",
    "supervised",
    "imagenet",
    "random",
)  # of differences: earlier minus later
IOU_TYPES = {"mask": "segm", "box": "bbox"}
GROUPS = tuple(IOU_TYPES)


@dataclass(frozen=True)
class ModelResult:
    """One evaluated model: the content of ``metrics.json`` and the columns of ``bootstrap.csv``, [B] each."""

    metrics: dict
    columns: dict[str, np.ndarray]


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
    found = {
        kind: evaluate_detections(ground_truth, detections, IOU_TYPES[kind], area_limits)
        for kind in kinds
    }
    weights = draw_weights(len(found[kinds[0]].image_ids), replicates, draw_seed)
    drawn = {group: replicate_metrics(evaluation, weights) for group, evaluation in found.items()}
    about = {
        "arm": arm,
        "label": ARM_LABELS.get(arm, arm),
        "seed": seed,
        "engine": engine,
        "profile": profile,
        "iterations": iterations,
        "bootstrap": {"replicates": replicates, "seed": draw_seed, "confidence": confidence},
    }
    return summarise(found, drawn, about)


def summarise(
    found: dict[str, Evaluation], drawn: dict[str, Replicates], about: dict
) -> ModelResult:
    """Join evaluations and replicates of masks and boxes into the two files of one model."""
    first, confidence = next(iter(found)), about["bootstrap"]["confidence"]
    main = found[first]
    columns = {
        f"{group}/{name}": column
        for group in found
        for name, column in zip(COCO_METRICS, drawn[group].metrics.T, strict=True)
    }
    columns |= {
        f"class/{name}": drawn[first].per_class[:, k] for k, name in enumerate(main.classes)
    }
    values = {
        f"{group}/{name}": found[group].metrics[name] for group in found for name in COCO_METRICS
    }
    values |= {f"class/{name}": value for name, value in main.per_class.items()}
    about |= {
        "images": len(main.image_ids),
        "detections": main.detections,
        "area_limits": list(main.area_limits),
        "image_ids_sha256": hashlib.sha256(json.dumps(main.image_ids).encode()).hexdigest(),
    }
    entries = {key: _entry(values[key], columns[key], confidence) for key in columns}
    return ModelResult(about | _tree(entries), columns)


def save_result(result: ModelResult, folder: Path) -> Path:
    """Write ``bootstrap.csv`` and then ``metrics.json`` into ``folder``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(result.columns)
    rows = zip(*result.columns.values(), strict=True)
    writer.writerows(["" if math.isnan(v) else repr(float(v)) for v in row] for row in rows)
    write_text(Path(folder) / "bootstrap.csv", text.getvalue())
    write_json(Path(folder) / "metrics.json", result.metrics)
    return Path(folder)


def load_result(folder: Path) -> ModelResult:
    """Read what ``save_result`` wrote; ``UserError`` for a missing or broken file."""
    return ModelResult(
        read_json(Path(folder) / "metrics.json"), read_metrics(Path(folder) / "bootstrap.csv")
    )


def load_results(run_path: Path) -> dict[str, ModelResult]:
    """All evaluated models of a run, by ``<arm>-seed<k>``."""
    found = sorted(Path(run_path).glob("evaluate/*/metrics.json"))
    return {path.parent.name: load_result(path.parent) for path in found}


def compare_arms(results: dict[str, ModelResult]) -> dict:
    """Means over seeds of each arm, and paired differences between all pairs of arms; content of
    ``comparison.json``.

    Returns:
        ``arms``: {arm: {label, seeds, mask, box, per_class}}; ``differences``: a list of {a, b, label,
        seeds, mask, box, per_class, between_seeds}, value a minus b. Intervals are over test images.
        ``between_seeds`` holds Student's intervals over the common seeds, which cover training, where there
        are at least three; else null.

    Raises:
        UserError: the models were not evaluated on the same images with the same draws.
    """
    if not results:
        return {"arms": {}, "differences": []}
    first = _same_draws(results)
    confidence = first["bootstrap"]["confidence"]
    arms = {arm: [r for r in results.values() if r.metrics["arm"] == arm] for arm in _arms(results)}
    means = {arm: _mean(members) for arm, members in arms.items()}
    described = {
        arm: {"label": members[0].metrics["label"], "seeds": [m.metrics["seed"] for m in members]}
        | _tree({key: _entry(*mean, confidence) for key, mean in means[arm].items()})
        for arm, members in arms.items()
    }
    differences = [
        _difference(arms, means, a, b, confidence) for a, b in itertools.combinations(arms, 2)
    ]
    shared = {key: first[key] for key in ("images", "area_limits", "bootstrap")}
    return shared | {"arms": described, "differences": differences}


def evaluate_arms(
    ground_truth: Path | dict, detections: dict[str, Path | list], **settings
) -> tuple[dict, dict]:
    """Evaluate several models, keys ``<arm>-seed<k>``, and compare them.

    Returns:
        ({key: content of metrics.json}, content of comparison.json). ``settings`` are those of
        ``evaluate_model``.
    """
    results = {}
    for key, found in detections.items():
        arm, _, seed = key.rpartition("-seed")
        if not arm or not seed.isdigit():
            raise UserError(f"{key!r}: name a model <arm>-seed<number>, for example byol-seed0")
        results[key] = evaluate_model(ground_truth, found, arm=arm, seed=int(seed), **settings)
    return {key: result.metrics for key, result in results.items()}, compare_arms(results)


def _same_draws(results: dict[str, ModelResult]) -> dict:
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


def _arms(results: dict[str, ModelResult]) -> list[str]:
    found = dict.fromkeys(result.metrics["arm"] for result in results.values())
    return [
        *(arm for arm in ARM_ORDER if arm in found),
        *(arm for arm in found if arm not in ARM_ORDER),
    ]


def _mean(members: list[ModelResult]) -> dict[str, tuple[float, np.ndarray]]:
    """Mean over seeds of each value and, replicate by replicate, of its draws."""
    return {
        key: (
            float(np.mean([_value(m.metrics, key) for m in members])),
            np.mean([m.columns[key] for m in members], axis=0),
        )
        for key in members[0].columns
    }


def _difference(arms: dict, means: dict, a: str, b: str, confidence: float) -> dict:
    entries = {
        key: _entry(value - means[b][key][0], draws - means[b][key][1], confidence)
        for key, (value, draws) in means[a].items()
    }
    of_seed = [{m.metrics["seed"]: m.metrics for m in arms[arm]} for arm in (a, b)]
    common = sorted(of_seed[0].keys() & of_seed[1].keys())
    between = None
    if len(common) >= ENOUGH_SEEDS:
        spread = {
            key: [_value(of_seed[0][seed], key) - _value(of_seed[1][seed], key) for seed in common]
            for key in means[a]
        }
        between = _tree({key: _seed_entry(values, confidence) for key, values in spread.items()})
        between["seeds"] = common
    label = " - ".join(arms[arm][0].metrics["label"] for arm in (a, b))
    return {
        "a": a,
        "b": b,
        "label": label,
        "between_seeds": between,
        "seeds": {arm: [m.metrics["seed"] for m in arms[arm]] for arm in (a, b)},
    } | _tree(entries)


def _value(metrics: dict, key: str) -> float:
    group, name = key.split("/", 1)
    value = metrics["per_class" if group == "class" else group][name]["value"]
    return math.nan if value is None else value


def _tree(entries: dict[str, dict]) -> dict:
    """``{"mask/AP": entry}`` as ``{"mask": {"AP": entry}}``; classes under ``per_class``."""
    tree: dict = {"mask": {}, "box": {}, "per_class": {}}
    for key, entry in entries.items():
        group, name = key.split("/", 1)
        tree["per_class" if group == "class" else group][name] = entry
    return tree


def _entry(value: float, draws: np.ndarray, confidence: float) -> dict:
    low, high = percentile_interval(draws, confidence)
    return {"value": nan_to_none(value), "low": nan_to_none(low), "high": nan_to_none(high)}


def _seed_entry(values: list[float], confidence: float) -> dict:
    low, high = t_interval(values, confidence)
    return {
        "value": nan_to_none(np.mean(values)),
        "low": nan_to_none(low),
        "high": nan_to_none(high),
    }


def nan_to_none(value: float | None) -> float | None:
    """A number as JSON takes it: None for nan."""
    return None if value is None or math.isnan(value) else float(value)
