"""Which constants the methods of notebook 01 take: ``python -m benchmarks.methods``.

Every method has one constant of its own, and three values of it are tried, with the notebook's
steps, batch and learning rate. A trial is one training with ``SEED`` and the accuracy of its linear
probe, on crops to fit and to ask that the notebook's tables do not use. The value with the best
probe is the one that the notebook has. ``notebooks/01-settings.csv`` keeps the trials.
"""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from byol_helpers import pretraining
from byol_helpers.core.files import read_json, write_text
from byol_helpers.synthetic import scenes

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "notebooks" / "01-without-labels.ipynb"
OUT = ROOT / "notebooks" / "01-settings.csv"
CELLS = (
    "grow", "crops", "encoder", "views", "learner", "loop", "probe", "simclr", "bank", "moco",
    "sinkhorn", "swav", "deepcluster", "simsiam", "byol",
)  # fmt: skip
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


def load_cells() -> dict[str, Any]:
    """The names that the cells of the notebook define."""
    cells = {cell["id"]: "".join(cell["source"]) for cell in read_json(NOTEBOOK)["cells"]}
    names: dict[str, Any] = {"np": np, "torch": torch, "F": F, "nn": nn, "scenes": scenes}
    names |= {"smoke": True, "seeds": ()}  # few crops at first, no controls
    for name in ("measure_statistics", "predict_linearly", "standardise", "effective_rank"):
        names[name] = getattr(pretraining, name)
    exec("import copy, time\nfrom collections import deque", names)
    for name in CELLS:
        exec(cells[f"c01-{name}"], names)
    names["crops"], names["labels"] = names["make_crops"](0, CROPS)
    names["probe_crops"], names["probe_labels"] = names["make_crops"](*FIT)
    names["test_crops"], names["test_labels"] = names["make_crops"](*ASK)
    return names


def try_value(names: dict[str, Any], method: str, setting: str, value: float) -> float:
    """Accuracy of the probe, 0 to 1, after one training."""
    torch.manual_seed(SEED)
    learner = names[method](names["make_encoder"](SEED), **{setting: value})
    names["train"](learner, SEED, STEPS)
    accuracy, _ = names["probe"](names["measure"](learner.encoder))
    return accuracy


def main() -> None:
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


if __name__ == "__main__":
    main()
