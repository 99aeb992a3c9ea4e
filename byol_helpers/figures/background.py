"""Background removal: scores of arms and baselines, and what a score rewards."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from byol_helpers.core.arms import ARMS, BASELINE_LABELS
from byol_helpers.figures.pictures import draw_masks, enlarge_image, show_image
from byol_helpers.figures.style import ARM_COLOURS, INK, SOFT, create_figure, get_colour, get_label

SCORE_PANELS = {
    "cosine": (
        "Cosine similarity",
        "cosine similarity (%)",
        "higher is better; the thesis's score",
    ),
    "iou": ("Overlap, IoU", "intersection over union (%)", "higher is better"),
    "boundary_iou": ("Overlap of the outlines", "boundary IoU (%)", "higher is better"),
    "s_measure": ("Structure, S-measure", "S-measure (%)", "higher is better"),
    "f_beta": ("F-measure, β² = 0.3", "F-measure (%)", "higher is better"),
    "mae": ("Wrong pixels, MAE", "share of all pixels (%)", "lower is better"),
}
_WHISKER = {"ecolor": INK, "elinewidth": 1.1, "capsize": 2.2, "capthick": 1.1}
COLUMNS = 3


def plot_removal_scores(metrics: dict[str, dict], which: str = "") -> Figure:
    """Six scores of background removal for each arm and each baseline, with intervals (table 4.4).

    Args:
        metrics: for each arm and each baseline, the content of its ``metrics.json``, or its part
            ``all_images``.
        which: what images these are, for the title.
    """
    order = [*ARMS, *BASELINE_LABELS]
    rows = sorted(metrics, key=order.index)
    arms = sum(row in ARMS for row in rows)
    at = np.array(
        [number + 0.5 * (number >= arms) for number in range(len(rows))]
    )  # a gap before the baselines
    images = next(iter(metrics.values()))["images"]
    fig = create_figure(
        1.9 + 0.44 * len(rows),
        f"How well backgrounds are removed{which and ': '}{which}",
        f"Means over {images} test images with 95 % intervals over the images. Grey: baselines, "
        "methods that do not learn; the last one removes nothing, and what it scores is the zero "
        "point.",
    )
    axes = fig.subplots(len(SCORE_PANELS) // COLUMNS, COLUMNS, sharey=True)
    for ax, (score, texts) in zip(axes.flat, SCORE_PANELS.items(), strict=True):
        _draw_panel(
            ax,
            at,
            [metrics[row]["scores"][score] for row in rows],
            [get_colour(row) for row in rows],
            *texts,
        )
    for ax in axes[:, 0]:
        ax.set_yticks(at, [get_label(row) for row in rows], color=INK)
        ax.set_ylabel("baselines | initial weights" if 0 < arms < len(rows) else "method")
    axes[0, 0].set_ylim(at[-1] + 0.6, -0.6)
    return fig


def plot_treatments(
    images: dict[str, tuple[np.ndarray, np.ndarray]],
    judged: dict[str, dict[str, float]],
    title: str,
) -> Figure:
    """Images in columns with the true object outlined; below each, what its treatment scores.

    Args:
        images: for each name, the image as the treatment leaves it, uint8 [H, W, 3], and the true
            mask, bool [H, W].
        judged: for each name, scores 0 to 1; those of ``SCORE_PANELS`` become bars, in that order.
        title: of the figure.
    """
    shown = [score for score in SCORE_PANELS if score in next(iter(judged.values()))]
    fig = create_figure(
        3.0 + 0.27 * len(shown),
        title,
        f"Yellow: the outline of the true object. Bars: how good that is, by {len(shown)} scores.",
    )
    axes = fig.subplots(2, len(images), height_ratios=[2.6, 0.27 * len(shown)], squeeze=False)
    for (name, (image, true)), ax, bars in zip(images.items(), axes[0], axes[1], strict=True):
        show_image(
            ax, draw_masks(*enlarge_image(image, [true]), ARM_COLOURS["ground-truth"], opacity=0)
        )
        ax.set_title(name, size=10)
        values = [100 * judged[name][score] for score in shown]
        inks = [INK if score == "cosine" else "#A9ADB3" for score in shown]
        drawn = bars.barh(range(len(shown)), values, 0.68, color=inks)
        bars.bar_label(
            drawn, [f"{value:.0f} %" for value in values], padding=3, size=8.5, color=INK
        )
        names = [SCORE_PANELS[score][0] if bars is axes[1, 0] else "" for score in shown]
        bars.set_yticks(range(len(shown)), names, color=INK)
        bars.set(xlim=(0, 118), xticks=[0, 50, 100], ylim=(len(shown) - 0.4, -0.6))
        bars.set_xlabel("score (%)")
        bars.grid(axis="y", visible=False)
    return fig


def _draw_panel(
    ax: Axes,
    at: np.ndarray,
    entries: list[dict],
    inks: list[str],
    heading: str,
    axis: str,
    better: str,
) -> None:
    """One score: a bar with its interval for each method."""
    value = 100 * np.array([entry["value"] for entry in entries])
    low = 100 * np.array([entry["low"] for entry in entries])
    high = 100 * np.array([entry["high"] for entry in entries])
    ax.barh(
        at,
        value,
        0.72,
        color=inks,
        xerr=np.maximum(0, [value - low, high - value]),
        error_kw=_WHISKER,
    )
    for y, number, end in zip(at, value, high, strict=True):
        ax.annotate(
            f"{number:.1f}",
            (end, y),
            xytext=(4, 0),
            va="center",
            textcoords="offset points",
            size=8,
        )
    ax.set_title(f"{heading}\n", size=9.5)
    ax.text(0, 1.02, better, transform=ax.transAxes, size=8.5, color=SOFT, va="bottom")
    ax.set_xlabel(axis)
    ax.set(xlim=(0, 118), xticks=[0, 25, 50, 75, 100])
    ax.grid(axis="y", visible=False)
