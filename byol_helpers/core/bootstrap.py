"""Paired percentile bootstrap over images (Efron 1979), for average precision and for means of scores alike.

A replicate draws as many images as there are, with replacement; image i then counts ``weights[i]`` times. Equal
arguments give equal draws, so that whatever is computed from the same images is paired.

The intervals cover the choice of images only, not the variation between trainings.
"""

from collections.abc import Sequence

import numpy as np


def draw_weights(images: int, replicates: int, seed: int = 0) -> np.ndarray:
    """How often each image is drawn: integers [replicates, images], each row with the sum ``images``.

    The same arguments give the same weights, whatever the model: this is what pairs separate evaluations.
    """
    return np.random.default_rng(seed).multinomial(
        images, np.full(images, 1 / images), size=replicates
    )


def percentile_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of replicates [B]; undefined ones are left out, (nan, nan) if all are."""
    defined = values[~np.isnan(values)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mean_interval(
    values: Sequence[float], replicates: int = 1000, seed: int = 0, confidence: float = 0.95
) -> dict[str, float]:
    """Mean of a score over images with its interval; of differences on the same images, the paired one.

    Args:
        values: one score, or one difference, for each image; at least one.
        replicates, seed: as in ``draw_weights``.
        confidence: share of the replicates inside the interval.

    Returns:
        ``value``, the mean; ``low`` and ``high``, the ends of the interval.
    """
    values = np.asarray(values, np.float64)
    low, high = percentile_interval(
        draw_weights(len(values), replicates, seed) @ values / len(values), confidence
    )
    return {"value": float(values.mean()), "low": low, "high": high}
