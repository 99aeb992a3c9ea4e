"""What an encoder has learnt, asked of its frozen features: on every stage, beside controls.

A number of a pretrained encoder says little by itself. Beside it stand two controls
(``make_controls``): the untrained network, and the weights that the pretraining began with, the
statistics of their batch norms measured on images. What is above both has been learnt by the
weights. Every encoder that is compared gets its statistics on the same images.

``probe_encoders`` asks with a linear layer (ridge regression in closed form) and with weighted
nearest neighbours, for several numbers of labels; ``describe_views`` needs no labels.
``dense_probe`` asks for the class of every place in a scene.
"""

import copy
import csv
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.swa_utils import update_bn

from byol_helpers.coco.images import read_image
from byol_helpers.core.config import Profile
from byol_helpers.core.intervals import draw_weights, percentile_interval
from byol_helpers.core.resnet import STAGES, run_stages
from byol_helpers.pretraining.augmentations import MEAN, STD
from byol_helpers.pretraining.dataset import ViewsDataset
from byol_helpers.pretraining.diagnostics import (
    alignment,
    effective_rank,
    measure_knn_on_crops,
    predict_by_neighbours,
)
from byol_helpers.pretraining.encoder import build_encoder, copy_tensors, draw_encoder
from byol_helpers.training.sampler import Item

STATISTICS_BATCHES = 8
PER_CLASS = (1, 2, 5, 10, 50, None)  # labels of each class; None: all there are
TOP = 5  # likeliest classes of a linear probe
LINEAR_TOP = "linear, top 5"
FEW_CLASSES = 10  # of which five are no hard question
# Of the squared weights, as a share of the number of images.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)


class LabelledImages(NamedTuple):
    """Images as an encoder wants them, and what they show."""

    images: torch.Tensor  # float32 [N, 3, H, W], normalised
    labels: torch.Tensor  # int64 [N], from 0


def normalise_pixels(pixels: np.ndarray) -> torch.Tensor:
    """RGB, uint8 [N, H, W, 3], as float32 [N, 3, H, W] with ImageNet's mean 0 and deviation 1."""
    values = (pixels.astype(np.float32) / 255 - MEAN) / STD
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


def read_labelled_crops(folder: Path, first: int = 0, count: int | None = None) -> LabelledImages:
    """Crops ``first`` to ``first + count`` of ``folder/crops.csv``, in its order."""
    with open(folder / "crops.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    ids = sorted({int(row["category_id"]) for row in rows})
    rows = rows[first:] if count is None else rows[first : first + count]
    pixels = np.stack([read_image(folder / row["file"]) for row in rows])
    labels = [ids.index(int(row["category_id"])) for row in rows]
    return LabelledImages(normalise_pixels(pixels), torch.tensor(labels))


def measure_statistics(encoder: nn.Module, batches: Iterable[torch.Tensor]) -> nn.Module:
    """A copy in eval mode whose batch norms hold the statistics of the batches; no weight moves."""
    measured = copy.deepcopy(encoder)
    update_bn(batches, measured)
    return measured.eval()


def measure_backbone(
    profile: Profile, weights: dict[str, torch.Tensor] | None, files: list[Path]
) -> dict[str, torch.Tensor]:
    """A backbone with batch-norm statistics of views of the unlabelled images; no weight is
    trained.

    Under frozen batch norm this is the control of every pretraining: what it gains too is no merit
    of learnt weights.

    Args:
        weights: the backbone's; None for the random ones of a fine-tuning with the profile's seed.
    """
    torch.manual_seed(profile.pretraining_seed)
    encoder = build_encoder(profile.depth, profile.width)
    if weights is not None:
        encoder.load_state_dict(weights)
    return copy_tensors(measure_statistics(encoder, draw_statistics_batches(profile, files)))


def make_controls(
    profile: Profile, weights: dict[str, torch.Tensor] | None, batches: Sequence[torch.Tensor]
) -> dict[str, nn.Module]:
    """The two networks beside which a pretrained one is judged.

    Args:
        profile: its seed, depth and width give the untrained network.
        weights: what the pretraining began with; None for that untrained network.
        batches: images for the statistics, [N, 3, H, W] each.

    Returns:
        ``untrained``, as it is drawn, with the statistics 0 and 1; ``start, measured``, the initial
        weights with measured statistics. Both in eval mode.
    """
    untrained = draw_encoder(profile)
    start = copy.deepcopy(untrained)
    if weights is not None:
        start.load_state_dict(weights)
    return {"untrained": untrained.eval(), "start, measured": measure_statistics(start, batches)}


@torch.no_grad()
def pool_stages(
    encoder: nn.Module, images: torch.Tensor, batch: int = 250
) -> dict[str, torch.Tensor]:
    """Features [N, C] of each stage, averaged over the places of its map; in eval mode."""
    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    pooled: dict[str, list[torch.Tensor]] = {stage: [] for stage in STAGES}
    for part in images.split(batch):
        for stage, map_ in run_stages(encoder, part.to(device)).items():
            pooled[stage].append(map_.mean(dim=(2, 3)).cpu())
    encoder.train(was_training)
    return {stage: torch.cat(parts) for stage, parts in pooled.items()}


def fit_ridge(
    features: torch.Tensor, targets: torch.Tensor, penalties: Sequence[float] = PENALTIES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Linear least squares with the penalty that has the smallest leave-one-out error.

    Minimises |features W + b - targets|^2 + N penalty |W|^2. The error of every image under the
    weights fitted without it comes from one decomposition: residual / (1 - leverage).

    Args:
        features: [N, D], at least two rows.
        targets: [N, K].
        penalties: to choose from.

    Returns:
        W [D, K] and b [K], float64.
    """
    features = features.double()
    targets = targets.double()
    count = len(features)
    mean = features.mean(dim=0)
    offset = targets.mean(dim=0)
    left, values, right = torch.linalg.svd(features - mean, full_matrices=False)
    rotated = left.T @ (targets - offset)
    errors = []
    for penalty in penalties:
        shrink = values.square() / (values.square() + count * penalty)
        residual = targets - offset - left @ (shrink[:, None] * rotated)
        room = 1 - 1 / count - left.square() @ shrink
        errors.append(float((residual / room.clamp(min=1e-9)[:, None]).square().mean()))
    penalty = penalties[int(np.argmin(errors))]
    scale = values / (values.square() + count * penalty)
    weights = right.T @ (scale[:, None] * rotated)
    return weights, offset - mean @ weights


def predict_linearly(
    bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor
) -> torch.Tensor:
    """Labels [M] that a ridge regression on the bank's one-hot labels [N] gives the queries.

    Features [N, D] and [M, D], of ``standardise``.
    """
    return rank_linearly(bank, bank_labels, queries, 1)[:, 0]


def rank_linearly(
    bank: torch.Tensor, bank_labels: torch.Tensor, queries: torch.Tensor, count: int
) -> torch.Tensor:
    """The ``count`` most likely labels [M, count] of each query, the likeliest first; otherwise as
    ``predict_linearly``.
    """
    weights, bias = fit_ridge(bank, F.one_hot(bank_labels))
    scores = queries.double() @ weights + bias
    return scores.topk(min(count, scores.shape[1]), dim=1).indices


def standardise(train: torch.Tensor, test: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both with the mean and the deviation of the first: of its images, labelled or not.

    A feature that hardly varies keeps its scale.
    """
    mean = train.mean(dim=0)
    deviation = train.std(dim=0, correction=0)
    deviation = torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation))
    return (train - mean) / deviation, (test - mean) / deviation


def draw_labelled(labels: torch.Tensor, per_class: int | None, seed: int) -> torch.Tensor:
    """Indices of ``per_class`` images of each class, drawn by the seed; all for None.

    The draws of one seed are nested: more labels hold all that fewer held.
    """
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
    if per_class is None:
        return order
    kept = [order[labels[order] == label][:per_class] for label in labels.unique()]
    return torch.cat(kept)


def score_repeats(right: np.ndarray, replicates: int = 1000) -> dict[str, float]:
    """Mean of a table of scores [repeats, images], its interval over both by the bootstrap.

    Repeats and images are drawn anew with replacement, each on its own. With one repeat, over
    images alone; of a difference of two tables, the paired one.
    """
    repeats, images = right.shape
    means = draw_weights(images, replicates, seed=0) @ right.T.astype(np.float64) / images
    drawn = draw_weights(repeats, replicates, seed=1)
    low, high = percentile_interval((means * drawn).sum(axis=1) / repeats)
    return {"value": float(right.mean()), "low": low, "high": high}


def ask_encoders(
    encoders: dict[str, Sequence[nn.Module]],
    train: LabelledImages,
    test: LabelledImages,
    per_class: Sequence[int | None] = PER_CLASS,
    repeats: int = 3,
) -> dict[tuple[str, str, str, int | None], np.ndarray]:
    """Which test images every probe gets right.

    Args:
        encoders: under each name the networks of its seeds, one or several; repeat k takes network
            k, from the first again where there are fewer.
        train: what labels are drawn from, other labels in each repeat.
        test: what is asked.
        per_class: numbers of labels of each class.
        repeats: how often labels are drawn.

    Returns:
        Under (encoder, stage, probe, labels per class) a bool table [repeats, test images]. Of more
        than ``FEW_CLASSES`` classes the probe ``LINEAR_TOP`` is there too: whether the right one is
        among the five likeliest.
    """
    many_classes = len(train.labels.unique()) > FEW_CLASSES
    tables: dict[tuple[str, str, str, int | None], list[np.ndarray]] = {}
    for name, networks in encoders.items():
        features = []
        for network in networks:
            features.append((pool_stages(network, train.images), pool_stages(network, test.images)))
        for repeat, stage in itertools.product(range(repeats), STAGES):
            banks, queries = features[repeat % len(features)]
            plain = banks[stage], queries[stage]
            bank, asked = standardise(*plain)
            for count in per_class:
                kept = draw_labelled(train.labels, count, repeat)
                labels = train.labels[kept]
                ranked = rank_linearly(bank[kept], labels, asked, TOP)
                nearest = predict_by_neighbours(plain[0][kept], labels, plain[1])
                found = {
                    "linear": ranked[:, 0] == test.labels,
                    "kNN": nearest == test.labels,
                }
                if many_classes:
                    found[LINEAR_TOP] = (ranked == test.labels[:, None]).any(dim=1)
                for probe, right in found.items():
                    tables.setdefault((name, stage, probe, count), []).append(right.numpy())
    return {key: np.stack(table) for key, table in tables.items()}


def probe_encoders(
    encoders: dict[str, Sequence[nn.Module]],
    train: LabelledImages,
    test: LabelledImages,
    per_class: Sequence[int | None] = PER_CLASS,
    repeats: int = 3,
) -> list[dict]:
    """Accuracies of ``ask_encoders`` as rows of a table.

    Each row has ``encoder``, ``stage``, ``probe``, ``per_class``, the accuracy ``value`` in 0..1
    and ``low`` and ``high``, its 95 % interval over images and repeats.
    """
    rows = []
    for key, right in ask_encoders(encoders, train, test, per_class, repeats).items():
        encoder, stage, probe, count = key
        named = {"encoder": encoder, "stage": stage, "probe": probe, "per_class": count}
        rows.append(named | score_repeats(right))
    return rows


def find_partners(first: torch.Tensor, second: torch.Tensor) -> np.ndarray:
    """For which rows of [N, D] the nearest row of the other view is their own partner, bool [N].

    Nearest by the cosine. Of unrelated views one in N.
    """
    similarity = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    return (similarity.argmax(dim=1) == torch.arange(len(first))).numpy()


def find_neighbours(features: torch.Tensor, queries: Sequence[int], count: int) -> np.ndarray:
    """Numbers [Q, count] of the rows of [N, D] nearest to some of them by the cosine.

    The nearest first; a row is not its own neighbour.
    """
    rows = F.normalize(features, dim=1)
    similarity = rows[list(queries)] @ rows.T
    similarity[torch.arange(len(queries)), list(queries)] = -torch.inf
    return similarity.topk(count, dim=1).indices.numpy()


@torch.no_grad()
def colour_maps(encoder: nn.Module, images: torch.Tensor, stage: str = STAGES[1]) -> np.ndarray:
    """The map of a stage as colours, uint8 [N, h, w, 3]: its first three principal components.

    The components are those of all places of all images [N, 3, H, W]; each is spread from its 2nd
    to its 98th percentile, and points where its largest weight is positive. In eval mode.
    """
    was_training = encoder.training
    map_ = run_stages(encoder.eval(), images)[stage].permute(0, 2, 3, 1)
    encoder.train(was_training)
    rows = map_.flatten(0, 2).double()
    _, _, axes = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    axes = axes[:3]
    strongest = axes.abs().argmax(dim=1, keepdim=True)
    axes = axes * axes.gather(1, strongest).sign()
    values = (rows - rows.mean(dim=0)) @ axes.T
    low = values.quantile(0.02, dim=0)
    high = values.quantile(0.98, dim=0)
    shares = ((values - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return (255 * shares).round().byte().reshape(*map_.shape[:3], 3).numpy()


def uniformity(features: torch.Tensor) -> float:
    """Log of the mean of exp(-2 squared distance) over pairs of normalised features [N, D].

    Wang and Isola 2020, section 4.1.2. 0 where all are equal, near -4 + 8 / D where they are spread
    evenly over the sphere.
    """
    return float(torch.pdist(F.normalize(features, dim=1)).square().mul(-2).exp().mean().log())


def describe_views(
    encoder: nn.Module, first: torch.Tensor, second: torch.Tensor
) -> dict[str, float]:
    """What the last stage does with two views [N, 3, H, W] of the same images; needs no label.

    Returns:
        ``partners``, the share that finds its partner among the N, with ``partners_low`` and
        ``partners_high``, its 95 % interval over images; ``alignment``, ``uniformity`` and
        ``effective_rank``.
    """
    one = pool_stages(encoder, first)[STAGES[-1]]
    other = pool_stages(encoder, second)[STAGES[-1]]
    found = score_repeats(find_partners(one, other)[None])
    return {
        "partners": found["value"],
        "partners_low": found["low"],
        "partners_high": found["high"],
        "alignment": alignment(one, other),
        "uniformity": uniformity(one),
        "effective_rank": effective_rank(one),
    }


def draw_statistics_batches(profile: Profile, files: list[Path]) -> list[torch.Tensor]:
    """Views of the unlabelled images, first and second in turn, to measure statistics on."""
    settings = profile.pretrain
    dataset = ViewsDataset(
        files, settings.view_size, profile.pretraining_seed, smallest=settings.crop_scale
    )
    size = settings.batch_size
    batches = []
    for first in range(0, STATISTICS_BATCHES * size, size):
        items = [Item(k % len(files), k) for k in range(first, first + size)]
        batches.append(torch.stack([dataset[item][item.position % 2] for item in items]))
    return batches


def compare_knn(
    profile: Profile,
    weights: dict[str, torch.Tensor] | None,
    tensors: dict[str, torch.Tensor],
    crops: Path,
    files: list[Path],
) -> list[float]:
    """kNN accuracy on labelled crops of the encoder that a pretraining began with, and ended with.

    Between the two stands the beginning again, the statistics of its batch norms measured on views:
    what is above that has been learnt by the weights.

    Args:
        profile: of the pretraining; its seed draws random weights.
        weights: what it began with; None for random ones.
        tensors: the trained encoder's.
        crops: folder with ``crops.csv``.
        files: the unlabelled images.

    Returns:
        Three accuracies in 0..1: initial weights, the same with measured statistics, trained
        weights.
    """
    encoder = draw_encoder(profile)
    if weights is not None:
        encoder.load_state_dict(weights)
    before = measure_knn_on_crops(encoder, crops)
    update_bn(draw_statistics_batches(profile, files), encoder)
    measured = measure_knn_on_crops(encoder, crops)
    encoder.load_state_dict(tensors)
    return [before, measured, measure_knn_on_crops(encoder, crops)]
