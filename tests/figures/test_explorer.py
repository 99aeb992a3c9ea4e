"""What the widget of notebook 07 shows, without a browser."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from byol_helpers.coco.dataset import Split
from byol_helpers.figures.explorer import (
    EVERY_OBJECT,
    build_explorer,
    draw_removal,
    is_live,
    lay_on_chequers,
    list_objects,
)

CATEGORIES = [{"id": 1, "name": "leaf"}, {"id": 2, "name": "star"}]


def found(score: float, left: int, category: int = 1) -> dict:
    """A detection: a rectangle of 15 x 20 pixels in a picture of 400 x 360."""
    own = np.zeros((360, 400), np.uint8, order="F")
    own[10:30, left : left + 15] = 1
    return {"image_id": 7, "category_id": category, "score": score, "segmentation": rle.encode(own)}


THREE = [found(0.6, 40), found(0.9, 5, 2), found(0.3, 80)]


def test_objects_are_listed_by_score():
    assert list_objects(THREE, 0.5, CATEGORIES) == {
        "1: star 0.90": 1,
        "2: leaf 0.60": 2,
        "all 2 together": EVERY_OBJECT,
    }
    assert list_objects(THREE, 0.61, CATEGORIES) == {"1: star 0.90": 1}
    assert list_objects(THREE, 0.91, CATEGORIES) == {}


@pytest.mark.parametrize(
    ("number", "columns"), [(1, [5]), (2, [40]), (EVERY_OBJECT, [5, 40]), (3, [])]
)
def test_the_cut_out_holds_the_chosen_objects_and_nothing_else(number, columns):
    image = np.random.default_rng(0).integers(1, 256, (360, 400, 3), dtype=np.uint8)
    before, after = draw_removal(image, THREE, 0.5, number, "black")
    wanted = np.zeros((360, 400), bool)
    for left in columns:
        wanted[10:30, left : left + 15] = True
    np.testing.assert_array_equal(after, image * wanted[..., None])
    assert (before[40:] == image[40:]).all() and (before[:40] != image[:40]).any()
    assert (before[10:30, 82:93] == image[10:30, 82:93]).all()  # below the threshold: not drawn


def test_transparency_is_shown_as_a_chequerboard():
    rgba = np.zeros((60, 240, 4), np.uint8)
    rgba[:2, :2] = (9, 8, 7, 255)
    shown = lay_on_chequers(rgba)
    assert [shown[0, x].tolist() for x in (0, 5, 12)] == [[9, 8, 7], [205] * 3, [255] * 3]
    _, after = draw_removal(np.full((360, 400, 3), 90, np.uint8), [], 0.5, 1, "transparent")
    assert set(np.unique(after)) == {205, 255}


def test_the_menus_redraw_the_picture(tmp_path):
    Image.fromarray(np.full((360, 400, 3), 90, np.uint8)).save(tmp_path / "a.png")
    images = [{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "a.png"}]
    split = Split("test", tmp_path, images, {}, CATEGORIES, Path("test.json"))
    widget = build_explorer(split, {"byol": THREE, "random": []}, [8, 7], image_id=7)
    controls, picture = widget.children
    (image, arm, chosen), (least, ground, said) = (column.children for column in controls.children)
    seen = [picture.value]
    assert Image.open(io.BytesIO(picture.value)).size == (800, 360) and image.value == 7

    def changes(menu, value) -> bool:
        menu.value = value
        seen.append(picture.value)
        return seen[-1] != seen[-2]

    assert said.value == "3 detections, 2 with this score or more"
    assert changes(chosen, 2) and changes(ground, "transparent") and changes(least, 0.65)
    assert chosen.value == 1  # the second is gone
    assert changes(arm, "random") and chosen.value is None and "0 detections" in said.value
    assert not changes(image, 8)  # the same picture, and nothing found in either


def test_a_test_is_no_live_session(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not is_live()
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    assert is_live()
