"""How far one arm is ahead of another, over the seeds that both have been trained with.

A study in the making has more seeds of one arm than of another, and the mean over two trainings
minus the mean over one of them is no lead. Here both means are over the same seeds.
"""

import numpy as np

from byol_helpers.core.arms import find_control
from byol_helpers.core.intervals import ENOUGH_SEEDS, percentile_interval
from byol_helpers.evaluation.comparison import ModelResult, compare_arms, describe_seeds
from byol_helpers.reproduction.plan import REPEAT_SEED
from byol_helpers.reproduction.run_results import RunResults

ARM_KEY = "mask/AP"
COMPARED_WITH = {"trainable": "random", "frozen": "random-measured"}  # what BYOL has to be ahead of
AHEAD = "ahead"
BEHIND = "behind"
UNTOLD = "cannot be told from zero"
IMAGES_AND_SEEDS = "images and seeds"
IMAGES_ONLY = "images only"


def subtract_models(
    first: dict[int, ModelResult], second: dict[int, ModelResult], metric: str = ARM_KEY
) -> dict | None:
    """Mean difference of a metric over common seeds, {value, low, high} over seeds and images.

    None where fewer than three seeds are common.
    """
    common = sorted(first.keys() & second.keys())
    if len(common) < ENOUGH_SEEDS:
        return None
    return describe_seeds(
        [first[seed].value(metric) - second[seed].value(metric) for seed in common],
        np.array([first[seed].columns[metric] - second[seed].columns[metric] for seed in common]),
        first[common[0]].metrics["bootstrap"]["confidence"],
    )[1]


def measure_lead(ours: dict[int, ModelResult], theirs: dict[int, ModelResult]) -> dict | None:
    """The mean difference of AP over the common seeds, in points; None where none is common.

    Returns:
        ``seeds`` (how many are common), ``lead`` and ``interval`` in points, ``covers`` (what the
        interval covers: with fewer than three seeds the images only) and ``verdict``.
    """
    common = sorted(seed for seed in ours.keys() & theirs.keys() if seed < REPEAT_SEED)
    if not common:
        return None
    both = subtract_models(ours, theirs)
    if both is not None:
        lead = both["value"]
        ends = (both["low"], both["high"])
    else:
        pairs = [(ours[seed], theirs[seed]) for seed in common]
        lead = float(np.mean([a.value(ARM_KEY) - b.value(ARM_KEY) for a, b in pairs]))
        draws = np.mean([a.columns[ARM_KEY] - b.columns[ARM_KEY] for a, b in pairs], axis=0)
        confidence = pairs[0][0].metrics["bootstrap"]["confidence"]
        ends = percentile_interval(draws, confidence)
    return {
        "seeds": len(common),
        "lead": 100 * lead,
        "interval": [100 * end for end in ends],
        "covers": IMAGES_AND_SEEDS if both is not None else IMAGES_ONLY,
        "verdict": _judge(*ends),
    }


def _judge(low: float, high: float) -> str:
    """What an interval says of a lead."""
    if low > 0:
        return AHEAD
    return BEHIND if high < 0 else UNTOLD


def find_baseline(run: RunResults, protocol: str, arm: str) -> str | None:
    """What an arm's lead is over: weights that nobody trained, under frozen batch norm with
    measured statistics where they are there; None for random weights themselves."""
    if arm == "random":
        return None
    wanted = COMPARED_WITH[protocol]
    if arm == find_control("random") or not run.results_of(wanted):
        wanted = "random"
    return wanted if run.results_of(wanted) else None


def select_paired(run: RunResults, protocol: str, arm: str) -> dict[int, ModelResult]:
    """An arm's models of those seeds that the weights it is compared with have too; all of its
    models where no seed is common."""
    models = run.results_of(arm)
    common = set(models)
    for other in {"random", COMPARED_WITH[protocol]}:
        if run.results_of(other):
            common &= set(run.results_of(other))
    return {seed: model for seed, model in models.items() if seed in common} or models


def average_precision_of(models: dict[int, ModelResult]) -> dict:
    """{value, low, high} of the mean AP of an arm's models over the test images."""
    (described,) = compare_arms({str(seed): model for seed, model in models.items()})[
        "arms"
    ].values()
    return described["mask"]["AP"]
