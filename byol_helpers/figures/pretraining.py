"""What a pretraining has taught its network, as pictures: probes, neighbours, maps, the loss."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from byol_helpers.core.arms import label_arm
from byol_helpers.evaluation.curves import read_metrics
from byol_helpers.figures.pictures import draw_gallery, show_image
from byol_helpers.figures.style import (
    INK,
    SOFT,
    create_figure,
    get_colour,
    get_label,
    get_line,
)

_RANDOM = label_arm("random-measured")  # a control of the dense probe
_MEASURED_LINE = {"color": "#444444", "linestyle": (0, (5, 2)), "marker": "|"}
CONTROL_LINES = {  # encoder of the probes' rows -> its line; greys, since a control is no arm
    "untrained": {"color": "#8A9099", "linestyle": (0, (1, 1.6)), "marker": "."},
    "start, measured": _MEASURED_LINE,
    _RANDOM: _MEASURED_LINE,
}
ASKED = {  # pretrain.probe_on -> what a reader calls it
    "crops": "generated crops",
    "windows": "windows around objects",
    "photographs": "photographs",
}
UPPER_BOUND = "body of a detector"
UPPER_LINE = {"color": "#882255", "linestyle": (0, (8, 2)), "marker": "d"}
RIGHT = "#1B7837"  # the frame of a neighbour of the same category
NUDGE = 1.05  # factor between the places of two encoders, so that their whiskers can be told apart
NEIGHBOUR = 0.78  # inches
ROW_WIDTH = 11.4  # neighbours that a row has room for


def plot_probe_curves(
    found: Mapping[str, dict], stage: str = "layer4", probe: str = "linear"
) -> Figure:
    """Accuracy of a probe over the labels of each class: every arm beside both controls.

    Args:
        found: for each arm its ``probe.json``; all with the same crops. The controls are those of
            the first, and so is the upper bound, where it was asked.
        stage: of the network.
        probe: linear or kNN.
    """
    first = next(iter(found.values()))
    crops = first["crops"]
    encoders = {row["encoder"] for row in first["rows"]}
    drawn = []
    for name, line in (CONTROL_LINES | {UPPER_BOUND: UPPER_LINE}).items():
        if name in encoders:
            drawn.append((name, first, dict(line)))
    for arm, values in found.items():
        drawn.append((get_label(arm), values, {"color": get_colour(arm), **get_line(arm)}))
    keys = []
    for name, _, line in drawn:
        keys.append(Line2D([], [], label=name, lw=2, **line))
    asked = ASKED[crops["on"]]
    fig = create_figure(
        3.3,
        f"What a {probe} probe reads from {stage}, by the number of labels",
        f"{crops['asked']:,} {asked} that no training has seen; bands: 95 % over them and draws of "
        "labels.",
        keys,
    )
    ax = fig.subplots()
    for name, values, line in drawn:
        rows = []
        for row in values["rows"]:
            if (row["encoder"], row["stage"], row["probe"]) == (name, stage, probe):
                rows.append(row)
        x = [row["per_class"] or crops["bank"] / crops["categories"] for row in rows]
        _draw_band(ax, x, rows, line)
    ax.axhline(100 / crops["categories"], color=SOFT, lw=1)
    guessing = crops["bank"] / crops["categories"], 100 / crops["categories"]
    ax.annotate("guessing", guessing, (0, -11), textcoords="offset points", ha="right", color=SOFT)
    ax.set_xscale("log")
    ticks = [row["per_class"] or crops["bank"] // crops["categories"] for row in rows]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="labels of each class", ylabel=f"{asked.split()[-1]} that are right (%)")
    ax.set_ylim(0, None)
    return fig


def plot_dense_probe(found: dict) -> Figure:
    """mIoU of every encoder over the number of labelled images, and its gain over random weights
    with measured statistics.

    Args:
        found: of ``probe_scenes``.
    """
    scenes = found["scenes"]
    by_name: dict[str, list[dict]] = {}
    for row in found["rows"]:
        by_name.setdefault(row["encoder"], []).append(row)
    lines = {}
    for name in by_name:
        arm_line = {"color": get_colour(name), **get_line(name)}
        lines[name] = CONTROL_LINES.get(name, arm_line)
    keys = [Line2D([], [], label=name, lw=2, **line) for name, line in lines.items()]
    fig = create_figure(
        3.3,
        "The class of every place, read from frozen features by a linear layer",
        f"{scenes['asked']:,} test scenes; {scenes['repeats']} draws of the labelled ones. Bands "
        "and whiskers: 95 % over both.",
        keys,
    )
    above, gained = fig.subplots(1, 2)
    counts = [row["images"] for row in next(iter(by_name.values()))]
    place = -1.0
    for name, rows in by_name.items():
        line = lines[name]
        _draw_band(above, counts, rows, line)
        gains = [row["gains"].get(_RANDOM) for row in rows]
        if not all(gains):
            continue
        values = np.array([100 * gain["value"] for gain in gains])
        below = values - [100 * gain["low"] for gain in gains]
        over = [100 * gain["high"] for gain in gains] - values
        shifted = [count * NUDGE**place for count in counts]
        place += 1
        gained.errorbar(shifted, values, yerr=[below, over], lw=1.8, elinewidth=1.3, ms=5, **line)
    gained.axhline(0, color=SOFT, lw=1)
    above.set(ylabel="mIoU of the categories (%)", ylim=(0, None))
    gained.set(ylabel=f"gain (points) over\n{_RANDOM}")
    for ax in (above, gained):
        ax.set_xscale("log")
        ax.set_xticks(counts, [f"{count:,}" for count in counts])
        ax.minorticks_off()
        ax.set(xlabel="labelled images")
    return fig


def _draw_band(ax: Axes, x: Sequence[float], rows: Sequence[dict], line: dict) -> None:
    """The values of rows in per cent, with their intervals as a band."""
    low = [100 * row["low"] for row in rows]
    high = [100 * row["high"] for row in rows]
    ax.fill_between(x, low, high, color=line["color"], alpha=0.13, lw=0)
    ax.plot(x, [100 * row["value"] for row in rows], lw=2, ms=5, **line)


def draw_neighbours(
    images: np.ndarray,
    labels: Sequence[int],
    queries: Sequence[int],
    neighbours: Mapping[str, np.ndarray],
    title: str,
) -> Figure:
    """Crops and those that a network finds nearest; a frame marks the same category.

    Args:
        images: uint8 [N, S, S, 3].
        labels: category of each.
        queries: numbers of the crops that ask, one row each.
        neighbours: for each network, numbers [queries, K] of the nearest crops, the nearest first.
        title: of the figure.
    """
    count = next(iter(neighbours.values())).shape[1]
    widths = [1.0]
    for _ in neighbours:
        widths += [0.18] + [1.0] * count
    columns = len(widths)
    widths.append(max(0.01, ROW_WIDTH - sum(widths)))  # crops are small: nothing beside them
    fig = create_figure(
        NEIGHBOUR * len(queries) + 0.3, title, "Framed in green: the category of the first crop."
    )
    axes = fig.subplots(len(queries), len(widths), squeeze=False, width_ratios=widths)
    for row, query in zip(range(len(queries)), queries, strict=True):
        show_image(axes[row, 0], images[query])
        column = 1
        for name, found in neighbours.items():
            axes[row, column].axis("off")
            for place, number in enumerate(found[row]):
                ax = axes[row, column + 1 + place]
                show_image(ax, images[number])
                frame_image(ax, labels[number] == labels[query])
            if row == 0:
                axes[0, column + 1].set_title(name, loc="left", size=9)
            column += count + 1
        axes[row, columns].axis("off")
    axes[0, 0].set_title("asks", loc="left", size=9)
    return fig


def frame_image(ax: Axes, same: bool) -> None:
    """A thick frame where the category is the same, none elsewhere."""
    for spine in ax.spines.values():
        spine.set_visible(same)
        spine.set(color=RIGHT, linewidth=3)


def draw_feature_maps(images: Sequence[np.ndarray], maps: Mapping[str, np.ndarray]) -> Figure:
    """Images, each followed by its maps of features, coloured by three principal components.

    Args:
        images: uint8 [H, W, 3] each.
        maps: for each network, uint8 [N, h, w, 3]; the same colour is the same direction of the
            features within a row.
    """
    tiles = []
    for number, image in enumerate(images):
        tiles.append(image)
        tiles += [coloured[number] for coloured in maps.values()]
    captions = ["image", *maps] * len(images)
    title = "Maps of features: the first three principal components as red, green and blue"
    return draw_gallery(tiles, captions, 2 * (1 + len(maps)), title)


def plot_loss_beside_baselines(
    csvs: Mapping[str, Path], baselines: Mapping[str, float], title: str
) -> Figure:
    """BYOL's loss over the steps, and dashed what predictions without knowledge get.

    Args:
        csvs: for each arm the ``metrics.csv`` of its pretraining.
        baselines: by what is written beside each line, a loss in 0 to 8.
        title: of the figure.
    """
    fig = create_figure(3.0, title, "Both directions, summed: 0 to 8; 4 at right angles.")
    ax = fig.subplots()
    end = 1.0
    for arm, csv in csvs.items():
        values = read_metrics(csv)
        line = {"color": get_colour(arm), "linestyle": get_line(arm)["linestyle"], "lw": 2}
        ax.plot(values["step"], values["loss"], label=get_label(arm), **line)
        end = max(end, float(values["step"][-1]))
    for number, (name, value) in enumerate(baselines.items()):
        ax.axhline(value, color=INK, lw=1.1, linestyle=(0, (5, 2 + 2 * number)))
        ax.annotate(
            f"{name}: {value:.2f}",
            (end, value),
            (0, 3),
            textcoords="offset points",
            ha="right",
            size=8.5,
            color=SOFT,
        )
    ax.set(xlabel="step", ylabel="loss", xlim=(0, end))
    ax.set_ylim(0, 4.4)
    ax.legend(loc="lower left")
    return fig
