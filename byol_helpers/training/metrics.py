"""The rows of metrics.csv."""

import math
import statistics
from pathlib import Path

from byol_helpers.core.files import write_text


class Medians:
    """The rows of metrics.csv: the median of each number over ``every`` steps, as detectron2 writes
    them.

    A number that some steps lack (no region held an object) is the median of those that have it,
    nan if none has.
    """

    def __init__(self, every: int, steps: int):
        self.every, self.steps, self.rows, self.recent = every, steps, [], []

    def add(self, step: int, values: dict[str, float]) -> None:
        """Take the numbers of step 1, 2, ....

        Every so often, and at the last step, they become a row.
        """
        self.recent.append(values)
        if step % self.every == 0 or step == self.steps:
            names = dict.fromkeys(name for values in self.recent for name in values)
            found = {
                name: [values[name] for values in self.recent if name in values] for name in names
            }
            self.rows.append(
                {"step": step} | {name: statistics.median(of) for name, of in found.items()}
            )
            self.recent = []

    def state_dict(self) -> dict:
        return {"rows": self.rows, "recent": self.recent}

    def load_state_dict(self, state: dict) -> None:
        self.rows, self.recent = state["rows"], state["recent"]


def write_csv(path: Path, rows: list[dict]) -> None:
    """Rows as CSV, numbers with seven significant digits."""
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["step"]
    cells = [[row.get(name, math.nan) for name in names] for row in rows]
    lines = [",".join(names)]
    lines += [
        ",".join(f"{cell:.7g}" if isinstance(cell, float) else str(cell) for cell in row)
        for row in cells
    ]
    write_text(path, "\n".join(lines) + "\n")
