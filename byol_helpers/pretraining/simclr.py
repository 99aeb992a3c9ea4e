"""SimCLR in one sitting: network, loss, step (Chen et al. 2020).

Each of the 2N views of a batch -> encoder f -> projector g, and finds its partner among the 2N - 1
others by the cosine. The other images keep the network from giving every image the same vector;
there is no target network and no predictor.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset

from byol_helpers.core.config import Pretrain
from byol_helpers.pretraining.byol import RANK_EVERY, head
from byol_helpers.pretraining.diagnostics import alignment, effective_rank, feature_std
from byol_helpers.pretraining.optimizers import make_optimizer
from byol_helpers.training.loop import Task, cosine_with_warmup


def compare_views(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Cosines [2N, 2N] of the projections [N, D] of two views of N images, first views first.

    A view is not compared with itself: -inf on the diagonal.
    """
    rows = F.normalize(torch.cat([first, second]), dim=1)
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return (rows @ rows.T).masked_fill(itself, -torch.inf)


def list_partners(images: int, device: torch.device) -> torch.Tensor:
    """Which of the 2N views shows the same image as view 0, 1, ..., 2N - 1."""
    return torch.arange(2 * images, device=device).roll(images)


def nt_xent_loss(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """The normalised, temperature-scaled cross entropy (equation 1), a mean over the 2N views.

    -log(exp(s(i, partner) / temperature) / sum over k != i of exp(s(i, k) / temperature)), s the
    cosine. log(2N - 1) where all projections are equal.

    Args:
        first: projections [N, D] of one view of each image.
        second: of the other view of the same images.
        temperature: above 0.
    """
    scores = compare_views(first, second) / temperature
    return F.cross_entropy(scores, list_partners(len(first), first.device))


class SimCLR(nn.Module):
    """Encoder and projector, which is thrown away after the training."""

    def __init__(
        self, backbone: nn.Module, hidden: int = 2048, output: int = 128, norm: bool = True
    ):
        super().__init__()
        self.encoder = backbone
        self.projector = head(cast(int, backbone.width), hidden, output, norm)

    def forward(
        self, first: torch.Tensor, second: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Features [N, W] and projections [N, D] of both views [N, 3, H, W].

        Each view passes through the network on its own, as in BYOL: joined, they would share their
        batch statistics.
        """
        features = [self.encoder(view) for view in (first, second)]
        return features, [self.projector(feature) for feature in features]


class SimCLRTask(Task):
    """SimCLR: warm-up and cosine; the optimiser, heads and views are BYOL's.

    With several devices, or with ``accumulate``, a view looks for its partner among those of its
    own part of the batch.
    """

    network: SimCLR

    def __init__(self, encoder: nn.Module, dataset: Dataset, settings: Pretrain):
        self.network = SimCLR(encoder, settings.hidden, settings.output, settings.head_norm)
        self.dataset = dataset
        self.settings = settings
        self.learning_rate = settings.learning_rate

    def make_optimizer(self) -> torch.optim.Optimizer:
        return make_optimizer(self.network, self.settings)

    def lr_factor(self, step: int) -> float:
        return cosine_with_warmup(step, self.settings.steps, self.settings.warmup_steps)

    def loss(
        self, network: nn.Module, batch: list[torch.Tensor], step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        if self.settings.channels_last:
            batch = [view.contiguous(memory_format=torch.channels_last) for view in batch]
        features, projections = network(*batch)
        loss = nt_xent_loss(projections[0], projections[1], self.settings.temperature)
        first, second = (feature.detach() for feature in features)
        with torch.no_grad():
            found = compare_views(projections[0], projections[1]).argmax(dim=1)
        both = torch.cat([first, second])
        values = {
            "loss": loss.item(),
            "lr": self.lr_at(step),
            "feature_std": feature_std(both),
            "alignment": alignment(first, second),
            "partners": float((found == list_partners(len(first), found.device)).float().mean()),
        }
        if (step + 1) % RANK_EVERY == 0:
            values["effective_rank"] = effective_rank(both)
        return loss, values
