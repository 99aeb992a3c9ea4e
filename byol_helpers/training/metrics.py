"""The rows of metrics.csv."""

import math
import statistics
from pathlib import Path

from byol_helpers.core.files import write_text


class Medians:
    """The rows of metrics.csv: each number's median over ``every`` steps, as detectron2's.

    A number that some steps lack (no region held an object) is the median of those that have it,
    nan if none has.
    """

    def __init__(self, every: int, steps: int):
        self.every = every
        self.steps = steps
        self.rows: list[dict[str, float]] = []
        self.recent: list[dict[str, float]] = []

    def add(self, step: int, values: dict[str, float]) -> None:
        """Take the numbers of step 1, 2, ....

        Every so often, and at the last step, they become a row.
        """
        self.recent.append(values)
        if step % self.every == 0 or step == self.steps:
            found: dict[str, list[float]] = {}
            for recent in self.recent:
                for name, value in recent.items():
                    found.setdefault(name, []).append(value)
            medians = {name: statistics.median(of) for name, of in found.items()}
            self.rows.append({"step": step} | medians)
            self.recent = []

    def state_dict(self) -> dict:
        return {"rows": self.rows, "recent": self.recent}

    def load_state_dict(self, state: dict) -> None:
        self.rows = state["rows"]
        self.recent = state["recent"]


def write_csv(path: Path, rows: list[dict]) -> None:
    """Rows as CSV, numbers with seven significant digits."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["step"]
    lines = [",".join(names)]
    for row in rows:
        lines.append(",".join(_format(row.get(name, math.nan)) for name in names))
    write_text(path, "\n".join(lines) + "\n")


def _format(cell: float | int) -> str:
    return f"{cell:.7g}" if isinstance(cell, float) else str(cell)
