"""Trainings that leave what each process did.

In a file of its own, so that a new process can import it.
"""

import json

import torch
import torch.distributed

from byol_helpers.pretraining.stages import BYOLTask
from byol_helpers.segmentation.torchvision_engine import MaskRCNNTask
from byol_helpers.training.loop import Plan


def this_process() -> int:
    """Rank of this process; 0 where there is only one."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


class Witness(MaskRCNNTask):
    """Keeps the network after the last step."""

    def __init__(self, plan: Plan, *arguments):
        super().__init__(*arguments)
        self.plan = plan

    def after_step(self, step: int) -> None:
        if step + 1 == self.plan.steps:
            self.plan.folder.mkdir(parents=True, exist_ok=True)
            torch.save(self.network.state_dict(), self.plan.folder / f"rank{this_process()}.pth")


class BYOLWitness(BYOLTask):
    """Keeps the loss of every step and the gradients of the first."""

    def __init__(self, plan: Plan, *arguments):
        super().__init__(*arguments)
        self.plan = plan
        self.losses = {}
        self.gradients = None

    def loss(self, network, batch, step):
        loss, values = super().loss(network, batch, step)
        self.losses[step] = values["loss"]
        return loss, values

    def after_step(self, step: int) -> None:
        super().after_step(step)
        if self.gradients is None:
            self.gradients = {}
            for name, parameter in self.network.named_parameters():
                if parameter.grad is not None:
                    self.gradients[name] = parameter.grad.clone()
        if step + 1 == self.plan.steps:
            self.plan.folder.mkdir(parents=True, exist_ok=True)
            mine = self.plan.folder / f"rank{this_process()}"
            kept = {"state": self.network.state_dict(), "gradients": self.gradients}
            torch.save(kept, mine.with_suffix(".pth"))
            mine.with_suffix(".json").write_text(json.dumps(list(self.losses.values())))
