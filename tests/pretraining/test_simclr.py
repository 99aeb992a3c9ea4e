"""SimCLR against closed forms, a loop by hand and lightly."""

import math

import lightly.loss
import pytest
import torch
import torch.nn.functional as F

from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining.encoder import build_encoder
from byol_helpers.pretraining.simclr import SimCLR, SimCLRTask, nt_xent_loss


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_and_gradient_equal_lightlys(temperature):
    torch.manual_seed(0)
    first = torch.randn(16, 32, requires_grad=True)
    second = torch.randn(16, 32)
    ours = nt_xent_loss(first, second, temperature)
    theirs = lightly.loss.NTXentLoss(temperature)(first, second)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    (gradient,) = torch.autograd.grad(ours, first)
    (reference,) = torch.autograd.grad(theirs, first)
    assert torch.allclose(gradient, reference, atol=1e-6)


@pytest.mark.parametrize("images", [2, 5])
def test_loss_at_its_marks(images):
    """All projections equal: a guess among 2N - 1; partners equal and the others at right angles:
    what the temperature leaves.
    """
    equal = torch.ones(images, 8)
    assert nt_xent_loss(equal, equal, 0.2).item() == pytest.approx(math.log(2 * images - 1))
    apart = 3 * torch.eye(8)[:images]
    others = 2 * images - 2
    expected = math.log(1 + others * math.exp(-1 / 0.2))
    assert nt_xent_loss(apart, apart, 0.2).item() == pytest.approx(expected, abs=1e-6)


def test_loss_against_a_loop():
    torch.manual_seed(0)
    views = torch.randn(2, 3, 4)
    rows = F.normalize(views.reshape(6, 4), dim=1)
    terms = []
    for k in range(6):
        scores = [float(rows[k] @ rows[j]) / 0.2 for j in range(6)]
        others = sum(math.exp(scores[j]) for j in range(6) if j != k)
        terms.append(-math.log(math.exp(scores[(k + 3) % 6]) / others))
    assert nt_xent_loss(*views, 0.2).item() == pytest.approx(sum(terms) / 6, rel=1e-5)


def test_a_step_sees_both_views_and_trains_encoder_and_projector():
    torch.manual_seed(0)
    settings = load_profile("smoke", ["pretrain.temperature=0.3"]).pretrain
    task = SimCLRTask(build_encoder(18), [], settings)
    views = [torch.randn(4, 3, 32, 32) for _ in range(2)]
    loss, values = task.loss(task.network, views, step=4)
    _, projections = task.network(*views)
    assert loss.item() == pytest.approx(nt_xent_loss(*projections, 0.3).item(), abs=1e-5)
    assert list(values) == ["loss", "lr", "feature_std", "alignment", "partners", "effective_rank"]
    assert 0 <= values["partners"] <= 1
    loss.backward()
    assert all(p.grad is not None for p in task.network.parameters())
    same, values = task.loss(task.network, [views[0], views[0]], step=5)
    assert values["partners"] == 1 and values["alignment"] == 0 and same < loss


def test_projection_has_the_width_that_is_asked_for():
    network = SimCLR(build_encoder(18), hidden=16, output=12)
    features, projections = network(*torch.randn(2, 4, 3, 32, 32))
    assert [feature.shape for feature in features] == [(4, 512)] * 2
    assert [projection.shape for projection in projections] == [(4, 12)] * 2
