"""Training curves: reading ``metrics.csv``, the thesis's smoothing, and what the curves end at.

A row of a fine-tuning ``metrics.csv`` is the median of 20 iterations, as detectron2 writes it.
Smoothing runs over rows: with beta 0.99 a value remembers about 100 rows, that is 2,000 iterations.
A run of fewer iterations has not forgotten where it started, so that its "final" loss is an average
over all of it; arms are compared at equal length.
"""

import csv
import io
import lzma
from pathlib import Path

import numpy as np

from byol_helpers.core.errors import UserError

BETA = 0.99  # thesis 4.6, eq. 24
LAST_SHARE = 0.1  # of the rows of a training: what counts as its end
LOSSES = {"box": "loss_box_reg", "class": "loss_cls", "mask": "loss_mask"}
RATES = {
    "false_negative": "mask_rcnn/false_negative",
    "false_positive": "mask_rcnn/false_positive",
    "accuracy": "mask_rcnn/accuracy",
}


def ema(values: np.ndarray, beta: float = BETA, initial: float | None = None) -> np.ndarray:
    """V_t = beta V_(t-1) + (1 - beta) theta_t (thesis eq. 24).

    Args:
        values: theta, [N].
        beta: smoothing factor, 0 <= beta < 1; 0 changes nothing.
        initial: V before the first value. The thesis does not give it; None takes the first value,
            so that the curve starts on it instead of at zero.

    Returns:
        V, [N]. A missing value (nan) leaves V as it was.
    """
    if not 0 <= beta < 1:
        raise UserError(f"beta={beta}: choose a smoothing factor from 0 up to, not including, 1")
    values = np.asarray(values, dtype=float)
    defined = values[~np.isnan(values)]
    current = initial if initial is not None else (defined[0] if defined.size else np.nan)
    smooth = np.empty_like(values)
    for i, value in enumerate(values):
        current = current if np.isnan(value) else beta * current + (1 - beta) * value
        smooth[i] = current
    return smooth


def read_metrics(path: Path | str) -> dict[str, np.ndarray]:
    """Columns of a ``metrics.csv``, or of one compressed as ``.csv.xz``, float [N].

    An empty cell is nan.

    Raises:
        UserError: no such file, no rows, a cell that is not a number.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(_read_text(Path(path)), newline="")))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run the stage that writes it first") from None
    if not rows:
        raise UserError(f"{path}: no rows yet; let the stage run for at least one logging interval")
    try:
        return {key: np.array([float(row[key] or "nan") for row in rows]) for key in rows[0]}
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: a cell is not a number ({error}); run the stage again") from None


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    return (lzma.decompress(content) if path.suffix == ".xz" else content).decode()


def read_final_losses(path: Path | str, beta: float = BETA) -> dict[str, float]:
    """Last smoothed losses as in table 4.2: box, class, mask and their sum, without the two RPN
    losses."""
    columns = _read_columns(path, LOSSES)
    final = {name: float(ema(values, beta)[-1]) for name, values in columns.items()}
    return final | {"total": sum(final.values())}


def read_smoothed_rates(path: Path | str, beta: float = BETA) -> dict[str, np.ndarray]:
    """Smoothed mask-pixel rates of figures 4.8-4.10, [N] each, with ``step``.

    Shares 0-1 of the pixels of the training batch's foreground regions, not errors of detection.
    """
    rates = _read_columns(path, RATES | {"step": "step"})
    for name in RATES:
        rates[name] = ema(rates[name], beta)
    return rates


def read_last_losses(path: Path | str, share: float = LAST_SHARE) -> dict[str, float]:
    """Mean losses over the last rows: box, class, mask and their sum.

    A smoothed curve lags behind a falling one, by about 1 / (1 - beta) rows; a mean does not.

    Args:
        share: of the rows, at least one.
    """
    columns = _read_columns(path, LOSSES)
    final = {name: average_last(values, share) for name, values in columns.items()}
    return final | {"total": sum(final.values())}


def read_last_rates(path: Path | str, share: float = LAST_SHARE) -> dict[str, float]:
    """Mean mask-pixel rates of figures 4.8-4.10 over the last rows, as ``read_last_losses``."""
    columns = _read_columns(path, RATES)
    return {name: average_last(values, share) for name, values in columns.items()}


def average_last(values: np.ndarray, share: float) -> float:
    """Mean over the last rows of a column [N], of those that hold a value; nan if none does.

    Args:
        values: floats, nan where a value is missing.
        share: of the rows, at least one.
    """
    rows = max(1, round(share * len(values)))
    last = values[-rows:]
    return float(np.nanmean(last)) if not np.isnan(last).all() else float("nan")


def _read_columns(path: Path | str, names: dict[str, str]) -> dict[str, np.ndarray]:
    columns = read_metrics(path)
    missing = [column for column in names.values() if column not in columns]
    if missing:
        raise UserError(
            f"{path}: no column {missing[0]!r}; it must be the metrics.csv of a fine-tuning"
        )
    return {name: columns[column] for name, column in names.items()}


def choose_beta(rows: int) -> float:
    """Smoothing factor that remembers as large a share of a short run as 0.99 does of the thesis's.

    Its 100,000 iterations are 5,000 rows, of which 0.99 remembers 100, a fiftieth. Five rows are
    kept at least.
    """
    return min(BETA, max(0.8, 1 - 50 / rows))
