"""Is BYOL collapsing, and are its features any good? Numbers that stand beside the loss.

A collapsed network gives every image the same vector: the loss is then 0, the standard deviation 0,
the effective rank 1. None of the first four numbers needs a label; the nearest-neighbour accuracy
does, where there are labelled crops.
"""

import csv
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from byol_helpers.coco.images import read_image
from byol_helpers.pretraining.augmentations import MEAN, STD

NEIGHBOURS = 20  # Wu et al. 2018, section 3.4, take 200 of 1.3 million images
TEMPERATURE = 0.07  # Wu et al. 2018, section 3.4


def feature_std(features: torch.Tensor) -> float:
    """Mean over dimensions of the standard deviation of normalised features [N, D], times sqrt(D).

    1 for features spread evenly over the sphere, 0 for a collapsed network that gives the same
    vector to every image.
    """
    spread = F.normalize(features, dim=1).std(dim=0).mean()
    return float(spread * math.sqrt(features.shape[1]))


def effective_rank(features: torch.Tensor) -> float:
    """In how many directions features [N, D] spread.

    It is exp of the entropy of their normalised singular values (Roy and Vetterli 2007; on features
    Garrido et al. 2023, RankMe). Between 1, all vectors on one line, and min(N, D), all directions
    alike.
    """
    values = torch.linalg.svdvals(features.float())
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return float(torch.exp(torch.special.entr(shares).sum()))


def alignment(first: torch.Tensor, second: torch.Tensor) -> float:
    """Mean squared distance of the normalised features [N, D] of two views of the same images.

    Wang and Isola 2020. 0 where views of an image give the same direction, 2 for unrelated
    directions, 4 for opposite ones.
    """
    apart = F.normalize(first, dim=1) - F.normalize(second, dim=1)
    return float(apart.square().sum(dim=1).mean())


def mean_cosine(first: torch.Tensor, second: torch.Tensor) -> float:
    """Mean cosine of the rows of two tensors [N, D], as the online and the target projections."""
    return float(F.cosine_similarity(first, second, dim=1).mean())


def knn_accuracy(
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    queries: torch.Tensor,
    labels: torch.Tensor,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> float:
    """Share of queries [M, D] whose label wins the vote of ``predict_by_neighbours``."""
    found = predict_by_neighbours(bank, bank_labels, queries, neighbours, temperature)
    return float((found == labels).float().mean())


def predict_by_neighbours(
    bank: torch.Tensor,
    bank_labels: torch.Tensor,
    queries: torch.Tensor,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> torch.Tensor:
    """Labels [M] that win the vote of the nearest vectors of the bank [N, D] to queries [M, D].

    A neighbour votes with weight exp(cosine / temperature) (Wu et al. 2018, equation 7).
    """
    similarity = F.normalize(queries, dim=1) @ F.normalize(bank, dim=1).T
    nearest, index = similarity.topk(min(neighbours, len(bank)), dim=1)
    votes = torch.zeros(len(queries), int(bank_labels.max()) + 1)
    votes.scatter_add_(1, bank_labels[index], (nearest / temperature).exp())
    return votes.argmax(dim=1)


@torch.inference_mode()
def measure_knn_on_crops(
    encoder: nn.Module, folder: Path, most: int = 1000, batch: int = 250
) -> float:
    """Nearest-neighbour accuracy of an encoder on the labelled crops of ``folder``.

    A random half asks the other half. The encoder is used in eval mode. BYOL has never seen the
    labels; the supervised stand-in was trained on them.

    Args:
        folder: with ``crops.csv`` (columns ``file`` and ``category_id``).
        most: how many crops are used, always the same ones.
        batch: how many are encoded at a time.
    """
    with open(folder / "crops.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [rows[k] for k in np.random.default_rng(0).permutation(len(rows))[:most]]
    ids = sorted({row["category_id"] for row in rows})
    labels = torch.tensor([ids.index(row["category_id"]) for row in rows])
    was_training = encoder.training
    device = next(encoder.parameters()).device
    encoder.eval()
    parts = []
    for k in range(0, len(rows), batch):
        parts.append(encoder(_pixels(folder, rows[k : k + batch]).to(device)).cpu())
    features = torch.cat(parts)
    encoder.train(was_training)
    half = len(rows) // 2
    return knn_accuracy(features[:half], labels[:half], features[half:], labels[half:])


def _pixels(folder: Path, rows: list[dict]) -> torch.Tensor:
    """Crops as the encoder wants them, float32 [N, 3, H, W]."""
    pixels = np.stack([read_image(folder / row["file"]) for row in rows]).astype(np.float32) / 255
    return torch.from_numpy(((pixels - MEAN) / STD).transpose(0, 3, 1, 2).copy())
