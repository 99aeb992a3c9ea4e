"""What a claim is measured by: quantities with an interval and the range that the claim puts them
in."""

import statistics
from dataclasses import dataclass, field, replace

from byol_helpers.core.arms import find_control, label_arm
from byol_helpers.core.intervals import ENOUGH_SEEDS, t_interval
from byol_helpers.evaluation.curves import choose_beta, ema, read_metrics
from byol_helpers.reproduction.run_results import RunResults

INF = float("inf")
ABOVE = (0.0, INF)
BELOW = (-INF, 0.0)
Bounds = tuple[float, float]
ONE_PRETRAINING = "all seeds start from one pretraining, whose luck is not covered"
SEEDS_MISSING = f"with fewer than {ENOUGH_SEEDS} seeds there is no interval"


class NotTested(Exception):
    """The run cannot say anything about a claim; the message says why."""


@dataclass(frozen=True)
class Measure:
    """A measured number beside the thesis's.

    Attributes:
        bounds: its interval.
        claimed: the open range that the claim puts it in, if it tests.
        unit: where it is not the claim's.
        margin: of a difference: the smallest that matters.
        close: the claim says that two things are close, and ``claimed`` how close.
        seeds: how many trainings the interval covers, where it covers the luck of training.
        trainings: how many there were, pairs of them for a difference, whatever is covered.
        over_images: what the interval is over the images alone, where it covers both.
    """

    name: str
    thesis: float | None
    measured: float | None
    bounds: tuple[float, float] | None = None
    claimed: tuple[float, float] | None = None
    unit: str | None = None
    margin: float | None = None
    close: bool = False
    seeds: int | None = None
    trainings: int | None = None
    over_images: tuple[float, float] | None = None


@dataclass
class Evidence:
    """What a run shows about one claim; the first test is the headline."""

    tests: list[Measure]
    values: list[Measure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    images: int | None = None  # where not those of the test split


def require_arms(found: dict, *arms: str) -> None:
    """``NotTested`` where an arm has no result."""
    missing = [label_arm(arm) for arm in arms if arm not in found]
    if missing:
        raise NotTested(f"no result for {', '.join(missing)}")


def is_frozen(run: RunResults) -> bool:
    """Whether batch norm kept the statistics that the weights came with."""
    return run.profile["finetune"]["norm_policy"] == "frozen"


def profile_confidence(run: RunResults) -> float:
    """Share of draws inside an interval, by the profile."""
    return run.profile["evaluate"]["confidence"]


def compare_ap(
    run: RunResults, metric: str, other: str, said: float | None, claimed: Bounds
) -> Measure:
    """BYOL minus another arm in AP points: over test images and seeds together, or over the images
    alone where there are too few seeds; without a value where the arm has no result."""
    name = f"{metric} BYOL - {label_arm(other)}"
    if not {"byol", other} <= run.comparison["arms"].keys():
        return Measure(name, said, None, None, claimed)
    difference = run.difference("byol", other)
    trainings = count_pairs(run, other)
    both = difference["images_and_seeds"]
    if not both:
        measure = measure_points(name, said, difference["mask"][metric], claimed)
        return replace(measure, trainings=trainings)
    measure = measure_points(name, said, both["mask"][metric], claimed)
    over_images = convert_to_points(difference["mask"][metric])[1]
    seeds = len(both["seeds"])
    return replace(measure, seeds=seeds, trainings=trainings, over_images=over_images)


def compare_ap_gain(run: RunResults, other: str, said: float) -> list[Measure]:
    """Whether BYOL's AP is above that of an arm, and under frozen batch norm also above that of the
    same weights with measured statistics.

    Frozen batch norm keeps the statistics that the weights came with. Those of BYOL were measured
    on the right images; a lead that measuring them gives the other arm too is none of its weights.
    """
    tests = [compare_ap(run, "AP", other, said, ABOVE)]
    for control in list_compared(run, other)[1:]:
        tests.append(compare_ap(run, "AP", control, None, ABOVE))
    return tests


def list_compared(run: RunResults, other: str) -> list[str]:
    """The arms that BYOL has to be ahead of: another, under frozen batch norm its control too."""
    return [other, find_control(other)] if is_frozen(run) else [other]


def measure_points(name: str, said: float | None, entry: dict, claimed: Bounds | None) -> Measure:
    """A quantity in AP points from an entry {value, low, high} in fractions."""
    return Measure(name, said, *convert_to_points(entry), claimed)


def convert_to_points(entry: dict) -> tuple[float | None, tuple[float, float] | None]:
    """Value and bounds in AP points."""
    value = None if entry["value"] is None else 100 * entry["value"]
    if entry["low"] is None or entry["high"] is None:
        return value, None
    return value, (100 * entry["low"], 100 * entry["high"])


def test_over_seeds(
    run: RunResults, name: str, said: float | None, values: list[float], claimed: Bounds | None
) -> Measure:
    """The mean of one value for each seed, with Student's interval where there are enough of
    them."""
    mean = statistics.fmean(values) if values else None
    bounds = t_interval(values, profile_confidence(run))
    trainings = len(values) or None
    seeds = trainings if bounds else None
    return Measure(name, said, mean, bounds, claimed, seeds=seeds, trainings=trainings)


def subtract_paired(a: dict, b: dict) -> list[float]:
    """Differences over the keys (seeds, images) that both have."""
    return [a[key] - b[key] for key in sorted(a.keys() & b.keys())]


def note_images(run: RunResults, *others: str) -> list[str]:
    """What an interval over test images, or over them and the seeds, leaves out.

    Args:
        others: the arms that BYOL is compared with; by default the reference and random weights.
    """
    seeds = count_seeds(run, *others)
    if seeds < ENOUGH_SEEDS:
        named = "one seed" if seeds == 1 else f"{seeds} seeds"
        return [f"intervals cover the choice of test images, not the luck of training ({named})"]
    return [] if run.pretraining_varies else [ONE_PRETRAINING]


def count_seeds(run: RunResults, *others: str) -> int:
    """With how many seeds BYOL and what it is compared with have been tested; before any test,
    those of the profile."""
    tested = [arm for arm in others or (run.reference, "random") if run.results_of(arm)]
    return count_pairs(run, *tested) or len(run.seeds)


def count_pairs(run: RunResults, *others: str) -> int:
    """With how many seeds both BYOL and all of some other arms have been tested."""
    common = set(run.results_of("byol"))
    for other in others:
        common &= set(run.results_of(other))
    return len(common)


def note_seeds(run: RunResults) -> list[str]:
    """Why there is no interval, where there are too few seeds."""
    return [] if count_seeds(run) >= ENOUGH_SEEDS else [SEEDS_MISSING]


def note_pretraining(run: RunResults) -> list[str]:
    """How often was pretrained, for claims about BYOL's objective."""
    seeds = sorted({seed for of in run.pretraining_study.values() for seed in of})
    if not seeds:
        return ["one pretraining each"]
    return [f"pretrained with the seeds {', '.join(map(str, seeds))}"]


def subtract_objectives(a: dict, b: dict) -> float:
    """Smoothed BYOL objective of ``a`` minus that of ``b`` at the last step that both have reached.

    Args:
        a, b: columns ``step`` and ``loss``, float [N], as ``read_metrics`` gives them.
    """
    until = min(a["step"][-1], b["step"][-1])
    return _smooth_until(a, until) - _smooth_until(b, until)


def _smooth_until(curve: dict, until: float) -> float:
    """Last smoothed loss of the rows up to a step."""
    losses = curve["loss"][curve["step"] <= until]
    return float(ema(losses, choose_beta(len(losses)))[-1])


def test_objective(
    run: RunResults, variants: tuple[str, str], names: tuple[str, str], found: dict
) -> Measure:
    """Objective of the first variant minus that of the second: over the seeds of a study, or of the
    run's own two.

    Args:
        variants: in ``studies/pretraining.csv``.
        names: what to call them.
        found: {variant: path of metrics.csv} of the run's own pretraining, where there is no study.
    """
    study = run.pretraining_study
    name = f"objective {names[0]} - {names[1]}"
    if set(variants) <= study.keys():
        first, second = (study[variant] for variant in variants)
        common = sorted(first.keys() & second.keys())
        values = [subtract_objectives(first[seed], second[seed]) for seed in common]
        return replace(test_over_seeds(run, name, None, values, BELOW), unit="loss")
    first, second = (read_metrics(found[variant]) for variant in variants)
    value = subtract_objectives(first, second)
    return Measure(name, None, value, None, BELOW, unit="loss", trainings=1)
