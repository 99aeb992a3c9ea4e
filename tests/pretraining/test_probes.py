"""The probes against closed forms, loops and encoders of which the answer is known."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining import probes
from byol_helpers.pretraining.encoder import build_encoder


class Colours(nn.Module):
    """A network in the form of a ResNet whose four maps are the pixels, the last one scaled."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        for name in ("conv1", "bn1", "relu", "maxpool", *probes.STAGES):
            setattr(self, name, nn.Identity())
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x):
        return self.scale * x.mean(dim=(2, 3))


def test_ridge_is_the_solution_of_its_normal_equations():
    torch.manual_seed(0)
    features = torch.randn(30, 5, dtype=torch.float64) + 3
    targets = torch.randn(30, 2, dtype=torch.float64)
    weights, bias = probes.fit_ridge(features, targets, [0.1])
    centred = features - features.mean(dim=0)
    system = centred.T @ centred + 30 * 0.1 * torch.eye(5, dtype=torch.float64)
    expected = torch.linalg.solve(system, centred.T @ (targets - targets.mean(dim=0)))
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(bias, targets.mean(dim=0) - features.mean(dim=0) @ expected)


@pytest.mark.parametrize("dimensions", [4, 40], ids=["more images", "more features"])
def test_penalty_has_the_smallest_leave_one_out_error(dimensions):
    """Against fitting again without each image."""
    torch.manual_seed(1)
    features = torch.randn(20, dimensions, dtype=torch.float64)
    targets = features[:, :2] + 0.7 * torch.randn(20, 2, dtype=torch.float64)
    penalties = (1e-3, 1e-1, 1.0, 100.0)
    errors = []
    for penalty in penalties:
        squares = []
        for left_out in range(20):
            others = torch.arange(20) != left_out
            # 20 penalty over 19 rows, so that the sum of squares has the same weight
            scaled = [penalty * 20 / 19]
            weights, bias = probes.fit_ridge(features[others], targets[others], scaled)
            squares.append((features[left_out] @ weights + bias - targets[left_out]).square())
        errors.append(float(torch.stack(squares).mean()))
    best = penalties[int(np.argmin(errors))]
    chosen = probes.fit_ridge(features, targets, penalties)
    torch.testing.assert_close(chosen[0], probes.fit_ridge(features, targets, [best])[0])
    assert best not in (penalties[0], penalties[-1]), "the test decides nothing at an end"


def test_linear_probe_separates_what_a_line_separates():
    torch.manual_seed(0)
    labels = torch.arange(300) % 3
    corners = torch.tensor([[0.0, 0, 0], [5.0, 0, 0], [0.0, 5, 0]])
    features = corners[labels] + torch.randn(300, 3) * torch.tensor([0.5, 0.5, 0.0]) + 7
    bank, queries = probes.standardise(features[:150], features[150:])
    torch.testing.assert_close(bank.mean(dim=0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(bank.std(dim=0, correction=0)[:2], torch.ones(2))
    assert (bank[:, 2] == 0).all(), "a constant feature stays what it is"
    found = probes.predict_linearly(bank, labels[:150], queries)
    assert (found == labels[150:]).float().mean() > 0.97
    shuffled = labels[torch.randperm(300)]
    lost = probes.predict_linearly(bank, shuffled[:150], queries)
    assert (lost == shuffled[150:]).float().mean() < 0.5


def test_labels_are_drawn_for_each_class_and_nested():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2])
    few = probes.draw_labelled(labels, 1, seed=4)
    more = probes.draw_labelled(labels, 3, seed=4)
    assert sorted(labels[few].tolist()) == [0, 1, 2]
    assert torch.bincount(labels[more]).tolist() == [3, 3, 3]
    assert set(few.tolist()) <= set(more.tolist())
    assert sorted(probes.draw_labelled(labels, None, 4).tolist()) == list(range(11))
    assert few.tolist() != probes.draw_labelled(labels, 1, seed=5).tolist()


def test_interval_of_one_repeat_is_that_of_a_share():
    right = np.zeros((1, 400), bool)
    right[0, :100] = True
    scored = probes.score_repeats(right, replicates=4000)
    half = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert scored["value"] == 0.25
    assert scored["low"] == pytest.approx(0.25 - half, abs=0.005)
    assert scored["high"] == pytest.approx(0.25 + half, abs=0.005)


def test_interval_over_repeats_is_that_of_their_means():
    """Images alike, repeats different: only their choice is left to vary."""
    right = np.repeat(np.array([[0], [0], [1], [1]], bool), 50, axis=1)
    scored = probes.score_repeats(right, replicates=4000)
    # the mean of four draws of 0 or 1: 0 or 1 with probability 1/16 each
    assert (scored["value"], scored["low"], scored["high"]) == (0.5, 0.0, 1.0)


def test_partners_of_equal_and_of_unrelated_views():
    torch.manual_seed(0)
    first = torch.randn(200, 16)
    assert probes.find_partners(first, 3 * first).all()
    assert probes.find_partners(first, torch.randn(200, 16)).mean() < 0.05
    assert not probes.find_partners(first, first.roll(1, dims=0)).any()


def test_uniformity_at_its_extremes():
    torch.manual_seed(0)
    assert probes.uniformity(torch.ones(50, 8)) == pytest.approx(0, abs=1e-5)
    assert probes.uniformity(torch.eye(40)) == pytest.approx(-4)
    assert probes.uniformity(torch.randn(2000, 64)) == pytest.approx(-4 + 8 / 64, abs=0.02)


def test_stages_are_those_of_the_network():
    torch.manual_seed(0)
    encoder = build_encoder(18).train()
    images = torch.randn(5, 3, 32, 32)
    pooled = probes.pool_stages(encoder, images, batch=2)
    assert encoder.training
    assert [len(value[0]) for value in pooled.values()] == [64, 128, 256, 512]
    with torch.no_grad():
        torch.testing.assert_close(pooled["layer4"], encoder.eval()(images))


def test_measured_statistics_leave_the_network_as_it_was():
    torch.manual_seed(0)
    encoder = build_encoder(18)
    batches = [torch.randn(4, 3, 32, 32) + 2 for _ in range(2)]
    measured = probes.measure_statistics(encoder, batches)
    assert torch.equal(encoder.bn1.running_mean, torch.zeros(64))
    with torch.no_grad():
        seen = torch.stack([encoder.conv1(batch).mean(dim=(0, 2, 3)) for batch in batches])
    torch.testing.assert_close(measured.bn1.running_mean, seen.mean(dim=0))
    for old, new in zip(encoder.parameters(), measured.parameters(), strict=True):
        assert torch.equal(old, new)


def test_controls_of_a_pretraining_from_random_weights_are_one_draw():
    profile = load_profile("smoke", ["width=64"])
    batches = [torch.randn(4, 3, 32, 32)]
    controls = probes.make_controls(profile, None, batches)
    assert list(controls) == ["untrained", "start, measured"]
    untrained, start = controls.values()
    for one, other in zip(untrained.parameters(), start.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(untrained.bn1.running_mean, torch.zeros(64))
    assert not torch.equal(start.bn1.running_mean, torch.zeros(64))
    weights = {name: value + 1 for name, value in untrained.state_dict().items()}
    other = probes.make_controls(profile, weights, batches)
    assert torch.equal(other["untrained"].conv1.weight, untrained.conv1.weight)
    assert torch.equal(other["start, measured"].conv1.weight, untrained.conv1.weight + 1)


@pytest.fixture
def two_colours() -> tuple[probes.LabelledImages, probes.LabelledImages]:
    """Sixty noisy images that are red or blue, and forty more."""
    labels = torch.arange(100) % 2
    images = 0.3 * torch.randn(100, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images[labels == 0, 0] += 1
    images[labels == 1, 2] += 1
    halves = slice(0, 60), slice(60, 100)
    train, test = (probes.LabelledImages(images[half], labels[half]) for half in halves)
    return train, test


def test_rows_of_an_encoder_that_sees_colour_and_of_a_blind_one(two_colours):
    train, test = two_colours
    blind = Colours()
    blind.layer4 = nn.Threshold(1e9, 1.0)  # the same value everywhere
    rows = probes.probe_encoders({"sees": [Colours()], "blind": [blind]}, train, test, (1, None), 2)
    assert len(rows) == 2 * 4 * 2 * 2
    for row in rows:
        if row["stage"] == "layer4" and row["encoder"] == "blind":
            assert row["value"] == pytest.approx(0.5)
        else:
            assert row["value"] > (0.75 if row["per_class"] else 0.95)
            assert row["low"] <= row["value"] <= row["high"] <= 1


def test_each_repeat_takes_the_network_of_its_seed(two_colours):
    train, test = two_colours
    blind = Colours()
    blind.layer4 = nn.Threshold(1e9, 1.0)
    right = probes.ask_encoders({"both": [Colours(), blind]}, train, test, (None,), repeats=4)
    assert right["both", "layer4", "linear", None].mean(axis=1).tolist() == [1, 0.5, 1, 0.5]


def test_views_described(two_colours):
    images = two_colours[0].images
    found = probes.describe_views(Colours(), images, images)
    assert found["partners"] == 1 and found["alignment"] == pytest.approx(0, abs=1e-6)
    assert 1 < found["effective_rank"] < 3.01 and -4 < found["uniformity"] < 0


def test_crops_are_read_in_their_order(tmp_path):
    with open(tmp_path / "crops.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "category_id"))
        for k in range(6):
            Image.new("RGB", (4, 4), (k * 40, 0, 0)).save(tmp_path / f"{k}.png")
            writer.writerow((f"{k}.png", (31, 4)[k % 2]))
    crops = probes.read_labelled_crops(tmp_path, first=1, count=3)
    assert crops.labels.tolist() == [0, 1, 0]
    red = crops.images[:, 0, 0, 0] * 0.229 + 0.485
    torch.testing.assert_close(red, torch.tensor([40.0, 80, 120]) / 255)


def test_neighbours_are_the_nearest_by_the_cosine_and_not_oneself():
    features = torch.tensor([[1.0, 0], [2.0, 0.2], [0, 1.0], [0.1, 5.0], [1.0, 1.0]])
    found = probes.find_neighbours(features, [0, 2], 2)
    assert found.tolist() == [[1, 4], [3, 4]]


def test_a_map_of_two_colours_has_two_colours():
    """Where the features are the pixels, halves of an image get two colours, the same in each."""
    images = torch.zeros(2, 3, 8, 8)
    images[:, 0, :, :4] = 1
    images[:, 2, :, 4:] = 1
    coloured = probes.colour_maps(Colours(), images, "layer1")
    assert coloured.shape == (2, 8, 8, 3) and coloured.dtype == np.uint8
    left = coloured[:, :, :4, 0]
    right = coloured[:, :, 4:, 0]
    assert sorted((int(left.min()), int(right.min()))) == [0, 255]
    assert left.min() == left.max() and right.min() == right.max()
