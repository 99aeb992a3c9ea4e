"""One setting changed: AP of each arm and their differences under both values; pretraining."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from byol_helpers.figures.style import (
    ARM_COLOURS,
    INK,
    OTHERS,
    SOFT,
    create_figure,
    get_colour,
    get_line,
    make_point_keys,
)


def plot_setting(rows: list[dict], title: str, metric: str = "AP") -> Figure:
    """Left, AP of each arm under both values of the setting; right, the arms' differences.

    Args:
        rows: of the CSV that a study writes, as ``csv.DictReader`` reads them, in AP points.
        title: of the figure.
        metric: AP, AP50 or AP75.
    """
    values = list(dict.fromkeys(row["value"] for row in rows if " - " not in row["value"]))
    of = {}
    for row in rows:
        columns = (metric, f"{metric}_low", f"{metric}_high")
        of[row["value"], row["what"]] = [float(row[column]) for column in columns]
    whats = list(dict.fromkeys(row["what"] for row in rows))
    arms = [what for what in whats if " - " not in what]
    pairs = [what for what in whats if " - " in what]
    first = rows[0]
    engine = f"{first['engine']}, " if first["engine"] else ""
    fig = create_figure(
        2.9,
        title,
        f"Profile {first['profile']}, {engine}{first['iterations']} iterations, "
        f"{first['test_images']} test images, seeds {first['seeds']}. Whiskers: "
        f"{100 * float(first['confidence']):.0f} % intervals over the test images, drawn in pairs.",
        make_point_keys(arms),
    )
    left, right = fig.subplots(1, 2, width_ratios=[1, 1.35])
    _draw_arms(left, of, values, arms)
    left.set(
        title=first["setting"].split(".")[-1].replace("_", " ").capitalize(),
        ylabel=f"mask {metric} (points)",
    )
    _draw_pairs(right, of, values, pairs)
    right.set(title="Differences between arms", xlabel=f"difference in mask {metric} (points)")
    return fig


def plot_pretraining_variants(rows: list[dict], names: dict[str, str]) -> Figure:
    """BYOL's loss and the spread of its features against the iteration: mean and range over seeds.

    Args:
        rows: of ``pretraining.csv``, as ``csv.DictReader`` reads them.
        names: what to call the variants ``2048``, ``4096`` and ``random``.
    """
    inks = {"2048": ARM_COLOURS["byol"], "4096": OTHERS[0], "random": ARM_COLOURS["byol-random"]}
    dashes = {"2048": "-", "4096": (0, (5, 1.4)), "random": (0, (4, 1.2, 1, 1.2, 1, 1.2))}
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    keys = []
    for key, name in names.items():
        keys.append(Line2D([], [], color=inks[key], lw=2, linestyle=dashes[key], label=name))
    fig = create_figure(
        2.9,
        "BYOL's objective (figure 4.2): width of the hidden layer, and what it starts from",
        f"Profile {rows[0]['profile']}, batch {rows[0]['batch_size']}; line: mean over seeds "
        f"{', '.join(seeds)}, band: their lowest and highest.",
        keys,
    )
    panels = {
        "loss": ("Loss", "loss (0 to 8)"),
        "feature_std": ("Spread of the features", "spread (0 to 1)"),
    }
    for ax, (column, (heading, axis)) in zip(fig.subplots(1, 2), panels.items(), strict=True):
        for variant in names:
            steps, values = _read_variant(rows, variant, seeds, column)
            ax.plot(
                steps, values.mean(axis=0), color=inks[variant], lw=2, linestyle=dashes[variant]
            )
            ax.fill_between(
                steps,
                values.min(axis=0),
                values.max(axis=0),
                color=inks[variant],
                alpha=0.18,
                lw=0,
            )
        ax.set(title=heading, xlabel="iteration", ylabel=axis)
    return fig


def _read_variant(
    rows: list[dict], variant: str, seeds: list[str], column: str
) -> tuple[np.ndarray, np.ndarray]:
    """Iterations [N] of a variant's pretraining, and the values of a column by seed [seeds, N]."""
    values = []
    steps = []
    for seed in seeds:
        own = [row for row in rows if (row["variant"], row["seed"]) == (variant, seed)]
        steps = [int(row["step"]) for row in own]
        values.append([float(row[column]) for row in own])
    return np.array(steps), np.array(values)


def _draw_arms(ax: Axes, of: dict, values: list[str], arms: list[str]) -> None:
    for number, arm in enumerate(arms):
        at = [k + 0.09 * (number - (len(arms) - 1) / 2) for k in range(len(values))]
        middle, low, high = zip(*(of[value, arm] for value in values), strict=True)
        spread = np.maximum(0, [np.subtract(middle, low), np.subtract(high, middle)])
        ax.errorbar(
            at,
            middle,
            yerr=spread,
            color=get_colour(arm),
            fmt=get_line(arm)["marker"],
            ms=5,
            elinewidth=1.6,
        )
        ax.plot(
            at,
            middle,
            color=get_colour(arm),
            lw=1.2,
            alpha=0.6,
            linestyle=get_line(arm)["linestyle"],
        )
    ax.set_xticks(range(len(values)), values, weight="bold", color=INK)
    ax.set_xlim(-0.4, len(values) - 0.6)
    ax.set_ylim(0, max(1, ax.get_ylim()[1]))
    ax.grid(axis="x", visible=False)


def _draw_pairs(ax: Axes, of: dict, values: list[str], pairs: list[str]) -> None:
    for number, pair in enumerate(pairs):
        for k, value in enumerate(values):
            middle, low, high = of[value, pair]
            y = number + (k - 0.5) * 0.34
            ink = get_colour(pair.split(" - ")[middle < 0])
            ax.errorbar(
                [middle],
                [y],
                xerr=[[max(0, middle - low)], [max(0, high - middle)]],
                fmt="o",
                ms=6,
                color=ink,
                mfc=ink if low > 0 or high < 0 else "white",
                mew=1.5,
                elinewidth=2,
            )
            ax.annotate(
                value,
                (max(high, middle), y),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                size=8,
                color=SOFT,
                bbox={"fc": "white", "ec": "none", "pad": 0.6},
            )
    ax.axvline(0, color=INK, lw=1)
    ax.set_yticks(range(len(pairs)), [pair.replace(" - ", " −\n") for pair in pairs], color=INK)
    ax.set_ylim(len(pairs) - 0.4, -0.6)
    ax.margins(x=0.14)
    low, high = ax.get_xlim()
    ax.set_xlim(min(-1, low), max(1.5, high))
