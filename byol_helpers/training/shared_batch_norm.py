"""Batch norm over the batches of all processes, for CPUs: torch's SyncBatchNorm is for GPUs alone.

With it two processes that share a batch compute what one process computes on the whole, and a test
can say so.
"""

import torch
import torch.distributed as dist
from torch import nn


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """``BatchNorm1d`` and ``BatchNorm2d`` on [N, C, ...].

    In training, mean and variance are those of all processes.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    momentum: float

    def _check_input_dim(self, x: torch.Tensor) -> None:
        """Any number of dimensions."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        count = dist.get_world_size() * x.numel() / x.shape[1]  # the shares are equal
        mean = _Sum.apply(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(shape) + self.bias.view(shape)


def share_batch_norm(network: nn.Module) -> None:
    """Let every batch norm of a network use the statistics of all processes, in place.

    On GPUs by torch's ``SyncBatchNorm``, on CPUs by ``SharedBatchNorm``: the same parameters and
    buffers under the same names, another forward.
    """
    if torch.cuda.is_available():
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
            module.__class__ = SharedBatchNorm
