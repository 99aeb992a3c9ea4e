"""Several processes share each batch and end with the same network; half precision trains."""

import pytest
import torch

from byol_helpers import pipeline
from byol_helpers.config import load_profile
from byol_helpers.data.layout import load_split
from byol_helpers.errors import UserError
from byol_helpers.segmentation.conditions import plan_of
from byol_helpers.segmentation.dataset import InstanceDataset
from byol_helpers.segmentation.torchvision_engine import build
from byol_helpers.training import StepBatches, fit
from two_processes import Witness

SMALL = ["data.train=8", "data.val=2", "data.test=2", "data.unlabelled=2", "data.crops=16", "finetune.steps=20",
         "finetune.decay_steps=[]"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = pipeline.open_run("smoke", tmp_path_factory.mktemp("run"), overrides=SMALL)
    pipeline.prepare(run)
    return run


def trained(run, folder, *options):
    settings, split = load_profile("smoke", [*SMALL, *options]).finetune, load_split(run, "train")
    network = build(18, len(split.categories), settings, 0)
    plan = plan_of(settings, split, folder, "test", 0)
    module = Witness(plan, InstanceDataset(split, settings, 0), network, settings)
    fit(module)
    return module


@pytest.mark.slow
def test_two_processes_agree_on_the_weights_and_this_one_gets_them(run, tmp_path):
    module = trained(run, tmp_path, "finetune.devices=2")
    first, second = (torch.load(tmp_path / f"rank{rank}.pth", weights_only=True) for rank in (0, 1))
    learned = [name for name, _ in module.network.named_parameters()]
    assert all(torch.equal(first[name], second[name]) for name in learned)
    assert all(torch.equal(first[name], value) for name, value in module.network.state_dict().items())
    start = build(18, 10, module.settings, 0).state_dict()
    assert any(not torch.equal(start[name], first[name]) for name in learned)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_an_error_in_another_process_is_one_line_here(run, tmp_path):
    with pytest.raises(UserError, match="the loss is .* at step .*; try a lower learning rate"):
        trained(run, tmp_path, "finetune.devices=2", "finetune.learning_rate=1e8", "finetune.warmup_steps=0")


def test_the_shares_of_two_processes_are_the_batches_of_one():
    whole = list(StepBatches(10, 4, 0, 0, 7))
    parts = [list(StepBatches(10, 4, 0, 0, 7, rank, 2)) for rank in (0, 1)]
    assert whole == [first + second for first, second in zip(*parts, strict=True)]


def test_half_precision_trains_and_ends_near_full_precision(run, tmp_path):
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        trained(run, tmp_path / precision, f"finetune.precision={precision}")
        rows = (tmp_path / precision / "metrics.csv").read_text().splitlines()
        losses[precision] = float(rows[1].split(",")[1])
    assert losses["32-true"] != losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.1)
