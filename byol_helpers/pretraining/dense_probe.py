"""The class of every place in a scene, asked of frozen features: what a mask head needs.

The maps of the four stages are brought to the finest one's grid, one cell for 4 x 4 pixels, and a
linear layer on the joined channels of a cell says which category covers most of it, or none. It is
trained on the cells of 10, 25, 50, ... labelled images; the score is the mean intersection over
union (mIoU) of the categories on the test images. The backbone stays as it is, so the score is that
of the features alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from byol_helpers.coco.dataset import Split
from byol_helpers.coco.images import read_image
from byol_helpers.coco.masks import decode_mask
from byol_helpers.core.intervals import draw_weights, percentile_interval
from byol_helpers.core.progress import work_in_pieces
from byol_helpers.core.resnet import STAGES, run_stages
from byol_helpers.pretraining.probes import normalise_pixels
from byol_helpers.training.sampler import rng

CELL = 4  # pixels of a cell's side: the stride of a ResNet's first stage
IGNORED = -1  # the label of a cell in a crowd
LABELLED = (10, 25, 50, 100)  # images
LABELLED_DRAWS = 3  # draws of the labelled images
# The linear layer's training: AdamW with a cosine to 0, on random cells of the labelled images.
STEPS = 150
CELLS_PER_STEP = 1024
CELLS_MEASURED = 20_000  # for the mean and the deviation of each feature
LEARNING_RATE = 0.02  # with it, what 300 steps of 2,048 cells at 0.01 reach
WEIGHT_DECAY = 0.01


class Places(NamedTuple):
    """Images as an encoder wants them, and the class of each of their cells."""

    images: torch.Tensor  # float32 [N, 3, S, S], normalised
    cells: torch.Tensor  # int64 [N, S / 4, S / 4]: 0 nothing, from 1 the categories, or IGNORED


class Overlaps(NamedTuple):
    """Cells of each test image in which class and answer agree, and in which either occurs."""

    shared: np.ndarray  # [images, categories]
    either: np.ndarray  # [images, categories]

    def as_lists(self) -> dict[str, list]:
        """Both tables as JSON holds them."""
        return {"shared": self.shared.tolist(), "either": self.either.tolist()}


def describe_training() -> dict:
    """What decides the linear layers, as parameters of a stage."""
    return {
        "labelled": list(LABELLED),
        "repeats": LABELLED_DRAWS,
        "steps": STEPS,
        "cells_per_step": CELLS_PER_STEP,
        "learning_rate": LEARNING_RATE,
        "weight_decay": WEIGHT_DECAY,
    }


def label_cells(masks: np.ndarray, labels: Sequence[int], size: int) -> np.ndarray:
    """The class that covers most of each cell of 4 x 4 pixels.

    Args:
        masks: bool [M, size, size], disjoint.
        labels: of each mask, from 1, or ``IGNORED``.
        size: pixels of the image's side, a multiple of 4.

    Returns:
        int64 [size / 4, size / 4]; 0 where no mask covers most, the first of equals.
    """
    side = size // CELL
    classes = [0, *sorted(set(labels))]
    covered = np.zeros((len(classes), side, side), np.int64)
    for mask, label in zip(masks, labels, strict=True):
        pixels = mask.reshape(side, CELL, side, CELL)
        covered[classes.index(label)] += np.count_nonzero(pixels, axis=(1, 3))
    covered[0] = CELL * CELL - covered[1:].sum(axis=0)
    return np.array(classes)[covered.argmax(axis=0)]


def read_places(split: Split, size: int, count: int | None = None) -> Places:
    """The first images of a split and the classes of their cells.

    Args:
        split: with annotations; a crowd's cells are ignored.
        size: every image is brought to ``size`` x ``size`` pixels; a multiple of 4.
        count: how many images; None for all.
    """
    numbers = {category["id"]: k for k, category in enumerate(split.categories, 1)}
    pixels = []
    cells = []
    for record in split.images[:count]:
        image = read_image(split.path(record))
        height, width = image.shape[:2]
        masks = np.zeros((0, size, size), bool)
        labels = []
        for annotation in split.annotations.get(record["id"], []):
            mask = decode_mask(annotation, height, width).astype(np.uint8)
            mask = cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST)
            masks = np.concatenate([masks, mask[None].astype(bool)])
            crowd = annotation.get("iscrowd", 0)
            labels.append(IGNORED if crowd else numbers[annotation["category_id"]])
        if (height, width) != (size, size):
            image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        pixels.append(image)
        cells.append(label_cells(masks, labels, size))
    return Places(normalise_pixels(np.stack(pixels)), torch.from_numpy(np.stack(cells)))


@torch.no_grad()
def join_stages(encoder: nn.Module, images: torch.Tensor, batch: int = 50) -> torch.Tensor:
    """Features of every cell, float16 [N, H / 4, W / 4, channels of all stages]; in eval mode."""
    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    joined = []
    for part in images.split(batch):
        part = part.to(device, memory_format=torch.channels_last)  # the layout of what is returned
        maps = run_stages(encoder, part)
        grid = maps[STAGES[0]].shape[-2:]
        fine = [F.interpolate(map_, grid, mode="bilinear") for map_ in maps.values()]
        joined.append(torch.cat(fine, dim=1).permute(0, 2, 3, 1).half().cpu())
    encoder.train(was_training)
    return torch.cat(joined)


def train_layer(features: torch.Tensor, cells: torch.Tensor, classes: int, seed: int) -> nn.Linear:
    """A linear layer from the features of a cell [N, h, w, D] to its class [N, h, w].

    It takes features as they are: their standardisation is folded into its weights.
    """
    labels = cells.flatten()
    rows = features.flatten(0, 2)
    known = (labels != IGNORED).nonzero().flatten()
    draw = rng(seed)
    measured = known[torch.from_numpy(draw.integers(len(known), size=CELLS_MEASURED))]
    deviation, mean = torch.std_mean(rows[measured].float(), dim=0)
    deviation = deviation.clamp(min=1e-3)
    layer = nn.Linear(rows.shape[1], classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.AdamW(layer.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        chosen = known[torch.from_numpy(draw.integers(len(known), size=CELLS_PER_STEP))]
        scores = layer((rows[chosen].float() - mean) / deviation)
        loss = F.cross_entropy(scores, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        layer.weight.div_(deviation)
        layer.bias.sub_(layer.weight @ mean)
    return layer


@torch.inference_mode()
def count_overlaps(
    layers: Sequence[nn.Linear], features: torch.Tensor, cells: torch.Tensor, batch: int = 20
) -> list[Overlaps]:
    """What each layer answers on test images [N, h, w, D], against the classes [N, h, w]."""
    categories = torch.arange(1, layers[0].out_features)
    shared: list[list[torch.Tensor]] = [[] for _ in layers]
    either: list[list[torch.Tensor]] = [[] for _ in layers]
    for part, truth in zip(features.split(batch), cells.split(batch), strict=True):
        known = (truth != IGNORED)[..., None]
        wanted = (truth[..., None] == categories) & known
        values = part.float()
        for number, layer in enumerate(layers):
            answered = (layer(values).argmax(dim=-1)[..., None] == categories) & known
            shared[number].append((answered & wanted).sum(dim=(1, 2)))
            either[number].append((answered | wanted).sum(dim=(1, 2)))
    found = []
    for agreeing, occurring in zip(shared, either, strict=True):
        found.append(Overlaps(torch.cat(agreeing).numpy(), torch.cat(occurring).numpy()))
    return found


def mean_iou(overlaps: Overlaps, weights: np.ndarray) -> np.ndarray:
    """mIoU of each row of weights [B, images]; a category that occurs nowhere does not count."""
    shared = weights @ overlaps.shared
    either = weights @ overlaps.either
    ious = np.full(shared.shape, np.nan)
    np.divide(shared, either, out=ious, where=either > 0)
    return np.nanmean(ious, axis=1)


class DrawnMIoU(NamedTuple):
    """A mean mIoU of several repeats, and what draws [replicates] of images and repeats give."""

    value: float
    draws: np.ndarray


def draw_miou(found: Sequence[Overlaps], replicates: int = 1000) -> DrawnMIoU:
    """The mean mIoU of several repeats with its draws.

    Test images and repeats are drawn anew with replacement, each on their own. Equal numbers of
    them give equal draws, whatever the encoder: this is what pairs encoders.
    """
    images = len(found[0].shared)
    weights = draw_weights(images, replicates, seed=0)
    values = np.stack([mean_iou(overlaps, weights) for overlaps in found], axis=1)
    drawn = draw_weights(len(found), replicates, seed=1)
    once = np.ones((1, images))
    value = np.mean([mean_iou(overlaps, once)[0] for overlaps in found])
    return DrawnMIoU(float(value), (values * drawn).sum(axis=1) / len(found))


def score_draws(drawn: DrawnMIoU, control: DrawnMIoU | None = None) -> dict[str, float]:
    """A mean mIoU with its 95 % interval over test images and repeats.

    With that of a control, on the same images and repeats, the paired difference to it.
    """
    value, draws = drawn
    if control is not None:
        value -= control.value
        draws = draws - control.draws
    low, high = percentile_interval(draws)
    return {"value": value, "low": low, "high": high}


def probe_densely(
    encoders: Mapping[str, Sequence[nn.Module]],
    train: Places,
    test: Places,
    categories: int,
    controls: Mapping[str, Sequence[str]],
    labelled: Sequence[int] = LABELLED,
    repeats: int = LABELLED_DRAWS,
    unfinished: Path | None = None,
) -> list[dict]:
    """mIoU of frozen encoders for several numbers of labelled images.

    Args:
        encoders: under each name the networks of its seeds; repeat k takes network k, from the
            first again where there are fewer.
        train: what labelled images are drawn from, others in each repeat; nested in one repeat.
        test: what is asked.
        categories: how many there are besides "nothing".
        controls: for an encoder the names of those that its gains are counted over.
        labelled: numbers of labelled images.
        repeats: how often images are drawn.
        unfinished: as ``work_in_pieces``, and what it raises; a piece is an encoder.

    Returns:
        Rows with ``encoder``, ``images`` (labelled), the mIoU ``value`` in 0..1 and ``low`` and
        ``high``, its 95 % interval over test images and repeats, and ``gains``: for each control
        the paired difference to it, with the same keys.
    """

    def ask(name: str) -> list[list[dict]]:
        networks = encoders[name]
        counted = []
        for repeat in range(repeats):
            if repeat == 0 or len(networks) > 1:
                network = networks[repeat % len(networks)]
                bank = join_stages(network, train.images)
                queries = join_stages(network, test.images)
            order = torch.from_numpy(rng(repeat).permutation(len(train.images)))
            layers = []
            for count in labelled:
                kept = order[:count]
                layers.append(train_layer(bank[kept], train.cells[kept], categories + 1, repeat))
            overlaps = count_overlaps(layers, queries, test.cells)
            counted.append([one.as_lists() for one in overlaps])
        return counted

    names = list(encoders)
    counted = work_in_pieces("dense probe", names, ask, unfinished, "encoders")
    found: dict[tuple[str, int], list[Overlaps]] = {}
    for name, of_repeats in zip(names, counted, strict=True):
        for of_counts in of_repeats:
            for count, lists in zip(labelled, of_counts, strict=True):
                overlaps = Overlaps(np.array(lists["shared"]), np.array(lists["either"]))
                found.setdefault((name, count), []).append(overlaps)
    drawn = {key: draw_miou(overlaps) for key, overlaps in found.items()}
    rows = []
    for (name, count), mious in drawn.items():
        gains = {}
        for control in controls.get(name, ()):
            gains[control] = score_draws(mious, drawn[control, count])
        row = {"encoder": name, "images": count} | score_draws(mious)
        rows.append(row | {"gains": gains})
    return rows


def tabulate_rows(rows: Sequence[dict]) -> tuple[list[str], list[list[str]]]:
    """Head and cells of a table of rows of ``probe_densely``: a line for each encoder.

    mIoU in per cent for every number of labelled images, and with the most of them the gains over
    every control in points, with their intervals; a dash where none was counted.
    """
    counts = sorted({row["images"] for row in rows})
    controls = list(dict.fromkeys(name for row in rows for name in row["gains"]))
    head = ["mIoU (%) by labelled images"] + [f"{count:,}" for count in counts]
    head += [f"gain over {control}" for control in controls]
    lines: dict[str, list[str]] = {}
    for row in rows:
        line = lines.setdefault(row["encoder"], [row["encoder"]])
        line.append(_write_points(row))
        if row["images"] == counts[-1]:
            for control in controls:
                gain = row["gains"].get(control)
                line.append(_write_points(gain, "+") if gain else "–")
    return head, list(lines.values())


def describe_gains(rows: Sequence[dict]) -> list[str]:
    """In a sentence for each encoder and control, with how many labelled images it is better."""
    found: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in rows:
        for control, gain in row["gains"].items():
            said = "not told apart"
            if gain["low"] > 0:
                said = "better"
            elif gain["high"] < 0:
                said = "worse"
            verdicts = found.setdefault((row["encoder"], control), {})
            verdicts.setdefault(said, []).append(f"{row['images']:,}")
    sentences = []
    for (encoder, control), verdicts in found.items():
        said = ", ".join(f"{word} with {', '.join(n)}" for word, n in verdicts.items())
        sentences.append(f"{encoder} against {control}: {said} labelled images")
    return sentences


def _write_points(score: dict[str, float], sign: str = "") -> str:
    """A score of 0..1 in points, its interval in brackets."""
    value, low, high = (f"{100 * score[key]:{sign}.1f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
