"""Intervals between training seeds: the normal theory for a handful of repeats, without scipy."""

import math

import numpy as np

ENOUGH = 3  # seeds below which no interval is given


def t_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean of at least three values; None for fewer."""
    if len(values) < ENOUGH:
        return None
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    half = t_quantile((1 + confidence) / 2, len(values) - 1) * error
    return float(np.mean(values) - half), float(np.mean(values) + half)


def deviation_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Chi-square interval of the standard deviation of at least three values; None for fewer."""
    if len(values) < ENOUGH:
        return None
    squares = (len(values) - 1) * np.var(values, ddof=1)
    tails = ((1 + confidence) / 2, (1 - confidence) / 2)
    low, high = (math.sqrt(squares / chi_square_quantile(q, len(values) - 1)) for q in tails)
    return low, high


def t_quantile(q: float, freedom: int) -> float:
    """Quantile of Student's t, 0.5 < q < 1; with t = sqrt(n) tan u its density is cos(u)^(n - 1)."""
    u = np.linspace(0, math.pi / 2, 20001)
    return math.sqrt(freedom) * math.tan(_inverse(u, np.cos(u) ** (freedom - 1), 2 * q - 1))


def chi_square_quantile(q: float, freedom: int) -> float:
    """Quantile of chi-square; with x = y^2 its density is y^(n - 1) exp(-y^2 / 2)."""
    y = np.linspace(0, math.sqrt(freedom) + 12, 20001)
    return _inverse(y, y ** (freedom - 1) * np.exp(-(y**2) / 2), q) ** 2


def _inverse(x: np.ndarray, density: np.ndarray, q: float) -> float:
    """Where the integral of a density, not yet normalised, reaches the share q."""
    area = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(np.interp(q * area[-1], area, x))
