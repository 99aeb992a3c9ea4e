"""The measures of the generated worlds and the pilot's pieces, at a scale of seconds."""

import json

import numpy as np
import torch

from benchmarks import pilot, world
from benchmarks.__main__ import main


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


def test_a_narrow_encoder_has_a_quarter_of_the_channels():
    encoder = pilot.build_narrow_encoder(0, True)
    encoder.eval()
    assert encoder(torch.zeros(2, 3, 48, 48)).shape == (2, 128)
    assert [encoder.layer1[0].conv1.out_channels, encoder.layer4[1].conv2.out_channels] == [16, 128]
    again = pilot.build_narrow_encoder(0, True)
    assert torch.equal(encoder.layer3[0].conv1.weight, again.layer3[0].conv1.weight)


def test_the_pilot_trains_by_either_method():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    for method in ("byol", "simclr"):
        options = pilot.parse_options(["--method", method, "--steps", "2"])
        before = pilot.build_narrow_encoder(0, True)
        encoder, _ = pilot.pretrain_encoder(options, pixels, 0.9, 0)
        assert not torch.equal(encoder.conv1.weight, before.conv1.weight)
