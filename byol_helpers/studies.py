"""Studies: the arms of a run again with one setting changed, compared on the same test images with the same draws.

``python -m byol_helpers study norm-policy`` asks what normalisation does to the comparison of initial weights, and
``study engines`` whether torchvision and detectron2 agree. Data and weights are those of the run; what is trained anew
is kept in ``runs/<run>/studies`` and, like all stages, not trained twice.
"""

import csv
import io
import math
import os
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from byol_helpers import pipeline
from byol_helpers.config import load_profile
from byol_helpers.errors import UserError
from byol_helpers.evaluation import arms
from byol_helpers.evaluation.bootstrap import interval
from byol_helpers.evaluation.curves import beta_for, final_losses, read_metrics
from byol_helpers.runs import Run, write_text

STUDIES = {"norm-policy": ("finetune.norm_policy", ("fair", "frozen")),
           "engines": ("finetune.engine", ("torchvision", "detectron2"))}
METRICS = ("AP", "AP50", "AP75")


def study(run: Run, name: str, overrides: list[str], out: Path | None = None) -> Path:
    """Train, evaluate and compare; returns the CSV (``runs/<run>/studies/<name>.csv`` unless ``out`` says otherwise).

    Its rows are the arms under each value, the differences between arms under each value, each arm's change from the
    first value to the second, and the change of each difference: AP in points (0..100) with intervals over test images.
    """
    if name not in STUDIES:
        raise UserError(f"no study {name!r}; there are {', '.join(STUDIES)}")
    setting, values = STUDIES[name]
    pipeline.up_to(run, "transfer")
    results = {value: _results(_variant(run, name, setting, value, overrides)) for value in values}
    text = io.StringIO()
    rows = _rows(run, setting, values, results)
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(out or run.path / "studies" / f"{name}.csv", text.getvalue())


def _variant(run: Run, name: str, setting: str, value: str, overrides: list[str]) -> Run:
    """The run with one setting changed, in a folder of its own that borrows data and weights; itself if it has it."""
    profile = load_profile(run.profile.name, [*overrides, f"{setting}={value}"])
    if profile == run.profile:
        return run
    folder = run.path / "studies" / f"{name}-{value}"
    folder.mkdir(parents=True, exist_ok=True)
    for shared in ("data", "splits.json", "statistics.json", "weights"):
        if (run.path / shared).exists() and not (folder / shared).is_symlink():
            os.symlink(Path("..") / ".." / shared, folder / shared)
    opened = pipeline.open_run(profile.name, folder, run.data, [*overrides, f"{setting}={value}"])
    return replace(opened, profile=profile)


def _results(run: Run) -> dict[str, dict]:
    """For each arm of a run the values, the draws and the cost of its models, means over the seeds."""
    found = {}
    for arm in run.profile.finetune.arms:
        members, seconds, losses = [], [], []
        for seed in run.profile.finetune.seeds:
            trained = pipeline.finetune(run, arm, seed) / "metrics.csv"
            members.append(arms.load(pipeline.evaluate(run, arm, seed)))
            columns = read_metrics(trained)
            seconds.append(sorted(columns["seconds"])[len(columns["seconds"]) // 2])
            losses.append(final_losses(trained, beta_for(len(columns["step"])))["total"])
        mean = {metric: (sum(_number(m.metrics["mask"][metric]["value"]) for m in members) / len(members),
                         sum(m.columns[f"mask/{metric}"] for m in members) / len(members)) for metric in METRICS}
        found[arm] = {"label": members[0].metrics["label"], "mean": mean, "images": members[0].metrics["images"],
                      "seconds": sum(seconds) / len(seconds), "loss": sum(losses) / len(losses)}
    return found


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _rows(run: Run, setting: str, values: tuple[str, str], results: dict) -> list[dict]:
    """Every comparison as one line: a sum of models with signs, its value and its interval."""
    first, second = values
    names = list(results[first])
    label = {arm: results[first][arm]["label"] for arm in names}
    pairs = list(combinations(names, 2))
    rows = []
    for value in values:
        rows += [_row(run, setting, value, label[arm], results, [(1, value, arm)]) for arm in names]
        rows += [_row(run, setting, value, f"{label[a]} - {label[b]}", results, [(1, value, a), (-1, value, b)])
                 for a, b in pairs]
    change = f"{second} - {first}"
    rows += [_row(run, setting, change, label[arm], results, [(1, second, arm), (-1, first, arm)]) for arm in names]
    rows += [_row(run, setting, change, f"{label[a]} - {label[b]}", results,
                  [(1, second, a), (-1, second, b), (-1, first, a), (1, first, b)]) for a, b in pairs]
    return rows


def _row(run: Run, setting: str, value: str, what: str, results: dict, terms: list[tuple[int, str, str]]) -> dict:
    tune, evaluation = run.profile.finetune, run.profile.evaluate
    cells = {"setting": setting, "value": value, "what": what}
    for metric in METRICS:
        models = [(sign, *results[of][arm]["mean"][metric]) for sign, of, arm in terms]
        low, high = interval(sum(sign * draws for sign, _, draws in models), evaluation.confidence)
        shown = (sum(sign * mean for sign, mean, _ in models), low, high)
        cells |= {f"{metric}{end}": f"{100 * number:.2f}"
                  for end, number in zip(("", "_low", "_high"), shown, strict=True)}
    one = results[terms[0][1]][terms[0][2]]
    single = len(terms) == 1
    return cells | {
        "total_loss": f"{one['loss']:.4f}" if single else "",
        "seconds_per_iteration": f"{one['seconds']:.3f}" if single else "",
        "profile": run.profile.name, "engine": "" if setting == "finetune.engine" else tune.engine,
        "data": run.data.name if run.data else run.profile.data.source, "test_images": one["images"],
        "iterations": tune.steps, "seeds": " ".join(map(str, tune.seeds)),
        "replicates": evaluation.bootstrap, "confidence": evaluation.confidence,
    }
