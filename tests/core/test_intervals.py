"""Intervals over images and over training seeds."""

import math
import subprocess
import sys

import numpy as np
import pytest

from byol_helpers.core.intervals import (
    deviation_interval,
    draw_weights,
    percentile_interval,
    t_interval,
)


def test_weights_are_drawn_the_same_for_every_model_and_keep_their_sum():
    weights = draw_weights(40, 200, seed=5)
    assert weights.shape == (200, 40)
    assert (weights.sum(axis=1) == 40).all()
    np.testing.assert_array_equal(weights, draw_weights(40, 200, seed=5))
    assert (weights != draw_weights(40, 200, seed=6)).any()


def test_interval_is_the_percentile_interval_of_the_defined_values():
    low, high = percentile_interval(np.append(np.arange(101.0), np.nan), confidence=0.9)
    assert (low, high) == pytest.approx((5.0, 95.0))
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


def test_quantiles_are_those_of_the_tables():
    table = {3: 4.30265, 5: 2.77645, 31: 2.04227}  # values: Student's quantile at 0.975
    for count, quantile in table.items():
        values = np.arange(count, dtype=float)
        low, high = t_interval(values)
        half = quantile * values.std(ddof=1) / math.sqrt(count)
        assert (high - low) / 2 == pytest.approx(half, rel=1e-5)
        assert (high + low) / 2 == pytest.approx(values.mean())


def test_intervals_need_three_seeds():
    assert t_interval([1.0, 2.0]) is None
    assert deviation_interval([1.0, 2.0]) is None
    half = 4.30265 / 3**0.5
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - half, 2 + half), rel=1e-4)
    low, high = deviation_interval([1.0, 2.0, 3.0])
    assert low == pytest.approx((2 / 7.37776) ** 0.5, rel=1e-3)
    assert high == pytest.approx((2 / 0.0506356) ** 0.5, rel=1e-3)


def test_other_degrees_of_freedom_and_confidences_of_a_deviation():
    five = [1.0, 2.0, 3.0, 4.0, 5.0]  # their squared deviations sum to 10
    _, high = deviation_interval(five)
    assert high == pytest.approx((10 / 0.48442) ** 0.5, rel=1e-3)
    low, _ = deviation_interval([1.0, 2.0, 3.0], confidence=0.9)
    assert low == pytest.approx((2 / 5.99146) ** 0.5, rel=1e-4)


def test_scipy_is_imported_only_where_seeds_are_enough():
    code = "import sys, byol_helpers.core.intervals; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
