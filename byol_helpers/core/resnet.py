"""The one ResNet of the project: torchvision's, in a width and for channels of one's choice.

Pretraining, both engines' weights and adoption build their network here, so that a profile's
``depth`` and ``width`` mean the same everywhere.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from byol_helpers.core.channels import RGB, Channels, set_input_channels
from byol_helpers.core.config import FULL_WIDTH

STAGES = ("layer1", "layer2", "layer3", "layer4")
NORM_GROUPS = 32  # of group norm
# Of each depth that a profile can have: its block, and how many of them each stage has.
BLOCKS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    18: (BasicBlock, [2, 2, 2, 2]),
    50: (Bottleneck, [3, 4, 6, 3]),
}


def build_resnet(
    depth: int,
    width: int = FULL_WIDTH,
    norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d,
    channels: Channels = RGB,
    zero_init_residual: bool = False,
) -> ResNet:
    """torchvision's ResNet-18 or ResNet-50 with random weights, its classifier ``fc`` included.

    In the width of 64 it is torchvision's own, from the same random numbers. In any other every
    layer has ``width / 64`` times as many channels; names of the tensors stay as they are.

    Args:
        depth: 18 or 50.
        width: channels of the stem and of the first stage (inside its bottlenecks, for depth 50).
        norm_layer: makes a norm from a number of channels.
        channels: of the images.
        zero_init_residual: the last norm of every block starts at gamma = 0, so that a block starts
            as its shortcut alone (Goyal et al. 2017, section 5.1).
    """
    block, counts = BLOCKS[depth]
    network = ResNet(block, counts, norm_layer=norm_layer, zero_init_residual=zero_init_residual)
    if width != FULL_WIDTH:
        _change_width(network, width, depth)
        _draw_weights(network, zero_init_residual)
        network.fc = nn.Linear(count_channels(depth, width)[-1], network.fc.out_features)
    set_input_channels(network, channels)
    return network


def make_group_norm(channels: int) -> nn.GroupNorm:
    """Group norm as published (Wu and He 2018): 32 groups, but no fewer than two channels in each.

    It has the affine parameters of a batch norm under the same names, and no statistics.
    """
    return nn.GroupNorm(min(NORM_GROUPS, channels // 2), channels)


def count_channels(depth: int, width: int = FULL_WIDTH) -> list[int]:
    """Channels of the maps that the four stages give: 64 to 512 or 256 to 2048 in full width."""
    block, _ = BLOCKS[depth]
    return [block.expansion * width * 2**stage for stage in range(4)]


def _change_width(network: Any, width: int, depth: int) -> None:
    """New layers of another width, in the order in which torchvision makes them."""
    block, counts = BLOCKS[depth]
    network.conv1 = nn.Conv2d(len(RGB), width, 7, stride=2, padding=3, bias=False)
    network.bn1 = network._norm_layer(width)
    network.inplanes = width
    for stage, count in enumerate(counts):
        layer = network._make_layer(block, width * 2**stage, count, stride=1 if stage == 0 else 2)
        setattr(network, f"layer{stage + 1}", layer)


def _draw_weights(network: nn.Module, zero_init_residual: bool) -> None:
    """Weights as torchvision draws them; its norms start at 1 and 0 by themselves."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, BasicBlock | Bottleneck) and zero_init_residual:
            last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            nn.init.zeros_(cast(nn.BatchNorm2d, last).weight)


def run_stages(encoder: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The maps [N, C, H', W'] that the four stages of a torchvision ResNet give."""
    network: Any = encoder
    maps = {}
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    for stage in STAGES:
        x = getattr(network, stage)(x)
        maps[stage] = x
    return maps
