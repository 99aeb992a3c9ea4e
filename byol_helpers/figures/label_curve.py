"""AP over the number of labelled images: a committed study, and beside it the reader's own run."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from byol_helpers.core.arms import ARMS, label_arm
from byol_helpers.figures.style import (
    INK,
    SOFT,
    create_figure,
    get_colour,
    get_line,
    make_line_keys,
)

APART = 1.05  # factor between the places of two arms, so that their whiskers do not hide each other
ASIDE = 1 / 1.35  # how far before those of the study the reader's own points stand


def plot_label_curve(
    points: Sequence[dict],
    leads: Sequence[dict],
    yours: Mapping[str, dict],
    your_leads: Mapping[str, dict],
    images: int,
    protocol: str = "trainable",
) -> Figure:
    """Mask AP over the number of labelled images, and below it the lead over weights untrained.

    A column for each protocol of batch norm.

    Args:
        points, leads: rows of ``reproduction.list_points`` and ``list_leads``; none, and only the
            reader's run is drawn.
        yours: AP of each arm of the reader's run, ``value``, ``low`` and ``high`` in 0..1.
        your_leads: the same of each arm's difference to ``random``.
        images: labelled ones of the reader's run.
        protocol: of the reader's run.
    """
    protocols = list(dict.fromkeys([*(row["protocol"] for row in points), protocol]))
    protocols.sort(reverse=True)  # trainable first
    arms = [arm for arm in ARMS if arm in yours or any(row["arm"] == arm for row in points)]
    controls = [arm for arm in arms if ARMS[arm].source == "measured"]
    mine = Line2D([], [], ls="", marker="o", ms=9, mfc="white", mec=INK, mew=1.6, label="yours")
    keys = [*make_line_keys([arm for arm in arms if arm not in controls]), mine]
    fig = create_figure(
        4.9,
        "Mask AP by the number of labelled images, and what the initial weights add",
        "Small dots: seeds. Whiskers of AP: 95 % over test images; of leads: over seeds too, from "
        "three on. Hollow, to the left: yours.",
        keys,
    )
    grid = fig.subplots(2, len(protocols), sharex="col", sharey="row", squeeze=False)
    for column, name in enumerate(protocols):
        above, below = grid[:, column]
        own = [row for row in points if row["protocol"] == name]
        is_mine = name == protocol
        drawn = [a for a in arms if (is_mine and a in yours) or any(r["arm"] == a for r in own)]
        shifts = {arm: APART ** (k - (len(drawn) - 1) / 2) for k, arm in enumerate(drawn)}
        for arm, shift in shifts.items():
            _draw_points(above, [row for row in own if row["arm"] == arm], arm, shift)
            if is_mine and arm in yours:
                _draw_own(above, yours[arm], arm, images * shift * ASIDE)
        other = _draw_leads(below, [row for row in leads if row["protocol"] == name], shifts)
        if is_mine:
            for arm, entry in your_leads.items():
                if arm in shifts:
                    _draw_own(below, entry, arm, images * shifts[arm] * ASIDE)
        ticks = sorted({row["images"] for row in own} | ({images} if is_mine else set()))
        below.set_xscale("log")
        below.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        below.minorticks_off()
        below.set_xlim(ticks[0] / 1.6, ticks[-1] * 1.6)
        below.axhline(0, color=SOFT, lw=1)
        above.set(title=f"Batch norm {name}")
        below.set(title=f"Lead over {label_arm(other)}", xlabel="labelled images")
        if name == "frozen" and controls:
            above.legend(handles=make_line_keys(controls), loc="upper left")
    grid[0, 0].set_ylabel("mask AP (points)")
    grid[1, 0].set_ylabel("lead (AP points)")
    low, high = grid[0, 0].get_ylim()
    grid[0, 0].set_ylim(0, high + 0.12 * (high - low))
    return fig


def _draw_points(ax: Axes, rows: list[dict], arm: str, shift: float) -> None:
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


def _draw_leads(ax: Axes, rows: list[dict], shifts: Mapping[str, float]) -> str:
    """Leads over what a protocol compares with, which is returned."""
    others = {row["other"] for row in rows}
    other = "random-measured" if "random-measured" in others else "random"
    for arm, shift in shifts.items():
        own = [row for row in rows if (row["arm"], row["other"]) == (arm, other)]
        own.sort(key=lambda row: row["images"])
        if own:
            y = [row["lead"] for row in own]
            below = [row["lead"] - row["interval"][0] for row in own]
            above = [row["interval"][1] - row["lead"] for row in own]
            x = [row["images"] * shift for row in own]
            line = {"color": get_colour(arm), "lw": 1.8, "elinewidth": 1.3, **get_line(arm)}
            ax.errorbar(x, y, yerr=[below, above], **line)
    return other


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
        clip_on=False,
    )
