"""How far a long piece of work is, in plain lines."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from byol_helpers.core.deadline import StopRequested, get_deadline, is_over
from byol_helpers.core.files import read_json, write_json

_Item = TypeVar("_Item")

UNFINISHED = "unfinished.json"  # in the folder of a stage: what is made before the time is over

# Names the file that ``announce`` adds its lines to, where another process wants to follow the
# work.
EVENTS_FILE = "BYOL_HELPERS_EVENTS"


def announce(line: str) -> None:
    """Print how far the work is.

    The line also goes to the file that ``EVENTS_FILE`` names, if any.
    """
    print(line, flush=True)
    events = os.environ.get(EVENTS_FILE)
    if events:
        with open(events, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


class Progress:
    """Plain lines instead of a bar: readable in a terminal, a log and a committed notebook alike.

    At most one line every ``every`` seconds, with the time left by the mean speed since the first
    update.
    """

    def __init__(
        self, title: str, total: int, unit: str = "steps", done: int = 0, every: float = 15.0
    ):
        self.title = title
        self.total = total
        self.unit = unit
        self.every = every
        self.done = done
        self.first = done
        self.start = time.monotonic()
        self.last = self.start
        if done:
            announce(f"{title}: goes on from {done} of {total} {unit}")

    def update(self, n: int = 1, note: str = "") -> None:
        """Count ``n`` more units; print, with the note, when the last line is old enough."""
        self.done += n
        now = time.monotonic()
        if now - self.last >= self.every and self.done < self.total:
            self.last = now
            left = (now - self.start) / (self.done - self.first) * (self.total - self.done)
            said = f"{self.title}: {self.done} of {self.total} {self.unit}"
            announce(", ".join(filter(None, [said, note, f"{duration(left)} left"])))

    def stop_in_time(self) -> None:
        """Raise ``StopRequested`` where the time is over; call it once what was counted is kept."""
        if is_over(get_deadline()) and self.done < self.total:
            raise StopRequested(
                f"{self.title}: stopped after {self.done:,} of {self.total:,} {self.unit}"
            )

    def close(self) -> None:
        """Print the last line, with the whole time."""
        taken = duration(time.monotonic() - self.start)
        announce(f"{self.title}: {self.done} of {self.total} {self.unit} in {taken}")


def work_in_pieces(
    title: str,
    items: Sequence[_Item],
    work: Callable[[_Item], Any],
    unfinished: Path | None = None,
    unit: str = "images",
) -> list:
    """What ``work`` makes of each item, in their order.

    Args:
        title: of the progress lines.
        items: one after the other.
        work: gives something that JSON can hold.
        unfinished: a file in a folder of the run for what the first items gave, where the time ends
            before the last one; the next call goes on from it.
        unit: what the items are, in the plural.

    Raises:
        StopRequested: the time of ``core.deadline`` is over; never without ``unfinished``.
    """
    made = read_json(unfinished) if unfinished and unfinished.is_file() else []
    progress = Progress(title, len(items), unit, len(made))
    for item in items[len(made) :]:
        made.append(work(item))
        progress.update()
        if unfinished and is_over(get_deadline()):
            write_json(unfinished, made)
            progress.stop_in_time()
    progress.close()
    return made


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``8 s``, ``2 min 05 s``, ``3 h 20 min``, ``4 days 6 h``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 86400} days {seconds % 86400 // 3600} h"
