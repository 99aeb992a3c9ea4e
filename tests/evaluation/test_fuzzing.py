"""Files that are wrong in any way: a correct result, or a ``UserError`` of one short line.

Valid annotation and results files are changed at random places: other types, missing keys, other
values, another order.
"""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle

from byol_helpers.coco.annotations import Labels
from byol_helpers.coco.results import read_detections, read_ground_truth
from byol_helpers.coco.validation import check_labels
from byol_helpers.core.errors import UserError
from byol_helpers.evaluation.average_precision import evaluate_detections
from byol_helpers.evaluation.doubts import describe_doubts

HEIGHT = 24
WIDTH = 32
SQUARES = ((2, 3, 12), (14, 6, 10))  # x, y, side; one of each category

LENIENT = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
fuzzing = settings(max_examples=650, deadline=None, derandomize=True, suppress_health_check=LENIENT)


def make_annotations():
    images = [
        {"id": k, "file_name": f"{k}.png", "width": WIDTH, "height": HEIGHT} for k in (1, 2, 3)
    ]
    annotations = []
    for record in images:
        for category, (x, y, side) in enumerate(SQUARES, start=1):
            outline = [x, y, x + side, y, x + side, y + side, x, y + side]
            entry = {
                "id": len(annotations) + 1,
                "image_id": record["id"],
                "category_id": category,
                "bbox": [x, y, side, side],
                "area": side * side,
                "iscrowd": 0,
                "segmentation": [outline],
            }
            if record["id"] == 3:
                packed = rle.frPyObjects([outline], HEIGHT, WIDTH)[0]
                entry["segmentation"] = packed | {"counts": packed["counts"].decode()}
            annotations.append(entry)
    categories = [{"id": 1, "name": "box"}, {"id": 2, "name": "slab"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def make_results():
    results = []
    for annotation in make_annotations()["annotations"]:
        kept = ("image_id", "category_id", "bbox", "segmentation")
        results.append({key: annotation[key] for key in kept} | {"score": 0.5})
    return results


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([10**9, -(10**9), 2**31, 2**63, 10**30, 1e9, 1e300, math.nan, math.inf]),
    st.floats(-2, 40),
    st.sampled_from(["", "1", "1.0", "2", "1.png", "img-1", "1e5", "true", "b'04'", "04", "héé\n"]),
    st.text(max_size=4),
    st.sampled_from([[], {}, [[]], [1], [None], [[1, 2]], {"a": 1}, {"size": [24, 32]}]),
    st.lists(st.floats(-5, 40), max_size=8),
)
CHANGES = st.lists(
    st.tuples(
        st.lists(st.integers(0, 1000), min_size=1, max_size=5),  # the way to a place
        st.sampled_from(["value", "remove", "repeat", "reverse", "wrap", "text", "key"]),
        VALUES,
    ),
    min_size=1,
    max_size=4,
)


def change(content, way, kind, value):
    """Go down a JSON tree and change what lies at the end of the way; in place."""
    parent = content
    key = None
    here = content
    for step in way:
        if not isinstance(here, (dict, list)) or not here:
            break
        keys = sorted(here) if isinstance(here, dict) else range(len(here))
        parent = here
        key = keys[step % len(keys)]
        here = here[key]
    if key is None:
        return
    if kind == "remove":
        del parent[key]
    elif kind == "repeat" and isinstance(parent, list):
        parent.append(copy.deepcopy(here))
    elif kind == "reverse" and isinstance(here, list):
        here.reverse()
    elif kind == "wrap":
        parent[key] = [here]
    elif kind == "text":
        parent[key] = str(here)
    elif kind == "key" and isinstance(parent, dict):
        parent[f"{key} "] = parent.pop(key)
    else:
        parent[key] = copy.deepcopy(value)


def change_all(content, changes):
    for way, kind, value in changes:
        change(content, way, kind, value)
    return content


def hold_the_line(error, file):
    said = str(error)
    assert "\n" not in said
    assert len(said.replace(str(file.parent), "")) < 300, said


def assert_usable(labels):
    """Every annotation has what a training and an evaluation read."""
    sizes = {record["id"]: (record["height"], record["width"]) for record in labels.images}
    names = {category["id"]: category["name"] for category in labels.categories}
    assert all(type(key) is int for key in [*sizes, *names])
    assert all(isinstance(name, str) for name in names.values())
    for _, annotation in labels:
        assert annotation.image_id in sizes and annotation.category_id in names
        height, width = sizes[annotation.image_id]
        x, y, w, h = annotation.bbox
        assert x >= 0 and y >= 0 and x + w <= width + 1e-6 and y + h <= height + 1e-6
        assert annotation.area > 0
        mask = json.loads(bytes(annotation.segmentation))
        packed = rle.merge(rle.frPyObjects(mask, height, width)) if type(mask) is list else mask
        if isinstance(packed["counts"], list):
            packed = rle.frPyObjects(packed, height, width)
        assert rle.area(packed) > 0


@given(CHANGES, st.booleans())
@fuzzing
def test_annotations(tmp_path, changes, skip_invalid):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(change_all(make_annotations(), changes)))
    try:
        labels = Labels(file)
        found = check_labels(labels, skip_invalid=skip_invalid)
        lines = [*found.errors(), *found.notes()]
    except UserError as error:
        return hold_the_line(error, file)
    for line in lines:
        hold_the_line(line, file)
    if found.errors():
        return None
    assert_usable(labels)
    written = Labels(labels.write_subset(labels.images, tmp_path / "b.json"))
    again = check_labels(written)
    assert not again.errors() and not again.mended
    assert [raw for raw, _ in written] == [raw for raw, _ in labels]


@given(CHANGES, st.sampled_from(["segm", "bbox"]))
@fuzzing
def test_ground_truth(tmp_path, changes, iou_type):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(change_all(make_annotations(), changes)))
    try:
        truth = read_ground_truth(file, iou_type)
        metrics = evaluate_detections(file, make_results(), iou_type).metrics
    except UserError as error:
        return hold_the_line(error, file)
    assert truth.anns and all(np.isnan(value) or 0 <= value <= 1 for value in metrics.values())


@given(CHANGES, st.sampled_from(["segm", "bbox"]))
@fuzzing
def test_results(tmp_path, truth, changes, iou_type):
    file = tmp_path / "d.json"
    content = change_all({"results": make_results()}, changes)
    file.write_text(json.dumps(content.get("results", content)))
    try:
        entries = read_detections(file, truth, iou_type)
        doubts = describe_doubts(truth, entries, ["mask" if iou_type == "segm" else "box"])
        metrics = evaluate_detections(make_annotations(), file, iou_type).metrics
    except UserError as error:
        return hold_the_line(error, file)
    for line in doubts:
        hold_the_line(line, file)
    assert all(np.isnan(value) or 0 <= value <= 1 for value in metrics.values())


@pytest.fixture(scope="module")
def truth():
    return read_ground_truth(make_annotations())


@given(st.integers(0, 10**6), st.binary(max_size=3), st.integers(0, 4))
@settings(fuzzing, max_examples=300)
def test_bytes(tmp_path, place, inserted, removed):
    file = tmp_path / "a.json"
    text = json.dumps(make_annotations()).encode()
    place %= len(text)
    file.write_bytes(text[:place] + inserted + text[place + removed :])
    try:
        check_labels(Labels(file))
    except UserError as error:
        hold_the_line(error, file)
