"""Browsing annotated pictures: one of them as a figure, and menus around it for a live notebook."""

import io
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from byol_helpers.coco.dataset import Split
from byol_helpers.coco.images import read_image
from byol_helpers.coco.masks import decode_mask
from byol_helpers.figures.pictures import CROWD, OBJECTS, draw_masks, enlarged, gallery

if TYPE_CHECKING:
    from ipywidgets import VBox

EVERY = "every category"


def holding(split: Split, category: str = EVERY) -> list[dict]:
    """Image records of a split that hold an object of a category, by its name; all records for ``EVERY``."""
    if category == EVERY:
        return split.images
    key = next(c["id"] for c in split.categories if c["name"] == category)
    return [
        record
        for record in split.images
        if any(a["category_id"] == key for a in split.annotations.get(record["id"], []))
    ]


def annotated(split: Split, record: dict, category: str = EVERY) -> Figure:
    """A picture, its masks drawn over it, and alone: objects of the category in turn colours, crowds in white."""
    names = {c["id"]: c["name"] for c in split.categories}
    image = read_image(split.path(record))
    shown = [
        a
        for a in split.annotations.get(record["id"], [])
        if category in (EVERY, names[a["category_id"]])
    ]
    masks = [decode_mask(a, *image.shape[:2]) for a in shown]
    inks = [CROWD if a.get("iscrowd") else OBJECTS[i % len(OBJECTS)] for i, a in enumerate(shown)]
    image, masks = enlarged(image, masks)
    alone = draw_masks(np.zeros_like(image), masks, inks, opacity=1)
    found = ", ".join(
        ("crowd of " if a.get("iscrowd") else "") + names[a["category_id"]] for a in shown
    )
    said = [
        f"image {record['id']}, {record['width']} x {record['height']}",
        found or "nothing annotated",
    ]
    title = f"Split {split.name}: {record['file_name']}"
    return gallery(
        [image, draw_masks(image, masks, inks), alone], [*said, "the masks alone"], 3, title
    )


def browser(splits: dict[str, Split]) -> "VBox":
    """Menus for split and category and a slider over the pictures that hold it; the picture follows them."""
    import ipywidgets as widgets

    first = next(iter(splits))
    split = widgets.Dropdown(options=list(splits), value=first, description="split")
    category = widgets.Dropdown(options=[EVERY], value=EVERY, description="category")
    number = widgets.IntSlider(0, 0, 0, description="picture", continuous_update=False)
    picture = widgets.Image(format="png")
    found: list[dict] = []

    def draw(*_) -> None:
        if found:
            png = io.BytesIO()
            annotated(splits[split.value], found[number.value], category.value).savefig(
                png, format="png", dpi=100
            )
            picture.value = png.getvalue()

    def choose(*_) -> None:
        found[:] = holding(splits[split.value], category.value)
        number.max = max(0, len(found) - 1)
        number.value = 0
        number.description = f"1 of {len(found)}" if len(found) < 2 else "picture"
        draw()

    def name(*_) -> None:
        category.options = [EVERY, *(c["name"] for c in splits[split.value].categories)]
        choose()

    split.observe(name, "value")
    category.observe(choose, "value")
    number.observe(draw, "value")
    name()
    return widgets.VBox([widgets.HBox([split, category, number]), picture])
