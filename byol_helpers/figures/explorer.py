"""Trying background removal by hand: menus for image, arm, object, threshold and background."""

import io
import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as Picture

from byol_helpers.background.compositing import fill_background, soften_mask
from byol_helpers.background.removal import choose_instances, merge_masks
from byol_helpers.coco.dataset import Split
from byol_helpers.coco.images import read_image
from byol_helpers.coco.masks import decode_mask
from byol_helpers.figures.pictures import draw_masks, enlarge_image
from byol_helpers.figures.style import ARM_COLOURS, get_colour, get_label

if TYPE_CHECKING:
    from ipywidgets import VBox

FILLS = {
    "black, as the thesis": "black",
    "transparent": "transparent",
    "blurred": "blur",
    "white": (255, 255, 255),
    "green screen": (0, 177, 64),
}
EVERY_OBJECT = 0  # in the menu of objects: all of them together
SQUARES = 20  # of the chequerboard that stands for transparency, along the longer side


def is_live() -> bool:
    """Whether a reader has this notebook open, in JupyterLab, Jupyter Notebook, Colab or VS Code.

    A notebook that is executed without one should not show widgets: they would be dead in the file.
    """
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    in_editor = shell is not None and "__vsc_ipynb_file__" in shell.user_ns
    return "JPY_SESSION_NAME" in os.environ or "google.colab" in sys.modules or in_editor


def list_objects(
    detections: list[dict], score_threshold: float, categories: list[dict]
) -> dict[str, int]:
    """What can be chosen in one image, {"1: star 0.98": 1, ...} by score, and all together."""
    names = {category["id"]: category["name"] for category in categories}
    found = choose_instances(detections, "all", score_threshold)
    listed = {}
    for number, detection in enumerate(found, start=1):
        name = names[detection["category_id"]]
        listed[f"{number}: {name} {detection['score']:.2f}"] = number
    if len(found) > 1:
        listed[f"all {len(found)} together"] = EVERY_OBJECT
    return listed


def draw_removal(
    image: np.ndarray,
    detections: list[dict],
    score_threshold: float = 0.5,
    number: int = 1,
    background: str | tuple[int, int, int] = "black",
    ink: str = ARM_COLOURS["byol"],
) -> list[np.ndarray]:
    """The image with every detection outlined and the chosen one tinted; beside it the cut-out.

    Args:
        image: uint8 [H, W, 3], RGB; small ones are enlarged.
        detections: COCO results of this image.
        score_threshold: detections with a lower score are left out.
        number: which by score, from 1 on; ``EVERY_OBJECT`` for all. A number that there is not
            gives an empty cut-out.
        background: as in ``fills.fill_background``.
        ink: colour of the masks.

    Returns:
        Two images of equal size, uint8 [h, w, 3].
    """
    size = image.shape[:2]
    every = choose_instances(detections, "all", score_threshold)
    kept = every if number == EVERY_OBJECT else every[number - 1 : number]
    masks = [decode_mask(d, *size) for d in every]
    large, masks = enlarge_image(image, [*masks, merge_masks(kept, size)])
    before = draw_masks(
        draw_masks(large, masks[:-1], ink, opacity=0), masks[-1:] if kept else [], ink, opacity=0.5
    )
    after = fill_background(large, soften_mask(masks[-1]), background)
    return [before, lay_on_chequers(after) if background == "transparent" else after]


def lay_on_chequers(rgba: np.ndarray) -> np.ndarray:
    """An image with opacity, uint8 [H, W, 4], laid on grey squares, uint8 [H, W, 3]."""
    y, x = np.indices(rgba.shape[:2]) // max(1, max(rgba.shape[:2]) // SQUARES)
    ground = np.where((x + y) % 2, 255, 205).astype(np.uint8)[..., None].repeat(3, axis=2)
    return fill_background(rgba[..., :3], rgba[..., 3].astype(np.float32) / 255, ground)


def build_explorer(
    split: Split,
    results: dict[str, list[dict]],
    image_ids: list[int],
    score_threshold: float = 0.5,
    image_id: int | None = None,
) -> "VBox":
    """A widget that cuts an object out of a test image.

    Menus choose image, arm, object and background, a slider the least score.

    Args:
        split: where images and category names come from.
        results: for each arm, COCO results with RLE masks (``detections.json``).
        image_ids: images in the menu.
        score_threshold: where the slider begins.
        image_id: the image that is shown first; by default the first one.
    """
    from ipywidgets import Dropdown, FloatSlider, HBox, Image, Label, VBox

    records = {record["id"]: record for record in split.images}
    wide = {"style": {"description_width": "6.5em"}}
    image: Any = Dropdown(
        description="image",
        options=[(f"{i}: {records[i]['file_name']}", i) for i in image_ids],
        value=image_id or image_ids[0],
        **wide,
    )
    arm: Any = Dropdown(
        description="weights", options=[(get_label(name), name) for name in results], **wide
    )
    least: Any = FloatSlider(
        description="least score", min=0, max=1, step=0.05, value=score_threshold, **wide
    )
    chosen: Any = Dropdown(description="object", **wide)
    ground: Any = Dropdown(description="background", options=FILLS, **wide)
    shown: Any = Image(format="png")
    said: Any = Label()

    def select_detections() -> list[dict]:
        return [d for d in results[arm.value] if d["image_id"] == image.value]

    def draw(_=None) -> None:
        pixels = read_image(split.path(records[image.value]))
        pair = draw_removal(
            pixels,
            select_detections(),
            least.value,
            chosen.value or EVERY_OBJECT,
            ground.value,
            get_colour(arm.value),
        )
        shown.value = _encode_png(np.hstack(pair))

    def update_objects(_=None) -> None:
        listed = list_objects(select_detections(), least.value, split.categories)
        before = chosen.value
        chosen.unobserve(draw, "value")  # drawn once, below
        chosen.options = list(listed.items())
        chosen.value = before if before in listed.values() else next(iter(listed.values()), None)
        chosen.observe(draw, "value")
        enough = len(set(listed.values()) - {EVERY_OBJECT})
        said.value = f"{len(select_detections())} detections, {enough} with this score or more"
        draw()

    for menu in (image, arm, least):
        menu.observe(update_objects, "value")
    for menu in (chosen, ground):
        menu.observe(draw, "value")
    update_objects()
    return VBox([HBox([VBox([image, arm, chosen]), VBox([least, ground, said])]), shown])


def _encode_png(pixels: np.ndarray) -> bytes:
    content = io.BytesIO()
    Picture.fromarray(pixels).save(content, "PNG")
    return content.getvalue()
