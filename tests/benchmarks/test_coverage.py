"""The simulation that measures the coverage of intervals."""

import numpy as np
import pytest

from benchmarks import coverage


def test_the_true_ap_is_what_many_simulated_images_give():
    shape = coverage.Shape(20_000, (0.5, 0.2), 1.0, 5, 1, 3)
    [matches] = coverage.simulate_models(np.random.default_rng(0), shape, [1.5])
    simulated = coverage._average_classes(matches)
    assert coverage.true_ap(1.5, shape) == pytest.approx(simulated, abs=0.01)


def test_a_better_skill_has_a_higher_truth_and_luck_moves_it_little():
    truth = coverage.compute_truth(coverage.SHAPES["quick"])
    assert (np.diff(truth.values.mean(axis=1)) > 0).all()
    for skill in coverage.SKILLS:
        assert truth.of_arm(skill) == pytest.approx(truth.of_classes(skill).mean(), abs=0.001)


def test_every_kind_of_interval_is_counted(monkeypatch):
    monkeypatch.setitem(coverage.SHAPES, "quick", coverage.Shape(40, (0.3, 0.5), 1.0, 20, 50, 3))
    measured = coverage.measure_coverage(None, 4, ("quick",))
    found = measured["settings"]["coverage"]["quick"]
    assert list(found) == list(coverage.KINDS)
    assert all(0 <= entry["held"] <= 100 for entry in found.values())
    assert found["AP"]["intervals"] == 4 and found["class"]["intervals"] == 8
    assert "AP, percentile" in coverage.write_table(measured)
