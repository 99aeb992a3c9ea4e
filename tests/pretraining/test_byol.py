"""BYOL against closed forms and lightly."""

import math

import lightly.loss
import lightly.models.modules
import lightly.models.utils
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightly.utils.scheduler import cosine_schedule
from PIL import Image

from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining.augmentations import View, shift_hue, two_views
from byol_helpers.pretraining.byol import (
    BYOL,
    BYOLTask,
    choose_tau,
    head,
    regression_loss,
    squared_distance,
    tau_at,
)
from byol_helpers.pretraining.encoder import build_encoder, group_parameters
from byol_helpers.pretraining.lars import LARS
from byol_helpers.pretraining.methods import METHODS
from byol_helpers.training.loop import cosine_with_warmup
from byol_helpers.training.sampler import StepBatches, rng


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(16, 32, requires_grad=True), torch.randn(16, 32)


def test_loss_is_the_squared_distance_of_normalised_vectors(pair):
    prediction, target = pair
    squared = (F.normalize(prediction, dim=1) - F.normalize(target, dim=1)).square().sum(1)
    assert torch.allclose(regression_loss(prediction, target), squared, atol=1e-6)
    assert torch.allclose(squared_distance(prediction, target), squared, atol=1e-6)


def test_loss_and_gradient_equal_lightly(pair):
    prediction, target = pair
    ours = regression_loss(prediction, target).mean()
    (gradient,) = torch.autograd.grad(ours, prediction)
    theirs = 2 + 2 * lightly.loss.NegativeCosineSimilarity()(prediction, target)
    (reference,) = torch.autograd.grad(theirs, prediction)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-6)
    assert torch.allclose(gradient, reference, atol=1e-7)


@pytest.mark.parametrize(("other", "value"), [([1.0, 0], 0), ([0, 1.0], 2), ([-3.0, 0], 4)])
def test_loss_at_its_marks(other, value):
    assert regression_loss(torch.tensor([[2.0, 0]]), torch.tensor([other])).item() == pytest.approx(
        value, abs=1e-6
    )


def test_head_is_lightlys_but_for_the_biases():
    """The official code has a bias before the norm and none at the end.

    Lightly has them the other way round.
    """
    torch.manual_seed(0)
    ours, theirs = head(512, 2048, 256), lightly.models.modules.BYOLProjectionHead(512, 2048, 256)
    assert sum(p.numel() for p in ours.parameters()) == 512 * 2048 + 2048 + 2 * 2048 + 2048 * 256
    with torch.no_grad():
        theirs.layers[0].weight.copy_(ours[0].weight)
        theirs.layers[3].weight.copy_(ours[3].weight)
        theirs.layers[3].bias.zero_()
        x = torch.randn(8, 512)
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)  # the norm takes the first bias away


def test_a_new_encoder_may_start_with_residual_branches_at_zero():
    block = build_encoder(18, zero_init_residual=True).layer1[0].train()
    x = torch.rand(4, 64, 8, 8)
    assert torch.equal(block(x), x)  # its shortcut alone
    bottleneck = build_encoder(50, zero_init_residual=True).layer2[1].train()
    x = torch.rand(4, 512, 8, 8)
    assert torch.equal(bottleneck(x), x)
    assert not torch.equal(build_encoder(50).layer2[1].train()(x), x)


def test_both_directions_are_summed_and_each_view_has_its_own_batch_statistics():
    torch.manual_seed(0)
    network = BYOL(build_encoder(18), 64, 32).train()
    first, second = torch.randn(2, 8, 3, 32, 32)
    reference = BYOL(build_encoder(18), 64, 32).train()
    reference.load_state_dict(network.state_dict())
    loss, seen = network(first, second)
    p = [reference.predictor(reference.projector(reference.encoder(v))) for v in (first, second)]
    t = [reference.target(v) for v in (first, second)]
    by_hand = (
        4 - 2 * F.cosine_similarity(p[0], t[1]).mean() - 2 * F.cosine_similarity(p[1], t[0]).mean()
    )
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-5)
    assert seen.features.shape == (16, 512) and seen.projections.shape == seen.targets.shape == (
        16,
        32,
    )
    assert (
        torch.allclose(seen.targets, torch.cat(t), atol=1e-5) and not seen.projections.requires_grad
    )
    loss.backward()
    assert all(p.grad is None for p in network.target.parameters())
    assert all(p.grad is not None for p in network.encoder.parameters())


def test_target_update_averages_every_parameter_and_no_buffer():
    torch.manual_seed(0)
    network = BYOL(build_encoder(18), 64, 32)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
        network.encoder.bn1.running_mean.fill_(7)
    online = [p.clone() for p in (*network.encoder.parameters(), *network.projector.parameters())]
    before = [p.clone() for p in network.target.parameters()]
    reference = torch.nn.ParameterList(p.clone() for p in before)
    lightly.models.utils.update_momentum(torch.nn.ParameterList(online), reference, 0.9)
    network.update_target(0.9)
    assert len(online) == len(before) == len(list(network.target.parameters()))
    for now, old, source, theirs in zip(
        network.target.parameters(), before, online, reference, strict=True
    ):
        assert torch.allclose(now, 0.9 * old + 0.1 * source, atol=1e-6) and torch.allclose(
            now, theirs, atol=1e-6
        )
    assert network.target[0].bn1.running_mean.eq(0).all()


def test_target_starts_as_a_copy_with_buffers():
    backbone = build_encoder(18)
    backbone.bn1.running_mean.fill_(3)
    network = BYOL(backbone, 64, 32)
    assert network.target[0].bn1.running_mean.eq(3).all()
    assert network.target[0].conv1.weight.data_ptr() != backbone.conv1.weight.data_ptr()


def test_tau_follows_the_published_cosine():
    assert tau_at(0, 1000, 0.99) == pytest.approx(0.99)
    assert tau_at(500, 1000, 0.99) == pytest.approx(0.995)
    assert tau_at(1000, 1000, 0.99) == pytest.approx(1.0)
    theirs = cosine_schedule(250, 1001, 0.99, 1.0)
    assert tau_at(250, 1000, 0.99) == pytest.approx(theirs, abs=1e-9)


def test_tau_by_the_number_of_steps_follows_the_published_presets():
    assert choose_tau(12_500) == pytest.approx(0.97)
    assert choose_tau(312_500) == pytest.approx(0.996)
    assert 0.98 < choose_tau(31_250) < 0.99 < choose_tau(93_750) < 0.992
    assert choose_tau(80) == choose_tau(1800) == pytest.approx(0.9)
    assert choose_tau(1850) > 0.9


@pytest.mark.parametrize(("setting", "tau"), [("null", 0.9), ("0.0", 0.0), ("0.99", 0.99)])
def test_a_null_tau_is_chosen_by_the_steps_and_a_number_is_kept(setting, tau):
    settings = load_profile("smoke", [f"pretrain.tau_start={setting}"]).pretrain
    task = BYOLTask(build_encoder(18), [], settings)
    assert task.tau(0) == pytest.approx(tau)
    assert task.tau(settings.steps) == pytest.approx(1.0)


def test_learning_rate_warms_up_and_ends_at_zero():
    assert cosine_with_warmup(0, 100, 10) == pytest.approx(0.1)
    assert cosine_with_warmup(10, 100, 10) == pytest.approx(1.0)
    assert cosine_with_warmup(55, 100, 10) == pytest.approx(0.5)
    assert cosine_with_warmup(100, 100, 10) == pytest.approx(0.0)


def test_decay_spares_biases_and_norms():
    network = BYOL(build_encoder(18), 64, 32)
    decayed, spared = group_parameters(network, 1e-4)
    assert decayed["weight_decay"] == 1e-4 and spared["weight_decay"] == 0
    assert all(p.ndim > 1 for p in decayed["params"]) and all(p.ndim == 1 for p in spared["params"])
    trained = sum(p.requires_grad for p in network.parameters())
    assert len(decayed["params"]) + len(spared["params"]) == trained


def test_heads_with_and_without_norm_of_both_widths():
    for hidden in (2048, 4096):
        with_norm, without = head(2048, hidden, 256), head(2048, hidden, 256, norm=False)
        count = 2048 * hidden + hidden + hidden * 256
        assert sum(p.numel() for p in without.parameters()) == count
        assert sum(p.numel() for p in with_norm.parameters()) == count + 2 * hidden
        assert with_norm[-1].bias is None and without(torch.zeros(2, 2048)).shape == (2, 256)


def lars_by_hand(w, gradients, lr, momentum, decay, eta, adapt):
    velocity = torch.zeros_like(w)
    for g in gradients:
        update = g + decay * w
        if adapt and w.norm() > 0 and update.norm() > 0:
            update = update * eta * w.norm() / update.norm()
        velocity = momentum * velocity + update
        w = w - lr * velocity
    return w


@pytest.mark.parametrize("start", [torch.arange(6.0).reshape(2, 3) - 2, torch.zeros(2, 3)])
@pytest.mark.parametrize("adapt", [True, False])
def test_lars_steps_by_the_equation(start, adapt):
    torch.manual_seed(0)
    gradients, weight = torch.randn(3, 2, 3), torch.nn.Parameter(start.clone())
    optimizer = LARS(
        [{"params": [weight], "adapt": adapt}], 0.3, momentum=0.9, weight_decay=0.01, eta=0.1
    )
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    assert torch.allclose(
        weight, lars_by_hand(start, gradients, 0.3, 0.9, 0.01, 0.1, adapt), atol=1e-6
    )


def test_lars_equals_lightlys_where_both_read_the_paper_alike():
    """lightly divides by |g| + decay |w| instead of |g + decay w|: the same where g and w are
    parallel.
    """
    from lightly.utils.lars import LARS as Theirs

    torch.manual_seed(0)
    start = torch.randn(5, 4)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    pair = [
        (ours, LARS([ours], 0.2, 0.9, 1e-2, eta=1e-3)),
        (theirs, Theirs([theirs], 0.2, 0.9, 0, 1e-2, trust_coefficient=1e-3)),
    ]
    for factor in (0.5, 2.0, 0.1):
        for weight, optimizer in pair:
            weight.grad = factor * weight.detach()
            optimizer.step()
    assert torch.allclose(ours, theirs, atol=1e-6) and not torch.allclose(ours, start)


def test_lars_leaves_biases_and_norms_to_plain_momentum():
    network = BYOL(build_encoder(18), 64, 32)
    optimizer = LARS(group_parameters(network, 1e-6), 0.2)
    plain = [group for group in optimizer.param_groups if not group["adapt"]]
    assert [group["weight_decay"] for group in plain] == [0.0]
    assert all(p.ndim == 1 for p in plain[0]["params"])
    assert any(p is network.predictor[0].weight for p in optimizer.param_groups[0]["params"])


@pytest.mark.parametrize("method", ["byol", "simclr"])
def test_adamw_decays_weights_alone_and_takes_its_momentum(method):
    overrides = ["pretrain.optimizer=adamw", "pretrain.momentum=0.8", "pretrain.hidden=8"]
    settings = load_profile("smoke", [*overrides, "pretrain.weight_decay=0.1"]).pretrain
    task = METHODS[method](build_encoder(18), [], settings)
    optimizer = task.make_optimizer()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert all(group["betas"] == (0.8, 0.999) for group in optimizer.param_groups)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in task.network.parameters() if p.requires_grad}


def picture(seed=0, size=(96, 80)):
    return Image.fromarray(rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def test_views_carry_the_published_probabilities():
    first, second = two_views(224)
    assert (first.blur, first.solarize, second.blur, second.solarize) == (1.0, 0.0, 0.1, 0.2)
    assert (first.area, first.flip, first.jitter, first.grey) == ((0.08, 1.0), 0.5, 0.8, 0.2)
    assert (first.brightness, first.contrast, first.saturation, first.hue) == (0.4, 0.4, 0.2, 0.1)


def test_a_view_is_a_function_of_its_key_and_images_of_a_batch_differ():
    view, image = View(32), picture()
    assert torch.equal(view(image, rng(1, 5)), view(image, rng(1, 5)))
    assert not torch.equal(view(image, rng(1, 5)), view(image, rng(1, 6)))
    assert view(image, rng(0)).shape == (3, 32, 32)


def test_hue_turns_red_to_green_in_a_third_of_a_turn():
    red = Image.new("RGB", (2, 2), (255, 0, 0))
    assert np.asarray(shift_hue(red, 1 / 3))[0, 0].tolist() == [0, 255, 0]
    assert np.asarray(shift_hue(red, 0.0))[0, 0].tolist() == [255, 0, 0]


def test_batches_walk_through_epochs_without_a_seam_and_restart_anywhere():
    whole = list(StepBatches(10, 4, seed=1, first=0, last=10))
    indices = [item.index for batch in whole for item in batch]
    assert all(sorted(indices[k : k + 10]) == list(range(10)) for k in range(0, 40, 10))
    assert list(StepBatches(10, 4, 1, first=6, last=10)) == whole[6:]
    shares = [list(StepBatches(10, 4, 1, 0, 10, rank, 2)) for rank in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole


def test_encoder_widths():
    assert build_encoder(18).width == 512 and build_encoder(50).width == 2048
    assert math.isclose(sum(p.numel() for p in build_encoder(50).parameters()), 23_508_032)
