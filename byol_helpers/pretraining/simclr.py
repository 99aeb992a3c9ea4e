"""SimCLR in one sitting: network, loss, step (Chen et al. 2020).

Each of the 2N views of a batch -> encoder f -> projector g, and finds its partner among the 2N - 1
others by the cosine. The other images keep the network from giving every image the same vector;
there is no target network and no predictor.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from byol_helpers.core.config import Pretrain
from byol_helpers.pretraining.byol import head
from byol_helpers.pretraining.method_task import MethodTask, measure_features, measure_rank


def score_pairs(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Cosines [2N, 2N] of the projections [N, D] of two views of N images, first views first.

    A view is not compared with itself: -inf on the diagonal.
    """
    rows = F.normalize(torch.cat([first, second]), dim=1)
    itself = torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    return (rows @ rows.T).masked_fill(itself, -torch.inf)


def list_partners(images: int, device: torch.device) -> torch.Tensor:
    """Which of the 2N views shows the same image as view 0, 1, ..., 2N - 1."""
    return torch.arange(2 * images, device=device).roll(images)


@torch.no_grad()
def measure_partners(first: torch.Tensor, second: torch.Tensor) -> float:
    """Share of the 2N projections that are nearest to the one of the same image."""
    found = score_pairs(first, second).argmax(dim=1)
    return float((found == list_partners(len(first), found.device)).float().mean())


def nt_xent_loss(first: torch.Tensor, second: torch.Tensor, temperature: float) -> torch.Tensor:
    """The normalised, temperature-scaled cross entropy (equation 1), a mean over the 2N views.

    -log(exp(s(i, partner) / temperature) / sum over k != i of exp(s(i, k) / temperature)), s the
    cosine. log(2N - 1) where all projections are equal.

    Args:
        first: projections [N, D] of one view of each image.
        second: of the other view of the same images.
        temperature: above 0.
    """
    scores = score_pairs(first, second) / temperature
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


class SimCLRTask(MethodTask):
    """SimCLR; heads, views and optimiser are BYOL's.

    With several devices, or with ``accumulate``, a view looks for its partner among those of its
    own part of the batch.
    """

    network: SimCLR

    def build_network(self, encoder: nn.Module, settings: Pretrain) -> SimCLR:
        return SimCLR(encoder, settings.hidden, settings.output, settings.head_norm)

    def compare_views(
        self, network: nn.Module, first: torch.Tensor, second: torch.Tensor, step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        features, projections = network(first, second)
        loss = nt_xent_loss(projections[0], projections[1], self.settings.temperature)
        both = torch.cat(features).detach()
        values = {
            **measure_features(both),
            "partners": measure_partners(projections[0], projections[1]),
            **measure_rank(both, step),
        }
        return loss, values
