"""The trials by which the recipes of two profiles were chosen: ``python -m benchmarks.recipe``.

Each trial is a pretraining of the profile, shorter than the profile's own, with some settings
changed. It is judged by what a linear layer and neighbours read from its frozen features, beside
the start with measured batch-norm statistics; no detector is trained. What is done is not done
again.

Without folders these are the trials of profile ``study``, 1,000 steps instead of 4,000, judged on
windows around the objects of validation scenes, three minutes of one core each; the rows go to
``recipe.csv``. With ``--photographs`` and ``--data`` they are those of profile ``photographs``,
1,500 steps instead of 8,000, judged on held-out photographs of the same classes; the rows go to
``recipe-photographs.csv``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from byol_helpers import pipeline
from byol_helpers.ablations import DATA_FILES, open_variant
from byol_helpers.core.files import read_json, write_rows
from byol_helpers.core.stage import Run

COMMON = {  # settings of all trials of a profile
    "study": [
        "data.train=1",
        "data.val=1",
        "data.test=1",
        "data.crops=20",  # of the supervised weights, which no trial needs
        "supervised.batch_size=20",
        "pretrain.steps=1000",
        "pretrain.warmup_steps=50",
    ],
    "photographs": ["pretrain.steps=1500", "pretrain.warmup_steps=75"],
}
TRIALS = {  # arm, and what is set for it
    "crop scale 0.08": ("byol-random", ["pretrain.crop_scale=0.08"]),
    "crop scale 0.2": ("byol-random", ["pretrain.crop_scale=0.2"]),
    "crop scale 0.4": ("byol-random", ["pretrain.crop_scale=0.4"]),
    "crop scale 0.6": ("byol-random", ["pretrain.crop_scale=0.6"]),
    "crop scale 0.8": ("byol-random", ["pretrain.crop_scale=0.8"]),
    "crop scale 0.08, tau 0.98": (
        "byol-random",
        ["pretrain.crop_scale=0.08", "pretrain.tau_start=0.98"],
    ),
    "crop scale 0.2, twice as many steps of 64": (
        "byol-random",
        [
            "pretrain.crop_scale=0.2",
            "pretrain.batch_size=64",
            "pretrain.steps=2000",
            "pretrain.warmup_steps=100",
        ],
    ),
    "crop scale 0.6, 600 steps": (  # as quick trains before the reader's eyes
        "byol-random",
        ["pretrain.crop_scale=0.6", "pretrain.steps=600", "pretrain.warmup_steps=30"],
    ),
    "SimCLR, crop scale 0.4": ("simclr-random", ["pretrain.crop_scale=0.4"]),
    "SimCLR, crop scale 0.6": ("simclr-random", ["pretrain.crop_scale=0.6"]),
}
PHOTOGRAPHS_TRIALS = {
    "photographs, crop scale 0.08": ("byol-random", ["pretrain.crop_scale=0.08"]),
    "photographs, crop scale 0.2": ("byol-random", ["pretrain.crop_scale=0.2"]),
    "photographs, crop scale 0.4": ("byol-random", ["pretrain.crop_scale=0.4"]),
}
FEW = 5  # labels of each class


def run_trial(base: Run, trial: str, seed: int, more: Sequence[str] = ()) -> list[dict]:
    """Train and probe; the rows of its table.

    Args:
        base: a run of the profile with ``COMMON`` and ``more``, its data prepared.
        trial: a key of ``TRIALS`` or ``PHOTOGRAPHS_TRIALS``.
        seed: of the random weights and the pretraining.
        more: settings, ``key=value``.
    """
    arm, changed = (TRIALS | PHOTOGRAPHS_TRIALS)[trial]
    settings = [*COMMON[base.profile.name], f"pretrain.seed={seed}", *changed, *more]
    folder = f"{trial}, seed {seed}".replace(", ", "-").replace(" ", "-")
    run = open_variant(base, base.profile.name, folder, settings, DATA_FILES)
    stage = pipeline.pretrain(run, arm)
    pipeline.transfer(run, arm)
    found = pipeline.measure_probes(run, arm)
    seconds = read_json(stage / "stage.json")["seconds"]
    rows = []
    for row in found["rows"] if found else []:
        if row["per_class"] not in (None, FEW):
            continue
        written = {"trial": trial, "seed": seed, "encoder": row["encoder"], "stage": row["stage"]}
        written |= {"probe": row["probe"], "labels per class": row["per_class"] or "all"}
        for name in ("value", "low", "high", "gain", "gain_low", "gain_high"):
            written[name.replace("_", " ")] = round(100 * row[name], 2)
        rows.append(written | {"seconds": round(seconds)})
    return rows


def describe_trial(rows: list[dict]) -> str:
    """Accuracy and gain of each stage, by the linear layer on all labels, in one line."""
    described = []
    for row in rows:
        trained = row["encoder"] not in ("untrained", "start, measured")
        if trained and (row["probe"], row["labels per class"]) == ("linear", "all"):
            described.append(f"{row['stage']} {row['value']:.1f} ({row['gain']:+.1f})")
    return f"{rows[0]['trial']}, seed {rows[0]['seed']}: {', '.join(described)}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", nargs="+", choices=TRIALS | PHOTOGRAPHS_TRIALS)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--run", type=Path, default=Path("runs/recipe"))
    parser.add_argument("--out", type=Path, help="by default recipe.csv or recipe-photographs.csv")
    parser.add_argument("--photographs", help="photographs in class folders")
    parser.add_argument("--data", help="labelled photographs, which profile photographs opens with")
    parser.add_argument("--set", nargs="+", default=[], help="of every trial, to make it shorter")
    options = parser.parse_args(arguments)
    more = options.set
    profile = "study"
    trials = TRIALS
    out = options.out or Path("benchmarks/recipe.csv")
    if options.photographs:
        profile = "photographs"
        trials = PHOTOGRAPHS_TRIALS
        out = options.out or Path("benchmarks/recipe-photographs.csv")
        more = [f"data.photographs={options.photographs}", *more]
    base = pipeline.open_run(profile, options.run, options.data, [*COMMON[profile], *more])
    pipeline.prepare(base)
    rows = []
    for trial in options.trials or trials:
        for seed in options.seeds.split(","):
            made = run_trial(base, trial, int(seed), more)
            print(describe_trial(made), flush=True)
            rows += made
            write_rows(out, list(rows[0]), rows)


if __name__ == "__main__":
    main()
