"""The supervised arm: a classifier of generated crops, whose encoder stands for ImageNet's, or of
photographs in class folders.
"""

from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from byol_helpers.coco.photographs import open_photographs
from byol_helpers.core.config import Profile, StandInTraining
from byol_helpers.pretraining.dataset import CropsDataset, LabelledPhotographs
from byol_helpers.pretraining.encoder import build_encoder, copy_tensors, draw_encoder
from byol_helpers.pretraining.methods import METRICS_EVERY, require_batch
from byol_helpers.training.loop import Plan, Task, cosine_with_warmup, fit


class Classifier(nn.Module):
    """An encoder with one linear layer: images [N, 3, H, W] -> logits [N, classes]."""

    def __init__(self, encoder: nn.Module, classes: int):
        super().__init__()
        self.encoder = encoder
        self.fc = nn.Linear(cast(int, encoder.width), classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.encoder(images))


class ClassifierTask(Task):
    """Supervised pretraining: cross-entropy on single-object crops, or on photographs."""

    network: Classifier

    def __init__(self, network: Classifier, dataset: Dataset, settings: StandInTraining):
        self.network = network
        self.dataset = dataset
        self.settings = settings
        self.learning_rate = settings.learning_rate

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            self.network.parameters(), self.learning_rate, momentum=0.9, weight_decay=1e-4
        )

    def lr_factor(self, step: int) -> float:
        return cosine_with_warmup(step, self.settings.steps, max(1, self.settings.steps // 20))

    def loss(
        self, network: nn.Module, batch: list[torch.Tensor], step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        images, labels = batch
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        accuracy = (logits.argmax(1) == labels).float().mean()
        values = {"loss": loss.item(), "accuracy": accuracy.item(), "lr": self.lr_at(step)}
        return loss, values


def train_classifier(
    profile: Profile, data: Path, folder: Path, first_steps: int | None = None
) -> dict:
    """Train on ``data/crops``, or on photographs as ``supervised.source`` says; the encoder's
    tensors.

    ``first_steps``: how many of the training's steps to do; None for all.
    """
    settings = profile.supervised.get_training()
    seed = profile.pretraining_seed
    torch.manual_seed(seed)
    encoder = build_encoder(profile.depth, profile.width)
    if profile.pretrain.shared_init:
        encoder = draw_encoder(profile)
    of_classes = profile.supervised.source == "classes"
    plan = Plan(
        "supervised (photographs)" if of_classes else "supervised stand-in",
        folder,
        seed,
        first_steps or settings.steps,
        settings.batch_size,
        settings.checkpoint_every,
        METRICS_EVERY,
    )
    if of_classes:
        dataset = LabelledPhotographs(open_photographs(data), profile.pretrain.view_size, seed)
        require_batch(len(dataset), settings.batch_size, "supervised")
    else:
        dataset = CropsDataset(data, seed)
    network = Classifier(encoder, dataset.classes)
    if of_classes and profile.pretrain.channels_last:
        network.to(memory_format=torch.channels_last)
    fit(ClassifierTask(network, dataset, settings), plan)
    return copy_tensors(network.encoder)
