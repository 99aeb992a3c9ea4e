"""Figures that explain one idea of a lesson: toys, schedules, checks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from byol_helpers.figures.style import INK, OTHERS, SOFT, create_figure, get_colour

Rect = tuple[float, float, float, float]  # x, y of a corner, width, height
_OBJECT = "#F0E442"
_HIT = "#444444"
_MISS = "#882255"
_FAINT = "#B5BAC4"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.6, 1.1)), (0, (5, 1.4, 1, 1.4)), (0, (8, 3)))


def plot_long_tail(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """How unevenly objects are spread over categories.

    Args:
        curves: by label, the share of the categories (most frequent first) and the share of all
            objects that they hold, both from 0 to 100 per cent. The first is drawn solid, the
            second dashed.
    """
    fig = create_figure(
        3.2,
        "How unevenly objects are spread over categories",
        "The thesis's table 4.1 (80 categories) and the training split of this run",
    )
    ax = fig.subplots()
    solid: dict[str, Any] = {"color": _HIT}
    dashed: dict[str, Any] = {"color": OTHERS[0], "linestyle": "--", "marker": "o", "ms": 3}
    for (label, (categories, objects)), look in zip(curves.items(), (solid, dashed), strict=True):
        ax.plot(categories, objects, label=label, **look)
    ax.plot([0, 100], [0, 100], color=_FAINT, lw=1, label="all categories equally frequent")
    ax.set_xlabel("share of the categories, most frequent first (%)")
    ax.set_ylabel("share of all objects (%)")
    ax.legend(loc="lower right")
    return fig


def plot_hash_distances(apart: Sequence[int], copies: Mapping[str, int], limit: int) -> Figure:
    """Bits by which perceptual hashes differ, of 128.

    Args:
        apart: between different images.
        copies: between an image and changed copies of it, by what was changed.
        limit: at most so many bits make a near-duplicate.
    """
    fig = create_figure(
        2.8,
        "A copy is near, another picture is far",
        "Bits of the perceptual hash that differ, of 128; dashed: the limit for near-duplicates",
    )
    ax = fig.subplots()
    bins = list(range(0, 129, 4))
    ax.hist(apart, bins=bins, color=_FAINT, label="pairs of different test pictures")
    for row, (name, count) in enumerate(copies.items()):
        at = (count, ax.get_ylim()[1] * (0.45 + 0.13 * row))
        line = {"arrowstyle": "-", "color": _HIT}
        ax.annotate(name, (count, 0), at, ha="center", fontsize=9, arrowprops=line)
    ax.axvline(limit, color=_HIT, linestyle="--", lw=1)
    ax.set(xlabel="bits that differ", ylabel="pairs", xlim=(-2, 128))
    ax.legend(loc="upper right")
    return fig


def plot_histories(
    histories: Mapping[str, Sequence[Sequence[float]]],
    panels: Mapping[str, str],
    title: str,
    subtitle: str,
) -> Figure:
    """Quantities of several short trainings over their steps, one panel each.

    Args:
        histories: by name of the training, the values of each step in the order of the panels. The
            first one is BYOL and has its colour.
        panels: title of each panel, and the label of its axis.
        title, subtitle: of the figure.
    """
    fig = create_figure(2.8, title, subtitle)
    axes = fig.subplots(1, len(panels))
    inks = (get_colour("byol"), *OTHERS)
    for (name, history), ink, dash in zip(histories.items(), inks, _DASHES, strict=False):
        steps = np.arange(1, len(history) + 1)
        for ax, values in zip(axes, zip(*history, strict=True), strict=True):
            ax.plot(steps, values, color=ink, linestyle=dash, lw=2, label=name)
    for ax, (text, unit) in zip(axes, panels.items(), strict=True):
        ax.set(title=text, xlabel="step", ylabel=unit, ylim=(0, None))
    axes[0].legend()
    return fig


def plot_schedules(rate: Sequence[float], tau: Sequence[float], subtitle: str) -> Figure:
    """BYOL's learning rate and the share that its target keeps, from step 0 to the last."""
    fig = create_figure(2.4, "The two schedules of this pretraining", subtitle)
    left, right = fig.subplots(1, 2)
    left.plot(rate, color=INK, lw=2)
    left.set(title="Learning rate (figure 4.3)", xlabel="step", ylabel="learning rate")
    left.set_ylim(0, None)
    right.plot(tau, color=INK, lw=2)
    right.set(title="Share the target keeps, τ", xlabel="step", ylabel="τ")
    return fig


def plot_classifier(metrics: Mapping[str, np.ndarray], classes: int) -> Figure:
    """Accuracy of the supervised stand-in on its training crops over the steps.

    Args:
        metrics: columns ``step`` and ``accuracy`` (0 to 1) of its ``metrics.csv``.
        classes: how many there are, for the line of guessing.
    """
    fig = create_figure(
        2.4,
        "The supervised stand-in learns its crops",
        "Accuracy on training batches, median of five steps.",
    )
    ax = fig.subplots()
    ink = get_colour("supervised")
    ax.plot(metrics["step"], 100 * metrics["accuracy"], color=ink, lw=2, marker=".")
    guessed = 100 / classes
    ax.axhline(guessed, color=SOFT, lw=1, linestyle="--")
    at = (metrics["step"][-1], guessed)
    ax.annotate(f"guessing among {classes} classes", at, ha="right", va="bottom")
    ax.set(xlabel="step", ylabel="accuracy (%)", ylim=(0, 100))
    return fig


def plot_feature_differences(controls: Mapping[str, Mapping[str, float]]) -> Figure:
    """Largest difference of features from those of BYOL's encoder, stage by stage.

    Args:
        controls: by what was compared, the difference at each stage of the backbone; at most five.
            The first is the transferred backbone. Exact zeros are drawn hollow, at the bottom.
    """
    fig = create_figure(
        2.9,
        "Would the test notice a broken transfer?",
        "Largest difference of features from those of BYOL's encoder, on four test pictures. "
        "Hollow, at the bottom: exactly zero.",
    )
    ax = fig.subplots()
    table = np.array([list(found.values()) for found in controls.values()])
    floor = table[table > 0].min() / 10
    inks = (get_colour("byol"), OTHERS[0], OTHERS[3], OTHERS[2], OTHERS[1])
    for row, (name, values) in enumerate(zip(controls, table, strict=True)):
        at = np.arange(len(values)) + 0.14 * (row - 2)
        look = {"marker": "os^DX"[row], "color": inks[row], "ms": 7, "linestyle": ""}
        ax.plot(at, np.where(values > 0, values, np.nan), **look)
        ax.plot(at, np.where(values > 0, np.nan, floor), **look, mfc="white", mew=1.6)
        ax.plot([], [], **look, label=name)
    ax.set_yscale("log")
    ax.set_xticks(range(table.shape[1]), list(next(iter(controls.values()))))
    ax.set_xlabel("stage of the backbone")
    ax.set_ylabel("largest difference")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def plot_weight_distances(moved: Mapping[str, Sequence[float]], inks: Sequence[str]) -> Figure:
    """How far trainings moved the convolutions of the stem and of the four stages.

    Args:
        moved: by training, the length of the change over the length of the weights before it.
        inks: colour of each training.
    """
    keys = [Patch(color=ink, label=name) for name, ink in zip(moved, inks, strict=True)]
    fig = create_figure(
        2.9,
        "How far a training moved the convolutions, stage by stage",
        "Length of the change over the length of the weights before it. 0: nothing moved; 1.41: "
        "two independent networks of the same length.",
        keys,
    )
    ax = fig.subplots()
    for row, (values, ink) in enumerate(zip(moved.values(), inks, strict=True)):
        at = np.arange(len(values)) + 0.27 * (row - (len(moved) - 1) / 2)
        bars = ax.bar(at, values, 0.25, color=ink)
        said = [f"{value:.2f}" if value >= 0.005 else "<0.01" for value in values]
        ax.bar_label(bars, said, size=8, padding=2)
    ax.set_xticks(range(5), ["stem", "layer1", "layer2", "layer3", "layer4"])
    ax.set_xlabel("stage of the backbone")
    ax.set_ylabel("relative distance")
    ax.margins(y=0.12)
    ax.grid(axis="x", visible=False)
    return fig


def draw_toy_detections(
    truth: Mapping[int, list[Rect]],
    detections: Sequence[tuple[int, float, Rect]],
    right: Sequence[bool],
    overlaps: Sequence[float],
    size: tuple[int, int],
) -> Figure:
    """Six toy images with rectangles as objects and ten rectangles as detections.

    Args:
        truth: objects of each image.
        detections: image, score and rectangle of each, best score first.
        right: whether a detection is a hit.
        overlaps: a detection's IoU with the object that it overlaps most.
        size: height and width of every image.
    """
    fig = create_figure(
        4.6,
        "Eight objects, ten detections",
        "Yellow: objects. Solid dark: hits at IoU 0.5. Dashed red: false positives. Beside each: "
        "its rank by score, and its IoU.",
    )
    axes = dict(zip(truth, fig.subplots(2, 3).flat, strict=True))
    for image, ax in axes.items():
        _prepare_grid(ax, size, f"picture {image}")
        ax.spines[:].set_visible(True)
        for x, y, width, height in truth[image]:
            ax.add_patch(Rectangle((x, y), width, height, facecolor=_OBJECT, alpha=0.75))
    # Where the upper left corner of a detection has no room for its number.
    places = {4: (9.2, 10.1), 5: (5.9, 7.2), 7: (10.2, 8.4), 10: (1.2, 8.4)}
    for rank, (image, _, (x, y, width, height)) in enumerate(detections, start=1):
        hit = right[rank - 1]
        ink = _HIT if hit else _MISS
        look = {"edgecolor": ink, "lw": 2.2, "linestyle": "-" if hit else (0, (3, 2))}
        axes[image].add_patch(Rectangle((x, y), width, height, fill=False, **look))
        at = places.get(rank, (x + 0.2, y + 0.3))
        said = f"{rank}: {overlaps[rank - 1]:.2f}"
        axes[image].text(*at, said, color=ink, size=9, weight="bold", va="top")
    return fig


def draw_pixel_grids(grids: Mapping[str, tuple[np.ndarray, str]], title: str) -> Figure:
    """Small masks whose pixels can be counted: by name, a bool mask [H, W] and its colour."""
    fig = create_figure(2.2, title)
    axes = fig.subplots(1, len(grids), squeeze=False)
    for ax, (name, (mask, ink)) in zip(axes[0], grids.items(), strict=True):
        for y, x in np.ndindex(mask.shape):
            fill = ink if mask[y, x] else "white"
            pixel = Rectangle((x, y), 1, 1, facecolor=fill, edgecolor="#9AA0AA", lw=0.6)
            ax.add_patch(pixel)
        _prepare_grid(ax, mask.shape, name)
    return fig


def plot_envelope(
    recall: np.ndarray, precision: np.ndarray, points: np.ndarray, interpolated: np.ndarray
) -> Figure:
    """Precision after each detection, and the envelope that average precision is the area under.

    Args:
        recall, precision: after 1, 2, ... detections, shape [D].
        points, interpolated: the recall points, and the envelope there, shape [N].
    """
    fig = create_figure(
        3.2,
        "Average precision is the area under the envelope",
        f"Detector A at IoU 0.5: AP = {interpolated.mean():.3f}",
    )
    ax = fig.subplots()
    ax.fill_between(points, interpolated, step="pre", color=_MISS, alpha=0.1)
    dots = {"linestyle": "", "marker": ".", "ms": 4, "color": _MISS}
    ax.plot(points, interpolated, **dots, label=f"envelope at the {len(points)} recall points")
    line = {"color": _HIT, "lw": 1.2, "marker": "o", "ms": 5}
    ax.plot(recall, precision, **line, label=f"after 1, 2, ... {len(recall)} detections")
    for rank, at in enumerate(zip(recall, precision, strict=True), start=1):
        beside = {"xytext": (4, -11), "textcoords": "offset points"}
        ax.annotate(str(rank), at, **beside, size=8, color=_HIT)
    ax.set_xlabel("recall (share of the eight objects found)")
    ax.set_ylabel("precision (share that is right)")
    ax.set(xlim=(0, 1.01), ylim=(0, 1.08))
    ax.legend(loc="lower left")
    return fig


def plot_kept_backgrounds(shares: Sequence[float], scores: Sequence[float]) -> Figure:
    """What keeping everything scores, by the object's share of the image; both in per cent."""
    fig = create_figure(
        3.1,
        "What keeping everything scores on the test images of this run",
        f"One dot for each of {len(scores)} images; line: the score if object and background were "
        "equally bright",
    )
    ax = fig.subplots()
    x = np.linspace(0, 100, 201)
    ax.plot(x, 10 * np.sqrt(x), color=_HIT, lw=1.2, label="√share")
    ink = get_colour("keep-everything")
    ax.scatter(shares, scores, s=22, color=ink, edgecolor=INK, lw=0.5)
    ax.set_xlabel("object's share of the picture (% of pixels)")
    ax.set_ylabel("cosine similarity (%)")
    ax.set(xlim=(0, min(100, 1.2 * max(shares))), ylim=(0, 102))
    return fig


def _prepare_grid(ax: Axes, size: Sequence[int], title: str) -> None:
    """An axes whose unit is the pixel, from the upper left corner, without ticks."""
    ax.set(xlim=(0, size[1]), ylim=(size[0], 0), aspect="equal", xticks=[], yticks=[], title=title)
    ax.grid(visible=False)
