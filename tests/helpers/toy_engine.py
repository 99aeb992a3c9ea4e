"""The smallest engine: a ResNet that finds one object as large as the image, of the first class."""

import numpy as np
import torch
from torch import nn

from byol_helpers.core.channels import RGB
from byol_helpers.core.config import FULL_WIDTH
from byol_helpers.core.weights import load_exactly
from byol_helpers.pretraining.encoder import build_encoder
from byol_helpers.segmentation.dataset import InstanceDataset
from byol_helpers.training.metrics import write_csv
from byol_helpers.training.sampler import Item


class ToyNetwork(nn.Module):
    """One image [C, H, W] -> its confidence, from the mean of the backbone's features."""

    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.threshold = 0.05

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.backbone(image[None]).mean().sigmoid()


def build(depth, classes, settings, seed, weights=None, channels=RGB, width=FULL_WIDTH):
    torch.manual_seed(seed)
    backbone = build_encoder(depth, width, channels=channels)
    if weights is not None:
        load_exactly(backbone, weights)
    return ToyNetwork(backbone)


def train(profile, split, folder, title, seed, weights):
    settings = profile.finetune
    classes = len(split.categories)
    network = build(profile.depth, classes, settings, seed, weights, width=profile.width).eval()
    image, _ = InstanceDataset(split, settings, seed)[Item(0, 0)]
    loss = 1 - float(network(image).detach())
    row = {"step": settings.steps, "total_loss": loss, "lr": settings.learning_rate}
    write_csv(folder / "metrics.csv", [row | {"seconds": 0.0}])
    return network


@torch.inference_mode()
def detect(network, image):
    height, width = image.shape[-2:]
    score = float(network(image))
    found = int(score > network.threshold)
    return {
        "boxes": np.array([[0, 0, width, height]], np.float32)[:found],
        "labels": np.zeros(1, int)[:found],
        "scores": np.array([score], np.float32)[:found],
        "masks": np.ones((1, height, width), bool)[:found],
    }


def compute_losses(network, items):
    return {"total_loss": sum(1 - float(network(image)) for image, _ in items) / len(items)}


def raise_threshold(network, score):
    network.threshold = max(network.threshold, score)
