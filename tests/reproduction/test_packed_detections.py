"""Packed detections give every metric that the whole ones give."""

import numpy as np
import pytest

from byol_helpers.coco.results import OVERLAPS
from byol_helpers.core.errors import UserError
from byol_helpers.evaluation.average_precision import evaluate_detections
from byol_helpers.reproduction.packed_detections import (
    KEPT,
    pack_detections,
    read_packed,
    unpack_detections,
    write_packed,
)
from tests.helpers.detections import LIMITS, guesses, world

TRUTH, SHAPES = world(3, images=20)


def round_as_packed(found):
    boxes = [[round(side, 1) for side in one["bbox"]] for one in found]
    scores = [round(one["score"], 4) for one in found]
    return [
        one | {"bbox": box, "score": score}
        for one, box, score in zip(found, boxes, scores, strict=True)
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", ["segm", "bbox"])
def test_every_detection_is_matched_as_before(seed, shape):
    found = guesses(SHAPES, seed)
    packed = pack_detections(found, TRUTH, LIMITS)
    assert 0.3 < np.mean(packed["mask_size"] != KEPT) < 0.9
    again = evaluate_detections(TRUTH, unpack_detections(packed, TRUTH), shape, LIMITS)
    whole = evaluate_detections(TRUTH, round_as_packed(found), shape, LIMITS)
    assert again.metrics == whole.metrics and again.per_class == whole.per_class
    assert again.detections == len(found) and again.metrics["APs"]
    for ours, theirs in zip(again.matches, whole.matches, strict=True):
        for part in ("scores", "image", "hit", "counts", "positives"):
            np.testing.assert_array_equal(getattr(ours, part), getattr(theirs, part))


def test_a_crowd_and_an_area_on_a_limit_count_as_before():
    truth = {
        "images": [{"id": 4, "height": 10, "width": 10}],
        "categories": [{"id": 7, "name": "leaf"}],
        "annotations": [
            _annotate(1, [0, 0, 6, 6], 0),
            _annotate(2, [6, 6, 4, 4], 1),
        ],
    }
    found = [
        _detect([0, 0, 6, 5], 0.9),  # a hit
        _detect([6, 6, 4, 2], 0.8),  # on the crowd: does not count
        _detect([0, 8, 4, 1], 0.7),  # 4 square pixels, the limit
    ]
    limits = (4.0, 16.0)
    packed = pack_detections(found, truth, limits)
    assert packed["mask_size"].tolist() == [KEPT, KEPT, 1]
    assert packed["common"].tolist() == [30, 8]
    for shape in ("segm", "bbox"):
        again = evaluate_detections(truth, unpack_detections(packed, truth), shape, limits)
        whole = evaluate_detections(truth, found, shape, limits)
        for ours, theirs in zip(again.matches, whole.matches, strict=True):
            np.testing.assert_array_equal(ours.hit, theirs.hit)
            np.testing.assert_array_equal(ours.counts, theirs.counts)


def test_no_detection_at_all_is_packed_too(tmp_path):
    packed = pack_detections([], TRUTH, LIMITS)
    write_packed(tmp_path / "none.npz.xz", packed)
    assert unpack_detections(read_packed(tmp_path / "none.npz.xz"), TRUTH) == []


def test_equal_columns_give_equal_bytes_and_far_fewer_than_results(tmp_path):
    packed = pack_detections(guesses(SHAPES, 0), TRUTH, LIMITS)
    files = [write_packed(tmp_path / name, packed) for name in ("a.npz.xz", "b.npz.xz")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert any(OVERLAPS in entry for entry in unpack_detections(packed, TRUTH))


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / "cut.npz.xz").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"cut\.npz\.xz: damaged"):
        read_packed(tmp_path / "cut.npz.xz")
    with pytest.raises(UserError, match="no such file"):
        read_packed(tmp_path / "gone.npz.xz")


def _annotate(number, box, crowd):
    x, y, width, height = box
    outline = [x, y, x + width, y, x + width, y + height, x, y + height]
    shape = {"segmentation": [outline], "bbox": box, "area": width * height, "iscrowd": crowd}
    return shape | {"id": number, "image_id": 4, "category_id": 7}


def _detect(box, score):
    from byol_helpers.coco.masks import compress_mask

    mask = compress_mask(_annotate(1, box, 0), 10, 10)
    text = {"size": mask["size"], "counts": mask["counts"].decode()}
    about = {"image_id": 4, "category_id": 7, "score": score, "bbox": [float(v) for v in box]}
    return about | {"segmentation": text}
