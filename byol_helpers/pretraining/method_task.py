"""What every method of pretraining shares: optimiser, schedule, and the numbers of a step."""

import torch
from torch import nn
from torch.utils.data import Dataset

from byol_helpers.core.config import Pretrain
from byol_helpers.pretraining.diagnostics import alignment, effective_rank, feature_std
from byol_helpers.pretraining.encoder import group_parameters
from byol_helpers.pretraining.lars import LARS
from byol_helpers.training.loop import Task, cosine_with_warmup

BETA2 = 0.999  # AdamW's average of squared gradients: its published value
RANK_EVERY = 5  # steps: the effective rank is a decomposition, too dear for every step of a GPU


class MethodTask(Task):
    """A training on two views of each image.

    A method says what its network is and what the loss of two views is; where something follows the
    optimiser's step, it has an ``after_step`` too.
    """

    def __init__(self, encoder: nn.Module, dataset: Dataset, settings: Pretrain):
        self.network = self.build_network(encoder, settings)
        self.dataset = dataset
        self.settings = settings
        self.learning_rate = settings.learning_rate

    def build_network(self, encoder: nn.Module, settings: Pretrain) -> nn.Module:
        """The network that is trained; it holds the encoder as ``network.encoder``."""
        raise NotImplementedError

    def compare_views(
        self, network: nn.Module, first: torch.Tensor, second: torch.Tensor, step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of two views [N, 3, H, W] of N images, and what it adds to metrics.csv.

        ``network`` is ``self.network``, wrapped where several devices or a mixed precision need it.
        """
        raise NotImplementedError

    def loss(
        self, network: nn.Module, batch: list[torch.Tensor], step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        if self.settings.channels_last:
            batch = [view.contiguous(memory_format=torch.channels_last) for view in batch]
        first, second = batch
        loss, values = self.compare_views(network, first, second, step)
        return loss, {"loss": loss.item(), "lr": self.lr_at(step)} | values

    def lr_factor(self, step: int) -> float:
        return cosine_with_warmup(step, self.settings.steps, self.settings.warmup_steps)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """SGD, LARS or AdamW, as ``pretrain.optimizer`` says.

        Biases and norms are spared the weight decay. ``pretrain.momentum`` is that of the
        gradient's average, in AdamW its beta1.
        """
        settings = self.settings
        groups = group_parameters(self.network, settings.weight_decay)
        rate = settings.learning_rate
        if settings.optimizer == "lars":
            return LARS(groups, rate, settings.momentum)
        if settings.optimizer == "adamw":
            for group in groups:
                del group["adapt"]  # LARS's alone
            return torch.optim.AdamW(groups, rate, betas=(settings.momentum, BETA2))
        return torch.optim.SGD(
            groups, rate, momentum=settings.momentum, weight_decay=settings.weight_decay
        )


def measure_features(features: torch.Tensor) -> dict[str, float]:
    """Spread and alignment of an encoder's features [2N, W], first views first."""
    first, second = features.chunk(2)
    return {"feature_std": feature_std(features), "alignment": alignment(first, second)}


def measure_rank(features: torch.Tensor, step: int) -> dict[str, float]:
    """The effective rank of features [2N, W], at every ``RANK_EVERY``-th step; else nothing."""
    if (step + 1) % RANK_EVERY:
        return {}
    return {"effective_rank": effective_rank(features)}
