"""The measures of the generated worlds, at a scale of seconds."""

import json

import numpy as np

from benchmarks import world
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
