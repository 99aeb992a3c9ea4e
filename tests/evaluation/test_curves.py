"""Smoothing against its closed form, and the numbers that curves end at."""

import numpy as np
import pytest

from byol_helpers.core.errors import UserError
from byol_helpers.evaluation.curves import (
    choose_beta,
    ema,
    read_final_losses,
    read_metrics,
    read_smoothed_rates,
)

HEADER = (
    "step,total_loss,loss_cls,loss_box_reg,loss_mask,loss_rpn_cls,"
    "mask_rcnn/accuracy,mask_rcnn/false_positive,mask_rcnn/false_negative,seconds"
)


@pytest.fixture
def metrics(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text(f"{HEADER}\n20,9,0.5,0.25,1,7,0.5,0.4,0.3,2\n40,9,0.3,0.25,0.8,7,0.7,,0.1,2\n")
    return path


def test_ema_of_a_step_is_a_power_of_beta():
    """From 1 down to 0: V_t = beta^t."""
    smooth = ema(np.r_[1.0, np.zeros(50)], beta=0.9)
    np.testing.assert_allclose(smooth, 0.9 ** np.arange(51), rtol=1e-12)


def test_ema_starts_where_it_is_told():
    np.testing.assert_allclose(ema([1.0, 1.0], beta=0.99, initial=0.0), [0.01, 0.0199], rtol=1e-12)
    np.testing.assert_array_equal(ema([3.0, 3.0, 3.0]), [3, 3, 3])
    np.testing.assert_array_equal(ema([3.0, 1.0], beta=0), [3, 1])


def test_ema_passes_over_missing_values():
    np.testing.assert_allclose(ema([np.nan, 2.0, np.nan, 4.0], beta=0.5), [2, 2, 2, 3])
    assert np.isnan(ema([np.nan, np.nan])).all()
    assert ema([]).size == 0


def test_beta_out_of_range_is_refused():
    with pytest.raises(UserError, match="beta=1"):
        ema([1.0], beta=1)


def test_final_losses_leave_the_rpn_out(metrics):
    final = read_final_losses(metrics, beta=0.5)
    assert final == pytest.approx({"box": 0.25, "class": 0.4, "mask": 0.9, "total": 1.55})


def test_smoothed_rates(metrics):
    rates = read_smoothed_rates(metrics, beta=0.5)
    np.testing.assert_array_equal(rates["step"], [20, 40])
    np.testing.assert_allclose(rates["accuracy"], [0.5, 0.6])
    np.testing.assert_allclose(rates["false_positive"], [0.4, 0.4])
    np.testing.assert_allclose(rates["false_negative"], [0.3, 0.2])


def test_wrong_files_are_named(tmp_path, metrics):
    with pytest.raises(UserError, match="gone.csv: no such file"):
        read_metrics(tmp_path / "gone.csv")
    (tmp_path / "empty.csv").write_text("step,loss\n")
    with pytest.raises(UserError, match="empty.csv: no rows"):
        read_metrics(tmp_path / "empty.csv")
    (tmp_path / "text.csv").write_text("step,loss\n1,high\n")
    with pytest.raises(UserError, match="text.csv: a cell is not a number"):
        read_metrics(tmp_path / "text.csv")
    (tmp_path / "byol.csv").write_text("step,loss\n1,2\n")
    with pytest.raises(UserError, match="byol.csv: no column 'loss_box_reg'"):
        read_final_losses(tmp_path / "byol.csv")


def test_beta_remembers_the_same_share_of_any_run():
    assert choose_beta(5000) == pytest.approx(0.99)
    assert choose_beta(500) == pytest.approx(0.9)
    assert choose_beta(20) == 0.8
    assert choose_beta(100_000) == 0.99
