"""A training that a deadline cuts off goes on as if nothing had been."""

import pytest
import torch

from byol_helpers.core.deadline import StopRequested, stop_after
from byol_helpers.training.loop import Plan, Task, fit, load_checkpoint


class Line(Task):
    """Fits a line, drawing noise inside each step."""

    learning_rate = 0.1

    def __init__(self):
        torch.manual_seed(0)
        self.network = torch.nn.Linear(3, 1)
        self.dataset = Points()

    def make_optimizer(self):
        return torch.optim.SGD(self.network.parameters(), self.learning_rate, momentum=0.9)

    def lr_factor(self, step):
        return 1.0

    def loss(self, network, batch, step):
        loss = (network(batch) + torch.randn(len(batch), 1)).square().mean()
        return loss, {"loss": loss.item()}


class Points(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, item):
        return torch.arange(3.0) * (item.index + 1) / 12


def make_plan(folder):
    return Plan("line", folder, 0, 7, 4, 100, 2)


def test_cut_off_at_every_step_it_ends_like_an_uninterrupted_training(tmp_path):
    whole = Line()
    fit(whole, make_plan(tmp_path / "whole"))
    for step in range(1, 7):
        with (
            stop_after(0),
            pytest.raises(StopRequested, match=f"line: stopped after {step} of 7 steps"),
        ):
            fit(Line(), make_plan(tmp_path / "cut"))
        assert load_checkpoint(make_plan(tmp_path / "cut"))["step"] == step
    cut = Line()
    with stop_after(0):  # the last step is no interruption
        fit(cut, make_plan(tmp_path / "cut"))
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, cut.network.state_dict()[name])
    losses = []
    for name in ("whole", "cut"):
        lines = (tmp_path / name / "metrics.csv").read_text().splitlines()
        losses.append([line.split(",")[:2] for line in lines])
    assert losses[0] == losses[1] and len(losses[0]) == 5
