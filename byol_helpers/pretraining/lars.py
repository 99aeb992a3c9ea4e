"""LARS, the optimiser of the BYOL paper: each layer's step is as long as its weights are.

You et al. 2017.

torch has none, and the libraries that do bring a framework with them for these thirty lines.
"""

from collections.abc import Callable, Iterable

import torch


class LARS(torch.optim.Optimizer):
    """Momentum SGD, each layer's step scaled to the length of its weights (arXiv:1708.03888).

        u = g + weight_decay w,   r = eta |w| / |u|, or 1 where either length is 0
        v <- momentum v + r u,    w <- w - lr v

    Args:
        params: groups; one with ``adapt: False`` takes r = 1. BYOL gives biases and norm
            parameters neither decay nor adaptation, so their group has both switched off.
        lr: learning rate, for example 0.2 x batch / 256.
        momentum, weight_decay, eta: 0.9, 1e-6 and 1e-3 in BYOL.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        eta: float = 1e-3,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "eta": eta,
                "adapt": True,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> float | None:
        """One step; ``closure`` computes loss and gradients anew, as in torch's optimisers."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = weight.grad.add(weight, alpha=group["weight_decay"])
                if group["adapt"]:
                    length = weight.norm()
                    step_length = update.norm()
                    ratio = group["eta"] * length / step_length
                    update.mul_(torch.where((length > 0) & (step_length > 0), ratio, 1.0))
                state = self.state[weight]
                if not state:
                    state["velocity"] = torch.zeros_like(weight)
                velocity = state["velocity"]
                velocity.mul_(group["momentum"]).add_(update)
                weight.sub_(velocity, alpha=group["lr"])
        return loss
