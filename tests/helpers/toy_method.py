"""The smallest method of pretraining, as somebody would write it: both views the same vector."""

import torch
import torch.nn.functional as F
from torch import nn

from byol_helpers.core.config import Pretrain
from byol_helpers.pretraining.method_task import MethodTask


class ToyNetwork(nn.Module):
    """Two views [N, 3, H, W] -> the mean squared distance of their features."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(self.encoder(first), self.encoder(second))


class ToyTask(MethodTask):
    """Pulls two views of an image together; it counts its steps in ``after_step``."""

    steps = 0

    def build_network(self, encoder: nn.Module, settings: Pretrain) -> ToyNetwork:
        return ToyNetwork(encoder)

    def compare_views(self, network, first, second, step):
        return network(first, second), {"counted": self.steps}

    def after_step(self, step: int) -> None:
        self.steps += 1
