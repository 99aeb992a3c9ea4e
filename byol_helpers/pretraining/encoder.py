"""The network that is pretrained: a ResNet without its classifier."""

from typing import Any

import torch
from torch import nn

from byol_helpers.core.channels import RGB, Channels
from byol_helpers.core.config import FULL_WIDTH, Profile
from byol_helpers.core.resnet import build_resnet


def build_encoder(
    depth: int,
    width: int = FULL_WIDTH,
    zero_init_residual: bool = False,
    channels: Channels = RGB,
) -> nn.Module:
    """A torchvision ResNet without its classifier; depth and width as in ``build_resnet``.

    [N, C, H, W] -> [N, features]. How many features it gives is its attribute ``width``: in the
    full width 512 for depth 18 and 2048 for depth 50.

    With ``zero_init_residual`` the last batch norm of every block starts at gamma = 0, so that a
    block starts as its shortcut alone (Goyal et al. 2017, section 5.1). BYOL's published code
    begins like that in ResNet-50.
    """
    network: Any = build_resnet(
        depth, width, channels=channels, zero_init_residual=zero_init_residual
    )
    network.width = network.fc.in_features
    network.fc = nn.Identity()
    return network


def draw_encoder(profile: Profile) -> nn.Module:
    """The encoder with the random weights that a profile's pretrainings begin with.

    With ``pretrain.shared_init`` they are those of every arm that begins with random weights.
    """
    torch.manual_seed(profile.pretraining_seed)
    zero = profile.pretrain.zero_init_residual
    return build_encoder(profile.depth, profile.width, zero_init_residual=zero)


def group_parameters(module: nn.Module, weight_decay: float) -> list[dict]:
    """Trainable parameters in two groups: weights with decay, vectors (biases, norms) without.

    LARS adapts the step of the first group only; SGD does not look at ``adapt``.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay, "adapt": True},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0, "adapt": False},
    ]


def copy_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """The state of a module as plain tensors on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
