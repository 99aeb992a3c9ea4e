"""AP over the number of labelled images: a committed study, and beside it the reader's own run."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from byol_helpers.core.arms import ARMS
from byol_helpers.figures.style import (
    INK,
    create_figure,
    get_colour,
    get_line,
    make_line_keys,
)

APART = 1.08  # factor between the places of two arms, so that their whiskers do not hide each other


def plot_label_curve(
    points: Sequence[dict],
    yours: Mapping[str, dict],
    images: int,
    title: str,
    subtitle: str = "",
    protocol: str = "trainable",
) -> Figure:
    """Mask AP over the number of labelled images, a panel for each protocol of batch norm.

    Args:
        points: rows of ``reproduction.list_points``; none, and only ``yours`` is drawn.
        yours: AP of each arm of the reader's run, ``value``, ``low`` and ``high`` in 0..1.
        images: labelled ones of the reader's run.
        title, subtitle: of the figure; what marks mean is added.
        protocol: of the reader's run.
    """
    protocols = list(dict.fromkeys([*(row["protocol"] for row in points), protocol]))
    protocols.sort(reverse=True)  # trainable first
    arms = [arm for arm in ARMS if arm in yours or any(row["arm"] == arm for row in points)]
    mine = Line2D([], [], ls="", marker="o", ms=9, mfc="white", mec=INK, mew=1.6, label="yours")
    said = "Small dots: seeds; whiskers: 95 % intervals over the test images."
    controls = [arm for arm in arms if ARMS[arm].source == "measured"]
    keys = [*make_line_keys([arm for arm in arms if arm not in controls]), mine]
    fig = create_figure(3.4, title, f"{subtitle} {said}".lstrip(), keys)
    panels = fig.subplots(1, len(protocols), sharey=True, squeeze=False)[0]
    for ax, name in zip(panels, protocols, strict=True):
        own = [row for row in points if row["protocol"] == name]
        for place, arm in enumerate(arms):
            shift = APART ** (place - (len(arms) - 1) / 2)
            _draw_arm(ax, [row for row in own if row["arm"] == arm], arm, shift)
            if name == protocol and arm in yours:
                _draw_own(ax, yours[arm], arm, images * shift)
        ticks = sorted({row["images"] for row in own} | ({images} if name == protocol else set()))
        ax.set_xscale("log")
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.minorticks_off()
        ax.set_xlim(ticks[0] / 1.6, ticks[-1] * 1.6)
        ax.set(title=f"Batch norm {name}", xlabel="labelled images")
        if name == "frozen" and controls:
            ax.legend(handles=make_line_keys(controls), loc="upper left")
    panels[0].set_ylabel("mask AP (points)")
    low, high = panels[0].get_ylim()
    panels[0].set_ylim(0, high + 0.12 * (high - low))
    return fig


def _draw_arm(ax: Axes, rows: list[dict], arm: str, shift: float) -> None:
    """Line and whiskers of an arm of the study, and a small dot for each seed."""
    ink = get_colour(arm)
    rows = sorted(rows, key=lambda row: row["images"])
    x = [row["images"] * shift for row in rows]
    y = [row["AP"] for row in rows]
    ends = [row["interval"] or (row["AP"], row["AP"]) for row in rows]
    below = [row["AP"] - low for row, (low, _) in zip(rows, ends, strict=True)]
    above = [high - row["AP"] for row, (_, high) in zip(rows, ends, strict=True)]
    if rows:
        ax.errorbar(x, y, yerr=[below, above], color=ink, lw=1.8, elinewidth=1.3, **get_line(arm))
    for place, row in zip(x, rows, strict=True):
        values = list(row["seeds"].values())
        ax.plot([place] * len(values), values, ".", color=ink, ms=4, alpha=0.6)


def _draw_own(ax: Axes, entry: dict, arm: str, place: float) -> None:
    """The reader's own point: hollow, and larger than those of the study."""
    if entry["value"] is None:
        return
    ink = get_colour(arm)
    value = 100 * entry["value"]
    whisker = None
    if entry["low"] is not None:
        whisker = [[value - 100 * entry["low"]], [100 * entry["high"] - value]]
    ax.errorbar(
        [place],
        [value],
        yerr=whisker,
        color=ink,
        elinewidth=1,
        marker=get_line(arm)["marker"],
        ms=9,
        mfc="white",
        mec=ink,
        mew=1.8,
        zorder=5,
    )
