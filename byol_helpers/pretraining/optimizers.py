"""The optimiser of a pretraining, by the section ``pretrain`` of a profile."""

import torch
from torch import nn

from byol_helpers.core.config import Pretrain
from byol_helpers.pretraining.encoder import group_parameters
from byol_helpers.pretraining.lars import LARS

BETA2 = 0.999  # AdamW's average of squared gradients: its published value


def make_optimizer(network: nn.Module, settings: Pretrain) -> torch.optim.Optimizer:
    """SGD, LARS or AdamW over the trainable parameters, at the peak of the learning rate.

    Biases and norms are spared the weight decay. ``settings.momentum`` is that of the gradient's
    average, in AdamW its beta1.
    """
    groups = group_parameters(network, settings.weight_decay)
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
