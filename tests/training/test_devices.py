"""Several processes share each batch and end with the same network; half precision trains."""

import json

import numpy as np
import pytest
import torch

from byol_helpers import pipeline
from byol_helpers.coco.dataset import list_pretraining_images, load_split
from byol_helpers.core.errors import UserError
from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining.byol import BYOL
from byol_helpers.pretraining.dataset import ViewsDataset
from byol_helpers.pretraining.encoder import build_encoder
from byol_helpers.segmentation.dataset import InstanceDataset
from byol_helpers.segmentation.shared_settings import make_plan
from byol_helpers.segmentation.torchvision_engine import build
from byol_helpers.training.loop import Plan, fit
from byol_helpers.training.sampler import StepBatches
from tests.helpers.recording_modules import BYOLWitness, Witness

SMALL = [
    "data.train=8",
    "data.val=2",
    "data.test=2",
    "data.unlabelled=24",
    "data.crops=16",
    "finetune.steps=20",
    "finetune.decay_steps=[]",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = pipeline.open_run("smoke", tmp_path_factory.mktemp("run"), overrides=SMALL)
    pipeline.prepare(run)
    return run


def trained(run, folder, *options):
    settings = load_profile("smoke", [*SMALL, *options]).finetune
    split = load_split(run, "train")
    network = build(18, len(split.categories), settings, 0)
    plan = make_plan(settings, split, folder, "test", 0)
    task = Witness(plan, network, InstanceDataset(split, settings, 0), settings)
    fit(task, plan)
    return task


@pytest.mark.slow
def test_two_processes_agree_on_the_weights_and_this_one_gets_them(run, tmp_path):
    task = trained(run, tmp_path, "finetune.devices=2")
    first, second = (torch.load(tmp_path / f"rank{rank}.pth", weights_only=True) for rank in (0, 1))
    learned = [name for name, _ in task.network.named_parameters()]
    assert all(torch.equal(first[name], second[name]) for name in learned)
    assert all(torch.equal(first[name], value) for name, value in task.network.state_dict().items())
    start = build(18, 10, task.settings, 0).state_dict()
    assert any(not torch.equal(start[name], first[name]) for name in learned)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_an_error_in_another_process_is_one_line_here(run, tmp_path):
    with pytest.raises(UserError, match="the loss is .* at step .*; try a lower learning rate"):
        trained(
            run,
            tmp_path,
            "finetune.devices=2",
            "finetune.learning_rate=1e8",
            "finetune.warmup_steps=0",
        )


def test_the_shares_of_two_processes_are_the_batches_of_one():
    whole = list(StepBatches(10, 4, 0, 0, 7))
    parts = [list(StepBatches(10, 4, 0, 0, 7, rank, 2)) for rank in (0, 1)]
    assert whole == [first + second for first, second in zip(*parts, strict=True)]


@pytest.mark.slow
def test_half_precision_trains_and_ends_near_full_precision(run, tmp_path):
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        trained(run, tmp_path / precision, f"finetune.precision={precision}")
        rows = (tmp_path / precision / "metrics.csv").read_text().splitlines()
        losses[precision] = float(rows[1].split(",")[1])
    assert losses["32-true"] != losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.1)


GENTLE = [
    "pretrain.hidden=32",
    "pretrain.output=16",
    "pretrain.warmup_steps=1",
    "pretrain.optimizer=sgd",
    "pretrain.learning_rate=0.05",
    "pretrain.tau_start=0.99",
    "pretrain.channels_last=false",  # sums in another order
]


def pretrained(
    run, folder, devices=1, accumulate=1, workers=0, steps=4, every=4, batch=8, precision="32-true"
):
    """BYOL on small views; what its process, or each of them, left behind."""
    settings = load_profile("smoke", GENTLE).pretrain
    torch.manual_seed(0)
    plan = Plan(
        "test", folder, 0, steps, batch, every, 1, workers, 0.0, devices, precision, accumulate
    )
    views = ViewsDataset(list_pretraining_images(run), 32, 0)
    task = BYOLWitness(plan, build_encoder(18), views, settings)
    fit(task, plan)
    return [
        (
            torch.load(folder / f"rank{rank}.pth", weights_only=True),
            json.loads((folder / f"rank{rank}.json").read_text()),
        )
        for rank in range(devices)
    ]


@pytest.mark.slow
def test_byol_on_two_processes_is_byol_on_one_with_the_joint_batch(run, tmp_path):
    """Loss, gradients, online and target network, running statistics: batch norm sees the whole
    batch in both.

    In double precision, because batch norm over eight values blows rounding up.
    """
    ((whole, losses),) = pretrained(run, tmp_path / "one", precision="64-true")
    shares = pretrained(run, tmp_path / "two", devices=2, precision="64-true")
    assert (
        np.mean([losses for _, losses in shares], axis=0) == pytest.approx(losses, abs=1e-8)
        and len(losses) == 4
    )
    for share, _ in shares:
        assert (
            share["gradients"].keys() == whole["gradients"].keys()
            and share["state"].keys() == whole["state"].keys()
        )
        for kind in ("gradients", "state"):
            for name, value in whole[kind].items():
                assert torch.allclose(share[kind][name], value, rtol=1e-6, atol=1e-9), (kind, name)
    assert shares[0][1] != shares[1][1]


def test_accumulated_gradients_make_one_step_and_one_target_update(run, tmp_path):
    """Two batches of four are one step.

    The gradient is the mean of both, not that of a batch of eight.
    """
    ((left, losses),) = pretrained(run, tmp_path / "two", accumulate=2, steps=2, every=2, batch=4)
    assert len(losses) == 2
    rows = (tmp_path / "two/metrics.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[-1].startswith("2,")
    torch.manual_seed(0)
    network = BYOL(build_encoder(18), 32, 16).train()
    data = ViewsDataset(list_pretraining_images(run), 32, 0)
    for batch in StepBatches(len(data), 4, 0, 0, 2):
        views = [torch.stack(view) for view in zip(*(data[item] for item in batch), strict=True)]
        (network(*views)[0] / 2).backward()
    for name, p in network.named_parameters():
        if p.grad is not None:
            assert torch.allclose(
                left["gradients"][name], p.grad, atol=1e-6 + 1e-4 * float(p.grad.abs().max())
            ), name


@pytest.mark.slow
def test_half_and_half_is_a_whole_with_workers_too(run, tmp_path):
    """Stopped in the middle with worker processes, resumed without: every bit as in one go."""
    ((whole, losses),) = pretrained(run, tmp_path / "whole", steps=4, every=2, workers=2)

    class Stop(Exception):
        pass

    class Halfway(BYOLWitness):
        def loss(self, network, batch, step):
            if step == 3:
                raise Stop
            return super().loss(network, batch, step)

    settings = load_profile("smoke", GENTLE).pretrain
    torch.manual_seed(0)
    plan = Plan("test", tmp_path / "cut", 0, 4, 8, 2, 1, 2)
    with pytest.raises(Stop):
        views = ViewsDataset(list_pretraining_images(run), 32, 0)
        fit(Halfway(plan, build_encoder(18), views, settings), plan)
    ((resumed, later),) = pretrained(run, tmp_path / "cut", steps=4, every=2)
    assert all(torch.equal(value, resumed["state"][name]) for name, value in whole["state"].items())
    assert later == losses[2:]


def test_byol_stops_at_a_loss_that_is_not_a_number_with_what_to_do(run, tmp_path):
    settings = load_profile(
        "smoke",
        [
            "pretrain.hidden=32",
            "pretrain.output=16",
            "pretrain.optimizer=sgd",
            "pretrain.learning_rate=1e30",
            "pretrain.warmup_steps=0",
        ],
    )
    plan = Plan("pretrain byol", tmp_path, 0, 8, 8, 2, 1)
    dataset = ViewsDataset(list_pretraining_images(run), 32, 0)
    with pytest.raises(
        UserError, match="pretrain byol: the loss is nan at step .*learning rate .*try a lower"
    ):
        fit(BYOLWitness(plan, build_encoder(18), dataset, settings.pretrain), plan)


def test_after_twenty_steps_a_forecast(run, tmp_path, capsys):
    plan = Plan(
        "pretrain byol", tmp_path, 0, 22, 4, 22, 1, reference=("a long training", 4_000_000)
    )
    settings = load_profile("smoke", ["pretrain.hidden=32", "pretrain.output=16"]).pretrain
    views = ViewsDataset(list_pretraining_images(run), 32, 0)
    fit(BYOLWitness(plan, build_encoder(18), views, settings), plan)
    said = [line for line in capsys.readouterr().out.splitlines() if "images/s" in line]
    assert (
        len(said) == 1
        and "waiting for images" in said[0]
        and "a long training would take" in said[0]
    )
