"""What an encoder has learnt, asked by k nearest neighbours on labelled crops."""

from pathlib import Path

import torch
from torch.optim.swa_utils import update_bn

from byol_helpers.core.config import Profile
from byol_helpers.pretraining.dataset import ViewsDataset
from byol_helpers.pretraining.diagnostics import measure_knn_on_crops
from byol_helpers.pretraining.encoder import build_encoder
from byol_helpers.training.sampler import Item

STATISTICS_BATCHES = 8


def compare_knn(
    profile: Profile,
    weights: dict[str, torch.Tensor] | None,
    tensors: dict[str, torch.Tensor],
    crops: Path,
    files: list[Path],
) -> list[float]:
    """kNN accuracy on labelled crops of the encoder that a pretraining began with, and ended with.

    Between the two stands the beginning again, the statistics of its batch norms measured on views: what is
    above that has been learnt by the weights.

    Args:
        profile: of the pretraining; its seed draws random weights.
        weights: what it began with; None for random ones.
        tensors: the trained encoder's.
        crops: folder with ``crops.csv``.
        files: the unlabelled images.

    Returns:
        Three accuracies in 0..1: initial weights, the same with measured statistics, trained weights.
    """
    torch.manual_seed(profile.seed)
    encoder = build_encoder(profile.depth, zero_init_residual=True)
    if weights is not None:
        encoder.load_state_dict(weights)
    before = measure_knn_on_crops(encoder, crops)
    dataset = ViewsDataset(files, profile.pretrain.view_size, profile.seed)
    size = profile.pretrain.batch_size
    batches = []
    for first in range(0, STATISTICS_BATCHES * size, size):
        items = [Item(k % len(files), k) for k in range(first, first + size)]
        batches.append(torch.stack([dataset[item][item.position % 2] for item in items]))
    update_bn(batches, encoder)
    measured = measure_knn_on_crops(encoder, crops)
    encoder.load_state_dict(tensors)
    return [before, measured, measure_knn_on_crops(encoder, crops)]
