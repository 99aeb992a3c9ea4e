"""Studies: the arms of a run again with one setting changed, on the same test images and draws.

``python -m byol_helpers study norm-policy`` asks what normalisation does to the comparison of
initial weights, ``study engines`` whether torchvision and detectron2 agree, and ``study
pretraining`` how BYOL's objective depends on the hidden layer and on the weights it starts from
(claims C9 and C10). Data and weights are those of the run; what is trained anew is kept in
``runs/<run>/studies`` and, like all stages, not trained twice.
"""

import math
import os
import shutil
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from byol_helpers import pipeline, probing
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_rows, write_text
from byol_helpers.core.intervals import corrected_interval, percentile_interval
from byol_helpers.core.profile_files import dump_profile, load_profile
from byol_helpers.core.stage import Run
from byol_helpers.evaluation import comparison
from byol_helpers.evaluation.curves import read_last_losses, read_metrics

STUDIES = {
    "norm-policy": ("finetune.norm_policy", ("trainable", "frozen")),
    "engines": ("finetune.engine", ("torchvision", "detectron2")),
}
_METRICS = ("AP", "AP50", "AP75")
PRETRAINING = {
    "2048": ("pretrain.hidden=2048", "pretrain.init=supervised"),  # the thesis's choice
    "4096": ("pretrain.hidden=4096", "pretrain.init=supervised"),
    "random": ("pretrain.hidden=2048", "pretrain.init=random"),
}
PRETRAINING_SEEDS = (0, 1, 2)
DATA_FILES = ("data", "splits.json", "statistics.json")
SHARED_FILES = (*DATA_FILES, "weights")


def run_study(
    run: Run, name: str, profile: str, overrides: list[str], out: Path | None = None
) -> Path:
    """Train, evaluate and compare.

    Rows of ``norm-policy`` and ``engines``: the arms under each value, the differences between arms
    under each value, each arm's change from the first value to the second, and the change of each
    difference; AP in points (0 to 100) with intervals over test images. Rows of ``pretraining``:
    those of every training's metrics.csv.

    Args:
        run: gives data and weights; its stages up to the transfer are brought up to date.
        name: a key of ``STUDIES``, or ``pretraining``.
        profile: a built-in name or the path of a file, as the run was opened with.
        overrides: settings that differ from the profile's, those of the run.
        out: where to write a copy.

    Returns:
        ``runs/<run>/studies/<name>.csv``.

    Raises:
        UserError: no such study, or as the stages.
    """
    if name not in (*STUDIES, "pretraining"):
        raise UserError(f"no study {name!r}; there are {', '.join(STUDIES)}, pretraining")
    pipeline.run_up_to(run, "transfer")
    path = run.path / "studies" / f"{name}.csv"
    if name == "pretraining":
        return _write_rows(_train_pretrainings(run, profile, overrides), path, out)
    setting, values = STUDIES[name]
    results = {}
    for value in values:
        variant = open_variant(run, profile, f"{name}-{value}", [*overrides, f"{setting}={value}"])
        results[value] = _collect_results(variant)
    return _write_rows(_make_rows(run, setting, values, results), path, out)


def _write_rows(rows: list[dict], path: Path, copy: Path | None) -> Path:
    names = list(rows[0])
    if copy:
        write_rows(copy, names, rows)
    return write_rows(path, names, rows)


def _train_pretrainings(run: Run, profile: str, overrides: list[str]) -> list[dict]:
    """The rows of metrics.csv of every variant of the pretraining, once for each seed.

    The seed is that of order, views and new weights; the images and the supervised weights stay
    the same.
    """
    rows = []
    for name, settings in PRETRAINING.items():
        for seed in PRETRAINING_SEEDS:
            changed = [*overrides, *settings, f"seed={seed}"]
            variant = open_variant(run, profile, f"pretraining-{name}-seed{seed}", changed)
            rows += _read_pretraining(variant, name, seed)
    return rows


def _read_pretraining(variant: Run, name: str, seed: int) -> list[dict]:
    """The rows of one variant's pretraining, which is done first."""
    columns = read_metrics(pipeline.pretrain(variant, "byol") / "metrics.csv")
    knn = probing.measure_knn(variant) or [math.nan] * 3
    settings = variant.profile.pretrain
    rows = []
    for k, step in enumerate(columns["step"]):
        rows.append(
            {
                "variant": name,
                "seed": seed,
                "step": int(step),
                "loss": f"{columns['loss'][k]:.6g}",
                "feature_std": f"{columns['feature_std'][k]:.6g}",
                "lr": f"{columns['lr'][k]:.6g}",
                "hidden": settings.hidden,
                "init": settings.init,
                "profile": variant.profile.name,
                "batch_size": settings.batch_size,
                "knn_before": f"{knn[0]:.4f}",
                "knn_measured": f"{knn[1]:.4f}",
                "knn_after": f"{knn[2]:.4f}",
                "backbone": variant.profile.backbone,
                "world": _name_world(variant),
            }
        )
    return rows


def open_variant(
    run: Run, profile: str, name: str, overrides: list[str], shared: Sequence[str] = SHARED_FILES
) -> Run:
    """The run with settings changed, in a folder of its own; the run itself if it has them.

    The folder holds what is shared, data and weights of the run, as links to the same files, or as
    copies.
    """
    if load_profile(profile, overrides) == run.profile:
        return run
    folder = run.path / "studies" / name
    for part in shared:
        _mirror(run.path / part, folder / part)
    return pipeline.open_run(profile, folder, run.data, overrides)


def open_own_training(run: Run) -> Run:
    """A run whose backbones are trained here: the run itself, or one in ``<run>/trained-here``.

    The latter, where the run takes released ones, has the same settings, and the images as links.
    """
    if not run.profile.pretrain.released:
        return run
    folder = run.path / "trained-here"
    for part in DATA_FILES:
        _mirror(run.path / part, folder / part)
    profile = run.profile.train_here()
    write_text(folder / "profile.yaml", dump_profile(profile))
    return Run(folder, profile, run.data, run.given_profile)


def _mirror(source: Path, target: Path) -> None:
    """Make a file or folder hold what another one holds; nothing happens where that is so already.

    Hard links take no room; where the file system has none, as on Google Drive, files are copied.
    Symbolic links that earlier versions made are left alone. A stage's record stays where the stage
    ran.
    """
    if target.is_symlink():
        return
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        children = {path.name for path in source.iterdir()} - {"stage.json"}
        for path in target.iterdir():
            if path.name not in children:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name in children:
            _mirror(source / name, target / name)
    elif source.is_file() and not _is_mirrored(source, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)


def _is_mirrored(source: Path, target: Path) -> bool:
    """Whether a file is a hard link or an up-to-date copy of another one."""
    if not target.is_file():
        return False
    ours = source.stat()
    theirs = target.stat()
    same_time = abs(ours.st_mtime - theirs.st_mtime) < 2  # seconds: FAT keeps no finer ones
    return os.path.samestat(ours, theirs) or (ours.st_size == theirs.st_size and same_time)


def _collect_results(run: Run) -> dict[str, dict]:
    """For each arm of a run values, draws and cost of its models, means over the seeds."""
    return {arm: _collect_arm(run, arm) for arm in run.profile.finetune.arms}


def _collect_arm(run: Run, arm: str) -> dict:
    """Train and evaluate one arm with every seed, and take the means."""
    members = []
    seconds = []
    losses = []
    for seed in run.profile.finetune.seeds:
        trained = pipeline.finetune(run, arm, seed) / "metrics.csv"
        members.append(comparison.load_result(pipeline.evaluate(run, arm, seed)))
        columns = read_metrics(trained)
        seconds.append(sorted(columns["seconds"])[len(columns["seconds"]) // 2])
        losses.append(read_last_losses(trained)["total"])
    values = {}
    draws = {}
    for metric in _METRICS:
        found = [_to_number(member.metrics["mask"][metric]["value"]) for member in members]
        values[metric] = sum(found) / len(members)
        drawn = np.stack([member.columns[f"mask/{metric}"] for member in members])
        draws[metric] = drawn.sum(axis=0) / len(members)
    return {
        "label": members[0].metrics["label"],
        "about": members[0].metrics,
        "value": values,
        "draws": draws,
        "images": members[0].metrics["images"],
        "seconds": sum(seconds) / len(seconds),
        "loss": sum(losses) / len(losses),
    }


def _to_number(value: float | None) -> float:
    return math.nan if value is None else value


def _make_rows(run: Run, setting: str, values: tuple[str, str], results: dict) -> list[dict]:
    """Every comparison as one line: a sum of models with signs, its value and its interval."""
    first, second = values
    names = list(results[first])
    label = {arm: results[first][arm]["label"] for arm in names}
    pairs = list(combinations(names, 2))
    compared = []
    for value in values:
        for arm in names:
            compared.append((value, label[arm], [(1, value, arm)]))
        for a, b in pairs:
            terms = [(1, value, a), (-1, value, b)]
            compared.append((value, f"{label[a]} - {label[b]}", terms))
    change = f"{second} - {first}"
    for arm in names:
        compared.append((change, label[arm], [(1, second, arm), (-1, first, arm)]))
    for a, b in pairs:
        terms = [(1, second, a), (-1, second, b), (-1, first, a), (1, first, b)]
        compared.append((change, f"{label[a]} - {label[b]}", terms))
    rows = []
    for value, what, terms in compared:
        cells = {"setting": setting, "value": value, "what": what}
        rows.append(cells | _make_cells(run, setting, results, terms))
    return rows


def _make_cells(
    run: Run, setting: str, results: dict, terms: list[tuple[int, str, str]]
) -> dict[str, str | int | float]:
    """The cells of one row.

    Args:
        run: says what the numbers rest on.
        setting: the one that the study changes.
        results: of ``_collect_results``, for each value of the setting.
        terms: sign, value of the setting and arm of each model in the sum.
    """
    tune = run.profile.finetune
    evaluation = run.profile.evaluate
    one = results[terms[0][1]][terms[0][2]]
    single = len(terms) == 1
    cells = {}
    for metric in _METRICS:
        value = 0.0
        draws = np.zeros(1)
        for sign, of, arm in terms:
            value += sign * results[of][arm]["value"][metric]
            draws = draws + sign * results[of][arm]["draws"][metric]
        if single:
            held = comparison.count_class_images(one["about"], f"mask/{metric}")
            low, high = corrected_interval(value, draws, held, one["images"], evaluation.confidence)
        else:
            low, high = percentile_interval(draws, evaluation.confidence)
        cells[metric] = f"{100 * value:.2f}"
        cells[f"{metric}_low"] = f"{100 * low:.2f}"
        cells[f"{metric}_high"] = f"{100 * high:.2f}"
    return cells | {
        "total_loss": f"{one['loss']:.4f}" if single else "",
        "seconds_per_iteration": f"{one['seconds']:.3f}" if single else "",
        "profile": run.profile.name,
        "engine": "" if setting == "finetune.engine" else tune.engine,
        "data": run.data.name if run.data else run.profile.data.source,
        "labels": _count_labelled(run),
        "test_images": one["images"],
        "iterations": tune.steps,
        "seeds": " ".join(map(str, tune.seeds)),
        "replicates": evaluation.bootstrap,
        "confidence": evaluation.confidence,
        "backbone": run.profile.backbone,
        "world": _name_world(run),
    }


def _count_labelled(run: Run) -> int:
    """How many labelled images the arms are fine-tuned on."""
    given = read_json(run.path / "statistics.json")["splits"]["train"]["images"]
    return min(run.profile.finetune.images or given, given)


def _name_world(run: Run) -> str:
    """``data.world`` of generated images; nothing for others."""
    generated = run.data is None and run.profile.data.source == "generated"
    return run.profile.data.world if generated else ""
