"""Input channels: three are bit-identical to torchvision's networks, five train as well."""

import inspect

import pytest
import torch
from torchvision.models import resnet18

from byol_helpers.core.channels import RGB, Channels
from byol_helpers.core.engines import ENGINES
from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining.byol import BYOL
from byol_helpers.pretraining.encoder import build_encoder
from byol_helpers.segmentation import torchvision_engine
from byol_helpers.segmentation.engine import Engine, load_engine

FIVE = Channels(("R", "G", "B", "N", "D"), (0.5, 0.4, 0.4, 0.3, 0.2), (0.2, 0.2, 0.2, 0.1, 0.3))
TARGET = {
    "boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]]),
    "labels": torch.tensor([1]),
    "masks": torch.zeros(1, 64, 64, dtype=torch.uint8),
}
TARGET["masks"][0, 8:48, 8:40] = 1


def take_a_step(network: torch.nn.Module, loss: torch.Tensor) -> None:
    """One step of SGD, after which the first convolution must have moved."""
    first = next(p for p in network.parameters() if p.ndim == 4)
    before = first.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    assert torch.isfinite(loss)
    loss.backward()
    optimizer.step()
    assert first.shape[1] == len(FIVE) and not torch.equal(first, before)


def test_three_channels_are_torchvisions_network_bit_for_bit():
    torch.manual_seed(0)
    theirs = resnet18(weights=None).state_dict()
    torch.manual_seed(0)
    ours = build_encoder(18, channels=RGB).state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    settings = load_profile("smoke").finetune
    body = torchvision_engine.build(18, 3, settings, 0, channels=RGB).backbone.body.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in body.items())


def test_five_channels_pretrain():
    torch.manual_seed(0)
    network = BYOL(build_encoder(18, channels=FIVE), hidden=32, output=16)
    loss, _ = network(torch.rand(4, 5, 32, 32), torch.rand(4, 5, 32, 32))
    take_a_step(network, loss)


def test_five_channels_fine_tune_and_predict():
    network = torchvision_engine.build(18, 3, load_profile("smoke").finetune, 0, channels=FIVE)
    assert list(network.transform.image_mean) == list(FIVE.mean)
    losses = network.train()([torch.rand(5, 64, 64)], [TARGET])
    take_a_step(network, sum(losses.values()))
    found = torchvision_engine.detect(network.eval(), torch.rand(5, 64, 64))
    assert found["boxes"].shape[1] == 4


@pytest.mark.detectron2
def test_five_channels_fine_tune_in_detectron2():
    engine = load_engine("detectron2")
    network = engine.build(18, 3, load_profile("smoke").finetune, 0, channels=FIVE).cpu()
    assert network.backbone.bottom_up.stem.conv1.weight.shape[1] == 5
    assert engine.detect(network.eval(), torch.rand(5, 64, 64))["boxes"].shape[1] == 4


@pytest.mark.parametrize(
    "name", ["torchvision", pytest.param("detectron2", marks=pytest.mark.detectron2)]
)
def test_an_engine_fulfils_the_contract(name):
    engine = load_engine(name)
    for function in ("build", "train", "detect", "raise_threshold"):
        wanted = list(inspect.signature(getattr(Engine, function)).parameters)[1:]
        assert list(inspect.signature(getattr(engine, function)).parameters) == wanted
    assert set(ENGINES) == {"torchvision", "detectron2"}
