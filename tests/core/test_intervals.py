"""Intervals over images and over training seeds."""

import math
import subprocess
import sys

import numpy as np
import pytest

from byol_helpers.core.intervals import (
    adjust_by_holm,
    combine_intervals,
    corrected_interval,
    count_seeds_needed,
    deviation_interval,
    draw_weights,
    mean_interval,
    measure_shared_spread,
    percentile_interval,
    read_p_value,
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


def test_corrected_interval_by_hand():
    """Draws with mean 0.52 and deviation 0.02 around 0.5: they show a bias of 0.02, and it may be
    0.05."""
    draws = np.array([0.5, 0.52, 0.54, np.nan])
    low, high = corrected_interval(
        0.5, draws, [4, 10, 0], 20
    )  # the class of no image does not count
    student = 2.178813  # at 0.975, for 3 + 9 degrees of freedom
    error = ((4 / 3 + 10 / 9) / 2) ** 0.5 * (0.02**2 + 0.02**2) ** 0.5
    assert low == pytest.approx(0.45 - student * error, abs=1e-7)
    assert high == pytest.approx(0.48 + student * error, abs=1e-7)
    low, _ = corrected_interval(0.5, draws, [4, 10, 0], 11)  # 11 images leave 10 degrees
    assert low == pytest.approx(0.45 - 2.228139 * error, abs=1e-7)


def test_a_bias_downwards_is_corrected_upwards():
    draws = np.array([0.2, 0.22, 0.24])
    below = corrected_interval(0.5, 1 - draws - 0.26, [4, 10], 20)  # draws around 0.52
    above = corrected_interval(0.5, draws + 0.26, [4, 10], 20)  # around 0.48
    assert above == pytest.approx((1 - below[1], 1 - below[0]))


def test_without_bias_and_with_many_images_it_is_the_normal_interval():
    draws = 0.3 + 0.01 * np.array([-1.0, 0.0, 1.0])
    low, high = corrected_interval(0.3, draws, [100_000], 100_000)
    assert (low, high) == pytest.approx((0.3 - 0.0196, 0.3 + 0.0196), abs=1e-5)


def test_corrected_interval_holds_the_value_and_keeps_to_the_limits():
    odd = np.array([0.3, 0.31, 0.305, 0.9, 0.95, 0.92])  # a bias larger than their deviation
    low, high = corrected_interval(0.5, odd / 10 + 0.5, [10_000], 10_000)
    assert low <= 0.5 <= high
    assert corrected_interval(0.02, np.array([0.0, 0.02, 0.04]), [5], 5)[0] == 0.0
    assert (
        corrected_interval(99.0, np.array([98.0, 99.0, 100.0]), [5], 5, limits=(0, 100))[1] == 100
    )
    same = corrected_interval(0.4, np.full(9, 0.4), [30], 30)
    assert same == pytest.approx((0.4, 0.4))


@pytest.mark.parametrize(
    ("value", "draws", "images"),
    [
        (0.5, [0.4, 0.6], [1, 1]),
        (0.5, [0.4, 0.6], [0]),
        (np.nan, [0.4, 0.6], [9]),
        (0.5, [0.5], [9]),
    ],
)
def test_what_one_image_shows_has_no_interval(value, draws, images):
    assert np.isnan(corrected_interval(value, np.array(draws), images, 9)).all()


def test_interval_of_a_mean_holds_the_truth_in_nineteen_of_twenty():
    """Students' interval of normal values is exact; the one of draws must come close at n = 10."""
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(1000):
        found = mean_interval(rng.normal(size=10), 400, seed)
        held += found["low"] <= 0 <= found["high"]
    assert 0.93 <= held / 1000 <= 0.97


def test_images_and_seeds_are_combined_as_independent_errors():
    low, high = combine_intervals(1.0, (-2.0, 5.0), (-3.0, 4.0))
    assert (low, high) == pytest.approx((-4.0, 6.0))  # 3, 4: 5 below; 4, 3: 5 above
    assert combine_intervals(1.0, (-2.0, 5.0), (-3.0, 4.0), shared=0.0) == pytest.approx(
        (-3.0, 4.0)
    )


def test_shared_spread_at_its_two_ends():
    rng = np.random.default_rng(0)
    common = rng.normal(size=4000)
    assert measure_shared_spread(np.array([common, common, common])) == pytest.approx(1.0)
    apart = rng.normal(size=(3, 4000))
    assert measure_shared_spread(apart) < 0.25
    mixed = measure_shared_spread(common + apart)  # of the variance 1 + 1/3, 1 is common
    assert mixed == pytest.approx((3 / 4) ** 0.5, abs=0.03)
    assert measure_shared_spread(np.zeros((3, 5))) == 1.0


def test_coverage_of_images_and_seeds_together():
    """A known truth, five seeds, sixty images: the values of seeds and images add up."""
    held = 0
    for experiment in range(400):
        rng = np.random.default_rng(experiment)
        scores = rng.normal(size=60) + 0.15 * rng.normal(size=(5, 1)) + rng.normal(size=(5, 60))
        draws = scores @ draw_weights(60, 200, experiment).T / 60
        ends = percentile_interval(draws.mean(axis=0))
        values = scores.mean(axis=1)
        shared = measure_shared_spread(draws)
        low, high = combine_intervals(values.mean(), ends, t_interval(values), shared)
        held += low <= 0 <= high
    assert 0.92 <= held / 400 <= 0.98


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


def test_seeds_needed_are_those_at_which_the_interval_ends_below_the_limit():
    """With a deviation of 0.3, the upper end is 0.86 from five values on: 0.3 sqrt(4 / 0.48442)."""
    assert count_seeds_needed(0.3, 0.866) == 5
    assert count_seeds_needed(0.3, 0.86) == 6
    assert count_seeds_needed(0.1, 0.866) == 3
    assert count_seeds_needed(0.9, 0.866) is None


def test_p_value_that_an_interval_implies():
    assert read_p_value(1.0, (0.0, 3.0), 0.0) == pytest.approx(0.05)  # zero is the lower end
    assert read_p_value(-1.0, (-5.0, 0.0), 0.0) == pytest.approx(0.05)
    assert read_p_value(2.0, (1.0, 3.0), 0.0) == pytest.approx(8.857e-5, rel=1e-3)  # 3.92 errors
    assert read_p_value(0.5, (0.5, 0.5), 0.0) == 0.0
    assert read_p_value(0.0, (-1.0, 1.0), 0.0) == 1.0


def test_holm_by_hand_and_never_decreasing():
    assert adjust_by_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert adjust_by_holm([0.5, 0.9]) == [1.0, 1.0]
    assert adjust_by_holm([]) == []
