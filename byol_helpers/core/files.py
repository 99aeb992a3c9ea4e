"""Files that are whole or absent: written beside their name, then renamed into place."""

import csv
import hashlib
import io
import json
import os
import platform
import re
import time
from collections.abc import Iterable, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from byol_helpers.core.errors import UserError

MACHINE = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
PART = re.compile(r"\..+\.([0-9a-f]{6})-(\d+)\.part")  # of a machine and a process
FORGOTTEN = 24 * 3600  # seconds without a write to a part of another machine


def expand_path(path: str | Path) -> Path:
    """A path as a person writes it, with ``~`` for the home folder, which shells leave in
    ``--data=~/x``.
    """
    return Path(os.path.expanduser(path))


@contextmanager
def replacing(path: Path):
    """Give a temporary path beside ``path``, of this process alone.

    Rename it into place when the block ends, remove it when it fails. Of several processes that
    write one file at once, the last to end leaves its own. What a killed process has left goes when
    the next one writes into the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned_parts(path.parent.absolute())
    part = path.with_name(f".{path.name}.{MACHINE}-{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@cache
def _remove_abandoned_parts(folder: Path) -> None:
    """Remove the parts of processes that are gone; once a process, since a folder may be large."""
    for path in folder.iterdir():
        found = PART.fullmatch(path.name)
        with suppress(FileNotFoundError):  # another process has removed it
            if found and _is_abandoned(path, found[1], int(found[2])):
                path.unlink()


def _is_abandoned(part: Path, machine: str, process: int) -> bool:
    if machine == MACHINE:
        return not psutil.pid_exists(process)
    return time.time() - part.stat().st_mtime > FORGOTTEN


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file that is either whole under its name or not there at all."""
    with replacing(Path(path)) as part:
        part.write_bytes(content)
    return Path(path)


def write_text(path: Path, text: str) -> Path:
    """``write_bytes`` for text, in UTF-8."""
    return write_bytes(path, text.encode())


def write_rows(path: Path, names: Sequence[str], rows: Iterable[dict]) -> Path:
    """Write rows as CSV, with these columns in their order; returns the path."""
    table = io.StringIO()
    writer = csv.DictWriter(table, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, table.getvalue())


def write_json(path: Path, value: object) -> Path:
    """``write_text`` for JSON: sorted keys, and an error instead of NaN, so that equal results are
    equal bytes.
    """
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or broken one raises a ``UserError`` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the path of an existing JSON file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f"{path}: not valid JSON ({error}); restore or re-export the file"
        ) from None


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
