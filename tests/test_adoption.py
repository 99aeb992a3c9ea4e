"""Checkpoints as other projects write them: the right ResNet comes out, or one line says why not.

``FORMS`` are the layouts that torchvision, timm, lightly, solo-learn, MoCo, DINO, SwAV, VICReg,
BYOL's ports, OpenMMLab, VISSL and detectron2 save; ``REFUSED`` what cannot be meant.
"""

import argparse
import io
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torchvision.models import (
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnext50_32x4d,
    wide_resnet50_2,
)

from byol_helpers import pipeline
from byol_helpers.adoption import adopt_checkpoint
from byol_helpers.backbones import load_backbone
from byol_helpers.cli import main
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json
from byol_helpers.core.resnet import build_resnet
from byol_helpers.segmentation.detectron2_names import (
    BODY,
    rename_for_detectron2,
    rename_from_detectron2,
)

SEQUENTIAL = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def make_state(seed: int = 0, make: Callable = resnet18) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    network = make(weights=None)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network.state_dict()


STATE = make_state()
BACKBONE = {name: value for name, value in STATE.items() if not name.startswith("fc.")}
WITHOUT_COUNTERS = {k: v for k, v in BACKBONE.items() if not k.endswith("num_batches_tracked")}
MOMENTUM = {name: torch.full_like(value, 7) for name, value in BACKBONE.items()}
ARGS = argparse.Namespace(arch="resnet18", lr=0.1)
OPTIMIZER = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
HEAD = {"module.head.mlp.0.weight": torch.zeros(4, 4)}


def under(prefix: str, tensors: dict | None = None) -> dict:
    tensors = BACKBONE if tensors is None else tensors
    return {prefix + name: value for name, value in tensors.items()}


def number(prefix: str, tensors: dict | None = None) -> dict:
    """As torch.nn.Sequential over the children of a ResNet."""
    named = {}
    for name, value in (tensors or BACKBONE).items():
        first, _, rest = name.partition(".")
        named[f"{prefix}{SEQUENTIAL[first]}.{rest}"] = value
    return named


def detectron2(prefix: str = BODY) -> dict:
    renamed = rename_for_detectron2(BACKBONE)
    return {prefix + name.removeprefix(BODY): value for name, value in renamed.items()}


def to_arrays(tensors: dict) -> dict:
    return {name: value.numpy() for name, value in tensors.items()}


def history_buffer() -> object:
    """An object of a class that this machine does not have."""
    module = types.ModuleType("mmengine_absent")
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": "mmengine_absent"})
    sys.modules["mmengine_absent"] = module
    return module.HistoryBuffer()


FORMS = {
    "torchvision": STATE,
    "torchvision references": {"model": STATE, "optimizer": OPTIMIZER, "epoch": 3, "args": ARGS},
    "timm, its own training": {
        "arch": "resnet18",
        "state_dict": STATE,
        "optimizer": OPTIMIZER,
        "args": ARGS,
        "state_dict_ema": MOMENTUM,
        "metric": 71.2,
    },
    "DataParallel": under("module.", STATE),
    "no counters of batches": WITHOUT_COUNTERS,
    "MoCo v2": {
        "epoch": 200,
        "arch": "resnet18",
        "state_dict": under("module.encoder_q.")
        | under("module.encoder_k.", MOMENTUM)
        | {"module.encoder_q.fc.0.weight": torch.zeros(4, 4), "module.queue": torch.zeros(8, 4)},
        "optimizer": OPTIMIZER,
    },
    "MoCo v3": {
        "state_dict": under("module.base_encoder.") | under("module.momentum_encoder.", MOMENTUM)
    },
    "SimSiam": {"state_dict": under("module.encoder.") | HEAD},
    "DINO": {
        "student": under("module.backbone.") | HEAD,
        "teacher": under("backbone.", MOMENTUM),
        "optimizer": OPTIMIZER,
        "args": ARGS,
        "dino_loss": {},
    },
    "SwAV": under("module.") | {"module.prototypes.weight": torch.zeros(4, 4)},
    "Barlow Twins": {"epoch": 1, "model": under("module.backbone."), "optimizer": OPTIMIZER},
    "lightly": {
        "state_dict": number("backbone.") | number("backbone_momentum.", MOMENTUM),
        "hyper_parameters": {},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best": torch.tensor(1.0)}},
    },
    "solo-learn": {
        "state_dict": under("backbone.") | under("momentum_backbone.", MOMENTUM),
        "optimizer_states": [OPTIMIZER],
    },
    "BYOL, lucidrains": under("net.")
    | under("online_encoder.net.", WITHOUT_COUNTERS)
    | under("target_encoder.net.", MOMENTUM),
    "BYOL, sthalles": {
        "online_network_state_dict": number("encoder."),
        "target_network_state_dict": number("encoder.", MOMENTUM),
    },
    "BYOL, yaox12": {
        "config": {"path": Path("a")},
        "model": number("module.online_network.encoder.")
        | number("module.target_network.encoder.", MOMENTUM),
    },
    "OpenSelfSup": {
        "meta": {"epoch": 1},
        "state_dict": under("online_net.0.")
        | under("target_net.0.", MOMENTUM)
        | under("backbone."),
    },
    "mmengine": {
        "meta": {"seed": np.int64(0)},
        "state_dict": under("backbone."),
        "message_hub": {"log_scalars": {"train/loss": history_buffer(), "lr": np.arange(3)}},
    },
    "VISSL": {
        "classy_state_dict": {
            "base_model": {"model": {"trunk": under("_feature_blocks."), "heads": {}}},
            "losses": [np.float64(1.5)],
        }
    },
    "compiled": {"state_dict": under("_orig_mod.backbone.")},
    "averaged": {"state_dict": under("net.") | under("avg_net.module.", MOMENTUM)},
    "detectron2": {
        "model": detectron2() | {"backbone.fpn_lateral2.weight": torch.zeros(8, 8, 1, 1)},
        "iteration": 9,
    },
    "detectron2, without a pyramid": {"model": detectron2("backbone.")},
    "torchvision's Mask R-CNN": under("backbone.body.")
    | {"backbone.fpn.inner_blocks.0.0.weight": torch.zeros(8, 8, 1, 1)},
    "half precision": {k: v.half() for k, v in BACKBONE.items() if v.is_floating_point()},
    "a path beside": {"state_dict": under("backbone."), "args": {"path": Path("/x")}},
    "this project's, 0.1": {
        "state_dict": under("network.encoder.") | under("network.target.0.", MOMENTUM)
    },
}
FILES = {
    "before torch 1.6": lambda: save_old({"state_dict": under("module.encoder_q.")}),
    "before torch 1.6, with arguments": lambda: save_old({"model": BACKBONE, "args": ARGS}),
    "safetensors": lambda: save(BACKBONE),
    "detectron2's zoo": lambda: pickle.dumps(
        {"model": to_arrays(detectron2()), "__author__": "Detectron2 Model Zoo"}
    ),
    "MoCo for detectron2": lambda: pickle.dumps(
        {"model": to_arrays(detectron2("")), "__author__": "MOCO", "matching_heuristics": True}, 2
    ),
}


def save_old(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def check_adopted(path: Path) -> dict:
    tensors, source = adopt_checkpoint(path, 18)
    for name, value in BACKBONE.items():
        if name in tensors or not name.endswith("num_batches_tracked"):
            assert torch.equal(tensors[name], value.to(tensors[name].dtype)), name
    assert tensors.keys() <= BACKBONE.keys() and source["file"] == path.name
    return source


@pytest.mark.parametrize("form", FORMS)
def test_the_online_network_comes_out(form, tmp_path, capsys):
    torch.save(FORMS[form], tmp_path / "theirs.pth")
    source = check_adopted(tmp_path / "theirs.pth")
    said = capsys.readouterr().out
    if "objects left out" in source:  # said in one line
        assert said.count("\n") == 1 and source["objects left out"][0] in said
    else:
        assert said == ""


@pytest.mark.parametrize("kind", FILES)
def test_other_kinds_of_files_are_read(kind, tmp_path):
    (tmp_path / "theirs.bin").write_bytes(FILES[kind]())
    check_adopted(tmp_path / "theirs.bin")


def test_what_is_left_out_is_named(tmp_path, capsys):
    torch.save(FORMS["mmengine"], tmp_path / "theirs.pth")
    source = check_adopted(tmp_path / "theirs.pth")
    assert "mmengine_absent.HistoryBuffer" in source["objects left out"]
    assert "theirs.pth: only its tensors are read; left out: " in capsys.readouterr().out


@pytest.mark.parametrize("depth", [18, 50])
def test_names_of_detectron2_go_there_and_back(depth):
    state = make_state(make={18: resnet18, 50: resnet50}[depth])
    renamed = rename_for_detectron2(state)
    assert rename_for_detectron2(renamed).keys() == renamed.keys()
    back = rename_from_detectron2({k.removeprefix(BODY): v for k, v in renamed.items()})
    kept = {k for k in state if not k.startswith("fc.") and not k.endswith("num_batches_tracked")}
    assert back.keys() == kept and all(back[name] is state[name] for name in kept)


def outline(make: Callable) -> dict[str, torch.Tensor]:
    """A network's names and shapes, all numbers the same one: quick to make and to write."""
    with torch.device("meta"):
        state = make(weights=None).state_dict()
    return {name: torch.ones(()).expand(value.shape) for name, value in state.items()}


def change_stem(*shape: int) -> dict:
    return BACKBONE | {"conv1.weight": torch.zeros(*shape)}


def make_msra() -> dict:
    """As detectron2 saves what began with MSRA's weights: batch norm without statistics."""
    tensors = rename_for_detectron2(outline(resnet50))
    for name in tensors:
        if name.endswith("running_mean"):
            tensors[name] = torch.zeros_like(tensors[name])
        elif name.endswith("running_var"):
            tensors[name] = torch.ones_like(tensors[name]) - 1e-5
    return {"model": tensors}


def make_broken() -> dict:
    broken = BACKBONE["layer2.0.conv1.weight"].clone()
    broken[0] = torch.nan
    return BACKBONE | {"layer2.0.conv1.weight": broken}


def drop_block(tensors: dict, block: str = "layer3.5") -> dict:
    return {name: value for name, value in tensors.items() if block not in name}


def script() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(resnet18(weights=None).eval(), torch.zeros(1, 3, 32, 32)), file)
    return file.getvalue()


REFUSED = {  # content or bytes, depth of the profile, what is said
    "another depth": (lambda: outline(resnet50), 18, "a ResNet-50, .*set depth=50"),
    "another depth, nested": (lambda: {"state_dict": under("backbone.")}, 50, "set depth=18"),
    "ResNet-34": (lambda: outline(resnet34), 18, "this is a ResNet-34"),
    "ResNet-101": (lambda: outline(resnet101), 50, "this is a ResNet-101"),
    "wide": (lambda: outline(wide_resnet50_2), 18, "of another width"),
    "ResNeXt": (lambda: outline(resnext50_32x4d), 50, "of another width"),
    "narrow": (lambda: build_resnet(18, 16).state_dict(), 18, "of width 16 .*set width=16"),
    "narrow and incomplete": (
        lambda: drop_block(build_resnet(18, 16).state_dict(), "layer2.1"),
        18,
        "missing .layer2.1",
    ),
    "incomplete": (lambda: drop_block(outline(resnet50)), 50, "missing .layer3.5"),
    "one other shape": (
        lambda: outline(resnet50) | {"layer1.0.bn1.weight": torch.zeros(3)},
        50,
        "1 of another shape",
    ),
    "small images": (lambda: under("backbone.", change_stem(64, 3, 3, 3)), 18, "3x3 over 3 chan"),
    "grey images": (lambda: change_stem(64, 1, 7, 7), 18, "7x7 over 1 channel"),
    "four channels": (lambda: change_stem(64, 4, 7, 7), 18, "7x7 over 4 channels"),
    "ResNet-D": (lambda: {"conv1.0.weight": torch.zeros(32, 3, 3, 3)}, 18, "ResNet-D"),
    "not finite": (make_broken, 18, r"1 of 120 tensors hold NaN .*layer2\.0\.conv1"),
    "two networks": (
        lambda: under("student.") | under("encoder.", MOMENTUM),
        18,
        r"found 2 \(encoder\., student\.\)",
    ),
    "two stems": (
        lambda: {f"{k}.conv1.weight": torch.full((64, 3, 7, 7), k) for k in (0.5, 1.5)},
        18,
        "found 2",
    ),
    "only a teacher": (lambda: {"teacher": under("backbone.")}, 18, "follows another one"),
    "only a teacher's stem": (
        lambda: {"teacher": {"conv1.weight": torch.zeros(64, 3, 7, 7)}},
        18,
        "none among 1 tensors",
    ),
    "a transformer": (lambda: {"vit.patch_embed.weight": torch.zeros(3)}, 18, "none among 1 tens"),
    "a whole model": (lambda: resnet18(weights=None), 18, r"resnet\.ResNet \(1\).*state_dict"),
    "a whole model in a dictionary": (lambda: {"model": resnet18()}, 18, r"resnet\.ResNet \(1\)"),
    "no tensors": (lambda: {"epoch": 3}, 18, "none among 0 tensors"),
    "a list": (lambda: [torch.zeros(3)], 18, "none among 0 tensors"),
    "MSRA, in detectron2": (make_msra, 18, "MSRA.* BGR"),
    "MSRA": (
        lambda: pickle.dumps({"blobs": {"conv1_w": np.zeros((64, 3, 7, 7), np.float32)}}, 2),
        50,
        "MSRA.* BGR",
    ),
    "JAX": (lambda: pickle.dumps({"conv": {"w": np.zeros((7, 7, 3, 64))}}), 18, "none among 1"),
    "TorchScript": (script, 18, "a TorchScript archive"),
    "a web page": (lambda: b"\n<!DOCTYPE html><html>Virus scan warning</html>", 18, "a web page"),
    "a pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\noid", 18, "git lfs pull"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n", 18, "HDF5"),
    "gzip": (lambda: b"\x1f\x8b\x08", 18, "unpack it"),
    "empty": (lambda: b"", 18, "empty"),
    "text": (lambda: b"Entry not found", 18, "text, not weights .'Entry not found'"),
    "other bytes": (lambda: bytes(range(256)), 18, "damaged, or not written by torch.save"),
    "half a file": (lambda: save_old(BACKBONE)[:100_000], 18, "damaged"),
    "half of safetensors": (lambda: save(BACKBONE)[:100_000], 18, "damaged safetensors"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_meant_is_refused_in_one_line(form, tmp_path):
    make, depth, said = REFUSED[form]
    content = make()
    path = tmp_path / "theirs.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=rf"theirs\.pth: .*{said}") as refused:
        adopt_checkpoint(path, depth)
    text = str(refused.value).removeprefix(str(tmp_path))
    assert "\n" not in text and len(text) < 300


def test_a_resnet_50_comes_out_too(tmp_path):
    state = make_state(make=resnet50)
    torch.save({"model": rename_for_detectron2(state)}, tmp_path / "theirs.pth")
    tensors, _ = adopt_checkpoint(tmp_path / "theirs.pth", 50)
    assert len(tensors) == 265 and all(tensors[name] is not None for name in tensors)
    assert all(torch.equal(tensors[name], state[name]) for name in tensors)


def test_a_folder_is_named_as_one(tmp_path):
    with pytest.raises(UserError, match="a folder; give the path of the file"):
        adopt_checkpoint(tmp_path, 18)


def test_an_arm_from_a_file_needs_no_stand_in(tmp_path):
    file = tmp_path / "theirs.safetensors"
    file.write_bytes(save(under("backbone.")))
    options = ["--profile", "smoke", "--run", str(tmp_path / "run")]
    for setting in ("width=64", "finetune.arms=[file, random]", f"finetune.weights_file={file}"):
        options += ["--set", setting]
    assert main(["transfer", *options]) == 0
    assert not (tmp_path / "run/supervised").exists()
    adopted = load_backbone(tmp_path / "run/weights/file.pth")
    assert torch.equal(adopted["conv1.weight"], BACKBONE["conv1.weight"])
    assert read_json(tmp_path / "run/weights/file.json")["source"]["prefix"] == "backbone."


def test_weights_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    torch.save(BACKBONE, tmp_path / "theirs.pth")
    settings = ["width=64", "finetune.arms=[file]", "finetune.weights_file=~/theirs.pth"]
    run = pipeline.open_run("smoke", tmp_path / "run", overrides=settings)
    assert pipeline.transfer(run, "file") == tmp_path / "run/weights/file.pth"
