"""A reader's run beside the committed one, and a run kept small enough to commit."""

import shutil

import numpy as np
import pytest

from byol_helpers.cli import main
from byol_helpers.core.files import read_json, write_json, write_text
from byol_helpers.core.profile_files import dump_profile, load_profile
from byol_helpers.evaluation.comparison import evaluate_model, load_result, save_result
from byol_helpers.reproduction.other_machine import (
    compare_machines,
    describe_other_machine,
    measure_seed_spread,
)
from byol_helpers.reproduction.recomputation import write_cards
from byol_helpers.reproduction.run_results import open_results
from byol_helpers.reproduction.study_files import keep_run
from tests.helpers.detections import LIMITS, guesses
from tests.helpers.made_study import SHAPES, TRUTH, make_study

ABOUT = {"engine": "torchvision", "profile": "smoke", "iterations": 40, "replicates": 30}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("made")).parent


def make_run(path, noise):
    profile = load_profile("smoke", ["finetune.arms=[byol, random]"])
    write_text(path / "profile.yaml", dump_profile(profile))
    write_json(path / "splits.json", {"test": "data/test.json", "pretrain": ["a.png"]})
    write_json(path / "data/test.json", TRUTH)
    for arm in ("byol", "random"):
        key = f"{arm}-seed0"
        found = guesses(SHAPES, len(arm), noise, decimals=6)
        result = evaluate_model(TRUTH, found, arm=arm, seed=0, area_limits=LIMITS, **ABOUT)
        save_result(result, path / "evaluate" / key)
        write_json(path / "evaluate" / key / "detections.json", found)
        stage = {"parameters": {}, "device": "CPU, 3 cores"}
        write_json(path / "finetune" / key / "stage.json", stage)
        write_text(path / "finetune" / key / "metrics.csv", "step,loss\n20,1\n")
    return path


def test_a_kept_run_has_the_same_numbers_and_they_are_found_again(tmp_path, capsys):
    run = make_run(tmp_path / "run", 1.0)
    folder = keep_run(run, tmp_path / "results" / "smoke")
    write_cards(folder, "smoke", None)
    whole = load_result(run / "evaluate/byol-seed0")
    kept = load_result(folder / "evaluate/byol-seed0")
    assert kept.metrics == whole.metrics
    for name, draws in whole.columns.items():
        assert np.array_equal(kept.columns[name], draws, equal_nan=True)
    assert main(["verdicts", "--results", str(tmp_path / "results")]) == 0
    path = folder / "evaluate/byol-seed0/metrics.json"
    content = read_json(path)
    content["box"]["AP75"]["value"] += 1e-6
    write_json(path, content)
    assert main(["verdicts", "--results", str(tmp_path / "results")]) == 1
    assert "metrics.json: box/AP75/value is" in capsys.readouterr().err


def test_the_spread_between_seeds_is_pooled_over_arms(results):
    spread = measure_seed_spread(results)
    assert 0.1 < spread < 20
    assert measure_seed_spread(results / "made") is None


def test_a_run_is_compared_model_by_model(tmp_path):
    here = open_results(make_run(tmp_path / "here", 2.0))
    committed = open_results(make_run(tmp_path / "committed", 1.0))
    rows = compare_machines(here, committed, spread=100.0)
    assert [(row["arm"], row["seed"], row["luck"]) for row in rows] == [
        ("byol", 0, True),
        ("random", 0, True),
    ]
    assert rows[0]["here"] < rows[0]["committed"]
    assert not any(row["luck"] for row in compare_machines(here, committed, spread=0.001))


def test_one_line_says_whether_it_is_luck(results, tmp_path):
    shutil.copytree(results, tmp_path / "results")
    assert "No run of the profile smoke" in describe_other_machine(
        make_run(tmp_path / "here", 1.0), tmp_path / "results"
    )
    keep_run(make_run(tmp_path / "there", 1.0), tmp_path / "results" / "smoke")
    said = describe_other_machine(tmp_path / "here", tmp_path / "results")
    assert said.startswith("AP here minus that of the committed run (CPU, 3 cores): byol seed 0 +0")
    assert said.endswith("may be luck: all of it within seed noise.")
    shutil.rmtree(tmp_path / "results" / "made")
    said = describe_other_machine(tmp_path / "here", tmp_path / "results")
    assert "No committed study has three seeds" in said
