"""BYOL in one sitting: networks, loss, step, target update (Grill et al. 2020; thesis 3.2).

online:  view  -> encoder f -> projector g -> predictor q      weights theta, trained
target:  view' -> encoder f -> projector g                     weights xi, a moving average of theta

A training step, in the order of ``training.loop``: ``BYOLTask.compare_views`` (through
``BYOL.forward``), backward, the optimiser's step, ``BYOLTask.after_step``
(``BYOL.update_target``). The optimiser and its schedule are in ``method_task.py``.
"""

import copy
import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import nn

from byol_helpers.core.config import Pretrain
from byol_helpers.pretraining.diagnostics import mean_cosine
from byol_helpers.pretraining.method_task import MethodTask, measure_features, measure_rank


def head(inputs: int, hidden: int, output: int, norm: bool = True) -> nn.Sequential:
    """Projector or predictor: Linear - BatchNorm - ReLU - Linear without bias.

    BYOL's hidden layer is 4096 wide; the thesis's, 2048 (section 3.2.4), is this project's default.
    Without ``norm`` the batch norm is left out, an ablation of the literature.
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
    """Equation (10) in its first form: squared distance of the normalised rows of [N, D].

    Values in 0..4.
    """
    return (F.normalize(prediction, dim=-1) - F.normalize(target, dim=-1)).square().sum(dim=-1)


def tau_at(step: int, steps: int, start: float) -> float:
    """The target's ``tau`` at a step: a cosine from ``start`` at step 0 to 1 at the last one.

    Grill et al. 2020, section 3.2.
    """
    return 1 - (1 - start) * (math.cos(math.pi * step / steps) + 1) / 2


def choose_tau(steps: int) -> float:
    """The target's ``tau`` at the start of a training of that many steps, in 0.9..1.

    1 - tau = 0.03 (12,500 / steps)^0.63, at most 0.1. The published presets have 0.03 for 40
    epochs of ImageNet in batches of 4096, which are 12,500 steps, and 0.004 for 1000 epochs; the
    power goes through both, and passes 0.017 and 0.0085 at the 100 and 300 epochs that have 0.01.
    Trainings of fewer than 1,800 steps begin with 0.9, the smallest that the paper found to work
    (table 5a).
    """
    exponent = math.log(0.03 / 0.004) / math.log(1000 / 40)
    return 1 - min(0.1, 0.03 * (12_500 / steps) ** exponent)


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
        self.projector = head(cast(int, backbone.width), hidden, output, norm)
        self.predictor = head(output, hidden, output, norm)
        self.target = copy.deepcopy(nn.Sequential(self.encoder, self.projector))
        self.target.requires_grad_(False)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, Seen]:
        """The loss of both directions, summed and averaged over the batch (0..8), and what the step
        saw.

        Each view passes through the networks on its own: joined, they would share their batch
        statistics.
        """
        features = [self.encoder(view) for view in (first, second)]
        projections = [self.projector(feature) for feature in features]
        predictions = [self.predictor(projection) for projection in projections]
        with torch.no_grad():
            targets = [self.target(view) for view in (first, second)]
        one_way = regression_loss(predictions[0], targets[1])
        other_way = regression_loss(predictions[1], targets[0])
        seen = Seen(
            torch.cat(features).detach(),
            torch.cat(projections).detach(),
            torch.cat(targets).detach(),
        )
        return (one_way + other_way).mean(), seen

    @torch.no_grad()
    def update_target(self, tau: float) -> None:
        """xi <- tau xi + (1 - tau) theta, for parameters; called after the optimiser's step.

        The thesis's equation (9), ``tau xi (1 - tau) + theta``, is a misprint of this. Running
        statistics of batch norm are not averaged: the target, in training mode, keeps its own.
        """
        online = [*self.encoder.parameters(), *self.projector.parameters()]
        for xi, theta in zip(self.target.parameters(), online, strict=True):
            xi.lerp_(theta, 1 - tau)  # xi + (1 - tau) (theta - xi), which is the same sum


class BYOLTask(MethodTask):
    """BYOL: the target is updated after the optimiser's step.

    With ``accumulate`` several batches make one step, and the target is updated once for all of
    them. That saves memory; it is not a larger batch, because batch norm sees each of them alone.
    """

    network: BYOL

    def build_network(self, encoder: nn.Module, settings: Pretrain) -> BYOL:
        return BYOL(encoder, settings.hidden, settings.output, settings.head_norm)

    def compare_views(
        self, network: nn.Module, first: torch.Tensor, second: torch.Tensor, step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        loss, seen = network(first, second)
        values = {
            "tau": self.tau(step),
            **measure_features(seen.features),
            "target_cosine": mean_cosine(seen.projections, seen.targets),
            **measure_rank(seen.features, step),
        }
        return loss, values

    def after_step(self, step: int) -> None:
        self.network.update_target(self.tau(step))

    def tau(self, step: int) -> float:
        """The target's tau at a step."""
        start = self.settings.tau_start
        if start is None:
            start = choose_tau(self.settings.steps)
        return tau_at(step, self.settings.steps, start)
