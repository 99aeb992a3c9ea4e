"""Intervals of what a run measures: over the test images by the bootstrap, over training seeds by
normal theory, over both together.

Over images: the paired bootstrap (Efron 1979), for average precision and for means of scores
alike. A replicate draws as many images as there are, with replacement; image i then counts
``weights[i]`` times. Equal arguments give equal draws, so that whatever is computed from the same
images is paired. Three kinds of quantity, three readings of the draws:

- a difference of two models on the same images: the percentiles of its draws;
- an AP by itself: ``corrected_interval``, because AP is biased upwards where objects are few and
  percentiles add that bias once more;
- the mean of a score over images: ``mean_interval``.

These cover the choice of images only, not the variation between trainings.

Over seeds: Student's and the chi-square interval, for the handful of values that repeats give.
``combine_intervals`` joins images and seeds. ``python -m benchmarks coverage`` measures how often
each of them holds the truth.
"""

import math
from collections.abc import Sequence

import numpy as np

ENOUGH_SEEDS = 3  # below which no interval over seeds is given
BIAS_SEEN = 2.5  # the bias of an AP over that which its draws show, at most; benchmarks/coverage.py
SINGLE_VALUE = "bias-corrected by 1 to 2.5"  # what outputs call the interval of an AP by itself


def draw_weights(images: int, replicates: int, seed: int = 0) -> np.ndarray:
    """How often each image is drawn: integers [replicates, images], each row with the sum
    ``images``.

    The same arguments give the same weights, whatever the model: this is what pairs separate
    evaluations.
    """
    shares = np.full(images, 1 / images)
    return np.random.default_rng(seed).multinomial(images, shares, size=replicates)


def percentile_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of replicates [B]; undefined ones are left out, (nan, nan) if all are."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def corrected_interval(
    value: float,
    draws: np.ndarray,
    images: Sequence[int],
    test_images: int,
    confidence: float = 0.95,
    limits: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float]:
    """Bias-corrected interval of an average precision; (nan, nan) where nothing is in two images.

    With b the mean of the draws minus the value, s their standard deviation and n_k the number of
    images that hold an object of class k,

        value - 2.5 b - e  to  value - b + e,  e = t sqrt(mean of n_k / (n_k - 1)) sqrt(s^2 + b^2),

    t being Student's quantile for the sum of all n_k - 1, at most the test images less one. The
    draws do not show the whole bias, because a resample repeats the very scores whose luck lifted
    the value: simulated, it is 1.4 times theirs with a hundred objects of a class or more, and
    three times with a handful. So the lower end takes two and a half times what they show, the
    upper end takes it once. It counts as an error of its own size besides, since it is known no
    better than that. The root of n_k / (n_k - 1) undoes that draws of few images vary too little.
    The interval holds the value, but not in its middle: it reaches further down.

    Args:
        value: on the images themselves, within ``limits``.
        draws: the same on each replicate, [B]; undefined ones are left out.
        images: n_k of each class that the value is a mean over.
        test_images: all images, with and without objects.
        limits: of the value; the interval is cut there.
    """
    defined = draws[~np.isnan(draws)]
    held = np.array([count for count in images if count], dtype=int)
    freedom = min(int((held - 1).sum()), test_images - 1)
    if freedom < 1 or math.isnan(value) or defined.size < 2:
        return math.nan, math.nan
    from scipy.stats import t  # a second to import

    bias = float(defined.mean()) - value
    held = np.maximum(held, 2)
    stretch = math.sqrt(float(np.mean(held / (held - 1))))
    error = stretch * math.hypot(float(defined.std(ddof=1)), bias)
    half = float(t.ppf((1 + confidence) / 2, freedom)) * error
    corrections = sorted([bias, BIAS_SEEN * bias])
    low = max(limits[0], min(value, value - corrections[1] - half))
    return low, min(limits[1], max(value, value - corrections[0] + half))


def mean_interval(
    values: Sequence[float] | np.ndarray,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Mean of a score over images with its interval; of differences on the same images, the paired
    one.

    The percentiles of the drawn means, stretched from the mean as Student's quantile is against
    the normal one, because draws of few images vary too little. A mean has no bias.

    Args:
        values: one score, or one difference, for each image; at least one.
        replicates, seed: as in ``draw_weights``.
        confidence: share of the replicates inside the interval.

    Returns:
        ``value``, the mean; ``low`` and ``high``, the ends of the interval.
    """
    values = np.asarray(values, np.float64)
    mean = float(values.mean())
    means = draw_weights(len(values), replicates, seed) @ values / len(values)
    low, high = percentile_interval(means, confidence)
    if len(values) > 1:
        stretch = _stretch_to_student(len(values), confidence)
        low = mean - stretch * (mean - low)
        high = mean + stretch * (high - mean)
    return {"value": mean, "low": low, "high": high}


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean of at least three values; None for fewer."""
    if len(values) < ENOUGH_SEEDS:
        return None
    from scipy.stats import t  # a second to import

    error = np.std(values, ddof=1) / math.sqrt(len(values))
    half = t.ppf((1 + confidence) / 2, len(values) - 1) * error
    return float(np.mean(values) - half), float(np.mean(values) + half)


def combine_intervals(
    value: float,
    over_images: tuple[float, float],
    over_seeds: tuple[float, float],
    shared: float = 1.0,
) -> tuple[float, float]:
    """One interval that covers the draw of the images and that of the seeds.

    Each end lies as far from the value as the two distances together, which are independent errors
    (the root of the sum of their squares; Zou and Donner 2008). Drawing seeds and then images with
    replacement has the same aim, but of three to five seeds it sees too little of their spread, and
    what each seed makes of the images it counts twice.

    Args:
        value: mean over the seeds, on all images.
        over_images: interval of that mean for these seeds.
        over_seeds: ``t_interval`` of the values of the seeds, on these images.
        shared: of ``measure_shared_spread``, by which the first one is shortened, because the
            second already covers how each seed for itself depends on the images.
    """
    below = math.hypot(shared * (value - over_images[0]), value - over_seeds[0])
    above = math.hypot(shared * (over_images[1] - value), over_seeds[1] - value)
    return value - below, value + above


def measure_shared_spread(draws: np.ndarray) -> float:
    """Which part, 0 to 1, of the deviation of the mean over seeds all seeds have in common.

    Args:
        draws: a row for each of at least two seeds, on the same draws of images, [S, B]; replicates
            that are undefined for one are left out.
    """
    defined = draws[:, ~np.isnan(draws).any(axis=0)]
    if defined.shape[1] < 2:
        return 1.0
    covariance = np.cov(defined)
    seeds = len(draws)
    common = (covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1))
    total = covariance.mean()
    return math.sqrt(min(1.0, max(0.0, common / total))) if total > 0 else 1.0


def deviation_interval(
    values: Sequence[float], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Chi-square interval of the standard deviation of at least three values; None for fewer."""
    if len(values) < ENOUGH_SEEDS:
        return None
    from scipy.stats import chi2  # a second to import

    freedom = len(values) - 1
    squares = freedom * np.var(values, ddof=1)
    low = math.sqrt(squares / chi2.ppf((1 + confidence) / 2, freedom))
    high = math.sqrt(squares / chi2.ppf((1 - confidence) / 2, freedom))
    return low, high


def count_seeds_needed(deviation: float, limit: float, confidence: float = 0.95) -> int | None:
    """From how many values on ``deviation_interval`` ends below a limit, if their standard
    deviation is the one given; None where no number of seeds suffices (at most 1,000 are tried).
    """
    from scipy.stats import chi2  # a second to import

    freedom = np.arange(ENOUGH_SEEDS - 1, 1000)
    ends = deviation * np.sqrt(freedom / chi2.ppf((1 - confidence) / 2, freedom))
    enough = np.flatnonzero(ends < limit)
    return int(freedom[enough[0]]) + 1 if enough.size else None


def read_p_value(
    value: float, interval: tuple[float, float], border: float, confidence: float = 0.95
) -> float:
    """Two-sided p value of "the truth is the border" that an interval implies.

    The distance to the border is counted in standard errors, of which the end of the interval on
    the border's side is as many away as the normal quantile says.
    """
    from scipy.stats import norm  # a second to import

    half = value - interval[0] if value > border else interval[1] - value
    distance = abs(value - border)
    if half <= 0:
        return 0.0 if distance else 1.0
    quantile = float(norm.ppf((1 + confidence) / 2))
    return float(2 * norm.sf(quantile * distance / half))


def adjust_by_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (1979): below a level with which all tests together keep that level.

    The smallest is multiplied by the number of tests, the next by one less, and so on; none falls
    below the one before it.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, which in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, (len(p_values) - rank) * p_values[which])
        adjusted[which] = min(1.0, highest)
    return adjusted


def _stretch_to_student(images: int, confidence: float) -> float:
    """Student's interval of a mean over so many images, over the normal one of its draws."""
    from scipy.stats import norm, t  # a second to import

    share = (1 + confidence) / 2
    missing = math.sqrt(images / (images - 1))  # variance of n drawn images: (n - 1) / n too small
    return float(missing * t.ppf(share, images - 1) / norm.ppf(share))
