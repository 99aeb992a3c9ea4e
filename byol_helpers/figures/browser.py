"""Browsing annotated images: one of them as a figure, and menus around it for a live notebook."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from byol_helpers.coco.dataset import Split
from byol_helpers.coco.images import read_image
from byol_helpers.coco.masks import decode_mask
from byol_helpers.figures.fonts import make_readable
from byol_helpers.figures.pictures import (
    choose_inks,
    draw_gallery,
    draw_masks,
    enlarge_image,
    name_annotations,
)

if TYPE_CHECKING:
    from ipywidgets import VBox

EVERY_CATEGORY = "every category"


def find_images_with(split: Split, category: str = EVERY_CATEGORY) -> list[dict]:
    """Image records that hold an object of a category, by its name; all for ``EVERY_CATEGORY``."""
    if category == EVERY_CATEGORY:
        return split.images
    key = next(c["id"] for c in split.categories if c["name"] == category)
    found = []
    for record in split.images:
        annotations = split.annotations.get(record["id"], [])
        if any(annotation["category_id"] == key for annotation in annotations):
            found.append(record)
    return found


def draw_annotated(split: Split, record: dict, category: str = EVERY_CATEGORY) -> Figure:
    """An image, the masks of a category drawn over it, and the masks alone; crowds in white."""
    names = {c["id"]: c["name"] for c in split.categories}
    image = read_image(split.path(record))
    shown = []
    for annotation in split.annotations.get(record["id"], []):
        if category in (EVERY_CATEGORY, names[annotation["category_id"]]):
            shown.append(annotation)
    masks = [decode_mask(annotation, *image.shape[:2]) for annotation in shown]
    inks = choose_inks(shown)
    image, masks = enlarge_image(image, masks)
    alone = draw_masks(np.zeros_like(image), masks, inks, opacity=1)
    captions = [
        f"image {record['id']}, {record['width']} x {record['height']}",
        ", ".join(name_annotations(shown, names)) or "nothing annotated",
        "the masks alone",
    ]
    title = f"Split {split.name}: {record['file_name']}"
    return draw_gallery([image, draw_masks(image, masks, inks), alone], captions, 3, title)


def build_browser(splits: dict[str, Split]) -> "VBox":
    """Menus for split and category, a slider over the images that hold it, and the image."""
    import ipywidgets as widgets

    first = next(iter(splits))
    split: Any = widgets.Dropdown(options=list(splits), value=first, description="split")
    category: Any = widgets.Dropdown(
        options=[EVERY_CATEGORY], value=EVERY_CATEGORY, description="category"
    )
    number: Any = widgets.IntSlider(0, 0, 0, description="picture", continuous_update=False)
    image: Any = widgets.Image(format="png")
    found: list[dict] = []

    def draw(*_) -> None:
        if found:
            png = io.BytesIO()
            fig = draw_annotated(splits[split.value], found[number.value], category.value)
            make_readable(fig)
            fig.savefig(png, format="png", dpi=100)
            image.value = png.getvalue()

    def choose(*_) -> None:
        found[:] = find_images_with(splits[split.value], category.value)
        number.max = max(0, len(found) - 1)
        number.value = 0
        number.description = f"1 of {len(found)}" if len(found) < 2 else "picture"
        draw()

    def list_categories(*_) -> None:
        category.options = [EVERY_CATEGORY, *(c["name"] for c in splits[split.value].categories)]
        choose()

    split.observe(list_categories, "value")
    category.observe(choose, "value")
    number.observe(draw, "value")
    list_categories()
    return widgets.VBox([widgets.HBox([split, category, number]), image])
