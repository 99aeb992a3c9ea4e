"""How long the notebooks are, in numbers: ``python -m benchmarks.course [FOLDER]``.

For each notebook its cells, the median number of lines of its code cells, the words of its texts,
its exercises, the cells that are slides, and its size. Counted in the working tree FOLDER, by
default this one.
"""

import json
import re
import statistics
import sys
from pathlib import Path

from byol_helpers.report.lessons import SLIDE_TAG, read_slides

ROOT = Path(__file__).resolve().parents[1]
HEAD = ("notebook", "cells", "lines", "words", "exercises", "slides", "MB")
EXERCISE = re.compile(r"^(?:\*\*)?(\d+)\.", re.M)


def count_notebook(path: Path) -> tuple[str, int, float, int, int, int, float]:
    """The row of one notebook, in the order of ``HEAD``.

    Words are those of the texts without fenced code; lines are those of a code cell that are not
    empty, at the median.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    code = [source for kind, source in sources if kind == "code"]
    texts = [source for kind, source in sources if kind == "markdown"]
    lines = [sum(bool(line.strip()) for line in source.splitlines()) for source in code]
    said = re.sub(r"```.*?```", "", "\n".join(texts), flags=re.S)
    exercises = said.partition("\n## Exercises")[2] or said.partition("## Exercises")[2]
    tagged = {cell["id"] for cell in cells if SLIDE_TAG in cell["metadata"].get("tags", [])}
    slides = tagged | set(read_slides().get(path.stem, []))
    return (
        path.stem,
        len(cells),
        statistics.median(lines),
        len(said.split()),
        len(set(EXERCISE.findall(exercises))),
        len(slides),
        path.stat().st_size / 1e6,
    )


def write_row(row: tuple) -> str:
    """A line of the table."""
    name, *numbers, size = row
    return f"{name:20}" + "".join(f"{number:>10g}" for number in numbers) + f"{size:>10.2f}"


def main(folder: Path) -> None:
    """Print the table."""
    name, *others = HEAD
    print(f"{name:20}" + "".join(f"{title:>10}" for title in others))
    for path in sorted((folder / "notebooks").glob("[0-9][0-9]-*.ipynb")):
        print(write_row(count_notebook(path)))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
