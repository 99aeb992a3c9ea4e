"""The numbers that stand beside BYOL's loss, at their analytic extremes and on a network that
collapses.
"""

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.optim.swa_utils import update_bn

from byol_helpers.pretraining.byol import BYOL, encoder, regression_loss
from byol_helpers.pretraining.diagnostics import (
    alignment,
    effective_rank,
    feature_std,
    mean_cosine,
    neighbour_accuracy,
    neighbours_on_crops,
)


def test_all_equal():
    same = torch.randn(1, 64, generator=torch.Generator().manual_seed(0)).repeat(256, 1)
    assert feature_std(same) == pytest.approx(0, abs=1e-5)
    assert effective_rank(same) == pytest.approx(1, abs=1e-3)
    assert alignment(same, same) == pytest.approx(0, abs=1e-6) and mean_cosine(
        same, same
    ) == pytest.approx(1)


def test_isotropic():
    torch.manual_seed(0)
    features, other = torch.randn(2, 8192, 64)
    assert feature_std(features) == pytest.approx(1, abs=0.02)
    assert effective_rank(features) == pytest.approx(64, rel=0.01)
    assert alignment(features, other) == pytest.approx(2, abs=0.02)
    assert mean_cosine(features, other) == pytest.approx(0, abs=0.01)
    assert alignment(features, -features) == pytest.approx(4, abs=1e-4)


def test_effective_rank_of_a_known_spectrum():
    """Singular values 3, 1 and 0: entropy of (3/4, 1/4)."""
    basis = torch.linalg.qr(torch.randn(20, 3, generator=torch.Generator().manual_seed(1)))[0]
    features = basis * torch.tensor([3.0, 1.0, 0.0])
    assert effective_rank(features) == pytest.approx(
        math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), rel=1e-5
    )
    assert effective_rank(torch.zeros(4, 3)) == pytest.approx(1)


def test_neighbours_vote_by_hand():
    bank = torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1], [-1, 0]])
    labels, queries = torch.tensor([0, 1, 1, 2]), torch.tensor([[1.0, 0.0], [-1, 0.1], [0.1, 1]])
    assert neighbour_accuracy(bank, labels, queries, torch.tensor([0, 2, 1]), neighbours=1) == 1
    weights = {
        0: math.exp(1 / 0.5),
        1: math.exp(0.9 / math.hypot(0.9, 0.1) / 0.5) + 1,
    }  # of the first query
    winner = max(weights, key=weights.get)
    assert neighbour_accuracy(bank, labels, queries[:1], torch.tensor([winner]), 3, 0.5) == 1


def test_neighbours_against_a_loop():
    torch.manual_seed(0)
    bank, queries = torch.randn(40, 8), torch.randn(15, 8)
    bank_labels, labels = torch.randint(0, 4, (40,)), torch.randint(0, 4, (15,))
    right = 0
    for query, label in zip(queries, labels, strict=True):
        cosines = [float(torch.cosine_similarity(query, row, dim=0)) for row in bank]
        votes = [0.0] * 4
        for k in sorted(range(40), key=lambda k: -cosines[k])[:20]:
            votes[bank_labels[k]] += math.exp(cosines[k] / 0.07)
        right += votes.index(max(votes)) == label
    assert neighbour_accuracy(bank, bank_labels, queries, labels) == pytest.approx(right / 15)


def test_crops_of_two_colours_are_told_apart_and_by_a_blind_encoder_are_not(tmp_path):
    rows = []
    for k in range(40):
        Image.new("RGB", (8, 8), ("red", "blue")[k // 2 % 2]).save(tmp_path / f"{k}.png")
        rows.append({"file": f"{k}.png", "category_id": 3 + k // 2 % 2})
    with open(tmp_path / "crops.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "category_id"])
        writer.writeheader()
        writer.writerows(rows)

    class Mean(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(scale))

        def forward(self, x):
            return self.scale * x.mean(dim=(2, 3)) + (1 - self.scale)

    assert neighbours_on_crops(Mean(1.0), tmp_path) == 1
    assert neighbours_on_crops(Mean(0.0), tmp_path) == pytest.approx(0.5, abs=0.2)


def test_measured_statistics_are_means_over_batches_and_no_weight_moves():
    torch.manual_seed(0)
    network = encoder(18).eval()
    weights = [parameter.clone() for parameter in network.parameters()]
    batches = [scale * torch.randn(6, 3, 32, 32) for scale in (1.0, 3.0)]
    update_bn(batches, network)
    with torch.no_grad():
        seen = [network.conv1(batch) for batch in batches]
    assert torch.allclose(
        network.bn1.running_mean, sum(x.mean(dim=(0, 2, 3)) for x in seen) / 2, atol=1e-6
    )
    assert torch.allclose(
        network.bn1.running_var, sum(x.var(dim=(0, 2, 3)) for x in seen) / 2, rtol=1e-5
    )
    assert all(
        torch.equal(old, new) for old, new in zip(weights, network.parameters(), strict=True)
    )
    assert not network.training and network.bn1.momentum == 0.1


@pytest.mark.parametrize(("stop_gradient", "healthy"), [(True, True), (False, False)])
def test_a_network_that_collapses_is_seen(stop_gradient, healthy):
    """Without stop-gradient both sides agree on one vector: loss, spread and rank fall together."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 32))
    backbone.width = 32
    network = BYOL(backbone, hidden=64, output=16)
    optimizer = torch.optim.SGD(
        [p for p in network.parameters() if p.requires_grad], 0.05, 0.9, weight_decay=1e-3
    )
    for _ in range(200):
        point = torch.randn(128, 16)
        views = [point + 0.5 * torch.randn_like(point) for _ in range(2)]
        online = [network.projector(network.encoder(view)) for view in views]
        if stop_gradient:
            with torch.no_grad():
                other = [network.target(view) for view in views]
        else:
            other = online
        q = network.predictor
        loss = (
            regression_loss(q(online[0]), other[1]) + regression_loss(q(online[1]), other[0])
        ).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        network.update_target(0.97)
    seen = torch.cat(online).detach()
    assert (feature_std(seen) > 0.5, effective_rank(seen) > 8) == (healthy, healthy)
    assert (loss.item() > 0.05) == healthy
    assert np.isfinite(loss.item())
