"""What is wrong with data: one line for each kind of problem, with its place and its remedy, the
most important first.

Errors would break a training or give numbers without meaning; notes are worth knowing.
"""

from collections import defaultdict

ERRORS = (
    "no images",
    "no annotations",
    "image record",
    "image id twice",
    "category record",
    "category id twice",
    "category name twice",
    "annotation record",
    "missing image",
    "unknown category",
    "all crowds",
    "relative coordinates",
    "corners for box",
    "no file",
    "unreadable",
    "wrong size",
    "no mask",
    "broken mask",
    "empty mask",
    "no box",
    "box outside",
)
NOTES = (
    "mended",
    "left out",
    "name twice",
    "rare empty mask",
    "flat box",
    "crowds only",
    "unused category",
    "empty images",
    "unlisted files",
)


class Problems:
    """A collection of problems.

    ``mended`` is the line of what was mended, ``all_crowds`` that of a file without an object, both
    else empty.
    """

    def __init__(self):
        self._first: dict[str, str] = {}
        self._count: dict[str, int] = defaultdict(int)
        self.mended = ""
        self.all_crowds = ""

    def add(self, kind: str, line: str, count: int = 1) -> None:
        """One more of a kind in ``ERRORS`` or ``NOTES``; the line of the first one is kept."""
        self._first.setdefault(kind, line)
        self._count[kind] += count

    def errors(self) -> list[str]:
        """One line a kind, most important first."""
        return self._lines(ERRORS)

    def notes(self) -> list[str]:
        """As ``errors``, of what does not stop anything."""
        return self._lines(NOTES)

    def _lines(self, kinds: tuple[str, ...]) -> list[str]:
        lines = []
        for kind in kinds:
            if kind in self._first:
                count = self._count[kind]
                more = f" (and {count - 1:,} more like it)" if count > 1 else ""
                lines.append(self._first[kind] + more)
        return lines
