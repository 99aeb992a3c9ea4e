"""BYOL in one sitting: networks, loss, target update, schedule (Grill et al. 2020; thesis 3.2).

online:  view  -> encoder f -> projector g -> predictor q      weights theta, trained
target:  view' -> encoder f -> projector g                     weights xi, a moving average of theta
"""

import copy
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet


def encoder(depth: int, zero_init_residual: bool = False) -> nn.Module:
    """A torchvision ResNet without its classifier: [N, 3, H, W] -> [N, 512] for depth 18, [N, 2048] for depth 50.

    With ``zero_init_residual`` the last batch norm of every block starts at gamma = 0, so that a block starts as its
    shortcut alone (Goyal et al. 2017, section 5.1). BYOL's published code begins like that in ResNet-50.
    """
    network = getattr(resnet, f"resnet{depth}")(weights=None, zero_init_residual=zero_init_residual)
    network.width = network.fc.in_features
    network.fc = nn.Identity()
    return network


def head(inputs: int, hidden: int, output: int, norm: bool = True) -> nn.Sequential:
    """Projector or predictor: Linear - BatchNorm - ReLU - Linear without bias.

    BYOL's hidden layer is 4096 wide; the thesis's, 2048 (section 3.2.4), is this project's default. Without ``norm``
    the batch norm is left out, an ablation of the literature.
    """
    middle = [nn.BatchNorm1d(hidden)] if norm else []
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        *middle,
        nn.ReLU(inplace=True),
        nn.Linear(hidden, output, bias=False),
    )


def regression_loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Equation (10) in its second form, 2 - 2 cos, for each row of [N, D]; values in 0..4.

    It equals ``squared_distance``, its first form. The target must carry no gradient.
    """
    return 2 - 2 * F.cosine_similarity(prediction, target, dim=-1)


def squared_distance(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Equation (10) in its first form: squared distance of the normalised rows of [N, D]; values in 0..4."""
    return (F.normalize(prediction, dim=-1) - F.normalize(target, dim=-1)).square().sum(dim=-1)


def tau_at(step: int, steps: int, start: float) -> float:
    """Decay of the target at a step: a cosine from ``start`` at step 0 to 1 at the last (Grill et al., section 3.2)."""
    return 1 - (1 - start) * (math.cos(math.pi * step / steps) + 1) / 2


class Seen(NamedTuple):
    """What one step saw, without gradients: N images, two views each."""

    features: torch.Tensor  # [2N, W] of the online encoder, first views first
    projections: torch.Tensor  # [2N, D] of the online projector
    targets: torch.Tensor  # [2N, D] of the target network, of the same views


class BYOL(nn.Module):
    """The two networks. The target starts as a copy of the online network, buffers included."""

    def __init__(
        self, backbone: nn.Module, hidden: int = 2048, output: int = 256, norm: bool = True
    ):
        super().__init__()
        self.encoder = backbone
        self.projector = head(backbone.width, hidden, output, norm)
        self.predictor = head(output, hidden, output, norm)
        self.target = copy.deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(
            False
        )

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, Seen]:
        """The loss of both directions, summed and averaged over the batch (0..8), and what the step saw.

        Each view passes through the networks on its own: joined, they would share their batch statistics.
        """
        features = [self.encoder(view) for view in (first, second)]
        projections = [self.projector(feature) for feature in features]
        predictions = [self.predictor(projection) for projection in projections]
        with torch.no_grad():
            targets = [self.target(view) for view in (first, second)]
        loss = regression_loss(predictions[0], targets[1]) + regression_loss(
            predictions[1], targets[0]
        )
        return loss.mean(), Seen(
            *(torch.cat(views).detach() for views in (features, projections, targets))
        )

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        """xi <- tau xi + (1 - tau) theta, for parameters; called after the optimiser's step.

        The thesis's equation (9), ``tau xi (1 - tau) + theta``, is a misprint of this. Running statistics of batch norm
        are not averaged: the target, in training mode, keeps its own.
        """
        online = [*self.encoder.parameters(), *self.projector.parameters()]
        target = list(self.target.parameters())
        torch._foreach_lerp_(target, online, 1 - tau)


def parameter_groups(module: nn.Module, weight_decay: float) -> list[dict]:
    """Trainable parameters in two groups: weights with decay; biases and norm parameters (vectors) without.

    LARS adapts the step of the first group only; SGD does not look at ``adapt``.
    """
    trained = [p for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay, "adapt": True},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0, "adapt": False},
    ]
