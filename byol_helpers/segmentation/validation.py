"""Losses and mask rates of a fine-tuned model on images that it was not trained on."""

from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from byol_helpers.coco.dataset import Split
from byol_helpers.core.config import Finetune
from byol_helpers.segmentation.dataset import InstanceDataset
from byol_helpers.segmentation.engine import Engine, load_model
from byol_helpers.training.sampler import Item


def measure_losses(path: Path, split: Split, settings: Finetune, seed: int) -> dict[str, float]:
    """Means over the images of a split of what training logs, for a ``model.pth``.

    Regions are sampled as in training, by draws that are the same for every model; batch norm uses
    the statistics that it holds.

    Args:
        path: of the model.
        split: images with instances.
        settings: sizes, and the number of images that share a forward pass.
        seed: of the draws.

    Returns:
        ``total_loss``, its parts and ``shared_settings.TRAINING_METRICS``, as in metrics.csv.
    """
    network, _, engine = load_model(path)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    dataset = InstanceDataset(split, settings, seed)
    totals: dict[str, float] = {}
    for start in range(0, len(dataset), settings.batch_size):
        stop = min(start + settings.batch_size, len(dataset))
        torch.manual_seed(start)
        for name, value in _measure_batch(network, engine, dataset, range(start, stop)).items():
            totals[name] = totals.get(name, 0.0) + value * (stop - start)
    return {name: total / len(dataset) for name, total in totals.items()}


@torch.no_grad()
def _measure_batch(
    network: nn.Module, engine: Engine, dataset: InstanceDataset, indices: range
) -> dict[str, float]:
    return engine.compute_losses(network, [dataset[Item(k, k)] for k in indices])
