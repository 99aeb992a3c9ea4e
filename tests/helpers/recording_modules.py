"""Trainings that leave what each process did.

In a file of its own, so that a new process can import it.
"""

import json

import torch

from byol_helpers.pretraining.stages import BYOLModule
from byol_helpers.segmentation.torchvision_engine import MaskRCNNModule


class Witness(MaskRCNNModule):
    def on_train_end(self):
        torch.save(self.network.state_dict(), self.plan.folder / f"rank{self.global_rank}.pth")


class BYOLWitness(BYOLModule):
    """Also keeps the loss of every step and the gradients of the first."""

    losses, gradients = (), None

    def on_before_optimizer_step(self, optimizer):
        if self.gradients is None:
            self.gradients = {
                name: p.grad.clone()
                for name, p in self.network.named_parameters()
                if p.grad is not None
            }
        self.losses = [*self.losses, self.values["loss"]]

    def on_train_end(self):
        torch.save(
            {"state": self.network.state_dict(), "gradients": self.gradients},
            self.plan.folder / f"rank{self.global_rank}.pth",
        )
        (self.plan.folder / f"rank{self.global_rank}.json").write_text(json.dumps(self.losses))
