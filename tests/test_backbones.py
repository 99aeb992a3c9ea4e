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


def resnet(depth):
    return {18: resnet18, 50: resnet50}[depth](weights=None)


def forms(network):
    """The same ResNet as other projects save it, by their own names."""
    state = network.state_dict()
    body = {name: value for name, value in state.items() if not name.startswith("fc.")}
    children = torch.nn.Sequential(*list(network.children())[:-1]).state_dict()
    momentum = {name: torch.full_like(value, 7) for name, value in body.items()}

    def under(prefix, tensors=body):
        return {f"{prefix}{name}": value for name, value in tensors.items()}

    head = {"projection_head.layers.0.weight": torch.zeros(8, 8), "queue": torch.zeros(4, 4)}
    return {
        "torchvision": state,
        "timm, without a classifier": body,
        "no counters of batches": {
            k: v for k, v in body.items() if not k.endswith("num_batches_tracked")
        },
        "DataParallel": under("module.", state),
        "lightly": {
            "state_dict": under("backbone.", children)
            | under("backbone_momentum.", children)
            | head
        },
        "solo-learn": {
            "epoch": 2,
            "state_dict": under("backbone.") | under("momentum_backbone.", momentum) | head,
        },
        "MoCo v2": {
            "arch": "resnet50",
            "state_dict": under("module.encoder_q.")
            | under("module.encoder_k.", momentum)
            | {"module.encoder_q.fc.0.weight": torch.zeros(8, 8)},
            "optimizer": {"state": {0: {"step": 1}}},
        },
        "MoCo v3": {
            "state_dict": under("module.base_encoder.")
            | under("module.momentum_encoder.", momentum)
        },
        "DINO": {"student": under("module.backbone."), "teacher": under("backbone.", momentum)},
        "BYOL of this project": {
            "state_dict": under("network.encoder.") | under("network.target.0.", momentum)
        },
    }


NAMES = list(forms(resnet18(weights=None)))


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("form", NAMES)
def test_checkpoints_of_others_are_adopted(form, depth, tmp_path):
    torch.manual_seed(0)
    network = resnet(depth)
    torch.save(forms(network)[form], tmp_path / "theirs.pth")
    tensors, source = backbones.adopt_checkpoint(tmp_path / "theirs.pth", depth)
    wanted = {k: v for k, v in network.state_dict().items() if not k.startswith("fc.")}
    for name, value in wanted.items():
        if name in tensors or not name.endswith("num_batches_tracked"):
            assert torch.equal(tensors[name], value), name
    assert tensors.keys() <= wanted.keys() and source["file"] == "theirs.pth"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": {"vit.patch_embed.weight": torch.zeros(3)}}, "none among 1 tensors"),
        ({"epoch": 3}, "none among 0 tensors"),
        ([1, 2], "none among 0 tensors"),
        (
            {
                "a.conv1.weight": torch.zeros(64, 3, 7, 7),
                "b.conv1.weight": torch.zeros(64, 3, 7, 7),
            },
            r"2 \(a\., b\.\)",
        ),
        ({"teacher": {"conv1.weight": torch.zeros(64, 3, 7, 7)}}, "none among"),
        (resnet18(weights=None).state_dict(), "no ResNet-50: .*missing"),
        (
            {k: v for k, v in resnet50(weights=None).state_dict().items() if "layer3.5" not in k},
            "missing .layer3.5",
        ),
        (
            resnet50(weights=None).state_dict() | {"layer1.0.bn1.weight": torch.zeros(3)},
            "1 of another shape",
        ),
    ],
)
def test_a_checkpoint_without_exactly_this_resnet_is_refused_by_name(content, said, tmp_path):
    torch.save(content, tmp_path / "theirs.pth")
    with pytest.raises(UserError, match=rf"theirs\.pth: .*{said}") as refused:
        backbones.adopt_checkpoint(tmp_path / "theirs.pth", 50)
    assert "\n" not in str(refused.value)


def test_code_in_somebody_elses_checkpoint_is_not_run(tmp_path):
    (tmp_path / "bad.pth").write_bytes(pickle.dumps({"state_dict": Bomb()}))
    with pytest.raises(UserError, match=r"bad\.pth: damaged, or more than plain tensors"):
        backbones.adopt_checkpoint(tmp_path / "bad.pth", 18)
