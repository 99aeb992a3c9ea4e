"""The forecast of a whole run: a few steps of each training, which the run then goes on from."""

import pytest

from byol_helpers import forecasts, pipeline
from byol_helpers.core.errors import UserError

TINY = [
    "data.unlabelled=32",
    "data.train=8",
    "data.crops=32",
    "supervised.steps=2",
    "pretrain.steps=6",
    "finetune.steps=60",
    "finetune.arms=[byol, supervised, random]",
]


@pytest.mark.slow
def test_it_measures_each_training_and_the_run_goes_on_from_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(forecasts, "FORECAST_AFTER", 3)
    run = pipeline.open_run("smoke", tmp_path / "run", overrides=TINY)
    said = forecasts.forecast_run(run).splitlines()
    assert said[0].startswith("pretrain byol: 6 steps of ")
    assert said[1].startswith("finetune: 3 x 60 steps of ")
    assert said[2].startswith("all trainings of smoke together: ")
    assert list(run.path.rglob("speed.json")) == []
    capsys.readouterr()
    pipeline.pretrain(run)
    assert "pretrain byol: goes on from 3 of 6 steps" in capsys.readouterr().out
    assert "pretrain byol: done already" in forecasts.forecast_run(run)


def test_without_an_arm_that_can_be_measured_one_line_says_so(tmp_path):
    run = pipeline.open_run("smoke", tmp_path / "run", overrides=["finetune.arms=[byol]"])
    with pytest.raises(UserError, match="arm random") as told:
        forecasts.forecast_run(run)
    assert "\n" not in str(told.value)
