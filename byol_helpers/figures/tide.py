"""What kind of errors: error types, precision and recall, confusion, best and worst images."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from byol_helpers.coco.dataset import Split
from byol_helpers.evaluation.average_precision import RECALLS
from byol_helpers.evaluation.tide import ERROR_TYPES, Errors
from byol_helpers.figures.pictures import draw_detections
from byol_helpers.figures.style import (
    FAINT,
    INK,
    SOFT,
    create_figure,
    get_colour,
    get_label,
    get_line,
    make_bar_keys,
    make_line_keys,
)

ERROR_NAMES = {
    "classification": "class wrong",
    "localisation": "badly\nplaced",
    "both": "both\nwrong",
    "duplicate": "duplicate",
    "background": "on\nbackground",
    "missed": "missed",
}
CLASSES = 10  # at most this many rows and columns of a confusion matrix, the rest is one
LETTERS = 15  # letters of a class name


def plot_error_types(errors: dict[str, Errors]) -> Figure:
    """AP50 that each arm would gain if one type of error, or one side's, were put right."""
    now = "; ".join(f"{get_label(arm)} {_format_points(e.ap50)}" for arm, e in errors.items())
    fig = create_figure(
        3.1,
        "What would AP50 gain if one kind of error were put right?",
        "Error types of TIDE (Bolya et al., 2020), mask IoU 0.5; each bar puts right one kind "
        f"alone, so bars do not add up. AP50 as it is: {now}.",
        make_bar_keys(list(errors)),
    )
    left, right = fig.subplots(1, 2, width_ratios=[6, 2.2])
    _draw_gains(
        left,
        {arm: [e.gains[name] for name in ERROR_TYPES] for arm, e in errors.items()},
        list(ERROR_NAMES.values()),
    )
    _draw_gains(
        right,
        {arm: [e.false_positives, e.false_negatives] for arm, e in errors.items()},
        ["no false\npositive", "no object\nnot found"],
    )
    left.set(
        title="One kind of error put right",
        xlabel="kind of error",
        ylabel="AP50 gained (AP points)",
    )
    right.set(title="All on one side", xlabel="what is left out", ylabel="AP50 gained (AP points)")
    return fig


def plot_precision_recall(curves: dict[float, dict[str, np.ndarray]]) -> Figure:
    """Mean envelope of precision over recall: a panel for each IoU, a line for each arm.

    Args:
        curves: for each IoU, {arm: [101]} as ``evaluation.precision_recall`` gives them.
    """
    arms = list(next(iter(curves.values())))
    fig = create_figure(
        3.3,
        "Precision and recall on the test images, by initial weights",
        "Envelope at COCO's 101 recall points, mean over the classes. The area under a line is its "
        "AP, given in the panel.",
        make_line_keys(arms),
    )
    axes = fig.subplots(1, len(curves), sharey=True, squeeze=False)
    for ax, (iou, of_arm) in zip(axes.flat, curves.items(), strict=True):
        for number, (arm, values) in enumerate(of_arm.items()):
            ax.plot(
                RECALLS,
                values,
                color=get_colour(arm),
                lw=2,
                linestyle=get_line(arm)["linestyle"],
                clip_on=False,
            )
            ax.text(
                0.945,
                0.97 - 0.075 * number,
                f"{get_label(arm)}  {_format_points(values.mean())}",
                transform=ax.transAxes,
                ha="right",
                va="top",
                size=9,
                weight="bold",
                color=INK,
                bbox={"facecolor": "white", "alpha": 0.7, "lw": 0, "pad": 1},
            )
            ax.plot(
                [0.955, 0.985],
                [0.943 - 0.075 * number] * 2,
                color=get_colour(arm),
                lw=4,
                transform=ax.transAxes,
                clip_on=False,
                solid_capstyle="butt",
            )
        ax.set(
            title=f"A hit needs IoU ≥ {iou:.2f}: AP{round(100 * iou)}",
            xlabel="recall (share of the objects found)",
            xlim=(0, 1),
            ylim=(0, 1),
            xticks=np.linspace(0, 1, 6),
            yticks=np.linspace(0, 1, 6),
        )
        ax.set_ylabel("precision (share that is right)")
        ax.tick_params(labelleft=True)
    return fig


def plot_confusion(
    counts: dict[str, np.ndarray], classes: tuple[str, ...], score: float, most: int = CLASSES
) -> Figure:
    """True against predicted classes, one heat map for each arm.

    Args:
        counts: for each arm, [K + 1, K + 1] as ``evaluation.errors.confusion`` gives them.
        classes: the K names, in that order.
        score: threshold that the counts were made with.
        most: with more classes than this, those that the arms confuse most are shown, the others
            are added up.
    """
    chosen = find_most_confused(list(counts.values()), most)
    rest = len(classes) - len(chosen)
    few = (
        f"The {len(chosen)} of {len(classes)} classes that are confused most, the others added up. "
        if rest
        else ""
    )
    names = [_shorten(classes[k]) for k in chosen] + ["other classes"] * bool(rest)
    columns = 2 if len(counts) == 4 else min(3, len(counts))
    rows = math.ceil(len(counts) / columns)
    fig = create_figure(
        rows * 4.15,
        "Which classes are taken for which?",
        f"{few}Detections with a score of at least {score:g} that share an IoU of 0.5 "
        "with an object, whatever their class. Numbers: how many; shade: share of the "
        "row. Framed: class right.",
    )
    axes = fig.subplots(rows, columns, squeeze=False, sharey=True)
    for ax in axes.flat[len(counts) :]:
        ax.set_visible(False)
    for ax, (arm, full) in zip(axes.flat, counts.items(), strict=False):
        _draw_heat_map(ax, _merge_classes(full, chosen), names, get_colour(arm))
        ax.set_title(get_label(arm))
        ax.set_anchor("N")
        ax.set_xlabel("predicted class")
    for ax in axes[:, 0]:
        ax.set_ylabel("true class")
    return fig


def find_most_confused(counts: list[np.ndarray], most: int = CLASSES) -> list[int]:
    """Up to ``most`` classes with the most objects in wrong classes, given and taken.

    Ties go to the class with more objects; the result is in the order of the classes.
    """
    total = np.sum([c[:-1, :-1] for c in counts], axis=0)
    wrong = total.sum(0) + total.sum(1) - 2 * np.diag(total)
    objects = np.sum([c[:-1].sum(1) for c in counts], axis=0)
    return sorted(np.lexsort((-objects, -wrong))[:most].tolist())


def draw_extreme_images(
    split: Split,
    results: dict[str, list[dict]],
    images: dict[str, int],
    scores: dict[str, dict[int, float]],
    score_threshold: float = 0.5,
) -> Figure:
    """The best, the median and the worst test image: annotations beside each arm's masks and F1.

    Args:
        split, results, score_threshold: as ``pictures.draw_detections``. The images of a single arm
            stand side by side, those of several arms one below the other.
        images: {"best": image id, ...} from ``evaluation.errors.extremes``.
        scores: for each arm, F1 by image id.
    """
    notes = {}
    for name, image in images.items():
        heads = {arm: f"F1 {scores[arm][image]:.2f}:" for arm in results}
        notes[image] = heads | {"ground-truth": f"{name} (image {image}):"}
    rule = "F1" if len(results) == 1 else "the mean F1 of the arms"
    names = " and ".join(filter(None, (", ".join([*images][:-1]), [*images][-1]))).capitalize()
    whose = (
        f" of the arm {get_label(next(iter(results)))}"
        if len(results) == 1
        else ", by initial weights"
    )
    return draw_detections(
        split,
        results,
        list(images.values()),
        score_threshold,
        notes,
        f"{names} test image{whose}",
        f"Ordered by {rule} at IoU 0.5, equal ones by image id.",
        beside=len(results) == 1,
    )


def _draw_gains(ax: Axes, gains: dict[str, list[float]], names: list[str]) -> None:
    """Bars of gains in AP points, grouped by name, the value above each."""
    width = 0.84 / len(gains)
    for number, (arm, values) in enumerate(gains.items()):
        x = np.arange(len(names)) + (number - (len(gains) - 1) / 2) * width
        bars = ax.bar(x, [100 * value for value in values], 0.92 * width, color=get_colour(arm))
        ax.bar_label(
            bars,
            [_format_points(value) for value in values],
            padding=1.5,
            color=INK,
            size={1: 8.5, 2: 8, 3: 6.8, 4: 5.8}.get(len(gains), 5),
        )
    ax.set_xticks(range(len(names)), names, color=INK)
    ax.tick_params(axis="x", length=0)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(0, max(1, 1.06 * ax.get_ylim()[1]))
    ax.grid(axis="x", visible=False)


def _draw_heat_map(ax: Axes, counts: np.ndarray, names: list[str], ink: str) -> None:
    """Counts [K + 1, K + 1] as numbers on shades of one colour; ``names``: of the K classes."""
    import seaborn  # brings pandas: only this figure pays for loading it

    last = len(counts) - 1
    seaborn.heatmap(
        counts / np.maximum(counts.sum(axis=1, keepdims=True), 1),
        vmin=0,
        vmax=1,
        cmap=LinearSegmentedColormap.from_list("share", ["white", ink]),
        annot=np.vectorize(_format_count, otypes=[str])(counts),
        fmt="",
        annot_kws={"size": 7.5 if counts.max() < 100 else 6.3},
        cbar=False,
        square=True,
        xticklabels=[*names, "missed"],
        yticklabels=[*names, "background"],
        ax=ax,
    )
    ax.tick_params(axis="x", rotation=90, labelsize=8, labelcolor=INK)
    ax.tick_params(axis="y", rotation=0, labelsize=8, labelcolor=INK)
    for k in range(last):
        ax.add_patch(Rectangle((k, k), 1, 1, fill=False, edgecolor=INK, lw=0.9))
    ax.axhline(last, color=SOFT, lw=1)
    ax.axvline(last, color=SOFT, lw=1)
    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color=FAINT)


def _merge_classes(full: np.ndarray, chosen: list[int]) -> np.ndarray:
    """The matrix of the chosen classes; all others, if there are any, as one before the last."""
    size = len(full) - 1
    if len(chosen) == size:
        return full
    to = np.full(size + 1, len(chosen))
    to[chosen] = np.arange(len(chosen))
    to[size] = len(chosen) + 1
    out = np.zeros((len(chosen) + 2,) * 2, dtype=full.dtype)
    np.add.at(out, (to[:, None], to), full)
    return out


def _shorten(name: str) -> str:
    return name if len(name) <= LETTERS else name[: LETTERS - 1].rstrip() + "…"


def _format_count(number: int) -> str:
    """A count in three or four letters: nothing for 0, ``950``, ``1.2k``, ``12k``."""
    if number < 1000:
        return str(number) if number else ""
    if number < 9950:
        return f"{number / 1000:.1f}k"
    return f"{number / 1000:.0f}k"


def _format_points(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"
