"""Results as bars and points with intervals: AP, its differences, classes, counts."""

import math

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from byol_helpers.core.arms import REFERENCE_ARMS
from byol_helpers.core.errors import UserError
from byol_helpers.figures.style import (
    FAINT,
    INK,
    SOFT,
    create_figure,
    get_colour,
    get_label,
    get_line,
    make_bar_keys,
    make_point_keys,
)
from byol_helpers.reproduction.thesis import Table

METRIC_LABELS = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "APs": "AP small",
    "APm": "AP medium",
    "APl": "AP large",
}
SIZES = {"small": "#CFE3F1", "medium": "#74B0D8", "large": "#1F6FA8"}
COCO_SIZES = {
    "small": 41,
    "medium": 34,
    "large": 24,
}  # per cent of COCO's objects, as cocodataset.org gives them
LONG_PAIR = 32  # letters of two arms that are too many for a panel's title in one line
_WHISKER = {"ecolor": INK, "elinewidth": 1.2, "capsize": 2.5, "capthick": 1.2}


def plot_average_precision(metrics: dict[str, dict], thesis: Table | None = None) -> Figure:
    """Six mask metrics of each arm in AP points, with 95 % intervals over test images (table 4.3).

    Args:
        metrics: for each arm, the content of an evaluation's ``metrics.json``, or an entry of
            ``arms`` in ``comparison.json``. A null is a metric that the test images do not define.
        thesis: table 4.3; its values become hollow diamonds, those of its arm ImageNet also at the
            stand-in.
    """
    arms = list(metrics)
    keys: list[Artist] = [*make_bar_keys(arms)]
    if thesis:
        keys.append(
            Line2D(
                [],
                [],
                linestyle="",
                marker="D",
                mfc="white",
                mec=INK,
                label="thesis (COCO, other data)",
            )
        )
    fig = create_figure(
        3.5,
        "Mask average precision on the test images, by initial weights",
        describe_provenance(metrics),
        keys,
    )
    ax = fig.subplots()
    width = 0.8 / len(arms)
    for number, arm in enumerate(arms):
        entries = [metrics[arm]["mask"][name] for name in METRIC_LABELS]
        x = np.arange(len(METRIC_LABELS)) + (number - (len(arms) - 1) / 2) * width
        _draw_bars(ax, x, entries, 0.9 * width, get_colour(arm))
        for at, entry in zip(x, entries, strict=True):
            ax.annotate(
                _format_number(entry["value"]),
                (at, 0),
                xytext=(0, -9),
                textcoords="offset points",
                ha="center",
                va="center",
                size=8,
                weight="bold",
                color=INK,
                annotation_clip=False,
            )
        row = "imagenet" if arm in REFERENCE_ARMS.values() else arm
        if thesis and row in thesis.rows:
            ax.plot(
                x,
                np.array([thesis.value(row, name) for name in METRIC_LABELS], dtype=float),
                linestyle="",
                marker="D",
                ms=5.5,
                mfc="white",
                mec=INK,
                mew=1.2,
                zorder=4,
            )
    ax.set_xticks(range(len(METRIC_LABELS)), METRIC_LABELS.values(), weight="bold", color=INK)
    ax.tick_params(axis="x", length=0, pad=16)
    ax.set_ylabel("average precision (AP points, 0 to 100)")
    ax.set_xlabel("metric; the number below a bar is its value")
    ax.set_xlim(-0.5, len(METRIC_LABELS) - 0.5)
    ax.set_ylim(0, max(10, ax.get_ylim()[1]))
    ax.grid(axis="x", visible=False)
    return fig


def plot_class_ap(
    metrics: dict[str, dict], classes: int = 10, counts: dict[str, int] | None = None
) -> Figure:
    """Mask AP of single classes, in AP points (figure 4.7).

    Args:
        metrics: as in ``plot_average_precision``.
        classes: how many to show, at most.
        counts: test instances of each class, to choose the most frequent ones by. Without them the
            classes with the highest mean over the arms are chosen. Both rules look at all arms
            alike.
    """
    arms = list(metrics)
    mean = {}
    for name in metrics[arms[0]]["per_class"]:
        mean[name] = _compute_mean([metrics[arm]["per_class"][name]["value"] for arm in arms])
    weight = mean if counts is None else {name: counts.get(name, 0) for name in mean}
    chosen = sorted(mean, key=lambda name: -weight[name])[:classes]
    rule = (
        "with the highest mean over the arms"
        if counts is None
        else "that are most frequent in the test images"
    )
    few = f"{len(chosen)} of {len(mean)} classes, those {rule}. " if len(chosen) < len(mean) else ""
    fig = create_figure(
        0.5 + 0.36 * len(chosen),
        "Mask average precision of single classes, by initial weights",
        few + describe_provenance(metrics),
        make_point_keys(arms),
    )
    ax = fig.subplots()
    for number, arm in enumerate(arms):
        entries = [metrics[arm]["per_class"][name] for name in chosen]
        _draw_points(
            ax, entries, np.arange(len(chosen)) + (number - (len(arms) - 1) / 2) * 0.22, arm
        )
    ax.set_yticks(
        range(len(chosen)),
        [f"{name} ({counts[name]})" if counts else name for name in chosen],
        color=INK,
    )
    ax.set_ylim(len(chosen) - 0.45, -0.55)
    ax.set_xlim(-1, max(10, ax.get_xlim()[1]))
    ax.set_xlabel("average precision (AP points, 0 to 100) with 95 % interval over the test images")
    ax.set_ylabel("class (test instances)" if counts else "class")
    _draw_stripes(ax, len(chosen))
    return fig


def plot_differences(comparison: dict) -> Figure:
    """Paired differences between arms in AP points, with intervals and a zero line.

    Args:
        comparison: content of ``comparison.json``. Strong lines are intervals over test images;
            thin ones, where there are at least three seeds, intervals over seeds.

    Raises:
        UserError: fewer than two arms.
    """
    pairs = comparison["differences"]
    if not pairs:
        raise UserError(
            "finetune.arms: a difference needs two arms; fine-tune and evaluate at least two"
        )
    columns = min(3, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    fig = create_figure(
        2.75 * rows,
        "Which initial weights are better? Differences in mask AP between two arms",
        f"95 % intervals over {comparison['images']} test images, resampled in pairs; thin grey, "
        "if any: over training seeds. Colour: the arm that is ahead. Hollow: the interval holds "
        "zero, undecided.",
    )
    axes = fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax in axes.flat[len(pairs) :]:
        ax.set_visible(False)
    for ax, pair in zip(axes.flat, pairs, strict=False):
        _draw_difference(ax, pair)
    low, high = axes[0, 0].get_xlim()
    axes[0, 0].set_xlim(min(-1, low), max(1, high))
    for ax in axes[:, 0]:
        ax.set_ylabel("metric")
    return fig


def plot_category_counts(statistics: dict) -> Figure:
    """Labelled instances of each category in each split (table 4.1).

    The category that is most frequent in the test split comes first.

    Args:
        statistics: content of ``statistics.json``; crowds are in none of its counts.
    """
    splits = {split: statistics["splits"][split] for split in ("train", "val", "test")}
    names = sorted(
        splits["test"]["categories"], key=lambda name: (-splits["test"]["categories"][name], name)
    )
    step, size = (0.2, 8.5) if len(names) <= 30 else (0.135, 6.5)
    said = []
    for split, counted in splits.items():
        said.append(f"{split}: {counted['instances']:,} objects in {counted['images']:,} images")
    fig = create_figure(
        0.85 + step * len(names),
        "How many objects of each category the splits hold",
        f"{'; '.join(said)}. For pretraining: {statistics['pretrain']['images']:,} images without "
        "labels.",
    )
    axes = np.atleast_1d(fig.subplots(1, len(splits), sharey=True))
    for ax, (split, counted) in zip(axes, splits.items(), strict=True):
        values = [counted["categories"].get(name, 0) for name in names]
        bars = ax.barh(range(len(names)), values, height=0.72, color="#74B0D8")
        ax.bar_label(
            bars, [f"{value:,}" for value in values], padding=2, size=size - 0.5, color=SOFT
        )
        ax.set_title(split)
        ax.set_xlabel("instances")
        ax.margins(x=0.14)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(names)), names, size=size, color=INK)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    axes[0].set_ylabel("category")
    return fig


def plot_size_shares(statistics: dict) -> Figure:
    """Shares of small, medium and large objects in each split, beside those that COCO states."""
    small, large = statistics["area_limits"]
    rows = {split: statistics["splits"][split]["sizes"] for split in ("train", "val", "test")} | {
        "COCO": COCO_SIZES
    }
    fig = create_figure(
        0.62 + 0.36 * len(rows),
        "How large the objects are",
        f"Small: below {small:,.0f} square pixels; large: above {large:,.0f}. COCO's own limits "
        "are 1,024 and 9,216, for images of about 640 x 480.",
        [Patch(color=c, label=size) for size, c in SIZES.items()],
    )
    ax = fig.subplots()
    for number, counted in enumerate(rows.values()):
        left = 0.0
        total = max(1, sum(counted.values()))
        for size, shade in SIZES.items():
            share = 100 * counted[size] / total
            ax.barh(number, share, left=left, height=0.74, color=shade, edgecolor="white")
            if share >= 4:
                ax.text(
                    left + share / 2,
                    number,
                    f"{share:.0f} %",
                    ha="center",
                    va="center",
                    size=8.5,
                    color="white" if size == "large" else INK,
                )
            left += share
    ax.set_yticks(range(len(rows)), rows, color=INK)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, 100)
    ax.set_xlabel("share of all objects (%)")
    ax.set_ylabel("split")
    ax.grid(visible=False)
    return fig


def describe_provenance(metrics: dict[str, dict]) -> str:
    """What numbers rest on, as far as the metrics say: profile, engine, seeds, iterations."""
    parts = []
    for key, text in (
        ("profile", "Profile {}"),
        ("engine", "{}"),
        ("iterations", "{} iterations"),
        ("images", "{} test images"),
    ):
        found = sorted({str(m[key]) for m in metrics.values() if key in m})
        parts += [text.format(" / ".join(found))] if found else []
    seeds = set()
    for m in metrics.values():
        seeds |= set(m.get("seeds", [m["seed"]] if "seed" in m else []))
    parts += [f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"] if seeds else []
    return "; ".join(parts) + ". Whiskers: 95 % intervals over the test images." if parts else ""


def _draw_bars(ax: Axes, at: np.ndarray, entries: list[dict], width: float, ink: str) -> None:
    values, spread = _get_percent(entries)
    ax.bar(at, values, width, color=ink, yerr=spread, error_kw=_WHISKER)


def _draw_points(ax: Axes, entries: list[dict], at: np.ndarray, arm: str) -> None:
    values, spread = _get_percent(entries)
    ax.errorbar(
        values,
        at,
        xerr=spread,
        fmt=get_line(arm)["marker"],
        ms=5,
        color=get_colour(arm),
        elinewidth=1.6,
    )


def _get_percent(entries: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Values [N] and distances to the ends of their intervals [2, N], in per cent, or nan."""
    value = 100 * np.array([entry["value"] for entry in entries], dtype=float)
    low = 100 * np.array([entry["low"] for entry in entries], dtype=float)
    high = 100 * np.array([entry["high"] for entry in entries], dtype=float)
    return value, np.maximum(0, [value - low, high - value])


def _draw_difference(ax: Axes, pair: dict) -> None:
    """One panel of ``differences``: the metrics of one pair of arms below each other."""
    for number, name in enumerate(METRIC_LABELS):
        entry = pair["mask"][name]
        (value,), spread = _get_percent([entry])
        if math.isnan(value):
            continue
        decided = entry["low"] is not None and (entry["low"] > 0 or entry["high"] < 0)
        ink = get_colour(pair["a"] if value > 0 else pair["b"])
        if pair.get("between_seeds"):
            seeds = pair["between_seeds"]["mask"][name]
            if seeds["low"] is not None:
                ends = [100 * seeds["low"], 100 * seeds["high"]]
                ax.plot(ends, [number + 0.2] * 2, color=SOFT, lw=0.9, marker="|", ms=5)
        ax.errorbar(
            [value],
            [number],
            xerr=spread,
            fmt="o",
            ms=6.5,
            color=ink,
            mfc=ink if decided else "white",
            mew=1.5,
            elinewidth=2.2,
        )
    ax.axvline(0, color=INK, lw=1)
    ax.set_yticks(range(len(METRIC_LABELS)), METRIC_LABELS.values(), color=INK)
    ax.set_ylim(len(METRIC_LABELS) - 0.4, -0.6)
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    first = get_label(pair["a"])
    second = get_label(pair["b"])
    between = "\n" if len(first + second) > LONG_PAIR else " "
    ax.set_title(f"{first}{between}− {second}", size=9.5)
    ax.set_xlabel("difference (AP points)")
    ax.tick_params(labelbottom=True)


def _draw_stripes(ax: Axes, rows: int) -> None:
    ax.grid(axis="y", visible=False)
    for row in range(0, rows, 2):
        ax.axhspan(row - 0.5, row + 0.5, color=FAINT, alpha=0.3, lw=0, zorder=0)


def _format_number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _compute_mean(values: list[float | None]) -> float:
    """Mean of the defined values; -1 if there are none, which sorts last."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else -1.0
