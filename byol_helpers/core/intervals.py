"""Intervals of what a run measures: over the test images by the bootstrap, over training seeds by
normal theory.

Over images: the paired percentile bootstrap (Efron 1979), for average precision and for means of
scores alike. A replicate draws as many images as there are, with replacement; image i then counts
``weights[i]`` times. Equal arguments give equal draws, so that whatever is computed from the same
images is paired. These intervals cover the choice of images only, not the variation between
trainings.

Over seeds: Student's and the chi-square interval, for the handful of values that repeats give.
"""

import math
from collections.abc import Sequence

import numpy as np

ENOUGH_SEEDS = 3  # below which no interval over seeds is given


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


def mean_interval(
    values: Sequence[float] | np.ndarray,
    replicates: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Mean of a score over images with its interval; of differences on the same images, the paired
    one.

    Args:
        values: one score, or one difference, for each image; at least one.
        replicates, seed: as in ``draw_weights``.
        confidence: share of the replicates inside the interval.

    Returns:
        ``value``, the mean; ``low`` and ``high``, the ends of the interval.
    """
    values = np.asarray(values, np.float64)
    means = draw_weights(len(values), replicates, seed) @ values / len(values)
    low, high = percentile_interval(means, confidence)
    return {"value": float(values.mean()), "low": low, "high": high}


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean of at least three values; None for fewer."""
    if len(values) < ENOUGH_SEEDS:
        return None
    from scipy.stats import t  # a second to import

    error = np.std(values, ddof=1) / math.sqrt(len(values))
    half = t.ppf((1 + confidence) / 2, len(values) - 1) * error
    return float(np.mean(values) - half), float(np.mean(values) + half)


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
