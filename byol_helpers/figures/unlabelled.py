"""Figures of the lesson on learning without labels: temperature, methods, tables 2.1 and 2.2."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from byol_helpers.figures.style import INK, OTHERS, SOFT, create_figure, get_colour
from byol_helpers.reproduction.thesis import Table

# Rows of tables 2.1 and 2.2 that others are read against, and the arm whose colour they have.
_REFERENCES = {
    "ImageNet labels": "imagenet",
    "ImageNet Labels": "imagenet",
    "Random(Scratch)": "random",
}
_FAINT = "#B5BAC4"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.6, 1.1)), (0, (5, 1.4, 1, 1.4)))


def plot_negative_weights(
    similarities: Sequence[float], weights: Mapping[float, Sequence[float]]
) -> Figure:
    """Which negatives InfoNCE pushes away, at several temperatures.

    Args:
        similarities: of the query with each negative, -1 to 1.
        weights: by temperature, each negative's share of the push, 0 to 1; at most four.
    """
    fig = create_figure(
        2.9,
        "A low temperature pushes the nearest negatives only",
        f"Share of the whole push that each of {len(similarities)} negatives gets",
    )
    ax = fig.subplots()
    order = np.argsort(similarities)
    x = np.asarray(similarities)[order]
    for (temperature, shares), ink, dash in zip(weights.items(), OTHERS, _DASHES, strict=False):
        y = 100 * np.asarray(shares)[order]
        ax.plot(x, y, color=ink, linestyle=dash, marker=".", label=f"τ = {temperature:g}")
    ax.set(xlabel="similarity of the negative with the query (cosine)", ylim=(0, None))
    ax.set_ylabel("share of the push (%)")
    ax.legend(loc="upper left")
    return fig


def plot_method_scores(
    scores: Mapping[str, Sequence[float]],
    controls: Mapping[str, Sequence[float]],
    title: str,
    subtitle: str,
) -> Figure:
    """Probe accuracy of several methods, a dot for each seed and a bar at the mean.

    Args:
        scores: by method, an accuracy of each seed in 0..1.
        controls: the same of networks that no method has trained; dashed lines at their means.
        title, subtitle: of the figure.
    """
    fig = create_figure(0.27 * len(scores) + 0.7, title, subtitle)
    ax = fig.subplots()
    for row, (name, values) in enumerate(scores.items()):
        ink = get_colour({"labels": "supervised", "BYOL": "byol"}.get(name, name))
        ax.plot(100 * np.asarray(values), [row] * len(values), "o", ms=4.5, color=ink, alpha=0.75)
        ax.plot([100 * np.mean(values)], [row], "|", ms=14, mew=2.4, color=ink)
    for (name, values), dash in zip(controls.items(), _DASHES[1:], strict=False):
        mean = 100 * float(np.mean(values))
        ax.axvline(mean, color=SOFT, lw=1.2, linestyle=dash, label=f"{name}: {mean:.1f} %")
    ax.set_yticks(range(len(scores)), list(scores))
    ax.invert_yaxis()
    ax.set(xlabel="accuracy of a linear probe (%)", xlim=(0, None))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def plot_layer_accuracies(table: Table) -> Figure:
    """Table 2.1: accuracy of a linear classifier on each convolution of AlexNet, per cent."""
    named = ("ImageNet labels", "DeepClustering", "Random(Scratch)")
    inks = {name: get_colour(_REFERENCES.get(name, name)) for name in named}
    keys = [Line2D([], [], color=ink, lw=2, label=name) for name, ink in inks.items()]
    keys.append(Line2D([], [], color=_FAINT, lw=1.2, label="the other pretext tasks"))
    fig = create_figure(
        2.7,
        "Table 2.1: the middle layers of pretext tasks serve best",
        "A linear classifier on each frozen convolution of AlexNet, as the thesis prints it",
        keys,
    )
    layers = [f"conv{number}" for number in range(1, 6)]
    axes = fig.subplots(1, 2, sharey=True)
    for ax, data in zip(axes, ("ImageNet", "Places"), strict=True):
        for name in sorted(table.rows, key=lambda row: row in named):
            values = [table.number(name, f"{data.lower()}_{layer}") for layer in layers]
            if None in values or name == "Places labels":
                continue
            look = {"color": inks.get(name, _FAINT), "lw": 2 if name in named else 1.2}
            ax.plot(layers, values, marker="." if name in named else "", **look)
        ax.set_title(f"classifying {data}")
    axes[0].set_ylabel("accuracy (%)")
    axes[0].set_ylim(0, None)
    return fig


def plot_gains_over_scratch(table: Table) -> Figure:
    """Table 2.2: what each pretext task gains over an AlexNet trained from scratch, in points."""
    rows = [name for name, cells in table.rows.items() if cells[0] is not None]
    tasks = table.columns[1:]
    keys = []
    for marker, task in zip("os^", tasks, strict=True):
        keys.append(Line2D([], [], linestyle="", marker=marker, color=INK, label=task))
    fig = create_figure(
        0.2 * len(rows) + 0.6,
        "Table 2.2: not every pretext task is better than training from scratch",
        "Difference from Random(Scratch) on PASCAL VOC 2007, in points; red and hollow: worse",
        keys,
    )
    ax = fig.subplots()
    for row, name in enumerate(rows):
        for marker, task in zip("os^", tasks, strict=True):
            found = table.number(name, task)
            scratch = table.number("Random(Scratch)", task)
            if found is None or scratch is None:
                continue
            worse = found < scratch
            ink = OTHERS[3] if worse else INK
            face = "white" if worse else ink
            ax.plot([found - scratch], [row], marker=marker, ms=5.5, mec=ink, mfc=face, mew=1.3)
    ax.axvline(0, color=get_colour("random"), lw=1.5)
    ax.set_yticks(range(len(rows)), [f"{name} ({table.rows[name][0]})" for name in rows])
    ax.invert_yaxis()
    ax.set_xlabel("gain over training from scratch (points)")
    return fig
