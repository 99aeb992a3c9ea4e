"""What a pretraining has taught its network, as one file: all probes, beside both controls.

Asked are generated crops of one object each that no training sees, or windows around the objects
of validation scenes (``pretrain.probe_on``): their numbers begin at ``HELD_OUT``, those of the
run itself at 0, and pretraining sees scenes of another draw. Where the supervised arm learns class
folders, the probes learn from labelled photographs of those for training and are asked held-out
ones. The dense probe learns from labelled scenes of the run and is asked its test scenes.
Every network but the untrained one gets the statistics of its batch norms from the same views.
"""

import copy
import itertools
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from byol_helpers.coco.dataset import Split
from byol_helpers.coco.photographs import HELD_OUT_FOLDER, TRAINING_FOLDER, open_photographs
from byol_helpers.core.arms import label_arm
from byol_helpers.core.config import Profile, require
from byol_helpers.core.errors import UserError
from byol_helpers.core.progress import work_in_pieces
from byol_helpers.pretraining.augmentations import two_views
from byol_helpers.pretraining.batch_augmentations import render_batch
from byol_helpers.pretraining.dense_probe import (
    CELL,
    LABELLED,
    LABELLED_DRAWS,
    probe_densely,
    read_places,
)
from byol_helpers.pretraining.probes import (
    PER_CLASS,
    LabelledImages,
    ask_encoders,
    describe_views,
    draw_labelled,
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
UNTRAINED = "untrained"
START = "start, measured"  # the control that gains are counted from
RANDOM = label_arm("random-measured")  # the dense probe's, whatever its arms began with


def probe_training(
    profile: Profile,
    start: dict[str, torch.Tensor] | None,
    trained: dict[str, dict[str, torch.Tensor]],
    files: list[Path],
    data: Path | None = None,
    unfinished: Path | None = None,
) -> dict:
    """Ask trained weights and both controls.

    Args:
        profile: its seed, network, crops and views.
        start: what the pretraining began with; None for random weights.
        trained: weights under the names that they get in the table; an upper bound among them, such
            as the body of a detector that was trained on other labelled scenes.
        files: unlabelled images, for the statistics.
        data: folder ``data`` of the run, for the photographs of ``supervised.source=classes``.
        unfinished: as ``work_in_pieces``, and what it raises; a piece is an encoder.

    Returns:
        ``rows``: for each ``encoder``, ``stage``, ``probe`` (linear, kNN, of many classes linear
        with the right one among the five likeliest) and ``per_class`` (labels
        of each class; None for all) the accuracy ``value`` in 0..1 with ``low`` and ``high``, its
        95 % interval over crops and draws of labels, and ``gain`` with ``gain_low`` and
        ``gain_high``, the paired difference to the measured start. ``views``: for each encoder what
        ``describe_views`` finds. ``crops``: what was asked.
    """
    networks = prepare_networks(profile, start, trained, files)
    count = profile.pretrain.probe_crops
    about = {"world": profile.data.world, "objects": profile.data.crop_objects}
    about["on"] = profile.pretrain.probe_on
    if profile.supervised.source == "classes" and data:
        bank_pixels, bank_labels = take_photographs(profile, data, TRAINING_FOLDER, count)
        pixels, labels = take_photographs(profile, data, HELD_OUT_FOLDER, count)
        about = {"world": "photographs", "objects": "whole", "on": "photographs"}
    else:
        made, found = make_held_out_crops(profile, 2 * count)
        bank_pixels, pixels = made[:count], made[count:]
        bank_labels, labels = found[:count], found[count:]
    bank = LabelledImages(normalise_pixels(bank_pixels), bank_labels)
    asked = LabelledImages(normalise_pixels(pixels), labels)
    classes = len(bank_labels.unique())
    few = len(bank_labels) / classes  # labels of each class in the bank
    per_class = [number for number in PER_CLASS if number is None or number < few]

    def ask(name: str) -> list[tuple[tuple, list]]:
        tables = ask_encoders({name: [networks[name]]}, bank, asked, per_class, REPEATS)
        return [(key, right.astype(int).tolist()) for key, right in tables.items()]

    answers = work_in_pieces("probes", list(networks), ask, unfinished, "encoders")
    tables = {}
    for key, right in itertools.chain.from_iterable(answers):
        tables[tuple(key)] = np.array(right, bool)
    first, second = render_two_views(profile, pixels[:PARTNERS])
    return {
        "crops": {
            "bank": len(bank_labels),
            "asked": len(labels),
            "categories": classes,
            "size": pixels.shape[1],
            "views": len(first),
        }
        | about,
        "rows": [write_row(key, tables) for key in tables],
        "views": {
            name: describe_views(network, first, second) for name, network in networks.items()
        },
    }


def probe_scenes(
    profile: Profile,
    trained: dict[str, dict[str, torch.Tensor]],
    starts: dict[str, str],
    files: list[Path],
    train: Split,
    test: Split,
    unfinished: Path | None = None,
) -> dict:
    """Ask trained weights and both controls for the class of every place in a scene.

    The controls are the random weights of the run, as they are drawn and with measured statistics.

    Args:
        profile: its seed, network and views, side of the scenes and ``pretrain.dense_images``.
        trained: weights under the names that they get in the table.
        starts: for weights whose training began with others of ``trained``, the name of these.
        files: unlabelled images, for the statistics.
        train: labelled images; the first of them are drawn from.
        test: the first of its images are asked.
        unfinished: as of ``probe_training``.

    Returns:
        ``rows`` as of ``probe_densely``, with gains over both controls, and over the start where it
        is another. ``scenes``: what was asked.
    """
    networks = prepare_networks(profile, None, trained, files)
    side = require(profile.data.image_size, "data.image_size", "the dense probe")
    side = max(CELL, side - side % CELL)
    count = profile.pretrain.dense_images
    bank = read_places(train, side, count)
    asked = read_places(test, side, count)
    labelled = sorted({min(number, len(bank.images)) for number in LABELLED})
    controls = {}
    for name in trained:
        controls[name] = [UNTRAINED, START]
        if name in starts:
            controls[name].append(starts[name])
    encoders = {name: [network] for name, network in networks.items()}
    categories = len(test.categories)
    rows = probe_densely(
        encoders, bank, asked, categories, controls, labelled, LABELLED_DRAWS, unfinished
    )
    about = {"labelled": len(bank.images), "asked": len(asked.images), "size": side}
    about |= {"categories": categories, "repeats": LABELLED_DRAWS}
    return {"scenes": about, "rows": name_random(rows)}


def name_random(rows: list[dict]) -> list[dict]:
    """Rows of ``probe_densely`` with random weights called so, which were ``START`` in older
    files: the start of an arm may be another."""
    named = []
    for row in rows:
        gains = {}
        for control, gain in row["gains"].items():
            gains[RANDOM if control == START else control] = gain
        encoder = RANDOM if row["encoder"] == START else row["encoder"]
        named.append(row | {"encoder": encoder, "gains": gains})
    return named


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


def take_photographs(
    profile: Profile, data: Path, part: str, count: int
) -> tuple[np.ndarray, torch.Tensor]:
    """Photographs with labels, as many of each class: squares uint8 [N, S, S, 3], labels [N].

    Args:
        profile: ``data.crop_size`` is the side S; its seed draws.
        data: folder of the run.
        part: ``TRAINING_FOLDER`` or ``HELD_OUT_FOLDER``.
        count: how many at most.

    Raises:
        UserError: there are fewer than two classes in it, or ``count`` is less than their number.
    """
    found = open_photographs(data, part)
    labels = torch.from_numpy(found.labels)
    known = torch.nonzero(labels >= 0)[:, 0]
    classes = len(labels[known].unique())
    if count < classes or classes < 2:
        raise UserError(
            f"pretrain.probe_crops={count} photographs are asked of {classes} classes in "
            f"{data / part}; give one of each of two classes at least"
        )
    drawn = known[draw_labelled(labels[known], count // classes, profile.seed)]
    side = require(profile.data.crop_size, "data.crop_size", "the probes of pretraining")
    squares = [cut_square(image, side) for image in found.images.read(drawn.tolist())]
    return np.stack(squares), labels[drawn]


def cut_square(image: np.ndarray, side: int) -> np.ndarray:
    """The middle of an image, uint8 [side, side, 3]: its short side scaled to the square's."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    size = max(side, round(scale * width)), max(side, round(scale * height))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    scaled = cv2.resize(image, size, interpolation=method)
    top = (scaled.shape[0] - side) // 2
    left = (scaled.shape[1] - side) // 2
    return scaled[top : top + side, left : left + side]


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
