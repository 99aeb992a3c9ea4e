"""Trials and recorded seeds of notebook 01, by the code of its cells.

``python -m benchmarks.methods``: which constants the methods take. Every method has one constant of
its own, and three values of it are tried, with the notebook's steps, batch and learning rate. A
trial is one training with ``SEED`` and the accuracy of its linear probe, on crops to fit and to ask
that the notebook's tables do not use. The value with the best probe is the one that the notebook
has. ``notebooks/01-settings.csv`` keeps the trials.

``python -m benchmarks.methods --seeds 1,2``: the trainings that the notebook takes as recorded,
twelve with each seed, about 15 seconds of one core each. Their rows go to
``notebooks/01-seeds.csv``; what the run's folder holds already, as that of a notebook with these
``SEEDS`` does, is not trained again.
"""

import argparse
import csv
import io
import linecache
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from byol_helpers import pipeline, pretraining
from byol_helpers.core.files import read_json, write_rows, write_text
from byol_helpers.core.stage import Run
from byol_helpers.synthetic import scenes

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "01-without-labels.ipynb"
OUT = ROOT / "notebooks" / "01-settings.csv"
RECORDED = ROOT / "notebooks" / "01-seeds.csv"
CELLS = (
    "grow", "crops", "encoder", "views", "learner", "loop", "probe", "simclr", "bank", "moco",
    "sinkhorn", "swav", "deepcluster", "simsiam", "byol",
)  # fmt: skip
PRETEXT = ("rotation", "colour", "order", "order-2")
SEED = 10
STEPS = 400
CROPS = 2000
FIT = (80_000, 3000)  # the first crop of a draw, and how many
ASK = (90_000, 2000)
TRIALS = {
    "BYOL": ("haste", (3, 10, 1)),
    "SimSiam": ("haste", (3, 10, 1)),
    "SwAV": ("epsilon", (0.05, 0.1, 0.03)),
    "MoCo": ("temperature", (0.1, 0.5, 0.2)),
    "MemoryBank": ("temperature", (0.1, 0.5, 0.2)),
    "DeepCluster": ("clusters", (100, 10, 30)),
    "SimCLR": ("temperature", (0.5, 0.1, 0.2)),
}


def run_cells(names: dict[str, Any], cells: Iterable[str]) -> None:
    """Execute cells of the notebook, and keep their source where ``inspect`` finds it: the digest
    of the trainings is computed from it."""
    sources = {cell["id"]: "".join(cell["source"]) for cell in read_json(NOTEBOOK)["cells"]}
    for cell in cells:
        source = sources[f"c01-{cell}"] + "\n"
        file = f"<c01-{cell}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        exec(compile(source, file, "exec"), names)


def import_names() -> dict[str, Any]:
    """The names that the notebook imports before its cells of part 2."""
    names: dict[str, Any] = {"np": np, "torch": torch, "F": F, "nn": nn, "scenes": scenes}
    for name in ("measure_statistics", "predict_linearly", "standardise", "effective_rank"):
        names[name] = getattr(pretraining, name)
    exec("import copy, inspect, time\nfrom collections import deque", names)
    exec("from scipy import ndimage", names)
    return names


def load_cells() -> dict[str, Any]:
    """The names that the cells of the notebook define, for a trial."""
    names = import_names()
    names |= {"smoke": True, "seeds": [], "others": []}  # few crops at first, no controls
    run_cells(names, CELLS)
    names["crops"], names["labels"] = names["make_crops"](0, CROPS)
    names["probe_crops"], names["probe_labels"] = names["make_crops"](*FIT)
    names["test_crops"], names["test_labels"] = names["make_crops"](*ASK)
    return names


def judge_seeds(run: Run, seeds: Sequence[int]) -> list[dict]:
    """Train all learners with these seeds, as the notebook does; a row for each training.

    Args:
        run: keeps the trainings.
        seeds: of the initial weights and the trainings.
    """
    names = import_names()
    run_cells(names, ["parameters"])
    names |= {"run": run, "smoke": False, "steps": names["STEPS"]}
    names |= {"seeds": seeds, "others": [], "recorded": []}
    run_cells(names, [*CELLS, *PRETEXT, "learners", "train", "judge"])
    return [row | {"digest": names["digest"]} for row in names["here"]]


def try_value(names: dict[str, Any], method: str, setting: str, value: float) -> float:
    """Accuracy of the probe, 0 to 1, after one training."""
    torch.manual_seed(SEED)
    learner = names[method](names["make_encoder"](SEED), **{setting: value})
    names["train"](learner, SEED, STEPS)
    accuracy, _ = names["probe"](names["measure"](learner.encoder))
    return accuracy


def try_values() -> None:
    """Run every trial, print it, and write the table."""
    names = load_cells()
    control, _ = names["probe"](names["measure"](names["make_encoder"](SEED)))
    print("untrained, measured", round(control, 4), flush=True)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["method", "setting", "value", "steps", "seed", "probe"])
    for method, (setting, values) in TRIALS.items():
        for value in values:
            found = try_value(names, method, setting, value)
            row = [method, setting, value, STEPS, SEED, round(found, 4)]
            writer.writerow(row)
            print(*row, flush=True)
    write_text(OUT, table.getvalue())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", help="record trainings with these seeds instead: 1,2")
    parser.add_argument("--run", type=Path, default=Path("runs/methods"))
    parser.add_argument("--out", type=Path, default=RECORDED)
    options = parser.parse_args(arguments)
    if not options.seeds:
        try_values()
        return
    seeds = [int(seed) for seed in options.seeds.split(",")]
    rows = judge_seeds(pipeline.open_run("quick", options.run), seeds)
    write_rows(options.out, list(rows[0]), rows)


if __name__ == "__main__":
    main()
