"""The controls of frozen batch norm: weights that nobody trained, with statistics measured."""

import pytest
import torch

from byol_helpers import pipeline
from byol_helpers.backbones import load_backbone
from byol_helpers.core.files import read_json
from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining.encoder import build_encoder
from byol_helpers.segmentation import torchvision_engine
from tests.helpers.small_runs import SMALL

SETTINGS = [
    *SMALL,
    "width=64",
    "pretrain.shared_init=false",
    "data.test=2",
    "finetune.arms=[byol, random, random-measured]",
    "finetune.norm_policy=frozen",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    opened = pipeline.open_run("smoke", tmp_path_factory.mktemp("runs") / "frozen", None, SETTINGS)
    pipeline.prepare(opened)
    return opened


def test_random_weights_get_statistics_and_nothing_else(run):
    path = pipeline.transfer(run, "random-measured")
    measured = load_backbone(path)
    torch.manual_seed(0)
    drawn = build_encoder(run.profile.depth).state_dict()
    assert measured.keys() == drawn.keys()
    for name, values in measured.items():
        if name.endswith(("running_mean", "running_var")):
            assert not torch.equal(values, drawn[name]), name
        elif not name.endswith("num_batches_tracked"):
            assert torch.equal(values, drawn[name]), name
    assert read_json(path.with_suffix(".json"))["source"]["kind"] == "random, statistics measured"


def test_they_are_those_of_the_arm_random_of_the_same_seed(run):
    """A detector of the arm ``random`` differs from its control in the statistics alone."""
    weights = load_backbone(pipeline.transfer(run, "random-measured"))
    tune = run.profile.finetune
    plain = torchvision_engine.build(run.profile.depth, 3, tune, seed=0).state_dict()
    control = torchvision_engine.build(run.profile.depth, 3, tune, seed=0, weights=weights)
    differing = set()
    for name, values in control.state_dict().items():
        if not torch.equal(values, plain[name]):
            differing.add(name.rsplit(".", 1)[1])
    assert differing == {"running_mean", "running_var"}


def test_supervised_weights_get_statistics_too(run):
    torch.manual_seed(5)
    encoder = build_encoder(run.profile.depth)
    start = run.path / "weights" / "supervised.pth"
    start.parent.mkdir(exist_ok=True)
    torch.save({k: v for k, v in encoder.state_dict().items() if "fc" not in k}, start)
    measured = load_backbone(pipeline.transfer(run, "supervised-measured"))
    assert torch.equal(measured["conv1.weight"], encoder.conv1.weight)
    assert not torch.equal(measured["bn1.running_mean"], encoder.bn1.running_mean)


def test_they_are_in_no_profile_by_default():
    for name in ("smoke", "quick", "colab", "thesis"):
        assert not any("measured" in arm for arm in load_profile(name).finetune.arms)
