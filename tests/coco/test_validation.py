"""All that is wrong with an instances file, in one go, in order of importance.

And what is not wrong.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from byol_helpers.cli import main
from byol_helpers.coco.annotations import Labels
from byol_helpers.coco.preparation import check_data
from byol_helpers.coco.validation import check_labels

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real images (../shared/data) are not here")
POLYGON = [[1, 1, 5, 1, 5, 4, 1, 4]]


@pytest.fixture
def folder(tmp_path):
    """Four pictures of 8 x 6 with one object each."""
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    for k in range(4):
        Image.new("RGB", (8, 6), (40 * k, 0, 0)).save(tmp_path / "images" / f"{k}.png")
    save(
        tmp_path,
        {
            "images": [
                {"id": k, "file_name": f"{k}.png", "width": 8, "height": 6} for k in range(4)
            ],
            "annotations": [
                {
                    "id": k,
                    "image_id": k,
                    "category_id": 3,
                    "iscrowd": 0,
                    "bbox": [1, 1, 4, 3],
                    "area": 12,
                    "segmentation": POLYGON,
                }
                for k in range(4)
            ],
            "categories": [{"id": 3, "name": "thing"}],
        },
    )
    return tmp_path


def save(folder, content):
    (folder / "annotations" / "instances.json").write_text(json.dumps(content))


def changed(folder, **change):
    """Annotation 2 with other fields."""
    content = json.loads((folder / "annotations" / "instances.json").read_text())
    content["annotations"][2] |= change
    save(folder, content)
    return check_labels(Labels(folder / "annotations" / "instances.json"))


def packed(mask):
    return rle.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


GOOD = {
    "two polygons": POLYGON * 2,
    "run lengths": {"size": [6, 8], "counts": [7, 3, 38]},
    "packed run lengths": {"size": [6, 8], "counts": packed(np.eye(6, 8))},
}


@pytest.mark.parametrize("segmentation", GOOD.values(), ids=GOOD)
def test_every_notation_of_a_mask_is_fine(folder, segmentation):
    found = changed(folder, segmentation=segmentation)
    assert found.errors() == found.notes() == []


BAD = {
    "none": ([], "has no mask"),
    "null": (None, "has no mask"),
    "two points": ([[1, 1, 2, 2]], "fewer than three points"),
    "odd": ([[1, 1, 2, 2, 3, 3, 4]], "an odd number of coordinates"),
    "words": ("cat", "neither polygons nor run lengths"),
    "another size": ({"size": [8, 6], "counts": [48]}, "mask of 6 x 8 for an image of 8 x 6"),
    "too short": ({"size": [6, 8], "counts": [7, 3, 37]}, "do not fill its mask"),
    "negative": ({"size": [6, 8], "counts": [50, -2]}, "do not fill its mask"),
    "cut string": ({"size": [6, 8], "counts": packed(np.eye(6, 8))[:-1]}, "do not fill its mask"),
    "not a string of COCO": ({"size": [6, 8], "counts": "\x7f \n"}, "do not fill its mask"),
}


@pytest.mark.parametrize(("segmentation", "said"), BAD.values(), ids=BAD)
def test_broken_masks_are_named(folder, segmentation, said):
    (line,) = changed(folder, segmentation=segmentation).errors()
    assert "annotation 2 has" in line and said in line


@pytest.mark.parametrize(
    ("box", "mended", "said"),
    [
        ([-0.25, 1, 8.5, 3], [0.0, 1, 8.0, 3], "box clipped to its image 1"),
        ([1, 1, 12, 3], [1, 1, 7, 3], "box clipped to its image 1"),
        ([1, 2], [1, 1, 4, 3], "box from the mask 1"),
    ],
)
def test_boxes_over_the_edge_are_clipped_and_missing_ones_taken_from_the_mask(
    folder, box, mended, said
):
    content = json.loads((folder / "annotations" / "instances.json").read_text())
    content["annotations"][2]["bbox"] = box
    save(folder, content)
    labels = Labels(folder / "annotations" / "instances.json")
    found = check_labels(labels)
    assert found.errors() == []
    assert found.notes() == [f"instances.json: mended 1 annotation: {said}"]
    assert [annotation.bbox for _, annotation in labels][2] == mended


def test_everything_is_said_at_once_and_the_worst_first(folder, capsys):
    content = json.loads((folder / "annotations" / "instances.json").read_text())
    content["annotations"][0]["category_id"] = 9
    content["annotations"][1]["segmentation"] = content["annotations"][2]["segmentation"] = []
    content["images"][3]["width"] = 80
    content["categories"].append({"id": 4, "name": "nowhere"})
    save(folder, content)
    (folder / "images" / "1.png").write_bytes(b"no picture")
    (folder / "images" / "extra.png").write_bytes(b"")
    assert main(["prepare", "--data", str(folder), "--check"]) == 2
    out = capsys.readouterr()
    lines = out.err.strip().splitlines()
    assert [
        next(
            word
            for word in ("unknown category", "1.png", "3.png: is 8 x 6", "has no mask")
            if word in line
        )
        for line in lines
    ] == ["unknown category", "1.png", "3.png: is 8 x 6", "has no mask"]
    assert "(and 1 more like it)" in lines[-1] and "nowhere" in out.out and "extra.png" in out.out


def test_a_good_folder_is_said_to_be_good_and_nothing_is_written(folder, capsys, monkeypatch):
    before = sorted(folder.rglob("*"))
    monkeypatch.chdir(folder)
    assert main(["prepare", "--data", str(folder), "--check"]) == 0
    assert "nothing is wrong" in capsys.readouterr().out and sorted(folder.rglob("*")) == before


@real
@pytest.mark.parametrize("name", ["coco-real", "nuclei"])
def test_real_data_have_no_errors(name, capsys):
    assert check_data(REAL / name) == []
