"""What is added in one place is there everywhere: a method of pretraining and an engine.

The whole of what adding a method takes: ``helpers/toy_method.py``, the two entries of
``with_toy_method``, and nothing else.
"""

import csv

import pytest
import torch

from byol_helpers import figures, pipeline
from byol_helpers.backbones import load_backbone
from byol_helpers.cli import main
from byol_helpers.core.arms import ARMS, Arm
from byol_helpers.core.engines import ENGINES, EngineEntry
from byol_helpers.core.files import read_json
from byol_helpers.evaluation.curves import read_metrics
from byol_helpers.pretraining.methods import METHODS
from byol_helpers.segmentation.engine import load_model, make_predictor
from tests.helpers.small_runs import SMALL
from tests.helpers.toy_method import ToyTask

SIDE = "finetune.short_side=[96]"


@pytest.fixture
def with_toy_method(monkeypatch):
    monkeypatch.setitem(METHODS, "toy", ToyTask)
    arm = Arm("toy method", "#882255", {"linestyle": ":", "marker": "x"}, "pretrain", "toy")
    monkeypatch.setitem(ARMS, "toy", arm)


@pytest.mark.slow
def test_a_method_is_one_file_and_one_entry(with_toy_method, tmp_path):
    run = pipeline.open_run(
        "smoke", tmp_path, overrides=[*SMALL, SIDE, "finetune.arms=[toy, random]"]
    )
    pipeline.run_up_to(run, "scorecard")

    with open(tmp_path / "pretrain/toy/metrics.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == ["step", "loss", "lr", "counted", "seconds"]
    assert float(row["counted"]) == 1  # the median of 0, 1, 2: after_step followed each step
    assert read_json(tmp_path / "pretrain/toy/stage.json")["parameters"]["method"] == "toy"

    given = load_backbone(tmp_path / "weights/supervised.pth")
    trained = load_backbone(tmp_path / "weights/toy.pth")
    assert not torch.equal(given["conv1.weight"], trained["conv1.weight"])
    assert read_json(tmp_path / "weights/toy.json")["source"]["kind"] == "toy method"

    compared = read_json(tmp_path / "evaluate/comparison.json")
    assert "toy" in str(compared) and "random" in str(compared)
    results = {}
    for arm in ("toy", "random"):
        results[arm] = read_json(tmp_path / f"evaluate/{arm}-seed0/metrics.json")
    assert results["toy"]["label"] == "toy method"

    losses = {arm: tmp_path / f"finetune/{arm}-seed0/metrics.csv" for arm in results}
    drawn = figures.plot_average_precision(results)
    assert "toy method" in [text.get_text() for text in drawn.findobj(match=has_text)]
    drawn = figures.plot_compared_losses(losses)
    assert "#882255" in [line.get_color() for axes in drawn.axes for line in axes.lines]


def has_text(artist) -> bool:
    return hasattr(artist, "get_text")


def test_an_engine_is_one_file_and_one_entry(monkeypatch, tmp_path):
    entry = EngineEntry("tests.helpers.toy_engine", "torchvision", "nothing to do", scales=False)
    monkeypatch.setitem(ENGINES, "toy", entry)
    settings = [*SMALL, SIDE, "finetune.engine=toy", "finetune.arms=[supervised, random]"]
    run = pipeline.open_run("smoke", tmp_path, overrides=settings)
    pipeline.run_up_to(run, "evaluate")
    model = tmp_path / "finetune/supervised-seed0/model.pth"
    assert read_json(model.with_name("model.json"))["engine"] == "toy"
    network, categories, _ = load_model(model)
    given = load_backbone(tmp_path / "weights/supervised.pth")
    assert torch.equal(network.get_parameter("backbone.conv1.weight"), given["conv1.weight"])
    detections = read_json(tmp_path / "evaluate/supervised-seed0/detections.json")
    assert {found["category_id"] for found in detections} == {categories[0]["id"]}
    assert read_metrics(model.with_name("metrics.csv"))["total_loss"]
    image = (255 * torch.rand(32, 48, 3)).byte().numpy()
    assert len(make_predictor(model)(image)) == 1
    assert make_predictor(model, 0.999)(image) == []


def test_an_engine_that_is_not_in_the_table_is_one_line(capsys):
    assert main(["finetune", "--engine", "toy"]) == 2
    said = capsys.readouterr().err.strip()
    assert "finetune.engine: use torchvision, detectron2, not 'toy'" in said and "\n" not in said


def test_an_engine_whose_package_is_absent_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    entry = EngineEntry("tests.helpers.toy_engine", "no_such_package", "pip install it", False)
    monkeypatch.setitem(ENGINES, "toy", entry)
    assert main(["finetune", "--engine", "toy"]) == 2
    assert "toy, which is not installed; pip install it or use" in capsys.readouterr().err


def test_an_engine_for_one_device_refuses_two(monkeypatch, capsys):
    entry = EngineEntry("tests.helpers.toy_engine", "torchvision", "", scales=False)
    monkeypatch.setitem(ENGINES, "toy", entry)
    assert main(["finetune", "--engine", "toy", "--set", "finetune.devices=2"]) == 2
    assert "finetune.engine=toy trains here on one device" in capsys.readouterr().err
