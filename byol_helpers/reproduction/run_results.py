"""What a run has left behind, as the scorecard reads it: files only, never a model."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from byol_helpers.core.arms import ARMS, BASELINE_LABELS, REFERENCE_ARMS
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json
from byol_helpers.evaluation import comparison as comparisons

PRETRAINED = {"byol": "2048", "byol-random": "random"}  # arm: its variant in pretraining_study
# Where weights of each kind of arm come from, unless they are released ones.
ORIGINS = {
    "pretrain": "trained here",
    "supervised": "trained here",
    "imagenet": "torchvision's",
    "file": "a file",
    "random": "drawn here",
    "measured": "statistics measured here",
}


@dataclass(frozen=True)
class RunResults:
    """A run folder, or a condition of a study's results, which is laid out like one.

    Only the arms and seeds of its profile count; folders of earlier settings are passed over.
    """

    path: Path
    profile: dict

    @property
    def reference(self) -> str:
        """The arm with supervised weights."""
        return REFERENCE_ARMS[self.profile["supervised"]["source"]]

    @property
    def seeds(self) -> list[int]:
        return list(self.profile["finetune"]["seeds"])

    @cached_property
    def study(self) -> dict:
        """Content of ``study.json`` of a condition; empty for a run."""
        path = self.path / "study.json"
        return read_json(path) if path.is_file() else {}

    @property
    def pretraining_varies(self) -> bool:
        """Whether each seed has a pretraining of its own."""
        return self.study.get("pretraining_varies", False)

    @cached_property
    def models(self) -> dict[str, dict]:
        """Content of each ``evaluate/<arm>-seed<k>/metrics.json``, by key."""
        return {key: result.metrics for key, result in self._results.items()}

    @cached_property
    def comparison(self) -> dict:
        """Content of ``evaluate/comparison.json``, computed from the files of the models."""
        return comparisons.compare_arms(self._results)

    @cached_property
    def _results(self) -> dict[str, comparisons.ModelResult]:
        found = self._find_files("evaluate", "metrics.json")
        return {key: comparisons.load_result(path.parent) for key, path in found.items()}

    def results_of(self, arm: str) -> dict[int, comparisons.ModelResult]:
        """The evaluated models of an arm by seed."""
        return _group_by_arm(self._results).get(arm, {})

    @cached_property
    def curves(self) -> dict[str, dict[int, Path]]:
        """``metrics.csv`` of each finished fine-tuning, {arm: {seed: path}}."""
        finished = self._find_files("finetune", "stage.json")
        return _group_by_arm({key: path.with_name("metrics.csv") for key, path in finished.items()})

    @cached_property
    def timing(self) -> dict[str, list[float]]:
        """Seconds of a step in each block of ``timing/seconds.csv``, by arm; empty without it."""
        path = self.path / "timing" / "seconds.csv"
        if not path.is_file():
            return {}
        blocks = defaultdict(list)
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                blocks[row["arm"]].append(float(row["seconds"]))
        return dict(blocks)

    @cached_property
    def validation(self) -> dict[str, dict[int, dict[str, float]]]:
        """Losses and rates of each model on validation images, {arm: {seed: {name: mean}}}."""
        found = self._find_files("validation", "losses.json")
        return _group_by_arm({key: read_json(path)["losses"] for key, path in found.items()})

    @cached_property
    def background(self) -> dict[str, dict[int, dict]]:
        """Content of each ``background/<arm>-seed<k>/metrics.json``, {arm: {seed: content}}."""
        found = self._find_files("background", "metrics.json")
        return _group_by_arm({key: read_json(path) for key, path in found.items()})

    @cached_property
    def baselines(self) -> dict[str, dict]:
        """Content of each ``background/<method>/metrics.json`` of a method without learning, by its
        label."""
        found = {}
        for method, name in BASELINE_LABELS.items():
            path = self.path / "background" / method / "metrics.json"
            if path.is_file():
                found[name] = read_json(path)
        return found

    @cached_property
    def pretraining(self) -> dict[str, dict]:
        """Each finished pretraining, {name: {"parameters": of the stage, "metrics": path of
        metrics.csv}}."""
        found = {}
        for path in sorted(self.path.glob("pretrain/*/stage.json")):
            found[path.parent.name] = {
                "parameters": read_json(path)["parameters"],
                "metrics": path.with_name("metrics.csv"),
            }
        return found

    @cached_property
    def pretraining_study(self) -> dict[str, dict[int, dict]]:
        """Columns of ``studies/pretraining.csv``, {variant: {seed: {"step": [N], "loss": [N]}}},
        or of the pretrainings of a study; empty without any."""
        if self.study:
            return self._read_pretrainings()
        path = self.path / "studies" / "pretraining.csv"
        if not path.is_file():
            return {}
        steps = defaultdict(lambda: defaultdict(list))
        losses = defaultdict(lambda: defaultdict(list))
        with open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                steps[row["variant"]][int(row["seed"])].append(float(row["step"]))
                losses[row["variant"]][int(row["seed"])].append(float(row["loss"]))
        study = {}
        for variant, of_seed in steps.items():
            study[variant] = {}
            for seed, values in of_seed.items():
                loss = np.array(losses[variant][seed])
                study[variant][seed] = {"step": np.array(values), "loss": loss}
        return study

    @cached_property
    def pretraining_images(self) -> int | None:
        """How many unlabelled images there were."""
        if self.study:
            return self.study["pretraining_images"]
        path = self.path / "splits.json"
        return len(read_json(path)["pretrain"]) if path.is_file() else None

    def difference(self, a: str, b: str) -> dict:
        """The paired difference a minus b of ``comparison``; ``KeyError`` where an arm is
        missing."""
        for difference in self.comparison["differences"]:
            if (difference["a"], difference["b"]) == (a, b):
                return difference
        raise KeyError(f"{a} - {b}")

    def _read_pretrainings(self) -> dict[str, dict[int, dict]]:
        found = {}
        if self.profile["pretrain"]["init"] == "random":  # then both arms start alike
            return found
        for arm, variant in PRETRAINED.items():
            of_seed = {}
            for seed in self.seeds:
                path = self.path.parent / "pretrain" / f"{arm}-seed{seed}" / "metrics.csv"
                if path.is_file():
                    of_seed[seed] = comparisons.read_metrics(path)
            if of_seed:
                found[variant] = of_seed
        return found

    def _find_files(self, stage: str, name: str) -> dict[str, Path]:
        """Files ``<stage>/<arm>-seed<k>/<name>`` of the profile's arms and seeds, by key, in their
        order."""
        tune = self.profile["finetune"]
        keys = [f"{arm}-seed{seed}" for arm in tune["arms"] for seed in tune["seeds"]]
        paths = {key: self.path / stage / key / name for key in keys}
        return {key: path for key, path in paths.items() if path.is_file()}


def open_results(run_path: Path | str) -> RunResults:
    """Open a run folder; ``UserError`` where it holds no readable ``profile.yaml``."""
    path = Path(run_path) / "profile.yaml"
    try:
        profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the folder of a run") from None
    except yaml.YAMLError:
        raise UserError(f"{path}: not valid YAML; open the run again to write it anew") from None
    return RunResults(Path(run_path), profile)


def describe_origin(run_path: Path, arm: str) -> str:
    """How an arm came by its weights, for a table: ``released``, ``trained here``, ..."""
    kind = ARMS[arm].source
    path = Path(run_path) / "weights" / f"{arm}.json"
    source = read_json(path)["source"] if path.is_file() else {}
    if source.get("released"):
        return "released, statistics measured here" if kind == "measured" else "released"
    return ORIGINS[kind]


def _group_by_arm(found: dict) -> dict[str, dict]:
    """{"<arm>-seed<k>": value} as {arm: {k: value}}."""
    nested = defaultdict(dict)
    for key, value in found.items():
        arm, _, seed = key.rpartition("-seed")
        nested[arm][int(seed)] = value
    return dict(nested)
