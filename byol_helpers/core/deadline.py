"""A time after which long work stops at its next checkpoint, to be gone on with another day."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

_deadline: float | None = None  # in seconds of the wall clock; None: there is none
_step_limit: int | None = None  # steps that a training does before it stops; None: all


class StopRequested(Exception):
    """The time is over. All is kept, and the same call goes on from there.

    The message is one line on what is left. The command line prints it and exits with status 0.
    """


def set_deadline(minutes: float | None) -> None:
    """Let trainings and stages stop after so many minutes from now; None: never."""
    global _deadline
    _deadline = None if minutes is None else time.time() + 60 * minutes


def get_deadline() -> float | None:
    """The time set, in seconds since the epoch, which other processes have in common."""
    return _deadline


@contextmanager
def stop_after(minutes: float | None) -> Iterator[None]:
    """``set_deadline`` for the block; afterwards the one before holds again."""
    global _deadline
    before = _deadline
    set_deadline(minutes)
    try:
        yield
    finally:
        _deadline = before


def is_over(deadline: float | None) -> bool:
    """Whether a deadline of ``get_deadline`` has passed."""
    return deadline is not None and time.time() >= deadline


def check_deadline(next_step: str) -> None:
    """Raise ``StopRequested`` where the time is over, naming what was not begun."""
    if is_over(_deadline):
        raise StopRequested(f"{next_step}: not begun, the time is over")


@contextmanager
def stop_after_steps(steps: int) -> Iterator[None]:
    """Let each training of the block stop after so many steps, with a checkpoint and its speed."""
    global _step_limit
    before = _step_limit
    _step_limit = steps
    try:
        yield
    finally:
        _step_limit = before


def get_step_limit() -> int | None:
    """Steps that a training does before it stops; None: all."""
    return _step_limit
