"""The command ``evaluate_detections`` on results files from anywhere, and every way in which such
files are wrong.
"""

import json
import math

import numpy as np
import pytest
from pycocotools import mask as masks

from byol_helpers.cli import main
from byol_helpers.coco.masks import whole
from byol_helpers.evaluation.average_precision import evaluate_detections
from byol_helpers.evaluation.comparison import compare_arms, evaluate_model
from byol_helpers.evaluation.external_results import _cell, evaluate_results_files
from tests.helpers.detections import guesses, world

TRUTH, SHAPES = world(0)
SHORT = {"size": [64, 64], "counts": "0123"}  # run lengths that do not cover the image


@pytest.fixture
def files(tmp_path):
    """Annotations and two models, as files."""
    for name, content in {
        "truth": TRUTH,
        "sharp": guesses(SHAPES, 0, 1.0),
        "blurred": guesses(SHAPES, 0, 4.0),
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def command(folder, *names, out=None):
    arguments = ["evaluate", "--ground-truth", str(folder / "truth.json")]
    for name in names:
        arguments += ["--detections", str(folder / f"{name}.json")]
    return arguments + (["--out", str(out)] if out else [])


def test_tables_hold_the_numbers_of_a_run_and_the_paired_difference(files, capsys):
    assert main(command(files, "sharp", "blurred", out=files / "out")) == 0
    said = capsys.readouterr().out
    ap = evaluate_detections(TRUTH, guesses(SHAPES, 0, 1.0)).metrics["AP"]
    assert f"| sharp | {100 * ap:.1f} (" in said and "| sharp - blurred | +" in said
    assert "12 images" in said and "1000 bootstrap draws" in said
    settings = {"seed": 0, "engine": "unknown", "profile": "none", "iterations": 0}
    expected = compare_arms(
        {
            name: evaluate_model(TRUTH, guesses(SHAPES, 0, noise), arm=name, **settings)
            for name, noise in (("sharp", 1.0), ("blurred", 4.0))
        }
    )
    assert json.loads((files / "out/comparison.json").read_text()) == expected
    assert {path.name for path in (files / "out/blurred").iterdir()} == {
        "metrics.json",
        "bootstrap.csv",
    }


def test_boxes_alone_are_scored_and_the_missing_masks_are_said(files):
    bare = [{k: v for k, v in r.items() if k != "segmentation"} for r in guesses(SHAPES, 0)]
    (files / "boxes.json").write_text(json.dumps(bare))
    said = evaluate_results_files(files / "truth.json", [files / "boxes.json"], replicates=20)
    assert "| model, box |" in said and "| model, mask |" not in said
    assert "Not scored, because not every file has it: segmentation." in said
    assert "difference" not in said


def test_polygons_and_plain_run_lengths_count_like_compressed_ones(files):
    as_lists = []
    for entry in guesses(SHAPES, 0, 1.0):
        flat = masks.decode(entry["segmentation"]).ravel(order="F")
        edges = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *edges, flat.size]).tolist()
        counts = [0, *runs] if flat[0] else runs
        as_lists.append(entry | {"segmentation": {"size": [64, 64], "counts": counts}})
    assert (
        evaluate_detections(TRUTH, as_lists).metrics
        == evaluate_detections(TRUTH, guesses(SHAPES, 0, 1.0)).metrics
    )
    square = {"image_id": 1, "category_id": 3, "score": 0.5}
    polygon = square | {"segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]}
    bitmap = np.zeros((64, 64), np.uint8, order="F")
    bitmap[10:30, 10:30] = 1
    packed = square | {"segmentation": masks.encode(bitmap)}
    assert (
        evaluate_detections(TRUTH, [polygon]).metrics
        == evaluate_detections(TRUTH, [packed]).metrics
    )


def changed(name, place, **values):
    """A change of one entry (or annotation) of a file."""

    def change(folder):
        path = folder / f"{name}.json"
        content = json.loads(path.read_text())
        entry = (content["annotations"] if isinstance(content, dict) else content)[place]
        for key, value in values.items():
            if value is None:
                del entry[key]
            else:
                entry[key] = value
        path.write_text(json.dumps(content))

    return change


def rewritten(name, content):
    return lambda folder: (folder / f"{name}.json").write_text(content)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            changed("sharp", 5, image_id=99),
            "sharp.json: entry 5: image_id 99 is not in the ground truth",
        ),
        (
            changed("sharp", 5, image_id=[1]),
            "sharp.json: entry 5: image_id [1] is not in the ground truth",
        ),
        (
            changed("sharp", 5, category_id=1),
            "sharp.json: entry 5: category_id 1 is not in the ground truth",
        ),
        (changed("sharp", 5, score=math.nan), "sharp.json: entry 5: score nan"),
        (changed("sharp", 5, score="high"), "sharp.json: entry 5: score 'high'"),
        (changed("sharp", 5, segmentation=None), "sharp.json: entry 5: no 'segmentation'"),
        (changed("sharp", 5, bbox=None), "sharp.json: entry 5: no 'bbox'"),
        (changed("sharp", 5, bbox="wide"), "sharp.json: entry 5: bbox 'wide'"),
        (
            changed("sharp", 5, segmentation=SHORT),
            "sharp.json: entry 5 has run lengths that do not fill its mask",
        ),
        (
            changed("sharp", 5, segmentation=SHORT | {"counts": [1, 2]}),
            "sharp.json: entry 5 has run lengths that do not fill its mask",
        ),
        (
            changed("sharp", 5, segmentation=SHORT | {"size": [32, 64]}),
            "sharp.json: entry 5 has a mask of 64 x 32 for an image of 64 x 64",
        ),
        (
            changed("sharp", 5, segmentation=[[1, 2, 3, 4]]),
            "sharp.json: entry 5 has a polygon of fewer than three points",
        ),
        (
            changed("sharp", 5, segmentation=7),
            "sharp.json: entry 5 has a mask that is neither polygons nor run lengths",
        ),
        (rewritten("sharp", ""), "sharp.json: not valid JSON"),
        (rewritten("sharp", "[1]"), "share neither masks"),
        (rewritten("sharp", '{"images": []}'), "sharp.json: not a list; give COCO results"),
        (
            rewritten("truth", '{"images": [], "annotations": [], "categories": []}'),
            "truth.json: lists no images",
        ),
        (
            rewritten("truth", "[]"),
            "truth.json: not a COCO instances file (it holds a list of detections",
        ),
        (
            changed("truth", 3, image_id=77),
            "truth.json: annotation 3 belongs to image 77, which is missing",
        ),
        (
            changed("truth", 3, category_id=77),
            "truth.json: annotation 3 has the unknown category 77",
        ),
        (
            changed("truth", 3, segmentation=SHORT),
            "truth.json: annotation 3 has run lengths that do not fill its mask",
        ),
    ],
)
def test_a_wrong_file_is_one_line_with_file_and_entry(files, capsys, spoil, said):
    spoil(files)
    assert main(command(files, "blurred", "sharp", out=files / "out")) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and error.startswith("error: ")


def test_ids_that_repeat_and_areas_that_lack_are_mended_and_counted(files, capsys):
    assert main(command(files, "sharp")) == 0
    numbers = capsys.readouterr().out
    changed("truth", 3, id=0)(files)
    changed("truth", 4, area=None)(files)
    assert main(command(files, "sharp")) == 0
    said = capsys.readouterr().out
    count = len(TRUTH["annotations"])
    line = f"mended {count} annotations: numbered anew {count}, area from the mask 1."
    assert said == f"Note: truth.json: {line}\n\n{numbers}"


def test_a_model_that_detects_nothing_has_an_ap_of_0_and_a_line(files, capsys):
    (files / "sharp.json").write_text("[]")
    assert main(command(files, "sharp")) == 0
    said = capsys.readouterr().out
    assert "sharp.json: holds no detections, so every AP is 0." in said
    assert "| sharp | 0.0 (0.0 to 0.0) |" in said


def test_what_is_missing_on_the_command_line_is_said(files, capsys):
    assert main(["evaluate", "--detections", str(files / "sharp.json")]) == 2
    assert "needs both" in capsys.readouterr().err
    assert main(command(files, "gone")) == 2
    assert "gone.json: no such file" in capsys.readouterr().err
    assert main(command(files, "sharp", "sharp")) == 2
    assert "given twice" in capsys.readouterr().err


def slowly(text: bytes) -> list[int] | None:
    """Run lengths of one compressed mask, character by character; None where it is malformed."""
    runs, place = [], 0
    while place < len(text):
        value = shift = 0
        while True:
            code = text[place] - 48 if place < len(text) else -1
            if not 0 <= code <= 63 or shift > 6:
                return None
            value, place, shift = value | (code & 31) << 5 * shift, place + 1, shift + 1
            if not code & 32:
                break
        value -= (1 << 5 * shift) if code & 16 else 0
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    return runs


def test_whole_masks_are_told_from_damaged_ones():
    rng = np.random.default_rng(0)
    encoded, pixels = [], []
    for _ in range(500):
        height, width = rng.integers(1, 70, 2)
        bitmap = rng.random((height, width)) < rng.choice([0, 0.01, 0.3, 0.9, 1])
        encoded.append(masks.encode(np.asfortranarray(bitmap.astype(np.uint8)))["counts"])
        pixels.append(height * width)
    pixels = np.array(pixels)
    assert whole(encoded, pixels).all()
    assert not whole(encoded, pixels + 1).any()
    assert not whole([text[:-1] for text in encoded], pixels).any()
    assert whole([], np.array([])).shape == (0,)
    noise = [
        bytes(rng.integers(46, 114, rng.integers(0, 12)).astype(np.uint8)) for _ in range(5000)
    ]
    runs = [slowly(text) for text in noise]
    good = np.array([bool(r) and min(r) >= 0 for r in runs])
    assert 50 < good.sum() < 4000
    np.testing.assert_array_equal(whole(noise, np.array([sum(r or [0]) for r in runs])), good)


def test_a_value_without_an_interval_says_so():
    entry = {"value": 0.123, "low": None, "high": None}
    assert _cell(entry, ".1f") == "12.3 (no interval)"
    assert _cell(entry | {"value": None}, ".1f") == "not defined"
    assert _cell({"value": 0.123, "low": 0.1, "high": 0.2}, ".1f") == "12.3 (10.0 to 20.0)"
