"""The scorecard as pictures: a tile for each claim, and every test with its interval."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from byol_helpers.figures.style import INK, create_figure
from byol_helpers.reproduction.verdicts import (
    EQUAL,
    NOT_REPRODUCED,
    NOT_TESTED,
    REPRODUCED,
    UNDECIDED,
)

VERDICT_INKS = {
    REPRODUCED: "#332288",
    NOT_REPRODUCED: "#882255",
    EQUAL: "#0B6E4F",
    UNDECIDED: "#6F6F6F",
    NOT_TESTED: "#FFFFFF",
}
VERDICT_SIGNS = {
    REPRODUCED: "yes",
    NOT_REPRODUCED: "no",
    EQUAL: "=",
    UNDECIDED: "?",
    NOT_TESTED: "–",
}
_CLAIMED = "#332288"  # the range that a claim names, very light


def draw_verdicts(card: dict) -> Figure:
    """One tile for each claim of a scorecard (``scorecard.json``), coloured by its verdict."""
    claims = card["claims"]
    signs = ", ".join(f"{sign} = {verdict}" for verdict, sign in VERDICT_SIGNS.items())
    fig = create_figure(
        1.15,
        "; ".join(f"{verdict}: {card['verdicts'][verdict]}" for verdict in VERDICT_SIGNS),
        f"{len(claims)} rows of claims: {signs}",
    )
    ax = fig.subplots()
    for x, row in enumerate(claims):
        fill = VERDICT_INKS[row["verdict"]]
        ink = INK if row["verdict"] == NOT_TESTED else "white"
        ax.add_patch(Rectangle((x + 0.04, 0.02), 0.92, 0.96, facecolor=fill, edgecolor="#8C8C8C"))
        middle: dict[str, Any] = {"color": ink, "ha": "center", "va": "center"}
        ax.text(x + 0.5, 0.66, row["claim"], weight="bold", **middle)
        ax.text(x + 0.5, 0.3, VERDICT_SIGNS[row["verdict"]], **middle)
    ax.set(xlim=(0, len(claims)), ylim=(0, 1), xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    return fig


def plot_tests(card: dict) -> Figure:
    """Every test of a scorecard that has an interval, in a panel for each unit."""
    panels = {}
    for row in card["claims"]:
        for test in row["tests"]:
            if test["interval"]:
                panels.setdefault(test["unit"], []).append((row["claim"], test))
    heights = [len(tests) for tests in panels.values()]
    fig = create_figure(
        0.7 * len(panels) + 0.27 * sum(heights) + 0.2,
        "Every test with an interval",
        "Dot and line: measured here, 95 % interval. Diamond: the thesis. Shaded: what the claim "
        "says. Colour: the verdict.",
    )
    ratios = [height + 1 for height in heights] or [1]
    axes = fig.subplots(len(ratios), 1, squeeze=False, height_ratios=ratios)
    for ax, (unit, tests) in zip(axes[:, 0], panels.items(), strict=False):
        _plot_panel(ax, unit, tests)
    return fig


def _plot_panel(ax: Axes, unit: str | None, tests: list[tuple[str, dict]]) -> None:
    """The tests of one unit, a row each; the edge of what is claimed is always in view."""
    ends = [1.0 if unit == "ratio" else 0.0]
    for _, test in tests:
        ends += test["interval"]
        if test["thesis"] is not None:
            ends.append(test["thesis"])
    room = 0.06 * (max(ends) - min(ends) or 1)
    left = min(ends) - room
    right = max(ends) + room
    for y, (_, test) in enumerate(tests):
        ink = VERDICT_INKS[test["verdict"]]
        low, high = test["claimed"]
        span = [
            left if low is None else max(low, left),
            right if high is None else min(high, right),
        ]
        ax.fill_between(span, y - 0.42, y + 0.42, color=_CLAIMED, alpha=0.08, lw=0)
        ax.plot(test["interval"], [y, y], color=ink, lw=2.2)
        fill = "white" if test["verdict"] == UNDECIDED else ink
        ax.plot(test["measured"], y, "o", color=ink, ms=6, mfc=fill)
        if test["thesis"] is not None:
            ax.plot(test["thesis"], y, "D", mfc="none", mec=INK, ms=6)
    ax.set(ylim=(len(tests) - 0.4, -0.6), xlim=(left, right), xlabel=unit)
    ax.set_yticks(range(len(tests)), [f"{claim}: {test['name']}" for claim, test in tests])
