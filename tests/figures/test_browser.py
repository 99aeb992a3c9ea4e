"""Browsing annotations: which pictures hold a category, and menus that draw another picture when
they are moved.
"""

import pytest

from byol_helpers import pipeline
from byol_helpers.coco.dataset import load_split
from byol_helpers.figures.browser import build_browser, draw_annotated, find_images_with


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    run = pipeline.open_run(
        "smoke", tmp_path_factory.mktemp("run"), overrides=["data.crops=16", "data.unlabelled=4"]
    )
    pipeline.prepare(run)
    return {name: load_split(run, name) for name in ("train", "val")}


def test_pictures_are_found_by_category(splits):
    split = splits["train"]
    for category in split.categories:
        by_hand = [
            r["id"]
            for r in split.images
            if category["id"] in {a["category_id"] for a in split.annotations.get(r["id"], [])}
        ]
        assert [record["id"] for record in find_images_with(split, category["name"])] == by_hand
    assert find_images_with(split) == split.images


def test_a_picture_without_annotations_is_drawn_too(splits):
    split = splits["train"]
    empty = next((r for r in split.images if not split.annotations.get(r["id"])), split.images[0])
    assert draw_annotated(split, empty).axes


def test_the_picture_follows_the_menus(splits):
    widget = build_browser(splits)
    (split, category, number), picture = widget.children[0].children, widget.children[1]
    seen = [bytes(picture.value)]
    assert seen[0].startswith(b"\x89PNG") and number.max == len(splits["train"].images) - 1
    number.value = 3
    seen.append(bytes(picture.value))
    split.value = "val"
    seen.append(bytes(picture.value))
    category.value = category.options[3]
    assert (
        number.max == len(find_images_with(splits["val"], category.value)) - 1 and number.value == 0
    )
    seen.append(bytes(picture.value))
    assert len(set(seen)) == 4
