"""How often the intervals hold the truth, at the shapes that the profiles have.

``python -m benchmarks coverage``; ``python -m benchmarks.coverage --experiments N [SHAPE ...]`` for
another number of experiments, or single shapes. The latter writes ``coverage.csv``, where the rows
of shapes that are not measured stay.

Two arms, each trained with several seeds, look at the same simulated images; what they find is
drawn from a model, no pixels needed. The quality of an instance is

    q = logistic(skill_as - image_i - instance_j + noise_asij)   arm a, seed s, image i, instance j

``image`` and ``instance`` are shared by all models, which is what pairing uses; ``skill_as`` is the
arm's skill and the luck of one training. q is the IoU of the best detection, a hit at every
threshold up to it. Scores follow q with noise; false positives score lower on average. Their number
in an image also grows with ``image``. The true AP of a skill, on infinitely many images, is an
integral (``true_ap``). An experiment draws trainings and a test set, and asks of each interval
whether it holds the truth; 95 % should.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from scipy.special import expit
from scipy.stats import norm

from byol_helpers.coco.layouts import count_part
from byol_helpers.core.files import write_rows
from byol_helpers.core.intervals import (
    combine_intervals,
    corrected_interval,
    mean_interval,
    measure_shared_spread,
    t_interval,
)
from byol_helpers.core.profile_files import load_profile
from byol_helpers.evaluation.average_precision import (
    COCO_LIMITS,
    COCO_METRICS,
    RECALLS,
    Evaluation,
    accumulate_precision,
)
from byol_helpers.evaluation.bootstrap import Replicates, replicate_metrics
from byol_helpers.evaluation.matching import AREA_RANGES, IOU_THRESHOLDS, Matches
from byol_helpers.reproduction.thesis import load_thesis

EXPERIMENTS = 200
STRONG = (1.5, 1.2)  # skills of the two arms: AP 41 and 34 on generated scenes
MIDDLE = (0.7, 0.5)  # AP 23 and 19, as the committed study's with all labels
WEAK = (-0.5, -0.9)  # AP 6 and 3, as with a sixteenth of the labels
LUCK = 0.06  # deviation of a training's skill, about one AP point
SPREADS = {"image": 0.7, "instance": 1.0, "noise": 0.5}
SCORE_NOISE = 0.4
FALSE_SCORE = 0.8  # mean score of a false positive
GRID = 400  # points of each integral
GENERATED = (0.28,) * 10
MISSED = 0.45  # share of the cut-outs that miss their object, 0.35 to 0.65 in the committed study


def count_coco_instances() -> tuple[float, ...]:
    """Instances of each of COCO's 80 classes in an image, by table 4.1 of the thesis."""
    rows = load_thesis().tables["4.1"].rows.values()
    return tuple(float(cast(float, row[0])) / 5000 for row in rows)


def _interval_of_seeds(values: np.ndarray) -> tuple[float, float]:
    """Student's interval of at least two seeds."""
    return cast(tuple[float, float], t_interval(values.tolist()))


@dataclass(frozen=True)
class Shape:
    """What a profile tests on.

    Attributes:
        images: of the test split.
        instances: of each class, on average in an image.
        false_positives: of each class, on average in an image.
        cut_outs: images of the background removal.
        replicates: of the bootstrap; fewer than the profile's 1,000, for time (``_draw_balanced``).
        seeds: trainings of each arm; intervals over seeds are taken of the first 3 and the first 5.
        skills: of the two arms.
    """

    images: int
    instances: tuple[float, ...]
    false_positives: float
    cut_outs: int
    replicates: int
    seeds: int
    skills: tuple[float, float] = STRONG


SHAPES = {  # profile, replicates, seeds, skills
    "smoke": ("smoke", 100, 3, STRONG),
    "quick": ("quick", 60, 3, WEAK),
    "study": ("study", 60, 5, MIDDLE),
    "study, few labels": ("study", 60, 5, WEAK),
    "colab": ("colab", 40, 1, STRONG),
    "thesis": ("thesis", 40, 1, STRONG),
}
SEEDS = (3, 5)  # of which intervals over seeds are measured
KINDS = {  # quantity and interval
    "AP": "one model, bias-corrected",
    "AP, percentile": "the same by percentiles",
    "class": "AP of one class, bias-corrected",
    "difference": "two models, percentile",
    "AP, 3 seeds": "mean over seeds, images and seeds together",
    "AP, 5 seeds": "mean over seeds, images and seeds together",
    "difference, 3 seeds": "difference of the means, images and seeds together",
    "difference, 5 seeds": "difference of the means, images and seeds together",
    "difference, 3 drawn": "the same by drawing seeds and then images",
    "difference, 5 drawn": "the same by drawing seeds and then images",
    "cut-outs": "mean of a score over images, of which nearly half are 0",
}


def read_shape(name: str) -> Shape:
    """The shape of a profile as it is now."""
    profile_name, replicates, seeds, skills = SHAPES[name]
    profile = load_profile(profile_name)
    images = count_part(profile.data.test, profile.data.fraction)
    cut_outs = min(profile.background.images, images)
    generated = profile.data.source == "generated"
    instances = GENERATED if generated else count_coco_instances()
    false_positives = 2.0 if generated else 0.5
    return Shape(images, instances, false_positives, cut_outs, replicates, seeds, skills)


def simulate_models(
    rng: np.random.Generator, shape: Shape, skills: list[float]
) -> list[tuple[Matches, ...]]:
    """What the models find in the same images: Matches of each class, for each model."""
    hardness = rng.normal(0, SPREADS["image"], shape.images)
    found = []
    for instances in shape.instances:
        found.append(_simulate_class(rng, hardness, instances, shape.false_positives, skills))
    return list(zip(*found, strict=True))


def _simulate_class(
    rng: np.random.Generator,
    hardness: np.ndarray,
    instances: float,
    false_positives: float,
    skills: list[float],
) -> list[Matches]:
    """Matches of all models in one class; ``hardness`` [I] is that of each image."""
    many = rng.poisson(instances, len(hardness))
    image = np.repeat(np.arange(len(hardness)), many)
    shared = hardness[image] + rng.normal(0, SPREADS["instance"], len(image))
    found = []
    for skill in skills:
        noise = rng.normal(0, SPREADS["noise"], len(image))
        quality = expit(skill - shared + noise)
        wrong = rng.poisson(false_positives * np.exp(0.3 * hardness))
        found.append(_rank_detections(rng, quality, image, wrong, many))
    return found


def _rank_detections(
    rng: np.random.Generator,
    quality: np.ndarray,
    image: np.ndarray,
    wrong: np.ndarray,
    many: np.ndarray,
) -> Matches:
    """Matches of one model in one class.

    Args:
        quality, image: of its J instances, [J].
        wrong, many: false positives and instances of each image, [I].
    """
    right_scores = 2 * quality + rng.normal(0, SCORE_NOISE, len(quality))
    wrong_scores = FALSE_SCORE + rng.normal(0, SCORE_NOISE, wrong.sum())
    scores = np.concatenate([right_scores, wrong_scores])
    where = np.concatenate([image, np.repeat(np.arange(len(wrong)), wrong)])
    hit = np.zeros((len(AREA_RANGES), len(IOU_THRESHOLDS), len(scores)), dtype=bool)
    hit[0, :, : len(quality)] = quality >= IOU_THRESHOLDS[:, None]
    order = np.argsort(-scores)
    positives = np.zeros((len(AREA_RANGES), len(many)), dtype=np.int64)
    positives[0] = many  # "all" alone: the sizes are left empty
    counts = np.zeros_like(hit)
    counts[0] = True
    return Matches(scores[order], where[order], hit[:, :, order], counts, positives)


def true_ap(skill: float, shape: Shape) -> np.ndarray:
    """AP of each class on infinitely many images, [K]."""
    middle = (np.arange(GRID) + 0.5) / GRID
    deviation = np.sqrt(sum(spread**2 for spread in SPREADS.values()))
    quality = expit(skill + deviation * norm.ppf(middle))
    score = np.linspace(-2, 4, 2 * GRID)
    above = norm.sf((score - 2 * quality[:, None]) / SCORE_NOISE)  # [GRID, S]
    recall = (quality >= IOU_THRESHOLDS[:, None]) @ above / GRID  # [T, S]
    mean_wrong = shape.false_positives * np.exp(0.5 * (0.3 * SPREADS["image"]) ** 2)
    wrong = mean_wrong * norm.sf((score - FALSE_SCORE) / SCORE_NOISE)  # [S]
    values = []
    for instances in shape.instances:
        precision = instances * recall / (instances * above.mean(axis=0) + wrong)
        envelope = np.maximum.accumulate(precision, axis=1)
        thresholds = []
        for t in range(len(IOU_THRESHOLDS)):
            thresholds.append(
                np.interp(RECALLS, recall[t, ::-1], envelope[t, ::-1], right=0.0).mean()
            )
        values.append(np.mean(thresholds))
    return np.array(values)


@dataclass(frozen=True)
class Truth:
    """True AP as a function of skill, read from a grid of skills."""

    skills: np.ndarray  # [G]
    values: np.ndarray  # [G, K]

    def of_classes(self, skill: float) -> np.ndarray:
        """AP of each class, [K]."""
        return np.array([np.interp(skill, self.skills, column) for column in self.values.T])

    def of_arm(self, skill: float) -> float:
        """AP of an arm: the mean over the luck of training."""
        lucky = skill + LUCK * norm.ppf((np.arange(99) + 0.5) / 99)
        return float(np.interp(lucky, self.skills, self.values.mean(axis=1)).mean())


def compute_truth(shape: Shape) -> Truth:
    """``true_ap`` on a grid that holds every skill a training may have."""
    skills = np.linspace(min(shape.skills) - 6 * LUCK, max(shape.skills) + 6 * LUCK, 13)
    return Truth(skills, np.array([true_ap(skill, shape) for skill in skills]))


def _draw_balanced(images: int, replicates: int, seed: int) -> np.ndarray:
    """As ``draw_weights``, but over all replicates together each image is drawn equally often.

    The mean of a few hundred such replicates is as steady as that of many thousand free ones.
    """
    drawn = np.random.default_rng(seed).permutation(np.repeat(np.arange(images), replicates))
    rows = drawn.reshape(replicates, images)
    return np.array([np.bincount(row, minlength=images) for row in rows])


def _replicate(matches: tuple[Matches, ...], weights: np.ndarray) -> Replicates:
    names = tuple(map(str, range(len(matches))))
    images = tuple(range(weights.shape[1]))
    evaluation = Evaluation("segm", COCO_LIMITS, images, names, 0, {}, {}, matches)
    return replicate_metrics(evaluation, weights)


def _average_classes(matches: tuple[Matches, ...]) -> np.ndarray:
    """AP of each class, [K]; nan for one without instances."""
    precision = accumulate_precision(matches)[0][0]  # [T, R, K]
    values = precision.mean(axis=(0, 1))
    return np.where(precision.max(axis=(0, 1)) < 0, np.nan, values)


def take_percentiles(draws: np.ndarray) -> tuple[float, float]:
    """The 95 % of few draws that another draw falls into so often; of many, the percentiles.

    Between the least and the greatest of 40 draws lie 95 % of what could be drawn, while
    ``percentile_interval``, made for a thousand, would lie inside them and hold 90 %.
    """
    low, high = np.nanquantile(draws, [0.025, 0.975], method="weibull")
    return float(low), float(high)


def run_experiment(shape: Shape, truth: Truth, seed: int) -> dict[str, list]:
    """For each of ``KINDS`` that the shape has seeds for, a list of (truth, low, high)."""
    rng = np.random.default_rng([1, seed])
    skills = []
    for skill in shape.skills:
        skills += list(skill + LUCK * rng.normal(size=shape.seeds))
    models = simulate_models(rng, shape, skills)
    weights = _draw_balanced(shape.images, shape.replicates, seed)
    classes = np.array([_average_classes(model) for model in models])  # [A S, K]
    values = np.nanmean(classes, axis=1).reshape(2, shape.seeds)
    replicates = [_replicate(model, weights) for model in models]
    draws = np.array([one.metrics[:, COCO_METRICS.index("AP")] for one in replicates])
    draws = draws.reshape(2, shape.seeds, -1)  # [A, S, B]
    found = {kind: [] for kind in KINDS}

    of_classes = truth.of_classes(skills[0])
    of_other = truth.of_classes(skills[shape.seeds]).mean()
    held = [int(np.count_nonzero(match.positives[0])) for match in models[0]]
    one = corrected_interval(values[0, 0], draws[0, 0], held, shape.images)
    found["AP"].append((of_classes.mean(), *one))
    found["AP, percentile"].append((of_classes.mean(), *take_percentiles(draws[0, 0])))
    for k, value in enumerate(classes[0]):
        ends = corrected_interval(value, replicates[0].per_class[:, k], [held[k]], shape.images)
        if not np.isnan(ends[0]):
            found["class"].append((of_classes[k], *ends))
    paired = take_percentiles(draws[0, 0] - draws[1, 0])
    found["difference"].append((of_classes.mean() - of_other, *paired))

    arms = [truth.of_arm(skill) for skill in shape.skills]
    for seeds in SEEDS:
        if seeds > shape.seeds:
            continue
        first = (values[:, :seeds], draws[:, :seeds])
        ends = _take_over_seeds(*first, held, shape.images, rng)
        found[f"AP, {seeds} seeds"].append((arms[0], *ends[0]))
        found[f"difference, {seeds} seeds"].append((arms[0] - arms[1], *ends[1]))
        found[f"difference, {seeds} drawn"].append((arms[0] - arms[1], *ends[2]))

    reaches = rng.random(shape.cut_outs) > MISSED
    scores = rng.beta(8, 1.2, shape.cut_outs) * reaches
    cut_outs = mean_interval(scores, 1000, seed)
    found["cut-outs"].append(((1 - MISSED) * 8 / 9.2, cut_outs["low"], cut_outs["high"]))
    return found


def _take_over_seeds(
    values: np.ndarray,
    draws: np.ndarray,
    held: list[int],
    images: int,
    rng: np.random.Generator,
) -> list[tuple[float, float]]:
    """Intervals over images and seeds: of the first arm's AP, of the difference, of the difference
    by drawing.

    Args:
        values, draws: of the two arms, [2, S] and [2, S, B].
        held: in how many images there are objects of each class.
    """
    mean = values[0].mean()
    over_images = corrected_interval(mean, draws[0].mean(axis=0), held, images)
    shared = measure_shared_spread(draws[0])
    of_arm = combine_intervals(mean, over_images, _interval_of_seeds(values[0]), shared)
    differences = values[0] - values[1]
    of_seeds = draws[0] - draws[1]  # [S, B]
    over_images = take_percentiles(of_seeds.mean(axis=0))
    over_seeds = _interval_of_seeds(differences)
    shared = measure_shared_spread(of_seeds)
    of_difference = combine_intervals(differences.mean(), over_images, over_seeds, shared)
    seeds, replicates = of_seeds.shape
    drawn = rng.integers(seeds, size=(seeds, replicates))
    nested = of_seeds[drawn, np.arange(replicates)].mean(axis=0)
    return [of_arm, of_difference, take_percentiles(nested)]


def measure_shape(name: str, experiments: int) -> dict[str, dict]:
    """Coverage of each of ``KINDS`` at one shape, in per cent."""
    shape = read_shape(name)
    truth = compute_truth(shape)
    found = {kind: [] for kind in KINDS}
    for seed in range(experiments):
        for kind, intervals in run_experiment(shape, truth, seed).items():
            found[kind] += intervals
    measured = {}
    for kind, intervals in found.items():
        if not intervals:  # more seeds than the shape has
            continue
        values, low, high = np.array(intervals).T
        held = int(np.count_nonzero((low <= values) & (values <= high)))
        measured[kind] = {
            "held": round(100 * held / len(values), 1),
            "truth below": round(100 * float(np.mean(values < low)), 1),
            "truth above": round(100 * float(np.mean(values > high)), 1),
            "intervals": len(values),
        }
    return measured


def measure_coverage(
    images: Path | None = None, experiments: int = EXPERIMENTS, shapes: tuple[str, ...] = ()
) -> dict:
    """Coverage of every kind of interval at every shape; ``images`` is not used.

    ``ours`` and ``peer`` are the lowest coverage, over the shapes, of the corrected and of the
    percentile interval of an AP.
    """
    table = {}
    seconds = {}
    for name in shapes or tuple(SHAPES):
        start = time.perf_counter()
        table[name] = measure_shape(name, experiments)
        seconds[name] = round(time.perf_counter() - start)
    ours = min(row["AP"]["held"] for row in table.values())
    peer = min(row["AP, percentile"]["held"] for row in table.values())
    return {
        "ours": ours,
        "peer": peer,
        "peer_name": "percentile interval",
        "unit": "% of the intervals of an AP hold the truth (95 wanted, worst shape)",
        "ratio": round(ours / peer, 2) if peer else None,
        "settings": {
            "experiments": experiments,
            "kinds": KINDS,
            "coverage": table,
            "seconds": seconds,
        },
    }


def write_table(measured: dict) -> str:
    """The coverage as text: a row for each kind of interval, a column for each shape."""
    coverage = measured["settings"]["coverage"]
    names = [f"{name:>{max(9, len(name) + 2)}}" for name in coverage]
    lines = [f"{'held, %':20}" + "".join(names)]
    for kind in KINDS:
        cells = []
        for name, of_shape in coverage.items():
            said = f"{of_shape[kind]['held']:.1f}" if kind in of_shape else ""
            cells.append(f"{said:>{max(9, len(name) + 2)}}")
        lines.append(f"{kind:20}" + "".join(cells) + f"   {KINDS[kind]}")
    return "\n".join(lines)


def list_rows(measured: dict) -> list[dict]:
    """The coverage as rows of ``coverage.csv``."""
    settings = measured["settings"]
    rows = []
    for name, of_shape in settings["coverage"].items():
        shape = read_shape(name)
        about = {"shape": name, "images": shape.images, "classes": len(shape.instances)}
        about |= {"experiments": settings["experiments"], "replicates": shape.replicates}
        for kind, found in of_shape.items():
            rows.append(about | {"kind": kind, "interval": KINDS[kind]} | found)
    return rows


def renew_rows(file: Path, rows: list[dict]) -> None:
    """Rows as CSV, in the order of ``SHAPES``; those of other shapes in the file stay."""
    measured = {row["shape"] for row in rows}
    kept: list[dict] = []
    if file.is_file():
        with open(file, newline="", encoding="utf-8") as lines:
            kept = [row for row in csv.DictReader(lines) if row["shape"] not in measured]
    ordered = sorted(kept + rows, key=lambda row: list(SHAPES).index(row["shape"]))
    write_rows(file, list(rows[0]), ordered)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coverage", description="How often the intervals hold the truth."
    )
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"of {'; '.join(SHAPES)}")
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/coverage.csv"))
    options = parser.parse_args(arguments)
    unknown = [name for name in options.shapes if name not in SHAPES]
    if unknown:
        parser.error(f"no shape {unknown[0]!r}; there are {', '.join(SHAPES)}")
    for name in options.shapes or SHAPES:
        measured = measure_coverage(None, options.experiments, (name,))
        print(write_table(measured))
        print(f"{options.experiments} experiments, {measured['settings']['seconds'][name]} s")
        renew_rows(options.out, list_rows(measured))


if __name__ == "__main__":
    main()
