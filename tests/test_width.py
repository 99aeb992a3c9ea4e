"""A narrower backbone, through every stage and every file; and what has another width, refused."""

import numpy as np
import pytest
import torch

from byol_helpers import backbones, pipeline, probing
from byol_helpers.adoption import adopt_checkpoint
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_json
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.resnet import build_resnet
from byol_helpers.pretraining import probes
from byol_helpers.pretraining.encoder import build_encoder
from byol_helpers.segmentation import torchvision_engine
from byol_helpers.segmentation.engine import load_model, make_predictor
from tests.helpers.small_runs import SMALL

ARMS = "finetune.arms=[byol, random, random-measured]"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run of a ResNet-18 of width 16 with every stage done."""
    settings = [*SMALL, ARMS, "width=16"]
    run = pipeline.open_run("smoke", tmp_path_factory.mktemp("runs") / "narrow", None, settings)
    pipeline.run_up_to(run, "scorecard")
    return run


@pytest.mark.slow
def test_every_file_of_the_run_is_of_that_width(done):
    for arm in ("byol", "supervised", "random-measured"):
        file = done.path / f"weights/{arm}.pth"
        assert len(backbones.load_backbone(file)["conv1.weight"]) == 16
        assert read_json(file.with_suffix(".json"))["source"]["width"] == 16
    for arm, seed in pipeline.list_models(done):
        model = done.path / f"finetune/{arm}-seed{seed}/model.pth"
        assert read_json(model.with_name("model.json"))["width"] == 16
        network, _, _ = load_model(model)
        assert len(network.get_parameter("backbone.body.conv1.weight")) == 16
        assert (done.path / f"background/{arm}-seed{seed}/metrics.json").is_file()
    stages = [read_json(path)["parameters"] for path in done.path.rglob("stage.json")]
    assert sum(stage.get("width") == 16 for stage in stages) >= 9
    assert len(probing.measure_knn(done)) == 3


@pytest.mark.slow
def test_its_model_finds_objects_in_an_image(done):
    predict = make_predictor(done.path / "finetune/byol-seed0/model.pth")
    assert isinstance(predict(np.zeros((64, 96, 3), np.uint8)), list)


@pytest.mark.slow
def test_nothing_runs_twice(done, capsys):
    pipeline.run_up_to(done, "scorecard")
    assert "runs afresh" not in capsys.readouterr().out


def test_the_full_width_is_in_no_stages_parameters(tmp_path):
    """A run folder of an earlier version stays up to date."""
    settings = [*SMALL, ARMS, "width=64", "finetune.engine=torchvision"]
    run = pipeline.open_run("smoke", tmp_path, None, settings)
    pipeline.prepare(run)
    pipeline.supervise_all(run)
    for path in run.path.rglob("stage.json"):
        assert "width" not in read_json(path)["parameters"], path
    assert read_json(tmp_path / "weights/supervised.json")["source"]["width"] == 64


def test_a_model_that_says_no_width_has_64(tmp_path):
    profile = load_profile("smoke")
    network = torchvision_engine.build(18, 3, profile.finetune, seed=0)
    torch.save(network.state_dict(), tmp_path / "model.pth")
    described = {"engine": "torchvision", "depth": 18, "categories": [{"id": 1}] * 3, "seed": 0}
    settings = profile.finetune.model_dump()
    write_json(tmp_path / "model.json", described | {"finetune": settings})
    loaded, _, _ = load_model(tmp_path / "model.pth")
    assert torch.equal(
        loaded.state_dict()["backbone.body.conv1.weight"],
        network.state_dict()["backbone.body.conv1.weight"],
    )


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("policy", ["trainable", "frozen"])
def test_the_engine_gives_the_encoders_features(depth, policy):
    settings = load_profile("smoke", [f"finetune.norm_policy={policy}"]).finetune
    encoder = build_encoder(depth, 16).eval()
    images = torch.randn(2, 3, 64, 96)
    probes.update_bn([images], encoder)
    encoder.eval()
    weights = encoder.state_dict()
    pyramid = torchvision_engine.build_backbone(depth, settings, weights, width=16)
    differences = backbones.measure_feature_differences(encoder, pyramid.body, images)
    assert max(differences.values()) <= (1e-3 if policy == "frozen" else 0.0)


def test_controls_of_the_probes_are_of_that_width():
    profile = load_profile("smoke", ["width=16"])
    images = torch.randn(4, 3, 32, 32)
    controls = probes.make_controls(profile, None, [images])
    for encoder in controls.values():
        assert probes.pool_stages(encoder, images)["layer4"].shape == (4, 128)


def test_a_checkpoint_of_that_width_is_adopted(tmp_path):
    state = build_resnet(18, 16).state_dict()
    torch.save({"state_dict": {f"backbone.{name}": state[name] for name in state}}, tmp_path / "a")
    tensors, source = adopt_checkpoint(tmp_path / "a", 18, 16)
    assert source["prefix"] == "state_dict.backbone."
    assert all(torch.equal(tensors[name], state[name]) for name in tensors)
    with pytest.raises(UserError, match=r"of width 16 .* the profile has width=64; set width=16"):
        adopt_checkpoint(tmp_path / "a", 18)
    torch.save(build_resnet(18).state_dict(), tmp_path / "full")
    with pytest.raises(UserError, match=r"of width 64 .* the profile has width=16; set width=64"):
        adopt_checkpoint(tmp_path / "full", 18, 16)


def test_imagenets_weights_are_of_one_width():
    with pytest.raises(UserError, match="of width 64, and the profile has width=16; set width=64"):
        backbones.read_imagenet(18, width=16)
    with pytest.raises(UserError, match="imagenet needs width=64.*width=16: set width=64"):
        load_profile("thesis", ["width=16"])


def test_what_a_reader_calls_it():
    assert load_profile("smoke", ["width=64"]).backbone == "ResNet-18"
    assert load_profile("smoke", ["width=16"]).backbone == "ResNet-18 of width 16"
