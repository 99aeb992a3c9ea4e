"""AP against pycocotools' own summary, closed forms, and everything a user can hand in wrong."""

import contextlib
import copy
import io
import json
import math

import numpy as np
import pytest
from pycocotools import mask as masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from byol_helpers.core.errors import UserError
from byol_helpers.evaluation.average_precision import COCO_METRICS, evaluate_detections
from tests.helpers.detections import LIMITS, from_one, guesses, rle, world


def summary(truth: dict, results: list[dict], iou_type: str) -> np.ndarray:
    """pycocotools as its own demo uses it, on COCO's sizes.

    Boxes hidden from the mask evaluation.
    """
    hidden = "bbox" if iou_type == "segm" else "segmentation"
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        found = coco.loadRes([{k: v for k, v in r.items() if k != hidden} for r in results])
        evaluation = COCOeval(coco, found, iou_type)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[[0, 1, 2, 3, 4, 5, 8]]


def perfect(truth: dict) -> list[dict]:
    keys = ("image_id", "category_id", "bbox", "segmentation")
    return [
        {key: a[key] for key in keys} | {"score": 0.9}
        for a in truth["annotations"]
        if not a["iscrowd"]
    ]


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_equals_pycocotools_to_the_last_digit(iou_type):
    truth, shapes = world(3)
    truth = from_one(truth)
    results = guesses(shapes, 3, decimals=6)
    ours = evaluate_detections(truth, results, iou_type)
    theirs = summary(truth, results, iou_type)
    expected = [value if value > -1 else math.nan for value in theirs]
    np.testing.assert_array_equal([ours.metrics[name] for name in COCO_METRICS], expected)
    assert ours.detections == len(results)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_perfect_detections_score_one_everywhere(iou_type):
    truth, _ = world(0)
    ours = evaluate_detections(truth, perfect(truth), iou_type, LIMITS)
    assert list(ours.metrics.values()) == pytest.approx([1.0] * 7, abs=1e-12)
    assert all(
        math.isnan(ap) or ap == pytest.approx(1.0, abs=1e-12) for ap in ours.per_class.values()
    )


def test_nothing_found_scores_zero():
    truth, _ = world(0)
    ours = evaluate_detections(truth, [], "segm", LIMITS)
    assert ours.detections == 0
    assert ours.metrics == dict.fromkeys(COCO_METRICS, 0.0)


def test_closed_form_one_hit_of_two():
    """One of two discs is found: precision 1 up to recall 0.5, which are 51 of the 101 recall
    points.
    """
    truth, _ = world(0)
    two = [
        dict(
            truth["annotations"][0],
            id=i,
            image_id=1,
            iscrowd=0,
            category_id=3,
            segmentation=s,
            area=81,
            bbox=[float(v) for v in masks.toBbox(s)],
        )
        for i, s in enumerate((rle(7, 10, 10, 4.5, 4.5), rle(7, 40, 40, 4.5, 4.5)))
    ]
    found = [
        {"image_id": 1, "category_id": 3, "score": 0.5, "segmentation": two[0]["segmentation"]}
    ]
    ours = evaluate_detections(truth | {"annotations": two}, found, "segm", LIMITS)
    assert ours.metrics["AP"] == pytest.approx(51 / 101, abs=1e-12)
    assert ours.metrics["AR100"] == 0.5
    assert ours.metrics["APs"] == pytest.approx(51 / 101, abs=1e-12)
    assert math.isnan(ours.metrics["APl"])
    assert math.isnan(ours.per_class["box"])


def test_area_limits_move_objects_between_sizes():
    truth, shapes = world(3)
    results = guesses(shapes, 3)
    coco, tiny = (
        evaluate_detections(truth, results),
        evaluate_detections(truth, results, area_limits=(1, 2)),
    )
    assert math.isnan(coco.metrics["APl"])
    assert tiny.metrics["APl"] == tiny.metrics["AP"] == coco.metrics["AP"]
    with pytest.raises(UserError, match="area_limits 9, 4"):
        evaluate_detections(truth, results, area_limits=(9, 4))


def test_size_of_a_detected_mask_is_its_own_and_not_its_box():
    """pycocotools would take the area of the box where there is one, and count other detections as
    small.
    """
    truth, shapes = world(4)
    results = guesses(shapes, 4)
    with_boxes = evaluate_detections(truth, results, "segm", LIMITS)
    without = evaluate_detections(
        truth, [{k: v for k, v in r.items() if k != "bbox"} for r in results], "segm", LIMITS
    )
    assert with_boxes.metrics == without.metrics


def test_the_input_is_left_as_it_was():
    truth, shapes = world(0)
    results = guesses(shapes, 0)
    before = copy.deepcopy((truth, results))
    evaluate_detections(truth, results, "segm", LIMITS)
    assert (truth, results) == before


def test_files_and_contents_are_the_same(tmp_path):
    truth, shapes = world(0)
    results = guesses(shapes, 0)
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    (tmp_path / "dt.json").write_text(json.dumps(results))
    files = evaluate_detections(tmp_path / "gt.json", tmp_path / "dt.json", "bbox", LIMITS)
    assert files.metrics == evaluate_detections(truth, results, "bbox", LIMITS).metrics


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, r"entry 5: image_id 99 is not in the ground truth"),
        ({"category_id": 1}, r"entry 5: category_id 1 is not in the ground truth"),
        ({"score": math.nan}, r"entry 5: score nan is not a finite number"),
        ({"bbox": [0, 0, math.inf, 1]}, r"entry 5: bbox .* is not four finite numbers"),
        ({"segmentation": {"size": [2, 3], "counts": "06"}}, "entry 5 has a mask of 3 x 2"),
    ],
)
def test_a_wrong_detection_is_named(change, message):
    truth, shapes = world(0)
    results = guesses(shapes, 0)
    results[5] |= change
    with pytest.raises(UserError, match=message):
        evaluate_detections(truth, results, "bbox" if "bbox" in change else "segm", LIMITS)


def test_wrong_files_are_named(tmp_path):
    truth, _ = world(0)
    with pytest.raises(UserError, match="the ground truth: holds no annotations"):
        evaluate_detections(truth | {"annotations": []}, [])
    with pytest.raises(UserError, match="it needs categories"):
        evaluate_detections({"images": [], "annotations": []}, [])
    with pytest.raises(UserError, match="gone.json: no such file"):
        evaluate_detections(truth, tmp_path / "gone.json")
    (tmp_path / "broken.json").write_text("[{")
    with pytest.raises(UserError, match="broken.json: not valid JSON"):
        evaluate_detections(truth, tmp_path / "broken.json")


def test_a_missing_area_is_that_of_the_mask():
    truth, shapes = world(0)
    results = guesses(shapes, 0)
    bare = copy.deepcopy(truth)
    for annotation in bare["annotations"]:
        annotation["area"] = None
    whole = evaluate_detections(truth, results, "segm", LIMITS)
    assert evaluate_detections(bare, results, "segm", LIMITS).metrics == whole.metrics


def test_real_coco_annotations_moved_a_little(photographs):
    """Shifted copies of real annotations: crowds, polygons of several parts, images without
    objects.
    """
    truth = json.loads((photographs / "annotations" / "instances_train2017.json").read_text())
    coco = COCO()
    coco.dataset = copy.deepcopy(truth)
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    rng = np.random.default_rng(0)
    results = []
    for annotation in truth["annotations"]:
        if annotation["iscrowd"] or rng.random() < 0.2:
            continue
        moved = np.roll(coco.annToMask(annotation), rng.integers(-4, 5, 2), axis=(0, 1))
        segmentation = masks.encode(np.asfortranarray(moved))
        segmentation["counts"] = segmentation["counts"].decode()
        results.append(
            {
                "image_id": annotation["image_id"],
                "score": round(float(rng.random()), 2),
                "category_id": annotation["category_id"] if rng.random() < 0.9 else 1,
                "bbox": [float(v) for v in masks.toBbox(segmentation)],
                "segmentation": segmentation,
            }
        )
    for iou_type in ("segm", "bbox"):
        ours = evaluate_detections(truth, results, iou_type)
        theirs = summary(truth, results, iou_type)
        np.testing.assert_array_equal([ours.metrics[name] for name in COCO_METRICS], theirs)
        assert 0.1 < ours.metrics["AP"] < 0.9
