"""Images with masks: scenes, detections beside the ground truth, cut-outs, plain galleries."""

import math
import textwrap
from collections import Counter

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from PIL import Image, ImageColor

from byol_helpers.coco.dataset import Split
from byol_helpers.coco.images import read_image
from byol_helpers.coco.masks import decode_mask
from byol_helpers.figures.style import (
    ARM_COLOURS,
    INK,
    SOFT,
    WIDTH,
    create_figure,
    get_colour,
    get_label,
)

# Masks of single objects, in turn: bright on any ground, and none of them an arm's.
OBJECTS = ("#FFD92F", "#33E1ED", "#FF5DA2", "#A6FF4D", "#FF9E4A", "#C58BFF")
CROWD = "#FFFFFF"
# Small images are enlarged to this many pixels before masks are drawn, so that outlines are fine.
SIDE = 360
LINE = 0.155  # height of a line of a caption, inches
FOLDED = 6  # rows of detections from which on they stand in two blocks


def draw_masks(
    image: np.ndarray,
    masks: list[np.ndarray] | np.ndarray,
    colour: str | list[str],
    opacity: float = 0.38,
) -> np.ndarray:
    """A copy of an image with tinted masks and their outlines.

    Args:
        image: uint8 [H, W, 3].
        masks: bool [H, W] each.
        colour: hex string for all of them, or one for each.
        opacity: of the tint, 0 to 1.

    Returns:
        uint8 [H, W, 3].
    """
    out = image.astype(np.float32)
    colours = [colour] * len(masks) if isinstance(colour, str) else colour
    width = max(1, round(max(image.shape[:2]) / 160))
    for mask, ink in zip(masks, colours, strict=True):
        rgb = np.array(ImageColor.getrgb(ink), np.float32)
        out[mask] += opacity * (rgb - out[mask])
        rim = mask & ~_erode(mask, width)
        # Darkened, the surroundings keep the outline visible on ground of its own colour.
        dark = _dilate(mask, max(1, width // 2)) & ~mask
        out[dark] *= 0.55
        out[rim] = rgb
    return out.round().astype(np.uint8)


def draw_scenes(split: Split, count: int = 12, columns: int = 6, title: str = "") -> Figure:
    """The first ``count`` images of a split, each object in a colour of its own, crowds in white.

    Below each image stands what is annotated in it.
    """
    names = {category["id"]: category["name"] for category in split.categories}
    drawn = []
    captions = []
    for record in split.images[:count]:
        image = read_image(split.path(record))
        annotations = split.annotations.get(record["id"], [])
        masks = [decode_mask(annotation, *image.shape[:2]) for annotation in annotations]
        drawn.append(draw_masks(*enlarge_image(image, masks), choose_inks(annotations)))
        captions.append(_count_names(name_annotations(annotations, names)))
    return draw_gallery(drawn, captions, columns, title)


def choose_inks(annotations: list[dict]) -> list[str]:
    """A colour for each annotation, in turn; white for a crowd."""
    inks = []
    for number, annotation in enumerate(annotations):
        inks.append(CROWD if annotation.get("iscrowd") else OBJECTS[number % len(OBJECTS)])
    return inks


def name_annotations(annotations: list[dict], names: dict[int, str]) -> list[str]:
    """The category of each annotation, by the category ids' names; crowds are called so."""
    said = []
    for annotation in annotations:
        crowd = "crowd of " if annotation.get("iscrowd") else ""
        said.append(crowd + names[annotation["category_id"]])
    return said


def draw_gallery(
    images: list[np.ndarray], captions: list[str] | None = None, columns: int = 6, title: str = ""
) -> Figure:
    """Pictures in a grid, uint8 [H, W, 3] or grey [H, W], each with a caption below it."""
    columns = max(1, min(columns, len(images)))
    cell = WIDTH / columns
    letters = max(8, int(cell * 15.5))
    broken = [_wrap_caption(text, letters) for text in captions or [""] * len(images)]
    rows = math.ceil(len(images) / columns)
    room = LINE * max((len(lines) for lines in broken), default=0)
    fig = create_figure(rows * ((cell - 0.08) * _find_tallest(images) + room + 0.09) + 0.1, title)
    layout = fig.get_layout_engine()
    if isinstance(layout, ConstrainedLayoutEngine):
        layout.set(w_pad=0.035, h_pad=0.03, wspace=0, hspace=0)
    axes = fig.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[len(images) :]:
        ax.axis("off")
    for ax, image, lines in zip(axes.flat, images, broken, strict=False):
        show_image(ax, image)
        ax.set_anchor("S")
        ax.set_xlabel("\n".join(lines), size=8, color=SOFT, labelpad=3)
    return fig


def draw_detections(
    split: Split,
    results: dict[str, list[dict]],
    image_ids: list[int],
    score_threshold: float = 0.5,
    notes: dict[int, dict[str, str]] | None = None,
    title: str = "What each arm finds in the same test images",
    subtitle: str = "",
    beside: bool = False,
) -> Figure:
    """Test images in rows: the annotations, then what each arm found, in the arm's colour.

    Args:
        split: where images, annotations and category names come from.
        results: for each arm, COCO results with RLE masks (``detections.json``).
        image_ids: images to show, one row each; six and more are folded into two blocks, if these
            fit.
        score_threshold: detections with a lower score are not shown.
        notes: {image id: {arm or ``ground-truth``: how the caption begins}}.
        title, subtitle: of the figure; what masks and captions are is added.
        beside: all images in one row, for a single arm.
    """
    names = {category["id"]: category["name"] for category in split.categories}
    records = {record["id"]: record for record in split.images}
    rows = []
    captions = []
    for image_id in image_ids:
        image = read_image(split.path(records[image_id]))
        annotations = split.annotations.get(image_id, [])
        shown = {"ground-truth": [a for a in annotations if not a.get("iscrowd")]}
        for arm, detections in results.items():
            shown[arm] = _select_confident(detections, image_id, score_threshold)
        rows.append([_draw_entries(image, shown[name], get_colour(name)) for name in shown])
        heads = (notes or {}).get(image_id, {})
        texts = []
        for name, entries in shown.items():
            texts.append(f"{heads.get(name, '')} {_list_entries(entries, names)}".lstrip())
        captions.append(texts)
    columns = ["ground-truth", *results]
    blocks = 1
    if beside:
        blocks = len(rows)
        rows = [sum(rows, [])]
        captions = [sum(captions, [])]
    elif len(rows) >= FOLDED and len(columns) <= 5:
        blocks = 2
        rows = _fold_rows(rows, [np.full_like(image, 255) for image in rows[-1]])
        captions = _fold_rows(captions, [""] * len(columns))
    said = (
        f"{subtitle} Masks with a score of at least {score_threshold:g}; below, the classes given, "
        "with scores if few."
    )
    return _draw_table(rows, columns * blocks, captions, title, said.lstrip(), blocks)


def draw_cutouts(rows: list[dict[str, np.ndarray]], title: str) -> Figure:
    """Cut-outs (figures 4.11 to 4.14): one image in each row, one treatment in each column.

    Args:
        rows: for each image, {column: uint8 [H, W, 3]}. A column is an arm's id, ``ground-truth``,
            or any text. Four rows and more are folded into two blocks, if these fit.
        title: of the figure.
    """
    names = list(rows[0])
    images = [[row[name] for name in names] for row in rows]
    if len(rows) >= 4 and len(names) <= 5:
        images = _fold_rows(images, [np.full_like(image, 255) for image in images[-1]])
        names = names * 2
    return _draw_table(images, names, None, title, "", blocks=len(names) // len(rows[0]))


def _fold_rows(rows: list[list], blank: list) -> list[list]:
    """The second half of the rows beside the first; ``blank``: a row that fills up an odd one."""
    half = math.ceil(len(rows) / 2)
    second = rows[half:] + [blank] * (2 * half - len(rows))
    return [left + right for left, right in zip(rows[:half], second, strict=True)]


def _draw_table(
    rows: list[list[np.ndarray]],
    names: list[str],
    captions: list[list[str]] | None,
    title: str,
    subtitle: str,
    blocks: int = 1,
) -> Figure:
    """Pictures in rows under coloured column heads; a gap between blocks of columns."""
    columns = len(names)
    gap = 0.16
    cell = (WIDTH - 0.1 - gap * (blocks - 1)) / columns
    if not captions:
        cell = min(cell, 1.9)
    letters = max(8, int(cell * 16))
    broken = [[_wrap_caption(text, letters) for text in row] for row in captions or []]
    rooms = [LINE * max(map(len, row)) + 0.04 for row in broken] or [0.0] * len(rows)
    heights = []
    for row, room in zip(rows, rooms, strict=True):
        heights.append((cell - 0.06) * _find_tallest(row) + room + 0.06)
    letters = max(6, int(cell * 11.5))
    heads = []
    for name in names:
        lines = textwrap.wrap(get_label(name), letters, break_on_hyphens=False)
        heads.append("\n".join(lines))
    body = sum(heights)
    head = 0.2 + LINE * max(text.count("\n") + 1 for text in heads)
    fig = create_figure(body + head, title, subtitle)
    fig.set_layout_engine("none")
    width, whole = fig.get_size_inches()
    top = body + 0.02
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            left = 0.1 + column * cell + gap * (column // (columns // blocks))
            side = cell - 0.06
            tall = heights[row] - rooms[row] - 0.06
            ax = fig.add_axes((left / width, (top - tall) / whole, side / width, tall / whole))
            show_image(ax, image)
            ax.set_anchor("N")
            if row == 0:
                _draw_column_head(ax, heads[column], names[column], tall)
            if captions:
                ax.set_xlabel("\n".join(broken[row][column]), size=7.5, color=SOFT, labelpad=3)
        top -= heights[row]
    return fig


def _draw_column_head(ax: Axes, text: str, name: str, tall: float) -> None:
    """Head of a column, with a bar if it is an arm's; ``tall``: height of the axes in inches."""
    ax.set_title(text, size=9, loc="center", pad=9, color=INK, linespacing=1.05)
    if name in ARM_COLOURS:
        bar = Rectangle((0, 1 + 0.035 / tall), 1, 0.05 / tall, transform=ax.transAxes)
        ax.add_patch(bar)
        bar.set(color=get_colour(name), clip_on=False, lw=0)


def _draw_entries(image: np.ndarray, entries: list[dict], ink: str) -> np.ndarray:
    masks = [decode_mask(entry, *image.shape[:2]) for entry in entries]
    return draw_masks(*enlarge_image(image, masks), ink)


def _select_confident(results: list[dict], image_id: int, threshold: float) -> list[dict]:
    found = [r for r in results if r["image_id"] == image_id and r["score"] >= threshold]
    return sorted(found, key=lambda r: -r["score"])


def _list_entries(entries: list[dict], names: dict[int, str]) -> str:
    if not entries:
        return "nothing"
    if "score" not in entries[0] or len(entries) > 6:
        return _count_names([names[e["category_id"]] for e in entries])
    return ", ".join(f"{names[e['category_id']]}\u00a0{e['score']:.2f}" for e in entries)


def _count_names(names: list[str]) -> str:
    """Names with how often they occur: ``star, 2 × leaf``."""
    said = []
    for name, count in Counter(names).items():
        said.append(name if count == 1 else f"{count}\u00a0×\u00a0{name}")
    return ", ".join(said) or "no object"


def _wrap_caption(text: str, letters: int) -> list[str]:
    """The first lines of a caption, of so many letters at most."""
    return textwrap.wrap(text, letters, max_lines=3, placeholder=" …")


def show_image(ax: Axes, image: np.ndarray) -> None:
    """An image, uint8 [H, W, 3] or grey [H, W], without ticks, grid and frame."""
    ax.imshow(
        image,
        cmap="gray" if image.ndim == 2 else None,
        interpolation="lanczos",
        interpolation_stage="rgba",
    )
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


def _find_tallest(images: list[np.ndarray]) -> float:
    """Largest height over width, between a third and three."""
    return min(3.0, max((image.shape[0] / image.shape[1] for image in images), default=1.0))


def enlarge_image(
    image: np.ndarray, masks: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """A small image and its masks, smoothly enlarged; a large one is returned as it is."""
    factor = SIDE / max(image.shape[:2])
    if factor <= 1:
        return image, masks
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))

    def resize(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))

    return resize(image), [resize(mask.astype(np.uint8) * 255) > 127 for mask in masks]


def _dilate(mask: np.ndarray, by: int) -> np.ndarray:
    """Every pixel within ``by`` steps to the sides of a mask, bool [H, W]."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return cv2.dilate(mask.astype(np.uint8), cross, iterations=by) > 0


def _erode(mask: np.ndarray, by: int) -> np.ndarray:
    """The mask without ``by`` steps from its sides; what lies outside the image counts as mask."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    return cv2.erode(mask.astype(np.uint8), cross, iterations=by) > 0
