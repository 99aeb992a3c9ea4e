"""The rows of metrics.csv."""

import csv
import math

from byol_helpers.evaluation.curves import read_metrics
from byol_helpers.training.metrics import Medians, write_csv


def test_a_row_is_the_median_of_the_steps_that_have_the_number():
    medians = Medians(every=3, steps=5)
    for step, values in enumerate(
        [{"a": 1.0}, {"a": 5.0, "b": 7.0}, {"a": 2.0, "b": 1.0}, {"a": 4.0}, {"a": 8.0}], start=1
    ):
        medians.add(step, values)
    assert medians.rows == [{"step": 3, "a": 2.0, "b": 4.0}, {"step": 5, "a": 6.0}]


def test_a_resumed_training_ends_with_the_rows_of_an_uninterrupted_one():
    whole = Medians(every=4, steps=6)
    first = Medians(every=4, steps=6)
    for step in range(1, 4):
        whole.add(step, {"a": float(step)})
        first.add(step, {"a": float(step)})
    second = Medians(every=4, steps=6)
    second.load_state_dict(first.state_dict())
    for step in range(4, 7):
        whole.add(step, {"a": float(step)})
        second.add(step, {"a": float(step)})
    assert second.rows == whole.rows and len(whole.rows) == 2


def test_rows_with_columns_in_another_order_go_below_the_right_names(tmp_path):
    """As when a training goes on from a checkpoint of a version that wrote ``lr`` later."""
    rows = [{"step": 20, "loss": 2.0, "tau": 0.9, "lr": 0.1}, {"step": 40, "loss": 1.0, "lr": 0.2}]
    write_csv(tmp_path / "metrics.csv", [*rows, {"step": 60, "lr": 0.3, "loss": 0.5, "tau": 1.0}])
    with open(tmp_path / "metrics.csv", newline="") as file:
        assert next(csv.reader(file)) == ["step", "loss", "tau", "lr"]
    columns = read_metrics(tmp_path / "metrics.csv")
    assert list(columns["lr"]) == [0.1, 0.2, 0.3] and list(columns["loss"]) == [2.0, 1.0, 0.5]
    assert math.isnan(columns["tau"][1])
