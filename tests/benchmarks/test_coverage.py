"""The simulation that measures the coverage of intervals."""

import csv

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks import coverage
from byol_helpers.core.profile_files import load_profile


def test_the_true_ap_is_what_many_simulated_images_give():
    shape = coverage.Shape(20_000, (0.5, 0.2), 1.0, 5, 1, 3)
    [matches] = coverage.simulate_models(np.random.default_rng(0), shape, [1.5])
    simulated = coverage._average_classes(matches)
    assert coverage.true_ap(1.5, shape) == pytest.approx(simulated, abs=0.01)


def test_a_better_skill_has_a_higher_truth_and_luck_moves_it_little():
    shape = coverage.read_shape("quick")
    truth = coverage.compute_truth(shape)
    assert (np.diff(truth.values.mean(axis=1)) > 0).all()
    for skill in shape.skills:
        assert truth.of_arm(skill) == pytest.approx(truth.of_classes(skill).mean(), abs=0.001)


def test_shapes_are_those_of_the_profiles():
    assert coverage.read_shape("quick").images == load_profile("quick").data.test
    assert (
        coverage.read_shape("colab").images == 500 and coverage.read_shape("thesis").images == 5000
    )
    assert coverage.read_shape("smoke").cut_outs == load_profile("smoke").background.images


def test_few_draws_leave_their_ends_outside_as_often_as_many():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(2000):
        low, high = coverage.take_percentiles(rng.normal(size=40))
        inside.append(norm.cdf(high) - norm.cdf(low))
    assert np.mean(inside) == pytest.approx(0.95, abs=0.003)


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_every_kind_of_interval_is_counted(monkeypatch, tmp_path, seeds):
    small = coverage.Shape(40, (0.3, 0.5), 1.0, 20, 50, seeds)
    monkeypatch.setattr(coverage, "read_shape", lambda name: small)
    measured = coverage.measure_coverage(None, 4, ("quick",))
    found = measured["settings"]["coverage"]["quick"]
    missing = [kind for kind in coverage.KINDS if kind not in found]
    assert all(int(kind.split()[1]) > seeds for kind in missing)
    assert len(missing) == {1: 6, 3: 3, 5: 0}[seeds]
    assert all(0 <= entry["held"] <= 100 for entry in found.values())
    assert found["AP"]["intervals"] == 4 and found["class"]["intervals"] == 8
    assert "AP, percentile" in coverage.write_table(measured)


def test_a_table_keeps_the_rows_of_other_shapes(monkeypatch, tmp_path):
    small = coverage.Shape(40, (0.3, 0.5), 1.0, 20, 50, 1)
    monkeypatch.setattr(coverage, "read_shape", lambda name: small)
    file = tmp_path / "coverage.csv"
    for shape in ("thesis", "smoke", "thesis"):
        coverage.main([shape, "--experiments", "2", "--out", str(file)])
    with open(file, newline="", encoding="utf-8") as lines:
        shapes = [row["shape"] for row in csv.DictReader(lines)]
    assert list(dict.fromkeys(shapes)) == ["smoke", "thesis"]
    assert len(shapes) == 2 * 5
    with pytest.raises(SystemExit):
        coverage.main(["laptop"])
