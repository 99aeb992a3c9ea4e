"""What training logs, measured on validation images: the same for equal models, in both engines."""

import math

import pytest
import torch

from byol_helpers import pipeline
from byol_helpers.coco.dataset import load_split
from byol_helpers.core.files import read_json
from byol_helpers.core.profile_files import load_profile
from byol_helpers.segmentation.engine import load_engine, save_model
from byol_helpers.segmentation.shared_settings import TRAINING_METRICS
from byol_helpers.segmentation.validation import measure_losses

SMALL = ["width=64", "data.train=2", "data.val=3", "data.test=2", "data.unlabelled=16"]
SMALL += ["data.crops=16"]
LOSSES = {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
ENGINES = ["torchvision", pytest.param("detectron2", marks=pytest.mark.detectron2)]


@pytest.fixture(scope="module", params=ENGINES)
def run(request, tmp_path_factory):
    overrides = [*SMALL, f"finetune.engine={request.param}", "finetune.arms=[random]"]
    run = pipeline.open_run("smoke", tmp_path_factory.mktemp("run"), overrides=overrides)
    pipeline.prepare(run)
    return run


def save_untrained(run, seed):
    split = load_split(run, "val")
    engine = load_engine(run.profile.finetune.engine)
    network = engine.build(18, len(split.categories), run.profile.finetune, seed)
    folder = run.path / f"finetune/random-seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    save_model(network.eval(), folder, run.profile, split.categories, "random", seed)
    return folder / "model.pth"


def test_it_is_what_training_logs_and_the_same_twice(run):
    model = save_untrained(run, 0)
    before = torch.load(model, weights_only=True)
    split = load_split(run, "val")
    found = measure_losses(model, split, run.profile.finetune, 0)
    assert found.keys() == LOSSES | {"total_loss"} | set(TRAINING_METRICS)
    assert found["total_loss"] == pytest.approx(sum(found[name] for name in LOSSES))
    assert math.log(11) * 0.8 < found["loss_cls"] < math.log(11) * 1.2  # untrained: eleven classes
    assert all(0 <= found[name] <= 1 for name in TRAINING_METRICS)
    assert measure_losses(model, split, run.profile.finetune, 0) == found
    after = torch.load(model, weights_only=True)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_its_size_of_batch_hardly_matters(run):
    model = save_untrained(run, 0)
    split = load_split(run, "val")
    one = load_profile("smoke", ["finetune.batch_size=1"]).finetune
    found = measure_losses(model, split, one, 0)
    assert found["loss_cls"] == pytest.approx(
        measure_losses(model, split, run.profile.finetune, 0)["loss_cls"], rel=0.1
    )


def test_the_stage_keeps_the_number_of_images(run):
    save_untrained(run, 1)
    kept = read_json(pipeline.validate(run, "random", 1) / "losses.json")
    assert kept["images"] == 3 and kept["losses"]["total_loss"] > 0
