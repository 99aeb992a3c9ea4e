"""Trainings that are broken off."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from byol_helpers.training import loop


@contextmanager
def interrupted_at_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The training inside ends after its first checkpoint, as by Ctrl-C."""
    save = loop.save_checkpoint

    def stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(loop, "save_checkpoint", stop)
        yield
