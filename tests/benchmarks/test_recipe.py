"""The trials of the recipe, in a few steps of a tiny network."""

import csv

from benchmarks import recipe

TINY = ["width=8", "data.unlabelled=8", "pretrain.batch_size=4", "pretrain.hidden=16"]
TINY += ["pretrain.probe_crops=20", "pretrain.steps=2", "pretrain.warmup_steps=1"]


def test_trials_are_trained_once_and_written_as_rows(tmp_path, capsys):
    out = tmp_path / "recipe.csv"
    trials = ["crop scale 0.2", "SimCLR, crop scale 0.4"]
    options = ["--run", str(tmp_path / "run"), "--out", str(out), "--trials", *trials]
    recipe.main([*options, "--set", *TINY])
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["trial"] for row in rows} == set(trials)
    assert {row["stage"] for row in rows} == {"layer1", "layer2", "layer3", "layer4"}
    assert "crop scale 0.2, seed 0: layer1 " in capsys.readouterr().out
    recipe.main([*options, "--set", *TINY])
    assert "pretrain/simclr-random: up to date" in capsys.readouterr().out
