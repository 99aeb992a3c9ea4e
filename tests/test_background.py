"""Background removal and its scores: pure functions, then the scoring of a model's detections."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from byol_helpers.background.removal import choose_instance, remove_background, thesis_loop, to_rgba, union
from byol_helpers.background.scores import cosine, f_beta, iou, mae, mean_with_interval, score
from byol_helpers.background.stage import choose_images, keep_everything, score_removals
from byol_helpers.data.images import read_image
from byol_helpers.errors import UserError

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
    return {"image_id": image_id, "category_id": 1, "score": certainty, "bbox": [0, 0, 1, 1],
            "segmentation": encode(mask)}


# ---- removal


@pytest.mark.parametrize("seed", range(5))
def test_removal_equals_the_thesis_loop(seed):
    image, mask, _ = draw(seed)
    before = image.copy()
    cut = remove_background(image, mask)
    np.testing.assert_array_equal(cut, thesis_loop(image, mask))
    np.testing.assert_array_equal(image, before)
    assert cut.dtype == np.uint8
    turned = image[::-1, ::-1], mask.T.copy().T  # memory in another order
    np.testing.assert_array_equal(remove_background(*turned), thesis_loop(*turned))


def test_removal_at_its_extremes():
    image, mask, _ = draw(0)
    np.testing.assert_array_equal(remove_background(image, np.ones(SIZE, bool)), image)
    assert not remove_background(image, np.zeros(SIZE, bool)).any()
    cut = remove_background(image, mask)
    np.testing.assert_array_equal(remove_background(cut, mask), cut)


def test_transparency_follows_the_mask_and_hides_nothing():
    image, mask, _ = draw(1)
    rgba = to_rgba(image, mask)
    np.testing.assert_array_equal(rgba[..., 3], np.where(mask, 255, 0))
    np.testing.assert_array_equal(rgba[..., :3], remove_background(image, mask))


@pytest.mark.parametrize("image, mask", [
    (np.zeros((4, 5, 3), np.uint8), np.zeros((5, 4), bool)),
    (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)),
    (np.zeros((4, 5), np.uint8), np.zeros((4, 5), bool)),
    (np.zeros((4, 5, 3), np.float32), np.zeros((4, 5), bool)),
])
def test_what_does_not_fit_is_refused(image, mask):
    with pytest.raises(ValueError, match="expected"):
        remove_background(image, mask)


def test_rules_choose_what_they_say():
    small, large, unsure = box(0, 0, 2, 2), box(3, 3, 9, 9), box(0, 10, 12, 17)
    found = [detection(large, 0.7), detection(small, 0.9), detection(unsure, 0.3)]
    for rule, wanted in {"confident": small, "largest": large, "all": small | large}.items():
        np.testing.assert_array_equal(choose_instance(found, rule, 0.5, SIZE), wanted)
    reached = choose_instance(found, "largest", 0.3, SIZE)  # the threshold is included
    np.testing.assert_array_equal(reached, unsure)
    equal = [detection(large, 0.7), detection(small, 0.7)]
    np.testing.assert_array_equal(choose_instance(equal, "confident", 0.5, SIZE), large)


def test_nothing_found_is_an_empty_mask():
    for found in ([], [detection(box(0, 0, 5, 5), 0.49)]):
        for rule in ("confident", "largest", "all"):
            mask = choose_instance(found, rule, 0.5, SIZE)
            assert mask.shape == SIZE and mask.dtype == bool and not mask.any()


def test_masks_come_from_every_coco_form():
    mask = box(2, 3, 8, 11)
    runs = [len(list(group)) for group in np.split(*_changes(mask.ravel(order="F")))]
    uncompressed = {"size": list(SIZE), "counts": runs}
    polygon = [[3, 2, 11, 2, 11, 8, 3, 8]]
    for segmentation in (encode(mask), uncompressed, polygon):
        np.testing.assert_array_equal(union([{"segmentation": segmentation}], SIZE), mask)
    with pytest.raises(ValueError, match="12 x 17.*9 x 9"):
        union([{"segmentation": encode(mask)}], (9, 9))
    with pytest.raises(ValueError, match="confident, largest, all"):
        choose_instance([], "best", 0.5, SIZE)


def _changes(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return flat, np.flatnonzero(np.diff(flat)) + 1


# ---- scores


def slow_scores(image, predicted, true) -> dict[str, float]:
    """All scores pixel by pixel, in Python numbers."""
    a, b = thesis_loop(image, predicted), thesis_loop(image, true)
    dot = aa = bb = both = either = found = wanted = wrong = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            p, g = bool(predicted[y, x]), bool(true[y, x])
            both, either, wrong = both + (p and g), either + (p or g), wrong + (p != g)
            found, wanted = found + p, wanted + g
            for c in range(3):
                va, vb = int(a[y, x, c]), int(b[y, x, c])
                dot, aa, bb = dot + va * vb, aa + va * va, bb + vb * vb
    precision, recall = both / found, both / wanted
    return {
        "cosine": dot / (math.sqrt(aa) * math.sqrt(bb)),
        "iou": both / either,
        "mae": wrong / true.size,
        "f_beta": 1.3 * precision * recall / (0.3 * precision + recall),
    }


@pytest.mark.parametrize("seed", range(8))
def test_scores_equal_brute_force_loops(seed):
    image, predicted, true = draw(seed)
    assert score(image, predicted, true) == pytest.approx(slow_scores(image, predicted, true), abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_cosine_equals_its_closed_form(seed):
    image, predicted, true = draw(seed)
    energy = (image.astype(np.int64) ** 2).sum(axis=2)
    wanted = energy[predicted & true].sum() / math.sqrt(energy[predicted].sum() * energy[true].sum())
    assert score(image, predicted, true)["cosine"] == pytest.approx(wanted, abs=1e-12)
    # Keeping everything: the length of the cut-out by the length of the image.
    kept = score(image, np.ones(SIZE, bool), true)["cosine"]
    assert kept == pytest.approx(math.sqrt(energy[true].sum() / energy.sum()), abs=1e-12)


def test_scores_by_hand():
    image = np.full((1, 4, 3), 10, np.uint8)
    predicted = np.array([[True, True, True, False]])
    true = np.array([[False, False, True, True]])
    got = score(image, predicted, true)
    f = 1.3 * (1 / 3) * (1 / 2) / (0.3 / 3 + 1 / 2)
    wanted = {"cosine": 1 / math.sqrt(6), "iou": 1 / 4, "mae": 3 / 4, "f_beta": f}
    assert got == pytest.approx(wanted, abs=1e-12)


def test_empty_cases_are_defined():
    image, mask, _ = draw(2)
    empty = np.zeros(SIZE, bool)
    nothing = remove_background(image, empty)
    assert cosine(nothing, nothing) == iou(empty, empty) == f_beta(empty, empty) == 1
    assert cosine(nothing, image) == cosine(image, nothing) == 0
    assert iou(empty, mask) == iou(mask, empty) == f_beta(empty, mask) == f_beta(mask, empty) == 0
    assert mae(empty, empty) == 0 and mae(empty, mask) == mask.mean()
    assert f_beta(mask, ~mask) == iou(mask, ~mask) == 0
    assert score(image, mask, mask) == pytest.approx({"cosine": 1, "iou": 1, "mae": 0, "f_beta": 1})


def test_interval_of_a_mean():
    values = np.random.default_rng(3).normal(0.7, 0.1, 400).tolist()
    got = mean_with_interval(values, seed=0)
    assert got["value"] == pytest.approx(np.mean(values), abs=1e-12)
    half = 1.96 * np.std(values) / 20  # the normal approximation
    assert got["low"] == pytest.approx(got["value"] - half, abs=0.15 * half)
    assert got["high"] == pytest.approx(got["value"] + half, abs=0.15 * half)
    assert got == mean_with_interval(values, seed=0) != mean_with_interval(values, seed=1)
    assert mean_with_interval([0.25], seed=0) == {"value": 0.25, "low": 0.25, "high": 0.25}
    # The same draws for equal seeds: shifting every value shifts the interval, which is what pairing needs.
    shifted = mean_with_interval([value + 1 for value in values], seed=0)
    assert shifted == pytest.approx({key: value + 1 for key, value in got.items()}, abs=1e-12)


# ---- scoring a model


@pytest.fixture
def world(tmp_path):
    """Images 1-8 have one instance, 9 has two, 10 a crowd, 11 a crowd and one instance, 12 nothing."""
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
            annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": 1,
                                "iscrowd": int(i in (10, 11) and n == 0), "segmentation": encode(mask)})
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "test.json").write_text(json.dumps(coco))
    return tmp_path, coco, true


def write_detections(folder, found: list[dict]):
    (folder / "detections.json").write_text(json.dumps(found))
    return folder / "detections.json"


def scores_of(folder, found, rule="confident", images=99, out="byol-seed0"):
    detections = write_detections(folder, found)
    arm = folder / "background" / out
    return score_removals(folder / "test.json", folder / "photos", detections, images, 0, 0.5, rule, arm)


def test_perfect_detections_score_one(world):
    folder, _, true = world
    metrics = scores_of(folder, [detection(true[i][0], 0.9, i) for i in range(1, 9)])
    assert metrics["images"] == 8 and metrics["empty"] == 0
    assert [row["image_id"] for row in metrics["per_image"]] == list(range(1, 9))
    assert "exactly one instance" in metrics["rule"]
    assert "all there are: 8, of 99 asked for" in metrics["rule"]
    for name, wanted in {"cosine": 1, "iou": 1, "mae": 0, "f_beta": 1}.items():
        assert metrics["scores"][name] == pytest.approx({"value": wanted, "low": wanted, "high": wanted})
    json.dumps(metrics, allow_nan=False)
    for i in range(1, 9):
        photo = read_image(folder / "photos" / f"{i:03}.png")
        for arm in ("byol-seed0", "ground-truth"):
            cut = read_image(folder / "background" / arm / f"{i}.png")
            np.testing.assert_array_equal(cut, thesis_loop(photo, true[i][0]))
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
        for name, wanted in score(photo, predicted, true[row["image_id"]][0]).items():
            assert row[name] == wanted
        assert row["instances"] == int(row["image_id"] < 8)
    for name, got in metrics["scores"].items():
        assert got["value"] == pytest.approx(np.mean([row[name] for row in metrics["per_image"]]), abs=1e-12)
        assert got["low"] <= got["value"] <= got["high"]


def test_the_baseline_keeps_everything(world):
    folder, _, true = world
    metrics = keep_everything(folder / "test.json", folder / "photos", 99, 0)
    arm = scores_of(folder, [])
    assert metrics.keys() == arm.keys() and "every pixel" in metrics["rule"]
    for row, other in zip(metrics["per_image"], arm["per_image"], strict=True):
        assert row.keys() == other.keys() and row["image_id"] == other["image_id"]
        assert row["iou"] == pytest.approx(true[row["image_id"]][0].mean(), abs=1e-12)
        assert row["mae"] == pytest.approx(1 - row["iou"], abs=1e-12)
    assert arm["empty"] == 8 and arm["scores"]["cosine"]["value"] == 0


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
    with pytest.raises(UserError, match="no image has instances and no crowd"):
        choose_images(folder / "test.json", 5, 0)


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
        keep_everything(folder / "test.json", folder / "photos", 99, 0)


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
