"""Claim C14 is scored on a table of measurements, not on a run."""

import pytest

from byol_helpers.core.errors import UserError
from byol_helpers.reproduction import claims
from byol_helpers.reproduction.image_kinds import (
    make_measure,
    read_image_kinds,
    write_image_kinds,
)
from byol_helpers.reproduction.measures import NotTested
from byol_helpers.reproduction.thesis import load_thesis
from byol_helpers.reproduction.verdicts import decide_verdict

THESIS = load_thesis()


def make_row(kind: str, low: float, high: float, other: str = "random") -> dict:
    value = (low + high) / 2
    counts = {"unlabelled": 72, "train": 16, "test": 40, "steps": 30}
    row = {"kind": kind, "set": "set", "other": other, "value": value, "low": low, "high": high}
    return row | counts


def test_a_table_reads_as_it_was_written(tmp_path):
    rows = [make_row("grey", 0.5, 1.5), make_row("video", -2.0, 1.0, "supervised")]
    assert read_image_kinds(write_image_kinds(tmp_path / "kinds.csv", rows)) == rows


def test_another_table_is_refused(tmp_path):
    path = tmp_path / "kinds.csv"
    path.write_text("kind,value\ngrey,1\n")
    with pytest.raises(UserError, match="columns"):
        read_image_kinds(path)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.5, 1.5, "reproduced"), (-2, -1, "not reproduced"), (-1, 1, "undecided")],
)
def test_a_kind_is_judged_by_its_interval(low, high, verdict):
    measure = make_measure(make_row("grey", low, high, "supervised"))
    assert decide_verdict(measure) == verdict
    assert measure.name == "grey (set): BYOL - supervised (stand-in)"


def test_a_kind_that_nobody_measured_keeps_the_claim_open(monkeypatch):
    rows = [make_row("grey", 1, 2), make_row("medical", 1, 2), make_row("video", 1, 2)]
    monkeypatch.setattr(claims, "read_image_kinds", lambda: rows)
    tests = claims.measure_c14(None, THESIS).tests
    assert [decide_verdict(test) for test in tests] == ["reproduced"] * 3 + ["undecided"]
    assert tests[-1].name == "multispectral: BYOL - random"


def test_without_measurements_the_claim_is_not_tested(monkeypatch):
    monkeypatch.setattr(claims, "read_image_kinds", list)
    with pytest.raises(NotTested, match="notebook 08"):
        claims.measure_c14(None, THESIS)


def test_the_published_table_names_its_sets_and_counts():
    rows = read_image_kinds()
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["other"] in ("random", "supervised")
        assert min(row[name] for name in ("unlabelled", "train", "test", "steps")) > 0
