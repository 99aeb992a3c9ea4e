"""Pictures with masks: scenes, detections beside the ground truth, cut-outs, and plain galleries."""

import math
import textwrap
from collections import Counter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

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
SIDE = 360  # small pictures are enlarged to this many pixels before masks are drawn, so that outlines are fine
_WRAPPING = {"max_lines": 3, "placeholder": " …"}  # of captions
LINE = 0.155  # height of a line of a caption, inches


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
        rgb = np.array([int(ink[i : i + 2], 16) for i in (1, 3, 5)], np.float32)
        out[mask] += opacity * (rgb - out[mask])
        rim = mask & ~_erode(mask, width)
        dark = (
            _dilate(mask, max(1, width // 2)) & ~mask
        )  # keeps the outline visible on ground of its own colour
        out[dark] *= 0.55
        out[rim] = rgb
    return out.round().astype(np.uint8)


def draw_scenes(split: Split, count: int = 12, columns: int = 6, title: str = "") -> Figure:
    """The first ``count`` images of a split, each annotated object in a colour of its own, crowds in white.

    Below each picture stands what is annotated in it.
    """
    names = {category["id"]: category["name"] for category in split.categories}
    pictures, captions = [], []
    for record in split.images[:count]:
        image = read_image(split.path(record))
        annotations = split.annotations.get(record["id"], [])
        masks = [decode_mask(a, *image.shape[:2]) for a in annotations]
        inks = [
            CROWD if a.get("iscrowd") else OBJECTS[i % len(OBJECTS)]
            for i, a in enumerate(annotations)
        ]
        pictures.append(draw_masks(*enlarge_image(image, masks), inks))
        captions.append(
            _count_names(
                [
                    ("crowd of " if a.get("iscrowd") else "") + names[a["category_id"]]
                    for a in annotations
                ]
            )
        )
    return draw_gallery(pictures, captions, columns, title)


def draw_gallery(
    images: list[np.ndarray], captions: list[str] | None = None, columns: int = 6, title: str = ""
) -> Figure:
    """Pictures in a grid, uint8 [H, W, 3] or grey [H, W], each with a caption below it."""
    columns = max(1, min(columns, len(images)))
    cell = WIDTH / columns
    broken = [
        textwrap.wrap(c, max(8, int(cell * 15.5)), **_WRAPPING)
        for c in captions or [""] * len(images)
    ]
    rows = math.ceil(len(images) / columns)
    room = LINE * max((len(lines) for lines in broken), default=0)
    fig = create_figure(rows * ((cell - 0.08) * _find_tallest(images) + room + 0.09) + 0.1, title)
    fig.get_layout_engine().set(w_pad=0.035, h_pad=0.03, wspace=0, hspace=0)
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
        image_ids: images to show, one row each.
        score_threshold: detections with a lower score are not shown.
        notes: {image id: {arm or ``ground-truth``: how the caption begins}}.
        title, subtitle: of the figure; what masks and captions are is added.
        beside: all images in one row, for a single arm.
    """
    names = {category["id"]: category["name"] for category in split.categories}
    records = {record["id"]: record for record in split.images}
    rows, captions = [], []
    for image_id in image_ids:
        image = read_image(split.path(records[image_id]))
        truth = [a for a in split.annotations.get(image_id, []) if not a.get("iscrowd")]
        found = {
            arm: _select_confident(every, image_id, score_threshold)
            for arm, every in results.items()
        }
        found = {"ground-truth": truth} | found
        rows.append(
            [_draw_entries(image, entries, get_colour(arm)) for arm, entries in found.items()]
        )
        heads = (notes or {}).get(image_id, {})
        captions.append(
            [
                f"{heads.get(arm, '')} {_list_entries(entries, names)}".lstrip()
                for arm, entries in found.items()
            ]
        )
    names, blocks = ["ground-truth", *results], 1
    if beside:
        rows, captions, blocks = [sum(rows, [])], [sum(captions, [])], len(rows)
    said = f"Masks with a score of at least {score_threshold:g}; below, the classes given, with scores if few."
    return _draw_table(rows, names * blocks, captions, title, f"{subtitle} {said}".lstrip(), blocks)


def draw_cutouts(rows: list[dict[str, np.ndarray]], title: str) -> Figure:
    """Cut-outs side by side (figures 4.11 to 4.14): one picture in each row, one treatment in each column.

    Args:
        rows: for each picture, {column: uint8 [H, W, 3]}. A column is an arm's id, ``ground-truth``, or any text.
            Four rows and more are folded into two blocks, if they fit beside each other.
        title: of the figure.
    """
    names = list(rows[0])
    pictures = [[row[name] for name in names] for row in rows]
    if len(rows) >= 4 and len(names) <= 5:
        half = math.ceil(len(rows) / 2)
        blank = [np.full_like(picture, 255) for picture in pictures[-1]]
        second = pictures[half:] + [blank] * (2 * half - len(rows))
        pictures = [left + right for left, right in zip(pictures[:half], second, strict=True)]
        names = names * 2
    return _draw_table(pictures, names, None, title, "", blocks=len(names) // len(rows[0]))


def _draw_table(
    rows: list[list[np.ndarray]],
    names: list[str],
    captions: list[list[str]] | None,
    title: str,
    subtitle: str,
    blocks: int = 1,
) -> Figure:
    """Pictures in rows under coloured column heads; a gap between blocks of columns."""
    columns, gap = len(names), 0.16
    cell = (WIDTH - 0.1 - gap * (blocks - 1)) / columns
    if not captions:
        cell = min(cell, 1.9)
    broken = (
        [[textwrap.wrap(c, max(8, int(cell * 16)), **_WRAPPING) for c in row] for row in captions]
        if captions
        else []
    )
    rooms = [LINE * max(map(len, row)) + 0.04 for row in broken] or [0.0] * len(rows)
    heights = [
        (cell - 0.06) * _find_tallest(row) + room + 0.06
        for row, room in zip(rows, rooms, strict=True)
    ]
    heads = [
        "\n".join(textwrap.wrap(get_label(name), max(6, int(cell * 11.5)), break_on_hyphens=False))
        for name in names
    ]
    body, head = sum(heights), 0.2 + LINE * max(text.count("\n") + 1 for text in heads)
    fig = create_figure(body + head, title, subtitle)
    fig.set_layout_engine("none")
    width, whole = fig.get_size_inches()
    top = body + 0.02
    for row, pictures in enumerate(rows):
        for column, image in enumerate(pictures):
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
    """Head of a column, and a bar in its colour if it is an arm's; ``tall``: height of the axes in inches."""
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
    return (
        ", ".join(
            name if n == 1 else f"{n}\u00a0×\u00a0{name}" for name, n in Counter(names).items()
        )
        or "no object"
    )


def show_image(ax: Axes, image: np.ndarray) -> None:
    """A picture, uint8 [H, W, 3] or grey [H, W], without ticks, grid and frame."""
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
    """A small picture and its masks, smoothly enlarged; a large one is returned as it is."""
    factor = SIDE / max(image.shape[:2])
    if factor <= 1:
        return image, masks
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))

    def scaled(pixels: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))

    return scaled(image), [scaled(mask.astype(np.uint8) * 255) > 127 for mask in masks]


def _dilate(mask: np.ndarray, by: int) -> np.ndarray:
    """Dilation with a diamond: every pixel within ``by`` steps of the mask."""
    for _ in range(by):
        wide = np.pad(mask, 1)
        mask = (
            wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
        )
    return mask


def _erode(mask: np.ndarray, by: int) -> np.ndarray:
    """Erosion with a diamond; what lies outside the picture counts as mask."""
    return ~_dilate(~mask, by)
