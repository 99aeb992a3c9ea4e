"""Instances files read in place: the content of a plain parser, subsets that pycocotools opens,
other files named.
"""

import json
import pickle
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from byol_helpers.coco.annotations import AnnotationsByImage, Labels
from byol_helpers.core.errors import UserError

REAL = (
    Path(__file__).resolve().parents[3]
    / "shared/data/coco-real/annotations/instances_train2017.json"
)
real = pytest.mark.skipif(
    not REAL.is_file(), reason="the real annotations (../shared/data) are not here"
)


def content():
    images = [
        {"id": k, "file_name": f"{k}.png", "width": 8, "height": 6, "license": 4} for k in (5, 3, 9)
    ]
    annotations = [
        {
            "id": k,
            "image_id": i,
            "category_id": 2,
            "iscrowd": 0,
            "area": 1.50,
            "bbox": [0, 0, 1.0, 1e-1],
            "segmentation": [[0, 0, 1, 0, 1, 1]],
            "attributes": {"häufig": None},
        }
        for k, i in enumerate((9, 5, 9, 3))
    ]
    return {
        "info": {"year": 1},
        "licenses": [{"id": 4}],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 2, "name": "thing"}],
    }


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content(), indent=2))
    return path


def test_a_subset_keeps_every_field_and_the_order(file, tmp_path):
    labels = Labels(file)
    kept = [record for record in labels.images if record["id"] in (9, 3)]
    made = json.loads(labels.write_subset(kept, tmp_path / "subset.json").read_text())
    whole = content()
    assert made == whole | {
        "images": kept,
        "annotations": [a for a in whole["annotations"] if a["image_id"] != 5],
    }
    assert (
        '"area": 1.5,' in (tmp_path / "subset.json").read_text()
    )  # the text itself is kept, spaces included
    assert not list(tmp_path.glob(".*"))


def test_boxes_are_corrected_where_asked(file, tmp_path):
    labels = Labels(file)
    labels.replace(2, {"bbox": [0, 0, 1, 1]})
    made = json.loads(labels.write_subset(labels.images, tmp_path / "subset.json").read_text())
    assert [a["bbox"] for a in made["annotations"]] == [[0, 0, 1.0, 0.1]] * 2 + [[0, 0, 1, 1]] + [
        [0, 0, 1.0, 0.1]
    ]


def test_annotations_by_image_are_those_of_the_file_also_in_another_process(file):
    by_image = AnnotationsByImage(Labels(file))
    for read in (by_image, pickle.loads(pickle.dumps(by_image))):
        assert set(read) == {3, 5, 9} and len(read) == 3 and 7 not in read and read.get(7, []) == []
        assert read[9] == [a for a in content()["annotations"] if a["image_id"] == 9]


def written(tmp_path, value):
    path = tmp_path / "file.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


OTHER = {
    "captions": (
        {"images": [], "annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]},
        "captions",
    ),
    "keypoints": (
        content() | {"annotations": [{"id": 1, "image_id": 5, "keypoints": [1, 1, 2]}]},
        "keypoints",
    ),
    "panoptic": (content() | {"annotations": [{"image_id": 1, "segments_info": []}]}, "panoptic"),
    "results": ([{"image_id": 1, "category_id": 1, "score": 0.5}], "a list of detections"),
    "image list": ({"images": [{"id": 1}], "categories": []}, "without annotations"),
    "truncated": (json.dumps(content())[:-40], "not valid JSON"),
    "empty": ("", "not valid JSON"),
    "text": ("no json", "not valid JSON"),
}


@pytest.mark.parametrize(("value", "said"), OTHER.values(), ids=OTHER)
def test_files_of_another_kind_are_named_in_one_line(tmp_path, value, said):
    with pytest.raises(UserError, match=said) as caught:
        Labels(written(tmp_path, value))
    assert "file.json" in str(caught.value) and "\n" not in str(caught.value)


def test_an_entry_of_the_wrong_type_is_named(tmp_path):
    whole = content()
    whole["annotations"][2]["category_id"] = "two"
    with pytest.raises(UserError, match="annotation number 2 has the category_id 'two', which is"):
        list(Labels(written(tmp_path, whole)))


@real
def test_a_subset_of_coco_is_what_pycocotools_finds(tmp_path):
    theirs, labels = COCO(str(REAL)), Labels(REAL)
    kept = labels.images[::3]
    mine = COCO(str(labels.write_subset(kept, tmp_path / "subset.json")))
    assert sorted(mine.imgs) == sorted(record["id"] for record in kept)
    for record in kept:
        assert mine.imgToAnns[record["id"]] == theirs.imgToAnns[record["id"]]
    by_image = AnnotationsByImage(labels)
    assert {i: found for i, found in theirs.imgToAnns.items() if found} == dict(by_image)
