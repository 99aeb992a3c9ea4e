"""The smallest method of pretraining, as somebody would write it: both views the same vector."""

import torch
import torch.nn.functional as F
from torch import nn

from byol_helpers.core.config import Pretrain
from byol_helpers.training.loop import Task


class ToyNetwork(nn.Module):
    """Two views [N, 3, H, W] -> the mean squared distance of their features."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(self.encoder(first), self.encoder(second))


class ToyTask(Task):
    """Pulls two views of an image together; it counts its steps in ``after_step``."""

    def __init__(self, encoder: nn.Module, dataset, settings: Pretrain):
        self.network = ToyNetwork(encoder)
        self.dataset = dataset
        self.learning_rate = settings.learning_rate
        self.steps = 0

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.network.parameters(), self.learning_rate)

    def lr_factor(self, step: int) -> float:
        return 1.0

    def loss(self, network, batch, step):
        loss = network(*batch)
        return loss, {"loss": loss.item(), "lr": self.lr_at(step), "counted": self.steps}

    def after_step(self, step: int) -> None:
        self.steps += 1
