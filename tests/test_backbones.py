"""Weights cross the border whole, or not at all."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18, resnet50

from byol_helpers import backbones
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import sha256

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


@pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="detectron2's list of names (../shared/golden) is not here"
)
@pytest.mark.parametrize(
    ("make", "key", "count"), [(resnet18, "resnet18", 100), (resnet50, "resnet50", 265)]
)
def test_names_and_shapes_are_detectron2s(make, key, count):
    golden = json.loads((GOLDEN / "detectron2-backbone-names.json").read_text())
    listed = golden[key]["backbone"]
    listed = {
        name: shape for name, shape in listed.items() if not name.endswith("num_batches_tracked")
    }
    ours = {
        k: list(v.shape)
        for k, v in backbones.rename_for_detectron2(make(weights=None).state_dict()).items()
    }
    assert ours == listed
    assert len(ours) == count


def test_export_opens_as_plain_tensors_and_says_where_it_is_from(tmp_path):
    path = backbones.save_backbone(
        resnet18(weights=None).state_dict(), tmp_path / "byol.pth", {"kind": "BYOL"}
    )
    tensors = torch.load(path, weights_only=True)
    about = json.loads(path.with_suffix(".json").read_text())
    assert (
        not any(name.startswith("fc.") for name in tensors)
        and len(tensors) == about["tensors"] == 120
    )
    assert about["sha256"] == sha256(path) and about["source"] == {"kind": "BYOL"}
    assert about["normalisation"]["channels"] == "RGB"


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code in a weights file was run')",))


@pytest.mark.parametrize(
    "content", [pickle.dumps(Bomb()), b"", b"not a weights file", pickle.dumps([1, 2])]
)
def test_a_file_that_is_not_plain_tensors_is_refused_and_not_run(tmp_path, content):
    path = tmp_path / "bad.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.pth"):
        backbones.load_backbone(path)


def test_a_truncated_file_is_refused(tmp_path):
    path = backbones.save_backbone(resnet18(weights=None).state_dict(), tmp_path / "byol.pth", {})
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(UserError, match="damaged"):
        backbones.load_backbone(path)


def test_a_file_that_is_not_torchvisions_does_not_pass_for_imagenet(tmp_path):
    path = backbones.save_backbone(resnet18(weights=None).state_dict(), tmp_path / "other.pth", {})
    with pytest.raises(UserError, match="not torchvision's"):
        backbones.read_imagenet(18, path)


def test_the_encoder_of_a_checkpoint_is_the_online_one(tmp_path):
    state = {
        "network.encoder.conv1.weight": torch.ones(2),
        "network.target.0.conv1.weight": torch.zeros(2),
    }
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    assert backbones.extract_encoder(tmp_path / "last.ckpt")["conv1.weight"].tolist() == [1, 1]


def test_feature_differences_prove_and_disprove():
    torch.manual_seed(0)
    network, same = resnet18(weights=None), resnet18(weights=None)
    same.load_state_dict(network.state_dict())
    images = torch.randn(2, 3, 64, 64)
    assert backbones.measure_feature_differences(network, same, images) == dict.fromkeys(
        ("layer1", "layer2", "layer3", "layer4"), 0.0
    )
    with torch.no_grad():
        same.layer3[0].conv1.weight[0] += 0.1
    wrong = backbones.measure_feature_differences(network, same, images)
    assert wrong["layer2"] == 0 and wrong["layer3"] > 1e-4 and wrong["layer4"] > 1e-4
    assert network.training
