"""Studies: the arms of a run again with one setting changed, compared on the same test images with the same draws.

``python -m byol_helpers study norm-policy`` asks what normalisation does to the comparison of initial weights,
``study engines`` whether torchvision and detectron2 agree, and ``study pretraining`` how BYOL's objective depends on
the hidden layer and on the weights it starts from (claims C9 and C10). Data and weights are those of the run; what is
trained anew is kept in ``runs/<run>/studies`` and, like all stages, not trained twice.
"""

import csv
import io
import math
import os
from itertools import combinations
from pathlib import Path

from byol_helpers import pipeline
from byol_helpers.core.config import load_profile
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_text
from byol_helpers.core.intervals import percentile_interval
from byol_helpers.core.stage import Run
from byol_helpers.evaluation import comparison
from byol_helpers.evaluation.curves import choose_beta, read_final_losses, read_metrics

STUDIES = {
    "norm-policy": ("finetune.norm_policy", ("fair", "frozen")),
    "engines": ("finetune.engine", ("torchvision", "detectron2")),
}
_METRICS = ("AP", "AP50", "AP75")
PRETRAINING = {
    "2048": ("pretrain.hidden=2048", "pretrain.init=supervised"),  # the thesis's choice
    "4096": ("pretrain.hidden=4096", "pretrain.init=supervised"),
    "random": ("pretrain.hidden=2048", "pretrain.init=random"),
}
PRETRAINING_SEEDS = (0, 1, 2)


def run_study(run: Run, name: str, overrides: list[str], out: Path | None = None) -> Path:
    """Train, evaluate and compare; returns ``runs/<run>/studies/<name>.csv`` and copies it to ``out`` if given.

    Rows of ``norm-policy`` and ``engines``: the arms under each value, the differences between arms under each value,
    each arm's change from the first value to the second, and the change of each difference; AP in points (0..100) with
    intervals over test images. Rows of ``pretraining``: those of every training's metrics.csv.
    """
    if name not in (*STUDIES, "pretraining"):
        raise UserError(f"no study {name!r}; there are {', '.join(STUDIES)}, pretraining")
    pipeline.up_to(run, "transfer")
    if name == "pretraining":
        return _write_rows(
            _train_pretrainings(run, overrides), run.path / "studies" / "pretraining.csv", out
        )
    setting, values = STUDIES[name]
    variants = {
        value: _open_variant(run, f"{name}-{value}", [*overrides, f"{setting}={value}"])
        for value in values
    }
    results = {value: _collect_results(variant) for value, variant in variants.items()}
    return _write_rows(
        _make_rows(run, setting, values, results), run.path / "studies" / f"{name}.csv", out
    )


def _write_rows(rows: list[dict], path: Path, copy: Path | None) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    if copy:
        write_text(copy, text.getvalue())
    return write_text(path, text.getvalue())


def _train_pretrainings(run: Run, overrides: list[str]) -> list[dict]:
    """The rows of metrics.csv of every variant of the pretraining, once for each seed.

    The seed is that of order, views and new weights; the images and the supervised weights stay the same.
    """
    rows = []
    for name, settings in PRETRAINING.items():
        for seed in PRETRAINING_SEEDS:
            changed = [*overrides, *settings, f"seed={seed}"]
            variant = _open_variant(run, f"pretraining-{name}-seed{seed}", changed)
            columns = read_metrics(pipeline.pretrain(variant, "byol") / "metrics.csv")
            knn = pipeline.neighbours(variant) or [math.nan] * 3
            settings_now = variant.profile.pretrain
            for k, step in enumerate(columns["step"]):
                rows.append(
                    {
                        "variant": name,
                        "seed": seed,
                        "step": int(step),
                        "loss": f"{columns['loss'][k]:.6g}",
                        "feature_std": f"{columns['feature_std'][k]:.6g}",
                        "lr": f"{columns['lr'][k]:.6g}",
                        "hidden": settings_now.hidden,
                        "init": settings_now.init,
                        "profile": run.profile.name,
                        "batch_size": settings_now.batch_size,
                        "knn_before": f"{knn[0]:.4f}",
                        "knn_measured": f"{knn[1]:.4f}",
                        "knn_after": f"{knn[2]:.4f}",
                    }
                )
    return rows


def _open_variant(run: Run, name: str, overrides: list[str]) -> Run:
    """The run with settings changed, in a folder of its own that borrows data and weights; itself if it has them."""
    profile = load_profile(run.profile.name, overrides)
    if profile == run.profile:
        return run
    folder = run.path / "studies" / name
    folder.mkdir(parents=True, exist_ok=True)
    for shared in ("data", "splits.json", "statistics.json", "weights"):
        if (run.path / shared).exists() and not (folder / shared).is_symlink():
            os.symlink(Path("..") / ".." / shared, folder / shared)
    return pipeline.open_run(profile.name, folder, run.data, overrides)


def _collect_results(run: Run) -> dict[str, dict]:
    """For each arm of a run the values, the draws and the cost of its models, means over the seeds."""
    found = {}
    for arm in run.profile.finetune.arms:
        members, seconds, losses = [], [], []
        for seed in run.profile.finetune.seeds:
            trained = pipeline.finetune(run, arm, seed) / "metrics.csv"
            members.append(comparison.load_result(pipeline.evaluate(run, arm, seed)))
            columns = read_metrics(trained)
            seconds.append(sorted(columns["seconds"])[len(columns["seconds"]) // 2])
            losses.append(read_final_losses(trained, choose_beta(len(columns["step"])))["total"])
        mean = {
            metric: (
                sum(_to_number(m.metrics["mask"][metric]["value"]) for m in members) / len(members),
                sum(m.columns[f"mask/{metric}"] for m in members) / len(members),
            )
            for metric in _METRICS
        }
        found[arm] = {
            "label": members[0].metrics["label"],
            "mean": mean,
            "images": members[0].metrics["images"],
            "seconds": sum(seconds) / len(seconds),
            "loss": sum(losses) / len(losses),
        }
    return found


def _to_number(value: float | None) -> float:
    return math.nan if value is None else value


def _make_rows(run: Run, setting: str, values: tuple[str, str], results: dict) -> list[dict]:
    """Every comparison as one line: a sum of models with signs, its value and its interval."""
    first, second = values
    names = list(results[first])
    label = {arm: results[first][arm]["label"] for arm in names}
    pairs = list(combinations(names, 2))
    rows = []
    for value in values:
        rows += [
            _make_row(run, setting, value, label[arm], results, [(1, value, arm)]) for arm in names
        ]
        rows += [
            _make_row(
                run,
                setting,
                value,
                f"{label[a]} - {label[b]}",
                results,
                [(1, value, a), (-1, value, b)],
            )
            for a, b in pairs
        ]
    change = f"{second} - {first}"
    rows += [
        _make_row(run, setting, change, label[arm], results, [(1, second, arm), (-1, first, arm)])
        for arm in names
    ]
    rows += [
        _make_row(
            run,
            setting,
            change,
            f"{label[a]} - {label[b]}",
            results,
            [(1, second, a), (-1, second, b), (-1, first, a), (1, first, b)],
        )
        for a, b in pairs
    ]
    return rows


def _make_row(
    run: Run, setting: str, value: str, what: str, results: dict, terms: list[tuple[int, str, str]]
) -> dict:
    tune, evaluation = run.profile.finetune, run.profile.evaluate
    cells = {"setting": setting, "value": value, "what": what}
    for metric in _METRICS:
        models = [(sign, *results[of][arm]["mean"][metric]) for sign, of, arm in terms]
        low, high = percentile_interval(
            sum(sign * draws for sign, _, draws in models), evaluation.confidence
        )
        shown = (sum(sign * mean for sign, mean, _ in models), low, high)
        cells |= {
            f"{metric}{end}": f"{100 * number:.2f}"
            for end, number in zip(("", "_low", "_high"), shown, strict=True)
        }
    one = results[terms[0][1]][terms[0][2]]
    single = len(terms) == 1
    return cells | {
        "total_loss": f"{one['loss']:.4f}" if single else "",
        "seconds_per_iteration": f"{one['seconds']:.3f}" if single else "",
        "profile": run.profile.name,
        "engine": "" if setting == "finetune.engine" else tune.engine,
        "data": run.data.name if run.data else run.profile.data.source,
        "test_images": one["images"],
        "iterations": tune.steps,
        "seeds": " ".join(map(str, tune.seeds)),
        "replicates": evaluation.bootstrap,
        "confidence": evaluation.confidence,
    }
