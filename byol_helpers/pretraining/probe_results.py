"""What a pretraining has taught its network, as one file: all probes, beside both controls.

Asked are generated crops of one object each that no training sees, or windows around the objects
of validation scenes (``pretrain.probe_on``): their numbers begin at ``HELD_OUT``, those of the
run itself at 0, and pretraining sees scenes of another draw.
Every network but the untrained one gets the statistics of its batch norms from the same views.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from byol_helpers.core.config import Profile, require
from byol_helpers.pretraining.augmentations import two_views
from byol_helpers.pretraining.batch_augmentations import render_batch
from byol_helpers.pretraining.probes import (
    PER_CLASS,
    LabelledImages,
    ask_encoders,
    describe_views,
    draw_statistics_batches,
    make_controls,
    measure_statistics,
    normalise_pixels,
    score_repeats,
)
from byol_helpers.synthetic.scenes import CATEGORIES, make_crop
from byol_helpers.synthetic.windows import make_windows
from byol_helpers.training.sampler import rng

HELD_OUT = 50_000  # index of the first crop
REPEATS = 3  # draws of the labels
PARTNERS = 256  # images whose views look for each other
START = "start, measured"  # the control that gains are counted from


def probe_training(
    profile: Profile,
    start: dict[str, torch.Tensor] | None,
    trained: dict[str, dict[str, torch.Tensor]],
    files: list[Path],
) -> dict:
    """Ask trained weights and both controls.

    Args:
        profile: its seed, network, crops and views.
        start: what the pretraining began with; None for random weights.
        trained: weights under the names that they get in the table; an upper bound among them, such
            as the body of a detector that was trained on other labelled scenes.
        files: unlabelled images, for the statistics.

    Returns:
        ``rows``: for each ``encoder``, ``stage``, ``probe`` (linear, kNN) and ``per_class`` (labels
        of each class; None for all) the accuracy ``value`` in 0..1 with ``low`` and ``high``, its
        95 % interval over crops and draws of labels, and ``gain`` with ``gain_low`` and
        ``gain_high``, the paired difference to the measured start. ``views``: for each encoder what
        ``describe_views`` finds. ``crops``: what was asked.
    """
    networks = prepare_networks(profile, start, trained, files)
    encoders: dict[str, Sequence[nn.Module]] = {}
    for name, network in networks.items():
        encoders[name] = [network]
    count = profile.pretrain.probe_crops
    pixels, labels = make_held_out_crops(profile, 2 * count)
    bank = LabelledImages(normalise_pixels(pixels[:count]), labels[:count])
    asked = LabelledImages(normalise_pixels(pixels[count:]), labels[count:])
    few = count / len(CATEGORIES)  # labels of each class in the bank
    per_class = [number for number in PER_CLASS if number is None or number < few]
    tables = ask_encoders(encoders, bank, asked, per_class, REPEATS)
    first, second = render_two_views(profile, pixels[count : count + PARTNERS])
    return {
        "crops": {
            "bank": count,
            "asked": count,
            "categories": len(CATEGORIES),
            "size": pixels.shape[1],
            "world": profile.data.world,
            "objects": profile.data.crop_objects,
            "on": profile.pretrain.probe_on,
            "views": len(first),
        },
        "rows": [write_row(key, tables) for key in tables],
        "views": {
            name: describe_views(network, first, second) for name, network in networks.items()
        },
    }


def prepare_networks(
    profile: Profile,
    start: dict[str, torch.Tensor] | None,
    trained: dict[str, dict[str, torch.Tensor]],
    files: list[Path],
) -> dict[str, nn.Module]:
    """Both controls and the networks of trained weights; arguments as of ``probe_training``.

    All in eval mode; the statistics of all but the untrained one are measured on the same views.
    """
    batches = draw_statistics_batches(profile, files)
    networks = make_controls(profile, start, batches)
    untrained = networks["untrained"]
    for name, tensors in trained.items():
        network = copy.deepcopy(untrained)
        network.load_state_dict(tensors)
        networks[name] = measure_statistics(network, batches)
    return networks


def write_row(key: tuple[str, str, str, int | None], tables: dict) -> dict:
    """One row of the results: accuracy, and what it gains over the measured start."""
    encoder, stage, probe, per_class = key
    right = tables[key]
    control = tables[START, stage, probe, per_class]
    gained = score_repeats(right.astype(float) - control)
    row = {"encoder": encoder, "stage": stage, "probe": probe, "per_class": per_class}
    row |= score_repeats(right)
    row |= {"gain": gained["value"], "gain_low": gained["low"], "gain_high": gained["high"]}
    return row


def make_held_out_crops(profile: Profile, count: int) -> tuple[np.ndarray, torch.Tensor]:
    """Crops that no training sees, uint8 [count, S, S, 3], and their labels from 0, [count]."""
    data = profile.data
    size = require(data.crop_size, "data.crop_size", "the probes of pretraining")
    scene = None if data.crop_objects == "large" else data.image_size
    ids = [category.id for category in CATEGORIES]
    if profile.pretrain.probe_on == "windows":
        side = require(data.image_size, "data.image_size", "the probes of pretraining")
        windows, found = make_windows(profile.seed, HELD_OUT, count, size, side, data.world)
        return windows, torch.tensor([ids.index(category_id) for category_id in found])
    images = []
    labels = []
    for index in range(HELD_OUT, HELD_OUT + count):
        image, category_id = make_crop(profile.seed, index, size, data.world, scene)
        images.append(image)
        labels.append(ids.index(category_id))
    return np.stack(images), torch.tensor(labels)


def render_two_views(profile: Profile, pixels: np.ndarray) -> list[torch.Tensor]:
    """Both views [N, 3, V, V] of images uint8 [N, S, S, 3], as the pretraining makes them."""
    settings = profile.pretrain
    size = pixels.shape[1]
    rendered = []
    for number, view in enumerate(two_views(settings.view_size, settings.crop_scale)):
        draws = [rng(profile.seed, HELD_OUT, k, number) for k in range(len(pixels))]
        drawn = [view.draw(size, size, draw) for draw in draws]
        rendered.append(render_batch(list(pixels), drawn, view.size))
    return rendered
