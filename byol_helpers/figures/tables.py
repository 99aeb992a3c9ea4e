"""Tables of a notebook, as Markdown: readable there, on a web page and as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.display import Markdown


def show_table(head: Sequence, rows: Iterable[Sequence]) -> Markdown:
    """A table as the last expression of a notebook's cell.

    Args:
        head: titles of the columns.
        rows: cells of each row, turned into text as they are.
    """
    from IPython.display import Markdown

    lines = []
    for cells in (head, ["---"] * len(head), *rows):
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return Markdown("\n".join(lines))
