"""The benchmarks run on everybody's machine: on generated images, on a folder, and past what is
missing.
"""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import cutout, photographs, pretraining
from benchmarks.__main__ import main


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Every benchmark that reads images at a scale of a few seconds."""
    for module, values in (
        (photographs, {"GENERATED": 2, "SIDE": 64}),
        (pretraining, {"AUGMENTED": 2, "READ": 2, "SIDE": 48, "SIZE": 32, "ROUNDS": 1}),
        (cutout, {"IMAGES": 2, "ROUNDS": 1, "FEW": 1, "MANY": 2, "FRAMES": 2}),
    ):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)


def test_without_a_folder_images_are_generated_and_called_so(tmp_path, capsys):
    pytest.importorskip("lightly")
    assert main(["augment", "input", "--json", str(tmp_path / "results.json")]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert list(results) == ["augment", "input"]
    for found in results.values():
        assert found["settings"]["photographs"] == "2 generated scenes of 64 x 64 pixels, PNG"
        assert found["ours"] > 0 and found["peer"] > 0
    assert "2 generated scenes" in capsys.readouterr().out


def test_a_folder_is_taken_and_named(tmp_path):
    pytest.importorskip("lightly")
    folder = tmp_path / "holiday"
    folder.mkdir()
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(folder / "a.jpg")
    assert main(["input", "--images", str(folder), "--json", str(tmp_path / "results.json")]) == 0
    settings = json.loads((tmp_path / "results.json").read_text())["input"]["settings"]
    assert settings["photographs"] == "1 image of holiday" and settings["images"] == 2


def test_a_folder_that_is_not_there_is_one_line_for_each_that_needs_it(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for folder, said in (("none", "no such folder"), ("empty", "no images in it")):
        assert main(["augment", "cutout", "--images", str(tmp_path / folder)]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert [line.split(":")[0] for line in lines] == ["augment", "cutout"]
        assert all(said in line for line in lines)


def test_a_missing_library_is_one_line_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    pytest.importorskip("lightly")
    monkeypatch.setitem(sys.modules, "pycocotools.cocoeval", None)
    monkeypatch.delitem(sys.modules, "benchmarks.evaluation", raising=False)
    assert main(["evaluate", "augment", "--json", str(tmp_path / "results.json")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("evaluate: left out:") and "pycocotools.cocoeval" in line
    assert list(json.loads((tmp_path / "results.json").read_text())) == ["augment"]


def test_an_unknown_name_is_refused(capsys):
    assert main(["nothing"]) == 2
    assert "no benchmark nothing" in capsys.readouterr().err


@pytest.mark.slow
def test_cutting_out_generated_images_answers_with_their_annotations(tmp_path):
    assert main(["cutout", "--json", str(tmp_path / "results.json")]) == 0
    settings = json.loads((tmp_path / "results.json").read_text())["cutout"]["settings"]
    assert settings["photographs"].startswith("2 generated scenes")
    assert set(settings["peak_memory_mb"]) == {"images", "video"}
    assert settings["post_processing_640x480"]["detections"] == 1
