"""What the repository shows of a run is written by one command, and by nothing else."""

import json
import math
import shutil
from pathlib import Path

import pytest

from byol_helpers.cli import main
from byol_helpers.core.errors import UserError
from byol_helpers.report.intervals import format_interval
from byol_helpers.report.notebooks import SHARES
from byol_helpers.report.publish import (
    COURSE_FIGURES,
    fill_readme,
    fill_results,
    publish_figures,
    publish_notebooks,
    publish_outputs,
)

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "notebooks" / "05-norm-policy.csv"
RESULTS = "before\n<!-- scorecard -->\nold\n<!-- end -->\nafter\n"
README = RESULTS.replace("scorecard", "norm-policy")


def entry(value, low, high):
    return {"value": value, "low": low, "high": high}


@pytest.fixture
def run(tmp_path):
    """A run folder with as much in it as the repository shows."""
    run = tmp_path / "run"
    (run / "figures").mkdir(parents=True)
    for name in COURSE_FIGURES:
        (run / f"figures/{name}.png").write_bytes(name.encode())
    (run / "notebooks").mkdir()
    for stem in SHARES:
        cell = {"cell_type": "code", "source": [stem], "metadata": {"papermill": {}, "tags": []}}
        notebook = {"cells": [cell], "metadata": {"papermill": {"duration": 1}}}
        (run / f"notebooks/{stem}.ipynb").write_text(json.dumps(notebook))
    (run / "evaluate").mkdir()
    mask = {
        "AP": entry(0.123, 0.1, 0.15),
        "AP50": entry(0.5, None, None),
        "AP75": entry(0.25, math.nan, math.nan),
    }
    compared = {
        "arms": {"byol": {"label": "BYOL", "mask": mask}},
        "bootstrap": {"confidence": 0.95},
    }
    (run / "evaluate/comparison.json").write_text(json.dumps(compared))
    scale = {
        "profile": "quick",
        "engine": "torchvision",
        "seeds": [0],
        "iterations": 3,
        "test_images": 4,
    }
    claim = {"claim": "C1", "text": "a", "where": "b", "verdict": "c", "link": "d", "unit": None}
    claim |= {"margin": None, "reason": "e", "tests": []}
    (run / "scorecard.json").write_text(json.dumps({"scale": scale, "claims": [claim]}))
    return run


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (entry(0.123, 0.1, 0.15), "12.3 (10.0 to 15.0)"),
        (entry(None, None, None), "none"),
        (entry(math.nan, math.nan, math.nan), "none"),
        (entry(0.5, None, None), "50.0"),
        (entry(0.5, math.nan, math.nan), "50.0"),
    ],
)
def test_a_cell_says_no_interval_where_there_is_none(value, said):
    assert format_interval(value) == said


def test_the_course_figures_are_copied_or_asked_for(tmp_path, run):
    out = tmp_path / "out"
    with pytest.raises(UserError, match="make report") as error:
        publish_figures(tmp_path / "nothing", out)
    assert "\n" not in str(error.value) and not out.exists()
    assert {path.stem for path in publish_figures(run, out)} == {
        "pipeline",
        "byol",
        *COURSE_FIGURES,
    }
    assert (out / "training-pictures.png").read_bytes() == b"training-pictures"


@pytest.fixture
def copy(tmp_path):
    """A copy of the repository with as much in it as is written to."""
    copy = tmp_path / "repository"
    (copy / "docs").mkdir(parents=True)
    (copy / "README.md").write_text(README)
    (copy / "docs/results.md").write_text(RESULTS)
    (copy / "notebooks").mkdir()
    shutil.copy(STUDY, copy / "notebooks")
    return copy


def test_the_tables_of_the_results_are_those_of_the_run(run):
    text = fill_results(run, RESULTS)
    assert text.startswith("before\n<!-- scorecard -->\nProfile quick, engine torchvision, seed 0")
    assert "| initial weights | AP | AP50 | AP75 |\n|---|---|---|---|\n" in text
    assert "| BYOL | 12.3 (10.0 to 15.0) | 50.0 | 25.0 |" in text
    assert "| C1: a | b | c |\n<!-- end -->\nafter\n" in text and "old" not in text
    with pytest.raises(UserError, match="docs/results.md has lost its marks"):
        fill_results(run, "no marks")


def test_the_readme_says_what_the_study_measured(tmp_path):
    text = fill_readme(STUDY, README)
    assert "| BYOL - random | **+1.0** (-1.1 to +2.9) | **+5.5** (+4.1 to +7.2) |\n" in text
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n")
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    assert fill_readme(STUDY, page) == page, "python -m byol_helpers publish writes it"
    with pytest.raises(UserError, match="README.md has lost its marks"):
        fill_readme(STUDY, "no marks")
    with pytest.raises(UserError, match="make studies"):
        fill_readme(tmp_path / "nothing.csv", README)


def test_everything_is_published_without_papermills_clock(tmp_path, run, copy):
    written = publish_outputs(run, copy)
    assert {path.suffix for path in written} == {".png", ".md", ".json", ".ipynb"}
    evidence = json.loads((copy / "docs/scorecard.json").read_text())
    assert [row["claim"] for row in evidence["claims"]] == ["C1"]
    notebook = json.loads((copy / "notebooks/03-byol.ipynb").read_text())
    assert notebook["metadata"] == {} and notebook["cells"][0]["metadata"] == {"tags": []}
    assert publish_notebooks(run, tmp_path / "again")[0].read_text().endswith("}\n")


def test_nothing_is_published_of_an_unfinished_run(run, copy):
    before = sorted(copy.rglob("*"))
    (run / "notebooks/09-scorecard.ipynb").unlink()
    with pytest.raises(UserError, match="make report"):
        publish_outputs(run, copy)
    assert sorted(copy.rglob("*")) == before
    assert (copy / "README.md").read_text() == README


def test_a_run_that_is_not_there_is_one_line(tmp_path, capsys):
    assert main(["publish", "--run", str(tmp_path / "nothing")]) == 2
    error = capsys.readouterr().err
    assert "make report" in error and error.count("\n") == 1
