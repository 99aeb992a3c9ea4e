"""What is committed of a study is small and gives the same numbers again."""

import numpy as np
import pytest

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_json
from byol_helpers.evaluation.comparison import evaluate_model, load_result
from byol_helpers.evaluation.curves import read_metrics
from byol_helpers.reproduction import study_files
from byol_helpers.reproduction.packed_detections import (
    PACKED_FILE,
    pack_detections,
    read_packed,
    unpack_detections,
)
from tests.helpers.detections import LIMITS, guesses, world

TRUTH, SHAPES = world(3, images=20)
ABOUT = {"arm": "byol", "seed": 0, "engine": "torchvision", "profile": "toy", "iterations": 1}


def evaluate(detections):
    return evaluate_model(TRUTH, detections, **ABOUT, area_limits=LIMITS, replicates=30)


def test_a_result_comes_back_with_intervals_of_what_is_kept(tmp_path):
    packed = pack_detections(guesses(SHAPES, 0), TRUTH, LIMITS)
    result = evaluate(unpack_detections(packed, TRUTH))
    study_files.write_result(tmp_path, packed, result)
    again = read_packed(tmp_path / PACKED_FILE)
    assert again.keys() == packed.keys()
    for name, column in packed.items():
        np.testing.assert_array_equal(again[name], column)
    kept = load_result(tmp_path)
    assert kept.columns.keys() == result.columns.keys()
    for name, draws in result.columns.items():
        np.testing.assert_allclose(kept.columns[name], draws, atol=6e-6)
    interval = kept.metrics["mask"]["AP"]
    assert interval["value"] == result.metrics["mask"]["AP"]["value"]
    assert interval["low"] == pytest.approx(result.metrics["mask"]["AP"]["low"], abs=1e-4)


def test_a_long_curve_is_thinned_by_means_and_ends_at_its_last_step(tmp_path):
    rows = [f"{20 * k},{k}," for k in range(1, 451)]
    (tmp_path / "long.csv").write_text("\n".join(["step,loss,odd", *rows]) + "\n")
    kept = read_metrics(study_files.write_curve(tmp_path / "long.csv", tmp_path / "thin.csv"))
    assert kept["step"].tolist() == list(range(60, 9001, 60))
    assert kept["loss"].tolist() == [3 * k - 1 for k in range(1, 151)]
    assert np.isnan(kept["odd"]).all()
    short = study_files.write_curve(tmp_path / "thin.csv", tmp_path / "same.csv")
    assert short.read_text() == (tmp_path / "thin.csv").read_text()


def test_a_background_keeps_what_the_claims_read(tmp_path):
    rows = [{"image_id": 3, "file_name": "3.png", "cosine": 0.5, "iou": 0.25}]
    whole = {"scores": {"cosine": 0.5}, "per_image": rows}
    write_json(tmp_path / "whole.json", whole | {"all_images": whole})
    kept = read_json(study_files.write_background(tmp_path / "whole.json", tmp_path / "small.json"))
    assert kept == {"scores": {"cosine": 0.5}, "per_image": [{"image_id": 3, "cosine": 0.5}]}


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / "cut.json.xz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"cut\.json\.xz: damaged"):
        study_files.read_compressed(tmp_path / "cut.json.xz")
    with pytest.raises(UserError, match="no such file"):
        study_files.read_compressed(tmp_path / "gone.json.xz")
