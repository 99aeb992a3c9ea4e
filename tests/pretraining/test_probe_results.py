"""The probes as a result of a run: on crops nobody trained on, kept, and beside their controls."""

import itertools
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from byol_helpers import pipeline, probing
from byol_helpers.backbones import load_backbone, load_body
from byol_helpers.coco.dataset import list_usable_images, load_split
from byol_helpers.core import deadline
from byol_helpers.core.deadline import StopRequested, stop_after
from byol_helpers.core.files import read_json, write_json
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.resnet import STAGES
from byol_helpers.core.stage import Run
from byol_helpers.pretraining import probe_results
from byol_helpers.segmentation.torchvision_engine import build

SMALL = [
    "data.unlabelled=24",
    "data.train=4",
    "data.val=2",
    "data.test=4",
    "data.crops=20",
    "data.crop_objects=scenes",
    "pretrain.init=random",
    "pretrain.steps=2",
    "pretrain.warmup_steps=1",
    "pretrain.batch_size=8",
    "pretrain.hidden=16",
    "pretrain.view_size=32",
    "pretrain.probe_crops=20",
    "pretrain.probe_on=crops",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = pipeline.open_run("smoke", tmp_path_factory.mktemp("probes"), overrides=SMALL)
    pipeline.prepare(run)
    pipeline.pretrain(run, "byol-random")
    pipeline.transfer(run, "byol-random")
    return run


def test_crops_are_those_that_no_training_sees():
    profile = load_profile("smoke", ["data.crop_objects=scenes", "pretrain.probe_on=crops"])
    pixels, labels = probe_results.make_held_out_crops(profile, 20)
    made = probe_results.make_crop(profile.seed, 50_003, 64, "shapes", 160)
    np.testing.assert_array_equal(pixels[3], made[0])
    assert sorted(labels.tolist()) == [k for k in range(10) for _ in range(2)]
    assert profile.data.crops < probe_results.HELD_OUT


def test_probes_of_a_run_stand_beside_both_controls_and_are_kept(run, capsys):
    found = probing.measure_probes(run, "byol-random")
    rows = {}
    for row in found["rows"]:
        rows[row["encoder"], row["stage"], row["probe"], row["per_class"]] = row
    names = ("untrained", "start, measured", "BYOL from random")
    assert {key[0] for key in rows} == set(names) == set(found["views"])
    assert {key[1] for key in rows} == set(STAGES)
    assert {key[3] for key in rows} == {1, None}  # of two of each class in the bank
    for key, row in rows.items():
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
        control = rows["start, measured", *key[1:]]
        assert row["gain"] == pytest.approx(row["value"] - control["value"])
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
        assert row["gain"] == 0 or key[0] != "start, measured"
    for described in found["views"].values():
        assert 0 <= described["partners_low"] <= described["partners"] <= 1
        assert described["effective_rank"] >= 1
    assert found["crops"]["objects"] == "scenes"
    capsys.readouterr()
    assert probing.measure_probes(run, "byol-random") == found
    assert "probe/byol-random: up to date" in capsys.readouterr().out
    assert read_json(run.path / "probe/byol-random/probe.json") == found


def test_the_dense_probe_of_a_run_stands_beside_both_controls_and_is_kept(run, capsys):
    found = probing.measure_dense_probe(run, ["byol-random"])
    rows = {(row["encoder"], row["images"]): row for row in found["rows"]}
    names = ("untrained", "random, statistics measured", "BYOL from random")
    assert list(rows) == [(name, 4) for name in names]  # no more than there are
    for name in names[:2]:
        assert rows[name, 4]["gains"] == {}
    row = rows["BYOL from random", 4]
    assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert set(row["gains"]) == {"untrained", "random, statistics measured"}
    for name, gain in row["gains"].items():
        assert gain["value"] == pytest.approx(row["value"] - rows[name, 4]["value"])
    assert found["scenes"] == {
        "labelled": 4,
        "asked": 4,
        "size": 160,
        "categories": 10,
        "repeats": 3,
    }
    capsys.readouterr()
    assert probing.measure_dense_probe(run, ["byol-random"]) == found
    assert "probe/dense: up to date" in capsys.readouterr().out
    assert read_json(run.path / "probe/dense/probe.json") == found


def test_in_an_older_file_random_weights_are_called_so_too(run):
    found = probing.measure_dense_probe(run, ["byol-random"])
    file = run.path / "probe/dense/probe.json"
    new = file.read_text()
    file.write_text(new.replace("random, statistics measured", "start, measured"))
    assert probing.measure_dense_probe(run, ["byol-random"]) == found
    file.write_text(new)


@pytest.mark.parametrize("kind", ["byol-random", "dense"])
def test_a_probe_in_pieces_ends_like_one_done_at_once(run, monkeypatch, kind):
    def measure():
        if kind == "dense":
            return probing.measure_dense_probe(run, ["byol-random"])
        return probing.measure_probes(run, kind)

    whole = measure()
    shutil.rmtree(run.path / "probe" / kind)
    minutes = SimpleNamespace(time=map(float, itertools.count(0, 60)).__next__)
    monkeypatch.setattr(deadline, "time", minutes)  # goes on by one whenever it is looked at
    for done in (1, 2):
        with stop_after(2), pytest.raises(StopRequested, match=f"{done} of 3 encoders"):
            measure()
    assert measure() == whole
    assert not (run.path / "probe" / kind / probing.UNFINISHED).exists()


def test_of_a_training_that_began_with_another_arm_the_gain_over_it_is_counted_too(run):
    weights = load_backbone(run.path / "weights/byol-random.pth")
    train = load_split(run, "train")
    test = load_split(run, "test")
    trained = {"first": weights, "second": weights}
    files = list_usable_images(run)
    found = probe_results.probe_scenes(
        run.profile, trained, {"second": "first"}, files, train, test
    )
    gains = {row["encoder"]: row["gains"] for row in found["rows"]}
    assert list(gains["first"]) == ["untrained", "random, statistics measured"]
    assert gains["second"]["first"] == {"value": 0, "low": 0, "high": 0}  # the same weights


def test_without_labels_there_is_no_dense_probe(run, tmp_path):
    splits = read_json(run.path / "splits.json")
    splits.pop("test")
    write_json(tmp_path / "splits.json", splits)
    unlabelled = Run(tmp_path, run.profile)
    assert probing.measure_dense_probe(unlabelled, ["byol-random"]) is None


def test_the_body_of_a_detector_is_an_upper_bound_in_the_table(run, tmp_path):
    weights = load_backbone(run.path / "weights/byol-random.pth")
    body = {f"backbone.body.{name}": value for name, value in weights.items()}
    heads = {"roi_heads.box_predictor.bbox_pred.bias": torch.zeros(4)}
    torch.save(body | heads, tmp_path / "model.pth")
    found = probing.measure_probes(run, "byol-random", tmp_path / "model.pth")
    rows = {}
    for row in found["rows"]:
        key = row["stage"], row["probe"], row["per_class"]
        rows.setdefault(row["encoder"], {})[key] = row["value"]
    assert rows["body of a detector"] == rows["BYOL from random"]  # the same weights


def test_the_body_is_found_under_the_names_of_a_torchvision_detector(run, tmp_path):
    network = build(18, 10, run.profile.finetune, 0)
    torch.save(network.state_dict(), tmp_path / "model.pth")
    tensors = load_body(tmp_path / "model.pth")
    assert tensors.keys() == network.backbone.body.state_dict().keys()
    assert set(tensors) >= {"conv1.weight", "layer4.1.bn2.running_var"}
