"""Background removal: the rule as pure functions, then the scoring of detections and baselines on
test images.
"""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from byol_helpers.background.baselines import BASELINES
from byol_helpers.background.experiment import (
    RemovalTask,
    choose_all_images,
    choose_images,
    score_baseline,
    score_removals,
)
from byol_helpers.background.removal import (
    choose_instances,
    merge_masks,
    to_rgba,
    zero_background,
    zero_background_by_pixel,
)
from byol_helpers.background.scores import REMOVAL_SCORES, score_masks
from byol_helpers.coco.images import read_image
from byol_helpers.core.errors import UserError
from byol_helpers.core.intervals import draw_weights, mean_interval, percentile_interval

SIZE = (12, 17)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image and two overlapping random masks."""
    dice = np.random.default_rng(seed)
    image = dice.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    return image, dice.random(SIZE) < 0.4, dice.random(SIZE) < 0.5


def box(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def encode(mask: np.ndarray) -> dict:
    """Compressed RLE as it stands in a results file."""
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


def detection(mask: np.ndarray, certainty: float, image_id: int = 1) -> dict:
    return {
        "image_id": image_id,
        "category_id": 1,
        "score": certainty,
        "bbox": [0, 0, 1, 1],
        "segmentation": encode(mask),
    }


# ---- removal


@pytest.mark.parametrize("seed", range(5))
def test_removal_equals_the_thesis_loop(seed):
    image, mask, _ = draw(seed)
    before = image.copy()
    cut = zero_background(image, mask)
    np.testing.assert_array_equal(cut, zero_background_by_pixel(image, mask))
    np.testing.assert_array_equal(image, before)
    assert cut.dtype == np.uint8
    turned = image[::-1, ::-1], mask.T.copy().T  # memory in another order
    np.testing.assert_array_equal(zero_background(*turned), zero_background_by_pixel(*turned))


def test_removal_at_its_extremes():
    image, mask, _ = draw(0)
    np.testing.assert_array_equal(zero_background(image, np.ones(SIZE, bool)), image)
    assert not zero_background(image, np.zeros(SIZE, bool)).any()
    cut = zero_background(image, mask)
    np.testing.assert_array_equal(zero_background(cut, mask), cut)


def test_transparency_follows_the_mask_and_hides_nothing():
    image, mask, _ = draw(1)
    rgba = to_rgba(image, mask)
    np.testing.assert_array_equal(rgba[..., 3], np.where(mask, 255, 0))
    np.testing.assert_array_equal(rgba[..., :3], zero_background(image, mask))


@pytest.mark.parametrize(
    "image, mask",
    [
        (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), bool)),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)),
        (np.zeros((4, 5), np.uint8), np.zeros((4, 5), bool)),
        (np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), bool)),
    ],
)
def test_what_does_not_fit_is_refused(image, mask):
    with pytest.raises(ValueError, match="expected"):
        zero_background(image, mask)


def test_rules_choose_what_they_say():
    small, large, unsure = box(0, 0, 2, 2), box(3, 3, 9, 9), box(0, 10, 12, 17)
    found = [detection(large, 0.7), detection(small, 0.9), detection(unsure, 0.3)]
    for rule, wanted in {"confident": small, "largest": large, "all": small | large}.items():
        np.testing.assert_array_equal(merge_masks(choose_instances(found, rule, 0.5), SIZE), wanted)
    included = choose_instances(found, "largest", 0.3)  # the threshold itself is enough
    reached = merge_masks(included, SIZE)
    np.testing.assert_array_equal(reached, unsure)
    equal = [detection(large, 0.7), detection(small, 0.7)]
    np.testing.assert_array_equal(
        merge_masks(choose_instances(equal, "confident", 0.5), SIZE), large
    )


def test_nothing_found_is_an_empty_mask():
    for found in ([], [detection(box(0, 0, 5, 5), 0.49)]):
        for rule in ("confident", "largest", "all"):
            mask = merge_masks(choose_instances(found, rule, 0.5), SIZE)
            assert mask.shape == SIZE and mask.dtype == bool and not mask.any()


def test_masks_come_from_every_coco_form():
    mask = box(2, 3, 8, 11)
    runs = [len(list(group)) for group in np.split(*_changes(mask.ravel(order="F")))]
    uncompressed = {"size": list(SIZE), "counts": runs}
    polygon = [[3, 2, 11, 2, 11, 8, 3, 8]]
    for segmentation in (encode(mask), uncompressed, polygon):
        np.testing.assert_array_equal(merge_masks([{"segmentation": segmentation}], SIZE), mask)
    with pytest.raises(ValueError, match="12 x 17.*9 x 9"):
        merge_masks([{"segmentation": encode(mask)}], (9, 9))
    with pytest.raises(ValueError, match="confident, largest, all"):
        merge_masks(choose_instances([], "best", 0.5), SIZE)


def _changes(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return flat, np.flatnonzero(np.diff(flat)) + 1


# ---- scoring a model


@pytest.fixture
def world(tmp_path):
    """Images 1-8 have an instance, 9 has two, 10 a crowd, 11 a crowd and one more, 12 nothing."""
    dice = np.random.default_rng(5)
    images, annotations = [], []
    corner = box(0, 0, 4, 4)
    true = {i: [box(2, 3, 7 + i % 4, 9)] for i in range(1, 9)}
    true |= {9: [corner, box(6, 6, 12, 12)], 10: [corner], 11: [corner, box(6, 6, 9, 9)]}
    (tmp_path / "photos").mkdir()
    for i in range(1, 13):
        photo = dice.integers(1, 256, (*SIZE, 3), dtype=np.uint8)
        Image.fromarray(photo).save(tmp_path / "photos" / f"{i:03}.png")
        images.append({"id": i, "file_name": f"{i:03}.png", "height": SIZE[0], "width": SIZE[1]})
        for n, mask in enumerate(true.get(i, [])):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": 1,
                    "iscrowd": int(i in (10, 11) and n == 0),
                    "segmentation": encode(mask),
                }
            )
    coco = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    (tmp_path / "test.json").write_text(json.dumps(coco))
    return tmp_path, coco, true


def write_detections(folder, found: list[dict]):
    (folder / "detections.json").write_text(json.dumps(found))
    return folder / "detections.json"


def scores_of(folder, found, rule="confident", images=99, out="byol-seed0"):
    detections = write_detections(folder, found)
    return score_removals(task(folder, images), detections, 0.5, rule, folder / "background" / out)


def task(folder, images=99):
    return RemovalTask(folder / "test.json", folder / "photos", images, seed=0, replicates=200)


def test_perfect_detections_score_one(world):
    folder, _, true = world
    metrics = scores_of(folder, [detection(true[i][0], 0.9, i) for i in range(1, 9)])
    assert metrics["images"] == 8 and metrics["empty"] == 0
    assert [row["image_id"] for row in metrics["per_image"]] == list(range(1, 9))
    assert "exactly one instance" in metrics["rule"]
    assert "all there are: 8, of 99 asked for" in metrics["rule"]
    for name in REMOVAL_SCORES:
        wanted = float(name != "mae")
        assert metrics["scores"][name] == pytest.approx(
            {"value": wanted, "low": wanted, "high": wanted}
        )
    json.dumps(metrics, allow_nan=False)
    for i in range(1, 9):
        photo = read_image(folder / "photos" / f"{i:03}.png")
        for arm in ("byol-seed0", "ground-truth"):
            cut = read_image(folder / "background" / arm / f"{i}.png")
            np.testing.assert_array_equal(cut, zero_background_by_pixel(photo, true[i][0]))
    assert len(list((folder / "background" / "ground-truth").iterdir())) == 8


def test_scores_are_means_over_images_of_what_the_functions_give(world):
    folder, _, true = world
    guess = box(0, 0, 8, 8)
    found = [detection(guess, 0.6, i) for i in range(1, 8)] + [detection(guess, 0.4, 8)]
    metrics = scores_of(folder, found)
    assert metrics["empty"] == 1
    for row in metrics["per_image"]:
        photo = read_image(folder / "photos" / row["file_name"])
        predicted = guess if row["image_id"] < 8 else np.zeros(SIZE, bool)
        for name, wanted in score_masks(photo, predicted, true[row["image_id"]][0]).items():
            assert row[name] == wanted
        assert row["instances"] == int(row["image_id"] < 8)
    for name, got in metrics["scores"].items():
        assert got["value"] == pytest.approx(
            np.mean([row[name] for row in metrics["per_image"]]), abs=1e-12
        )
        assert got["low"] <= got["value"] <= got["high"]


def test_the_zero_point_keeps_everything(world):
    folder, _, true = world
    metrics = score_baseline(task(folder), "keep-everything")
    arm = scores_of(folder, [])
    assert metrics.keys() == arm.keys() and "keep-everything" in metrics["rule"]
    for row, other in zip(metrics["per_image"], arm["per_image"], strict=True):
        assert row.keys() == other.keys() and row["image_id"] == other["image_id"]
        assert row["iou"] == pytest.approx(true[row["image_id"]][0].mean(), abs=1e-12)
        assert row["mae"] == pytest.approx(1 - row["iou"], abs=1e-12)
    assert arm["empty"] == 8 and arm["scores"]["cosine"]["value"] == 0


def test_a_baseline_scores_what_its_mask_gives(world):
    folder, _, true = world
    metrics = score_baseline(task(folder), "otsu")
    for row in metrics["per_image"]:
        photo = read_image(folder / "photos" / row["file_name"])
        wanted = score_masks(photo, BASELINES["otsu"](photo), true[row["image_id"]][0])
        assert {name: row[name] for name in REMOVAL_SCORES} == wanted


def test_the_second_table_takes_all_images_and_joins_instances(world):
    folder, _, true = world
    found = [detection(mask, 0.9, i) for i in range(1, 10) for mask in true[i]] + [
        detection(box(0, 0, 2, 2), 0.6, 9)
    ]
    one, every = (
        scores_of(folder, found, images=3),
        scores_of(folder, found, images=3)["all_images"],
    )
    assert one["images"] == 3 and every["images"] == 9 and "all 9 images" in every["rule"]
    assert "in place of" not in every["rule"] and every["rule"].endswith(
        "all detections with a score of at least 0.5"
    )
    nine = every["per_image"][-1]
    assert (nine["image_id"], nine["instances"]) == (9, 3) and nine[
        "iou"
    ] == 1  # the third lies inside the first
    assert one["bootstrap"] == {"replicates": 200, "seed": 0, "confidence": 0.95}
    baseline = score_baseline(task(folder, 3), "otsu")
    assert [row["image_id"] for row in baseline["per_image"]] == [
        row["image_id"] for row in one["per_image"]
    ]
    assert [row["image_id"] for row in baseline["all_images"]["per_image"]] == list(range(1, 10))


def test_intervals_are_those_of_the_evaluation(world):
    """The bootstrap of the average precision on the same images: the same draws, and so paired with
    it; for a mean of eight, Student's quantile takes the place of the normal one.
    """
    folder, _, true = world
    metrics = scores_of(folder, [detection(box(0, 0, 8, 8), 0.9, i) for i in range(1, 9)])
    values = np.array([row["iou"] for row in metrics["per_image"]])
    low, high = percentile_interval(draw_weights(8, 200, 0) @ values / 8)
    found = metrics["scores"]["iou"]
    stretch = (8 / 7) ** 0.5 * 2.364624 / 1.959964  # quantiles at 0.975: Student's for 7, normal
    assert found["value"] == values.mean()
    assert found["low"] == pytest.approx(found["value"] - stretch * (found["value"] - low))
    assert found["high"] == pytest.approx(found["value"] + stretch * (high - found["value"]))
    with_everything = score_baseline(task(folder), "keep-everything")
    gaps = values - [row["iou"] for row in with_everything["per_image"]]
    paired = mean_interval(gaps, 200, 0)
    assert paired["value"] == pytest.approx(
        values.mean() - with_everything["scores"]["iou"]["value"], abs=1e-12
    )
    assert paired["high"] - paired["low"] < found["high"] - found["low"] + (
        with_everything["scores"]["iou"]["high"] - with_everything["scores"]["iou"]["low"]
    )


def test_images_are_drawn_by_seed_and_nested(world):
    folder, _, _ = world

    def ids(images: int, seed: int) -> set[int]:
        return {image["id"] for image in choose_images(folder / "test.json", images, seed).images}

    assert [len(ids(n, 0)) for n in (2, 5, 8)] == [2, 5, 8]
    assert ids(2, 0) < ids(5, 0) < ids(8, 0) == set(range(1, 9))
    assert ids(5, 1) != ids(5, 0) == ids(5, 0)
    assert "5 of 8, drawn with seed 0" in choose_images(folder / "test.json", 5, 0).rule


def test_without_single_instances_the_union_counts(world):
    folder, coco, true = world
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] > 8]
    (folder / "test.json").write_text(json.dumps(coco))
    metrics = scores_of(folder, [detection(mask, 0.9, 9) for mask in true[9]])
    assert [(row["image_id"], row["instances"]) for row in metrics["per_image"]] == [(9, 2)]
    assert "union" in metrics["rule"] and "in place of the rule 'confident'" in metrics["rule"]
    assert metrics["scores"]["iou"]["value"] == 1
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] != 9]
    (folder / "test.json").write_text(json.dumps(coco))
    for choose in (
        lambda: choose_images(folder / "test.json", 5, 0),
        lambda: choose_all_images(folder / "test.json"),
    ):
        with pytest.raises(UserError, match="no image has instances and no crowd"):
            choose()


def test_files_that_do_not_belong_together_are_refused(world):
    folder, _, true = world
    with pytest.raises(UserError, match=r"detections.json: none of its images is in .*test.json"):
        scores_of(folder, [detection(true[1][0], 0.9, 777)])
    with pytest.raises(UserError, match=r"detections.json: 001.png: a mask of 3 x 3"):
        scores_of(folder, [detection(np.ones((3, 3), bool), 0.9, 1)])
    with pytest.raises(UserError, match="no COCO results with masks"):
        scores_of(folder, [{"image_id": 1, "score": 1.0, "bbox": [0, 0, 1, 1]}])
    (folder / "photos" / "003.png").unlink()
    with pytest.raises(UserError, match="003.png: no such file"):
        score_baseline(task(folder), "keep-everything")


def test_ground_truth_is_written_once_and_follows_the_annotations(world):
    folder, coco, _ = world
    scores_of(folder, [])
    kept = folder / "background" / "ground-truth" / "1.png"
    stamp = kept.stat().st_mtime_ns
    scores_of(folder, [], out="random-seed0")
    assert kept.stat().st_mtime_ns == stamp
    coco["annotations"][0]["segmentation"] = encode(box(0, 0, 1, 1))
    (folder / "test.json").write_text(json.dumps(coco))
    scores_of(folder, [])
    assert np.count_nonzero(read_image(kept).any(axis=2)) == 1
