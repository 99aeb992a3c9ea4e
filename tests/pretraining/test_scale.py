"""A pretraining of any size: memory that does not grow with images or steps.

A compiled network that is the same.
"""

import csv
import gc
import shutil
import tracemalloc
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining.dataset import ViewsDataset
from byol_helpers.pretraining.methods import train_method
from byol_helpers.training.sampler import StepBatches

COCO = 82_783


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "one.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 48, 3), np.uint8)).save(path)
    return path


def held(work):
    """Bytes that Python and numpy hold after some work, and its result."""
    tracemalloc.start()
    result = work()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size, result


def test_an_image_more_costs_a_name_and_a_place_in_the_order(picture):
    def open_all(images):
        dataset = ViewsDataset([picture.with_name(f"{k:012d}.jpg") for k in range(images)], 32, 0)
        return dataset, list(islice(StepBatches(images, 64, 0, 0, 10), 5))

    few, _ = held(lambda: open_all(1000))
    many, _ = held(lambda: open_all(COCO))
    assert (many - few) / (COCO - 1000) < 600  # bytes: a path, and its number in the shuffled order


def test_reading_images_leaves_nothing_behind(picture):
    dataset, batches = (
        ViewsDataset([picture] * 500, 32, 0, fast=True),
        StepBatches(500, 4, 0, 0, 200),
    )
    steps = iter(batches)

    def read(count):
        for batch in islice(steps, count):
            for item in batch:
                dataset[item]

    tracemalloc.start()
    read(100)  # whatever is made once is made
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    read(95)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert (after - before) / (95 * 4) < 60  # bytes for an image, less than a file name takes


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_trains_the_same_way(picture, tmp_path):
    losses = {}
    for compiled in (False, True):
        profile = load_profile(
            "smoke",
            [
                "pretrain.batch_size=4",
                "pretrain.steps=5",
                "pretrain.view_size=32",
                "pretrain.warmup_steps=1",
                "pretrain.views=pillow",
                "pretrain.optimizer=sgd",  # AdamW makes steps of rounding errors, too
                "pretrain.learning_rate=0.05",
                f"pretrain.compile={compiled}".lower(),
            ],
        )
        folder = tmp_path / str(compiled)
        folder.mkdir()
        tensors = train_method(profile, "byol", [picture] * 8, folder, "compile", None)
        with open(folder / "metrics.csv", newline="") as file:
            losses[compiled] = [float(row["loss"]) for row in csv.DictReader(file)]
        assert not [name for name in tensors if "_orig_mod" in name]
    assert (
        losses[True] == pytest.approx(losses[False], abs=1e-3)
        and torch.isfinite(torch.tensor(losses[True])).all()
    )
