"""Stages pretrain and supervised: BYOL on unlabelled images, and the classifier that stands in for ImageNet."""

import csv
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import Dataset
from torchvision.io import decode_image

from byol_helpers.coco.images import read_image
from byol_helpers.core.config import Pretrain, Profile, Supervised
from byol_helpers.core.errors import UserError
from byol_helpers.pretraining.augmentations import View, two_views
from byol_helpers.pretraining.byol import BYOL, encoder, parameter_groups, tau_at
from byol_helpers.pretraining.diagnostics import (
    alignment,
    effective_rank,
    feature_std,
    mean_cosine,
    neighbours_on_crops,
)
from byol_helpers.pretraining.lars import LARS
from byol_helpers.pretraining.torch_augmentations import view_of
from byol_helpers.training.loop import Plan, Task, cosine_with_warmup, fit
from byol_helpers.training.sampler import Item, rng

METRICS_EVERY = 5  # steps
STATISTICS_BATCHES = 8
THESIS = ("the thesis's 350,000 iterations of 64 images", 350_000 * 64)  # section 4.4


class ViewsDataset(Dataset):
    """Two random views of each picture, [3, size, size] each. Knows file names only: there are no labels to read."""

    def __init__(
        self, files: list[Path], size: int, seed: int, fast: bool = False, copies: bool = False
    ):
        """``fast``: rendered by ``fast_views``; ``copies``: the files are those of ``data.cache``, plain RGB JPEG."""
        self.files, self.seed, self.views, self.fast = files, seed, two_views(size), fast
        self.read = read_copy if copies else read_image

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, draw = self.read(self.files[item.index]), rng(self.seed, item.position)
        if self.fast:
            return tuple(view_of(pixels, view, draw) for view in self.views)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return tuple(view(image, draw) for view in self.views)


def read_copy(path: Path) -> np.ndarray:
    """A plain RGB JPEG, uint8 [H, W, 3]: no more checks than the decoder's own, a third faster than ``read_image``."""
    return decode_image(str(path)).permute(1, 2, 0).numpy()


class CropsDataset(Dataset):
    """Labelled crops, lightly augmented: a large random part, a flip and no change of colour."""

    def __init__(self, folder: Path, seed: int):
        with open(folder / "crops.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        ids = sorted({int(row["category_id"]) for row in rows})
        self.files = [folder / row["file"] for row in rows]
        self.labels = [ids.index(int(row["category_id"])) for row in rows]
        self.classes, self.seed = len(ids), seed

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, int]:
        image, draw = (
            Image.fromarray(read_image(self.files[item.index])),
            rng(self.seed, item.position),
        )
        view = View(image.width, area=(0.35, 1.0), jitter=0.0, grey=0.0, blur=0.0)
        return view(image, draw), self.labels[item.index]


class BYOLTask(Task):
    """BYOL: SGD or LARS, warm-up and cosine, target update after the optimiser's step.

    With ``accumulate`` several batches make one step, and the target is updated once for all of them.
    That saves memory; it is not a larger batch, because batch norm sees each of them alone.
    """

    def __init__(self, network: BYOL, dataset: ViewsDataset, settings: Pretrain):
        self.network = network
        self.dataset = dataset
        self.settings = settings
        self.learning_rate = settings.learning_rate

    def make_optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        groups = parameter_groups(self.network, settings.weight_decay)
        if settings.optimizer == "lars":
            return LARS(groups, settings.learning_rate, settings.momentum)
        return torch.optim.SGD(
            groups,
            settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )

    def lr_factor(self, step: int) -> float:
        return cosine_with_warmup(step, self.settings.steps, self.settings.warmup_steps)

    def loss(
        self, network: nn.Module, batch: list[torch.Tensor], step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        if self.settings.channels_last:
            batch = [view.contiguous(memory_format=torch.channels_last) for view in batch]
        loss, seen = network(*batch)
        first, second = seen.features.chunk(2)
        values = {
            "loss": loss.item(),
            "tau": self.tau(step),
            "feature_std": feature_std(seen.features),
            "alignment": alignment(first, second),
            "target_cosine": mean_cosine(seen.projections, seen.targets),
        }
        if (step + 1) % METRICS_EVERY == 0:  # a decomposition: too dear for every step of a GPU
            values["effective_rank"] = effective_rank(seen.features)
        return loss, values

    def after_step(self, step: int) -> None:
        self.network.update_target(self.tau(step))

    def tau(self, step: int) -> float:
        """The target's tau at a step."""
        return tau_at(step, self.settings.steps, self.settings.tau_start)


class Classifier(nn.Module):
    """An encoder with one linear layer: images [N, 3, H, W] -> logits [N, classes]."""

    def __init__(self, encoder: nn.Module, classes: int):
        super().__init__()
        self.encoder = encoder
        self.fc = nn.Linear(encoder.width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.encoder(images))


class ClassifierTask(Task):
    """The stand-in for ImageNet pretraining: cross-entropy on generated single-object crops."""

    def __init__(self, network: Classifier, dataset: CropsDataset, settings: Supervised):
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
        return loss, {"loss": loss.item(), "accuracy": accuracy.item()}


def train_byol(
    profile: Profile, files: list[Path], folder: Path, title: str, weights: dict | None
) -> dict:
    """Pretrain and return the online encoder's tensors.

    Args:
        profile: section ``pretrain`` decides.
        files: the unlabelled images.
        folder: for the checkpoint and metrics.csv.
        title: of the progress lines.
        weights: torchvision-named tensors to start from; None for random ones (residual branches at 0).
    """
    settings, seed = profile.pretrain, profile.seed
    if len(files) < settings.batch_size:
        raise UserError(
            f"{len(files)} images for pretraining, fewer than pretrain.batch_size={settings.batch_size}; "
            "give more images or lower it with --set"
        )
    torch.manual_seed(seed)
    backbone = encoder(profile.depth, zero_init_residual=True)
    if weights is not None:
        backbone.load_state_dict(weights)
    plan = Plan(
        title,
        folder,
        seed,
        settings.steps,
        settings.batch_size,
        settings.checkpoint_every,
        METRICS_EVERY,
        settings.workers,
        settings.gradient_clip,
        settings.devices,
        settings.precision,
        settings.accumulate,
        THESIS,
    )
    network = BYOL(backbone, settings.hidden, settings.output, settings.head_norm)
    if settings.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if settings.compile:
        for part in (network.encoder, network.projector, network.predictor, network.target):
            part.compile()  # in place: names in checkpoints stay as they are
    dataset = ViewsDataset(
        files, settings.view_size, seed, settings.views == "torch", settings.cache_side is not None
    )
    fit(BYOLTask(network, dataset, settings), plan)
    return cpu_tensors(network.encoder)


def neighbours_of(
    profile: Profile, weights: dict | None, tensors: dict, crops: Path, files: list[Path]
) -> list[float]:
    """Nearest-neighbour accuracy on labelled crops of the encoder that a pretraining started with, and ended with.

    Between the two stands the start again, the statistics of its batch norms measured on views: what is above that has
    been learnt by the weights.

    Args:
        profile: of the pretraining; its seed draws random weights.
        weights: what it started from; None for random ones.
        tensors: the trained encoder's.
        crops: folder with ``crops.csv``.
        files: the unlabelled images.
    """
    torch.manual_seed(profile.seed)
    network = encoder(profile.depth, zero_init_residual=True)
    if weights is not None:
        network.load_state_dict(weights)
    before = neighbours_on_crops(network, crops)
    dataset, size = (
        ViewsDataset(files, profile.pretrain.view_size, profile.seed),
        profile.pretrain.batch_size,
    )
    starts = range(0, STATISTICS_BATCHES * size, size)
    update_bn(
        (
            torch.stack([dataset[Item(k % len(files), k)][k % 2] for k in range(at, at + size)])
            for at in starts
        ),
        network,
    )
    measured = neighbours_on_crops(network, crops)
    network.load_state_dict(tensors)
    return [before, measured, neighbours_on_crops(network, crops)]


def train_classifier(profile: Profile, data: Path, folder: Path) -> dict:
    """Train the stand-in on ``data/crops`` and return its encoder's tensors."""
    settings = profile.supervised
    seed = profile.seed
    torch.manual_seed(seed)
    plan = Plan(
        "supervised stand-in",
        folder,
        seed,
        settings.steps,
        settings.batch_size,
        settings.checkpoint_every,
        METRICS_EVERY,
    )
    dataset = CropsDataset(data, seed)
    network = Classifier(encoder(profile.depth), dataset.classes)
    fit(ClassifierTask(network, dataset, settings), plan)
    return cpu_tensors(network.encoder)


def cpu_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """The state of a module as plain tensors on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}
