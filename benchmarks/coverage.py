"""How often the paired bootstrap's interval holds the true difference.

Run it as ``python -m benchmarks.coverage [--experiments N]``.

Two detectors look at the same simulated images; what they find is drawn from a model, no pixels
needed. The quality of an instance is

    q = logistic(skill_m - image_i - instance_j + noise_mij)    instance j, image i, detector m

``image`` and ``instance`` are shared by both detectors, which is what pairing uses. q is the IoU of
the best detection, a hit at every threshold up to it. Scores follow q with noise; false positives
score lower on average. Their number in an image also grows with ``image``. The true difference of
AP is that on a test set of ``MANY`` images. Each experiment draws a test set of ``IMAGES`` images
and asks whether its interval holds the truth. 95 % of the intervals should.
"""

import argparse
import time

import numpy as np

from byol_helpers.core.intervals import draw_weights, percentile_interval
from byol_helpers.evaluation.average_precision import (
    COCO_LIMITS,
    COCO_METRICS,
    Evaluation,
    accumulate_precision,
)
from byol_helpers.evaluation.bootstrap import replicate_metrics
from byol_helpers.evaluation.matching import AREA_RANGES, IOU_THRESHOLDS, Matches

IMAGES = 200
MANY = 100_000
REPLICATES = 1000
CONFIDENCE = 0.95
INSTANCES = (1.5, 1.0, 0.5)  # of each class, on average in an image
FALSE_POSITIVES = 2.0  # of each class, on average in an image
SKILLS = (1.5, 1.2)  # of the two detectors


def simulated(rng: np.random.Generator, images: int) -> tuple[tuple[Matches, ...], ...]:
    """What both detectors find in the same images: Matches of each class, for each detector."""
    image = rng.normal(0, 0.7, images)
    found = [one_class(rng, image, instances) for instances in INSTANCES]
    return tuple(zip(*found, strict=True))


def one_class(rng: np.random.Generator, image: np.ndarray, instances: float) -> list[Matches]:
    """Matches of both detectors in one class; ``image`` [I] is how hard each image is."""
    many = rng.poisson(instances, len(image))
    of = np.repeat(np.arange(len(image)), many)
    hardness = image[of] + rng.normal(0, 1, len(of))
    return [one_detector(rng, skill - hardness, of, many, image) for skill in SKILLS]


def one_detector(
    rng: np.random.Generator, ease: np.ndarray, of: np.ndarray, many: np.ndarray, image: np.ndarray
) -> Matches:
    """Matches of one detector.

    Its J instances lie in the images ``of`` [J], ``many`` [I] in each.
    """
    quality = 1 / (1 + np.exp(-(ease + rng.normal(0, 0.5, len(ease)))))
    wrong = np.repeat(np.arange(len(image)), rng.poisson(FALSE_POSITIVES * np.exp(0.3 * image)))
    scores = np.concatenate(
        [2 * quality + rng.normal(0, 0.4, len(of)), 0.8 + rng.normal(0, 0.4, len(wrong))]
    )
    where, hit = (
        np.concatenate([of, wrong]),
        np.zeros((len(AREA_RANGES), len(IOU_THRESHOLDS), len(scores)), dtype=bool),
    )
    hit[0, :, : len(of)] = quality >= IOU_THRESHOLDS[:, None]
    order = np.argsort(-scores)
    positives = np.zeros((len(AREA_RANGES), len(image)), dtype=np.int64)
    positives[0] = many  # "all" alone: the sizes are left empty
    counts = np.zeros_like(hit)
    counts[0] = True
    return Matches(scores[order], where[order], hit[:, :, order], counts, positives)


def average_precision(matches: tuple[Matches, ...]) -> float:
    return float(accumulate_precision(matches)[0][0].mean())


def replicated(matches: tuple[Matches, ...], weights: np.ndarray) -> np.ndarray:
    """AP of each replicate."""
    names = tuple(map(str, range(len(matches))))
    images = tuple(range(weights.shape[1]))
    evaluation = Evaluation("segm", COCO_LIMITS, images, names, 0, {}, {}, matches)
    return replicate_metrics(evaluation, weights).metrics[:, COCO_METRICS.index("AP")]


def experiment(seed: int) -> tuple[float, float, float]:
    """Difference of AP on one test set, and its interval."""
    first, second = simulated(np.random.default_rng([1, seed]), IMAGES)
    weights = draw_weights(IMAGES, REPLICATES, seed)
    low, high = percentile_interval(
        replicated(first, weights) - replicated(second, weights), CONFIDENCE
    )
    return average_precision(first) - average_precision(second), low, high


def share_interval(held: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z = 1.959964
    share = held / of
    centre = share + z**2 / (2 * of)
    half = z * np.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
    return (centre - half) / (1 + z**2 / of), (centre + half) / (1 + z**2 / of)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.coverage", description="How often the interval holds the truth."
    )
    parser.add_argument("--experiments", type=int, default=200)
    experiments = parser.parse_args().experiments
    start = time.perf_counter()
    first, second = [
        average_precision(matches) for matches in simulated(np.random.default_rng(0), MANY)
    ]
    truth = first - second
    values, low, high = np.array([experiment(seed) for seed in range(experiments)]).T
    held = int(np.count_nonzero((low <= truth) & (truth <= high)))
    least, most = share_interval(held, experiments)
    print(
        f"true AP {first:.4f} and {second:.4f}, difference {truth:.4f} "
        f"({MANY} images, {len(INSTANCES)} classes)\n"
        f"{experiments} test sets of {IMAGES} images, {REPLICATES} replicates: "
        f"the {CONFIDENCE:.0%} interval holds the true difference in {held}, "
        f"{held / experiments:.1%} (95 % binomial interval {least:.1%} to {most:.1%})\n"
        f"truth below the interval {np.mean(truth < low):.1%}, "
        f"above it {np.mean(truth > high):.1%}; mean difference "
        f"{values.mean():.4f}, its deviation {values.std(ddof=1):.4f}, mean width of the intervals "
        f"{np.mean(high - low):.4f}; {time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    main()
