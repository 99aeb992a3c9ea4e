"""The measures of the generated worlds and the pilot's pieces, at a scale of seconds."""

import json

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks import pilot, world
from benchmarks.__main__ import main
from byol_helpers.pretraining.augmentations import View
from byol_helpers.training.sampler import rng


def test_table_of_both_worlds(monkeypatch, tmp_path, capsys):
    tiny = {"SEEDS": (0, 1), "FIT": 40, "ASKED": 20, "CROPS": 20, "BATCH": 4, "SIZE": 32}
    for name, value in {**tiny, "TRAINED": {"colours": 2, "shapes": 2}}.items():
        monkeypatch.setattr(world, name, value)
    monkeypatch.setattr(world, "STAGES", ("layer1",))
    assert main(["world", "--json", str(tmp_path / "results.json")]) == 0
    found = json.loads((tmp_path / "results.json").read_text())["world"]
    table = found["settings"]["table"]
    assert (
        list(table) == ["colours", "shapes"] and table["colours"].keys() == table["shapes"].keys()
    )
    assert found["ours"] == table["shapes"]["colour histogram, kNN"]
    assert all(0 <= value <= 100 for values in table.values() for value in values.values())
    printed = capsys.readouterr().out
    assert "colour histogram, linear" in printed and "supervised ResNet-18" in printed


def test_colours_are_counted_in_the_middle():
    crops = np.zeros((2, 8, 8, 3), np.uint8)
    crops[0, 2:6, 2:6] = (255, 0, 64)  # code 3 * 16 + 0 * 4 + 1
    crops[1, 2:6, 2:4] = (0, 200, 0)
    counted = world.count_colours(crops)
    assert counted[0].nonzero().flatten().tolist() == [49] and counted[0, 49] == 1
    assert counted[1, 12] == 0.5 and counted[1, 0] == 0.5


def test_shrunk_crops_are_means():
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    shrunk = world.shrink_crops(crops).reshape(2, 16, 16, 3)
    expected = crops[1, 4:6, 6:8].mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(shrunk[1, 2, 3], expected, rtol=1e-6)


def test_tau_follows_the_published_presets():
    assert pilot.choose_tau(12_500) == pytest.approx(0.97)
    assert pilot.choose_tau(312_500) == pytest.approx(0.996)
    assert 0.98 < pilot.choose_tau(31_250) < 0.99 < pilot.choose_tau(93_750) < 0.992
    assert pilot.choose_tau(80) == pilot.choose_tau(1000) == pytest.approx(0.9)


def test_a_narrow_encoder_has_a_quarter_of_the_channels():
    encoder = pilot.build_narrow_encoder(0)
    encoder.eval()
    assert encoder(torch.zeros(2, 3, 48, 48)).shape == (2, 128)
    assert [encoder.layer1[0].conv1.out_channels, encoder.layer4[1].conv2.out_channels] == [16, 128]
    again = pilot.build_narrow_encoder(0)
    assert torch.equal(encoder.layer3[0].conv1.weight, again.layer3[0].conv1.weight)


def test_simclr_against_a_loop():
    torch.manual_seed(0)
    network = pilot.SimCLR(pilot.build_narrow_encoder(0), 8, 4)
    views = torch.randn(2, 3, 3, 32, 32)
    network.eval()
    loss, _ = network(*views)
    with torch.no_grad():
        rows = [F.normalize(network.projector(network.encoder(v)), dim=1) for v in views]
    rows = torch.cat(rows)
    terms = []
    for k in range(6):
        scores = [float(rows[k] @ rows[j]) / pilot.TEMPERATURE_OF_SIMCLR for j in range(6)]
        others = sum(np.exp(scores[j]) for j in range(6) if j != k)
        terms.append(-np.log(np.exp(scores[(k + 3) % 6]) / others))
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-4)


def test_views_in_a_batch_are_the_crops_that_are_drawn():
    """Without colours, blur and flips: the cut and resized part, normalised."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    view = View(pilot.VIEW, flip=0, jitter=0, grey=0, blur=0)
    rendered = pilot.render_views(pixels, view, rng(5))
    draw = rng(5)
    for image, found in zip(pixels, rendered, strict=True):
        left, top, right, bottom = view.draw(64, 64, draw).box
        part = cv2.resize(image[top:bottom, left:right], (pilot.VIEW, pilot.VIEW))
        expected = (torch.from_numpy(part).permute(2, 0, 1) / 255 - pilot.SHIFT) / pilot.SCALE
        torch.testing.assert_close(found, expected, atol=0.01, rtol=0)


def test_no_change_of_colour_is_none():
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(pilot.change_colours(images, [{}, {}]), images, atol=1e-5, rtol=0)
    turned = pilot.change_colours(images * 0.2 + 0.4, [{"hue": 0.1}, {"hue": -0.1}])
    luma = pilot.take_luma(images * 0.2 + 0.4)
    torch.testing.assert_close(pilot.take_luma(turned), luma, atol=1e-3, rtol=0)
