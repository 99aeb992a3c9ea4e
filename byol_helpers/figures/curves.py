"""Curves of training: pretraining (figures 4.2, 4.3), losses (4.4-4.6), pixel rates (4.8-4.10)."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from byol_helpers.evaluation.curves import (
    BETA,
    LAST_SHARE,
    LOSSES,
    RATES,
    average_last,
    ema,
    read_metrics,
)
from byol_helpers.figures.style import (
    SOFT,
    create_figure,
    get_colour,
    get_label,
    get_line,
    make_line_keys,
)

PANELS = {  # column of metrics.csv -> title and axis label
    "loss": ("Loss", "loss (BYOL: 0 to 8)"),
    "lr": ("Learning rate", "learning rate"),
    "tau": ("Share the target network keeps, τ", "τ (0 to 1)"),
    "feature_std": ("Spread of the features", "spread (0 to 1)"),
}
LOSS_PANELS = {
    "loss_box_reg": ("Boxes", "smooth L1 (no unit)"),
    "loss_cls": ("Classes", "cross-entropy (nats)"),
    "loss_mask": ("Masks", "cross-entropy (nats)"),
    "total": ("Sum of the three", "loss (no unit)"),
}
RATE_PANELS = {
    "mask_rcnn/false_negative": ("Object pixels missed", "% of object pixels"),
    "mask_rcnn/false_positive": ("Background pixels marked", "% of background pixels"),
    "mask_rcnn/accuracy": ("Pixels that are right", "% of all pixels"),
}


def plot_pretraining(csvs: dict[str, Path], title: str) -> Figure:
    """Loss, learning rate, tau and feature spread by iteration (figures 4.2 and 4.3).

    Args:
        csvs: for each arm, or any other label, the ``metrics.csv`` of its pretraining.
        title: of the figure.
    """
    columns = {name: read_metrics(path) for name, path in csvs.items()}
    fig = create_figure(
        4.3,
        title,
        "Spread: standard deviation of the normalised features times the root of their number; 0 "
        "is a collapsed network, to which all images look alike.",
        make_line_keys(list(csvs)),
    )
    for ax, (column, (heading, axis)) in zip(fig.subplots(2, 2).flat, PANELS.items(), strict=True):
        for name, values in columns.items():
            if column not in values:  # SimCLR has no target, and so no tau
                continue
            ax.plot(
                values["step"],
                values[column],
                color=get_colour(name),
                lw=2,
                linestyle=get_line(name)["linestyle"],
            )
        _label_axes(ax, heading, axis)
    return fig


def plot_losses(csv: Path, arm: str, beta: float = BETA) -> Figure:
    """Losses of one arm's fine-tuning, as logged and smoothed (figures 4.4 to 4.6).

    What was logged is drawn strongly: a smoothed curve lags behind a falling one, and ends above
    it. The number in a corner is the mean of the last tenth of the rows, which does not.

    Args:
        csv: ``metrics.csv`` of the fine-tuning.
        arm: decides colour and title.
        beta: of the exponential moving average over rows (thesis eq. 24, 0.99); see
            ``evaluation.curves.choose_beta`` for short runs.
    """
    columns = _read_losses(csv)
    fig = create_figure(
        4.3,
        f"Losses while Mask R-CNN is fine-tuned from {get_label(arm)} weights",
        _describe_smoothing(columns, beta),
    )
    for ax, (column, (heading, axis)) in zip(
        fig.subplots(2, 2).flat, LOSS_PANELS.items(), strict=True
    ):
        _draw_overlaid(ax, {arm: columns}, column, beta)
        _label_axes(ax, heading, axis)
        end = average_last(columns[column], LAST_SHARE)
        said = f"last {LAST_SHARE:.0%}: {end:.3f}"
        ax.set_title(said, loc="right", size=9, weight="normal", color=SOFT)
    return fig


def plot_compared_losses(csvs: dict[str, Path], beta: float = BETA) -> Figure:
    """The four losses of all arms together, as logged, with the smoothed values as thin lines."""
    columns = {arm: _read_losses(csv) for arm, csv in csvs.items()}
    fig = create_figure(
        4.3,
        "Losses while Mask R-CNN is fine-tuned, by initial weights",
        _describe_smoothing(next(iter(columns.values())), beta),
        make_line_keys(list(csvs)),
    )
    for ax, (column, (heading, axis)) in zip(
        fig.subplots(2, 2).flat, LOSS_PANELS.items(), strict=True
    ):
        _draw_overlaid(ax, columns, column, beta)
        _label_axes(ax, heading, axis)
    return fig


def plot_rates(
    csvs: dict[str, Path], metrics: tuple[str, ...] = tuple(RATES.values()), beta: float = BETA
) -> Figure:
    """Mask pixel rates of the training batches (figures 4.8 to 4.10), in per cent.

    Args:
        csvs: for each arm, the ``metrics.csv`` of its fine-tuning.
        metrics: columns to draw, one panel each.
        beta: as in ``losses``.
    """
    columns = {arm: read_metrics(csv) for arm, csv in csvs.items()}
    fig = create_figure(
        2.9,
        "How well the mask head does on the regions it is trained on",
        "Training-batch pixel rates, not detection errors. "
        + _describe_smoothing(next(iter(columns.values())), beta),
        make_line_keys(list(csvs)),
    )
    for ax, metric in zip(fig.subplots(1, len(metrics), squeeze=False).flat, metrics, strict=True):
        heading, axis = RATE_PANELS.get(metric, (metric, "share (%)"))
        _draw_overlaid(ax, columns, metric, beta)
        _label_axes(ax, heading, axis)
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    return fig


def _read_losses(csv: Path) -> dict[str, np.ndarray]:
    columns = read_metrics(csv)
    return columns | {"total": np.sum([columns[name] for name in LOSSES.values()], axis=0)}


def _draw_overlaid(ax: Axes, columns: dict[str, dict], column: str, beta: float) -> None:
    """What was logged, one strong line for each arm, over its smoothed values, thin."""
    for arm, values in columns.items():
        smooth = ema(values[column], beta)
        ax.plot(values["step"], smooth, color=get_colour(arm), alpha=0.5, lw=0.9)
    for arm, values in columns.items():
        ax.plot(
            values["step"],
            values[column],
            color=get_colour(arm),
            lw=1.8,
            linestyle=get_line(arm)["linestyle"],
        )


def _describe_smoothing(columns: dict[str, np.ndarray], beta: float) -> str:
    """In words, what the strong and the thin line are."""
    steps = columns["step"]
    each = int(steps[1] - steps[0]) if len(steps) > 1 else int(steps[0])
    strong = f"the median of {each} iterations" if each > 1 else "one iteration"
    return f"Strong: {strong}; thin: smoothed over these values with\u00a0β\u00a0=\u00a0{beta:.3g}."


def _label_axes(ax: Axes, heading: str, axis: str) -> None:
    ax.set_title(heading)
    ax.set_xlabel("iteration")
    ax.set_ylabel(axis)
    ax.margins(x=0.015)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
