"""Steps of the arms in interleaved blocks."""

import pytest

from byol_helpers import pipeline
from byol_helpers.coco.dataset import load_split
from byol_helpers.core.deadline import StopRequested, stop_after
from byol_helpers.reproduction.run_results import open_results
from byol_helpers.segmentation import timing

ONE = "finetune.arms=[random]"
SMALL = ["data.train=3", "data.val=2", "data.test=2", "data.unlabelled=16", "data.crops=16"]


def test_every_arm_has_its_turn_in_every_block(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "TIMED_BLOCKS", 3)
    run = pipeline.open_run("smoke", tmp_path, overrides=SMALL)
    pipeline.prepare(run)
    split = load_split(run, "train")
    rows = timing.time_steps(run.profile, split, {"byol": None, "random": None})
    found = [(row["block"], row["arm"]) for row in rows]
    assert found == [
        (1, "random"),
        (1, "byol"),
        (2, "byol"),
        (2, "random"),
        (3, "random"),
        (3, "byol"),
    ]
    assert all(0 < row["seconds"] < 60 for row in rows)
    assert pipeline.time_arms(pipeline.open_run("smoke", tmp_path, overrides=[*SMALL, ONE])) is None
    assert open_results(tmp_path).timing == {}


def test_the_time_may_be_over_between_two_blocks(tmp_path):
    run = pipeline.open_run("smoke", tmp_path, overrides=SMALL)
    pipeline.prepare(run)
    split = load_split(run, "train")
    with stop_after(0), pytest.raises(StopRequested, match="time the steps of the arms"):
        timing.time_steps(run.profile, split, {"byol": None, "random": None})
