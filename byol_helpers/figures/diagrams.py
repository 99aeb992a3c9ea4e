"""The two drawings that explain the work, the pipeline and BYOL, with generated scenes in them."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from byol_helpers.figures.canvas import (
    add_text,
    create_sheet,
    draw_arrow,
    draw_backbone,
    draw_badge,
    draw_box,
    draw_funnel,
    draw_path,
    draw_thumbnail,
    mix_with_white,
)
from byol_helpers.figures.pictures import OBJECTS, draw_masks
from byol_helpers.figures.style import ARM_COLOURS, INK, SOFT, get_label
from byol_helpers.synthetic.scenes import make_crop, make_scene

SEED = 7  # of the scenes in the drawings
PIXELS = 224  # their side
DRAWN_ARMS = ("byol", "supervised", "random")
MIDDLES = {"byol": 4.12, "supervised": 2.76, "random": 1.7}  # middle of each arm's lane, inches
GROUND = "#F3F4F6"
PALE_GREY = "#C9CDD4"


def draw_pipeline(metrics: dict[str, dict] | None = None) -> Figure:
    """The whole work: images, three sets of weights, Mask R-CNN, scores, cut-outs, scorecard.

    Args:
        metrics: evaluations of the arms byol, supervised and random, as
            ``bars.plot_average_precision`` takes them; their mask AP with its interval is drawn
            then. Without them the place of the numbers is marked.
    """
    fig, ax = create_sheet(9.6, 5.66)
    add_text(
        ax,
        0.12,
        5.47,
        "Can a network that learned without labels segment objects better?",
        size=13,
        ha="left",
        weight="bold",
    )
    for arm, y in MIDDLES.items():
        up, down = {"byol": (0.68, 0.68), "supervised": (0.45, 0.54), "random": (0.45, 0.46)}[arm]
        draw_box(
            ax,
            0.1,
            y - down,
            9.4,
            up + down,
            mix_with_white(ARM_COLOURS[arm], 0.1),
            radius=0.1,
            zorder=0,
        )
    heads = (
        (0.26, "Images"),
        (1.78, "Pretrain"),
        (3.98, "Transfer"),
        (5.08, "Fine-tune"),
        (6.67, "Evaluate"),
        (8.02, "Cut out"),
    )
    for number, (x, text) in enumerate(heads, 1):
        draw_badge(ax, x, 5.06, number, text)
    _draw_byol_lane(ax, MIDDLES["byol"])
    _draw_supervised_lane(ax, MIDDLES["supervised"])
    _draw_random_lane(ax, MIDDLES["random"])
    if metrics and not _all_have_intervals(metrics):
        metrics = None
    high = max(m["mask"]["AP"]["high"] for m in metrics.values()) if metrics else 1.0
    top = max(1, math.ceil(10 * high)) / 10
    for arm, y in MIDDLES.items():
        _draw_from_weights_on(ax, arm, y, (metrics or {}).get(arm), top)
    draw_path(
        ax,
        [(4.22, MIDDLES["supervised"] + 0.37), (4.22, 3.325), (2.81, 3.325), (2.81, 3.61)],
        INK,
        1.2,
    )
    add_text(ax, 4.29, 3.325, "both networks start from these weights", size=8, ha="left")
    _draw_last_row(ax)
    return fig


def _all_have_intervals(metrics: dict[str, dict]) -> bool:
    """Whether mask AP and its interval are defined in every evaluation: neither None nor nan."""
    entries = [m["mask"]["AP"] for m in metrics.values()]
    ends = [[entry[end] for end in ("value", "low", "high")] for entry in entries]
    return bool(np.isfinite(np.array(ends, dtype=float)).all())


def _draw_byol_lane(ax: Axes, y: float) -> None:
    ink = ARM_COLOURS["byol"]
    for step, index in enumerate((25, 35, 7)):
        draw_thumbnail(
            ax,
            0.22 + 0.22 * step,
            y - 0.14 - 0.14 * step,
            _make_scene(index),
            0.76,
            zorder=2 + step,
        )
    add_text(ax, 0.82, y - 0.56, "unlabelled scenes", size=8)
    draw_arrow(ax, (1.44, y), (1.64, y), ink)
    first, second = _make_views(_make_scene(7))
    draw_thumbnail(ax, 1.7, y + 0.1, first, 0.52, mix_with_white(ink, 0.6))
    draw_thumbnail(ax, 1.7, y - 0.46, second, 0.52, mix_with_white(ink, 0.6))
    add_text(ax, 1.96, y - 0.56, "two views", size=8)
    draw_box(ax, 2.4, y - 0.49, 0.82, 1.15, "none", INK, 0.9, zorder=2, linestyle="--")
    for offset, name, fill, on in (
        (0.36, "online", ink, "white"),
        (-0.2, "target", mix_with_white(ink, 0.22), INK),
    ):
        draw_arrow(ax, (2.26, y + offset), (2.42, y + offset), ink)
        draw_funnel(ax, 2.45, y + offset, 0.72, 0.5, 0.3, fill, ink)
        add_text(ax, 2.8, y + offset, name, size=8.5, ink=on, weight="bold", zorder=4)
    draw_arrow(ax, (2.81, y + 0.145), (2.81, y + 0.015), ink, 1.2)
    draw_arrow(ax, (3.2, y + 0.36), (3.39, y + 0.19), ink)
    draw_arrow(ax, (3.2, y - 0.2), (3.39, y - 0.03), ink)
    add_text(ax, 3.5, y + 0.08, "agree", size=8.5, weight="bold")
    add_text(ax, 3.6, y - 0.43, "BYOL:\nno labels", size=8)


def _draw_supervised_lane(ax: Axes, y: float) -> None:
    ink = ARM_COLOURS["supervised"]
    for step, index in enumerate((3, 6, 9)):
        draw_thumbnail(ax, 0.22 + 0.42 * step, y - 0.14, make_crop(SEED, index, 96)[0], 0.39)
    add_text(ax, 0.825, y - 0.3, "labelled single objects", size=8)
    draw_arrow(ax, (1.53, y + 0.05), (2.4, y + 0.05), ink)
    draw_funnel(ax, 2.45, y + 0.05, 0.72, 0.5, 0.3, ink, ink)
    add_text(ax, 2.81, y + 0.05, "classify", size=8.5, ink=INK, weight="bold", zorder=4)
    add_text(ax, 2.8, y - 0.33, "in ImageNet's place", size=8)
    draw_arrow(ax, (3.2, y + 0.05), (3.9, y + 0.05), ink)


def _draw_random_lane(ax: Axes, y: float) -> None:
    ink = ARM_COLOURS["random"]
    noise = (
        np.random.default_rng(3)
        .normal(128, 60, (7, 21, 1))
        .clip(0, 255)
        .repeat(3, axis=2)
        .astype(np.uint8)
    )
    ax.imshow(
        noise,
        extent=(0.22, 1.45, y - 0.14, y + 0.27),
        aspect="auto",
        zorder=2,
        interpolation="nearest",
    )
    add_text(ax, 0.825, y - 0.3, "random numbers", size=8)
    draw_arrow(ax, (1.53, y + 0.05), (3.9, y + 0.05), ink)
    add_text(ax, 2.7, y + 0.15, "no pretraining", size=8)


def _draw_from_weights_on(ax: Axes, arm: str, y: float, metrics: dict | None, top: float) -> None:
    """The part that is the same in every lane: backbone, Mask R-CNN, score, cut-out."""
    ink = ARM_COLOURS[arm]
    on = INK if arm == "supervised" else "white"
    if arm == "byol":
        draw_arrow(ax, (3.73, y + 0.05), (3.9, y + 0.05), ink)
    draw_backbone(ax, 3.95, y + 0.05, ink)
    add_text(
        ax,
        4.27,
        y - 0.26,
        get_label(arm).replace(" (stand-in)", "\n(stand-in)"),
        size=8,
        weight="bold",
        linespacing=1.0,
        va="top",
    )
    draw_arrow(ax, (4.68, y + 0.05), (4.92, y + 0.05), ink)
    draw_box(ax, 4.96, y - 0.24, 1.28, 0.58, ink, zorder=2)
    add_text(ax, 5.6, y + 0.05, "Mask R-CNN", size=9.5, ink=on, weight="bold", zorder=4)
    draw_arrow(ax, (6.27, y + 0.05), (6.5, y + 0.05), ink)
    _draw_score(ax, 6.55, y + 0.05, ink, metrics, top)
    draw_arrow(ax, (7.68, y + 0.05), (7.9, y + 0.05), ink)
    index = {"byol": 78, "supervised": 131, "random": 412}[arm]
    made = make_scene(SEED, index, PIXELS, "test")
    largest = max(made.instances, key=lambda instance: instance.mask.sum()).mask
    draw_thumbnail(ax, 7.93, y - 0.28, made.image, 0.66)
    draw_arrow(ax, (8.61, y + 0.05), (8.735, y + 0.05), ink)
    draw_thumbnail(ax, 8.76, y - 0.28, made.image * largest[..., None], 0.66, ink)


def _draw_score(ax: Axes, x: float, y: float, ink: str, metrics: dict | None, top: float) -> None:
    """A mask AP with its interval on an axis from 0 to ``top``, or the sign of one."""
    draw_box(ax, x, y - 0.29, 1.1, 0.58, "white", mix_with_white(ink, 0.6), zorder=2)
    left = x + 0.12
    width = 0.86
    line = y - 0.08
    entry = metrics["mask"]["AP"] if metrics else {"value": 0.5, "low": 0.3, "high": 0.62}
    low, value, high = (left + width * entry[key] / top for key in ("low", "value", "high"))
    said = f"AP  {100 * entry['value']:.1f}" if metrics else "AP, interval"
    add_text(ax, x + 0.55, y + 0.14, said, size=8.5 if metrics else 7.8, weight="bold", zorder=4)
    ax.plot([left, left + width], [line] * 2, color=PALE_GREY, lw=1, zorder=3)
    for end, number in ((left, 0), (left + width, 100 * top)):
        ax.plot([end, end], [line - 0.03, line + 0.03], color=PALE_GREY, lw=1, zorder=3)
        add_text(ax, end, line - 0.115, f"{number:.0f}", size=6.5, ink=SOFT, zorder=4)
    ax.plot(
        [low, high],
        [line] * 2,
        color=mix_with_white(ink, 0.5),
        lw=6,
        zorder=4,
        solid_capstyle="butt",
    )
    ax.plot(
        [value] * 2, [line - 0.065, line + 0.065], color=ink, lw=2, zorder=5, solid_capstyle="butt"
    )


def _draw_last_row(ax: Axes) -> None:
    """The last row: what all lanes share, and where their numbers go."""
    add_text(
        ax,
        0.22,
        0.8,
        "The thesis's three arms differ in their initial weights alone.",
        size=9,
        ha="left",
        weight="bold",
    )
    add_text(
        ax,
        0.22,
        0.46,
        "The course adds a fourth, BYOL from random weights. A laptop runs all\n"
        "of it on generated scenes; COCO and one's own images take the same path.",
        size=8,
        ha="left",
        ink=SOFT,
    )
    for step, index in enumerate((13, 24)):
        made = make_scene(SEED, index, PIXELS, "test")
        inks = [OBJECTS[k % len(OBJECTS)] for k in range(len(made.instances))]
        draw_thumbnail(
            ax,
            5.0 + 0.62 * step,
            0.43,
            draw_masks(made.image, [i.mask for i in made.instances], inks),
            0.58,
        )
    draw_arrow(ax, (5.6, 1.03), (5.6, 1.18), INK)
    add_text(ax, 5.6, 0.22, "the same few scenes\nwith masks, for all arms", size=8)
    draw_box(ax, 6.55, 0.12, 2.95, 0.9, GROUND, PALE_GREY, 1.0)
    draw_badge(ax, 6.76, 0.84, 7, "Scorecard")
    add_text(ax, 6.68, 0.645, "each claim of the thesis gets a verdict:", size=8, ha="left")
    add_text(
        ax,
        6.68,
        0.355,
        "reproduced · not reproduced\nequal within ±margin · undecided\nnot tested at this scale",
        size=8,
        ha="left",
        weight="bold",
        linespacing=1.2,
    )
    draw_arrow(ax, (7.1, 1.2), (7.1, 1.05), INK)


def draw_byol() -> Figure:
    """BYOL: two views, an online network that predicts, a target that follows (thesis 3.2)."""
    fig, ax = create_sheet(9.6, 4.06)
    ink = ARM_COLOURS["byol"]
    up = 2.8
    low = 1.24
    mid = (up + low) / 2
    add_text(
        ax,
        0.12,
        3.87,
        "BYOL: predict from one view what a slower copy of the network says of another",
        size=12.5,
        ha="left",
        weight="bold",
    )
    draw_box(ax, 2.5, up - 0.6, 5.55, 1.36, mix_with_white(ink, 0.1), radius=0.1, zorder=0)
    draw_box(ax, 2.5, low - 0.76, 5.55, 1.26, GROUND, radius=0.1, zorder=0)
    add_text(
        ax,
        2.64,
        up + 0.58,
        "Online network, weights θ: trained by gradients",
        9,
        ink,
        "left",
        weight="bold",
    )
    add_text(
        ax,
        2.64,
        low - 0.59,
        "Target network, weights ξ: not trained, follows θ",
        9,
        SOFT,
        "left",
        weight="bold",
    )
    draw_thumbnail(ax, 0.12, mid - 0.5, _make_scene(7), 1.0)
    add_text(ax, 0.62, mid - 0.6, "a picture x,\nno label", va="top")
    for y, view, name, side in zip(
        (up, low), _make_views(_make_scene(7)), ("v", "v′"), (1, -1), strict=True
    ):
        draw_arrow(ax, (1.15, mid + side * 0.2), (1.56, y - side * 0.2))
        draw_thumbnail(ax, 1.6, y - 0.33, view, 0.66, mix_with_white(ink, 0.6))
        add_text(ax, 1.93, y + side * 0.45, f"view {name}")
        draw_arrow(ax, (2.3, y), (2.8, y))
    add_text(ax, 1.42, mid, "random crop,\nflip, colours, blur", ha="left")
    _draw_networks(ax, up, r"\theta", ink, "white", ("$y$", "$z$", "$q$"))
    _draw_networks(ax, low, r"\xi", mix_with_white(ink, 0.22), INK, ("$y'$", "$z'$"))
    for x in (3.3, 4.95):
        draw_arrow(ax, (x, up - 0.38), (x, low + 0.4), ink, 1.4)
    add_text(
        ax,
        5.1,
        mid,
        "moving average after every step:\n$\\xi \\leftarrow \\tau\\,\\xi + (1-\\tau)\\,\\theta$",
        size=9.5,
        ha="left",
        linespacing=1.5,
    )
    draw_path(ax, [(7.1, up), (8.82, up), (8.82, mid + 0.42)], ink)
    add_text(ax, 7.5, up + 0.11, "$q$", size=10)
    add_text(ax, 7.5, up - 0.13, "256", size=7.5, ink=SOFT)
    draw_path(ax, [(5.41, low), (8.82, low), (8.82, mid - 0.42)])
    add_text(ax, 5.82, low + 0.11, "$z'$", size=10)
    add_text(ax, 5.82, low - 0.13, "256", size=7.5, ink=SOFT)
    for x in (6.72, 6.8):
        ax.plot(
            [x - 0.05, x + 0.05],
            [low - 0.13, low + 0.13],
            color=ARM_COLOURS["imagenet"],
            lw=2,
            zorder=4,
        )
    add_text(
        ax, 6.76, low + 0.27, "stop-gradient", size=9, ink=ARM_COLOURS["imagenet"], weight="bold"
    )
    draw_box(ax, 8.14, mid - 0.38, 1.36, 0.76, "white", INK, 1.4, zorder=2)
    add_text(ax, 8.82, mid + 0.17, "Loss", size=10, weight="bold", zorder=4)
    add_text(ax, 8.82, mid - 0.1, "$2-2\\,\\cos(q,\\,z')$", size=10.5, zorder=4)
    add_text(
        ax,
        0.12,
        0.21,
        "Small numbers: lengths of the vectors with ResNet-50 (ResNet-18: 512 features). The loss "
        "is also taken with the views exchanged.\nAfterwards only the online encoder is kept, the "
        "backbone of Mask R-CNN.",
        size=8.5,
        ha="left",
        ink=SOFT,
    )
    return fig


def _draw_networks(
    ax: Axes, y: float, weights: str, fill: str, on: str, outputs: tuple[str, ...]
) -> None:
    """Encoder, projector and, for three outputs, predictor; arrows name what flows."""
    parts = (
        (2.84, 0.92, 0.8, 0.46, "encoder", "f", "2048"),
        (4.56, 0.8, 0.56, 0.38, "projector", "g", "256"),
        (6.2, 0.84, 0.48, 0.48, "predictor", "q", "256"),
    )
    for number, (output, (x, width, tall, small, name, letter, length)) in enumerate(
        zip(outputs, parts, strict=False)
    ):
        draw_funnel(ax, x, y, width, tall, small, fill, ARM_COLOURS["byol"])
        add_text(
            ax,
            x + width / 2,
            y,
            f"{name}\n${letter}_{{{weights}}}$",
            size=8.5,
            ink=on,
            zorder=4,
            weight="bold",
        )
        if number + 1 < len(outputs):
            end = parts[number + 1][0]
            draw_arrow(ax, (x + width + 0.05, y), (end - 0.04, y), ARM_COLOURS["byol"])
            add_text(ax, (x + width + end) / 2, y + 0.11, output, size=10)
            add_text(ax, (x + width + end) / 2, y - 0.13, length, size=7.5, ink=SOFT)


def _make_scene(index: int) -> np.ndarray:
    return make_scene(SEED, index, PIXELS, "test").image


def _make_views(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two views as BYOL makes them, chosen by hand: crop, flip, colours, blur; crop and grey."""
    side = image.shape[0]
    whole = Image.fromarray(image)

    def crop_part(left: float, top: float, wide: float) -> Image.Image:
        return whole.resize(
            (160, 160),
            Image.Resampling.BICUBIC,
            box=(left * side, top * side, (left + wide) * side, (top + wide) * side),
        )

    first = ImageEnhance.Color(ImageOps.mirror(crop_part(0.02, 0.0, 0.55))).enhance(1.5)
    first = ImageEnhance.Brightness(first).enhance(1.12).filter(ImageFilter.GaussianBlur(1.5))
    second = (
        ImageEnhance.Contrast(ImageOps.grayscale(crop_part(0.15, 0.1, 0.75)))
        .enhance(1.2)
        .convert("RGB")
    )
    return np.asarray(first), np.asarray(second)
