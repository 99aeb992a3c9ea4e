"""Where downloads go: names that stay inside their folder, room on the disk, one download at a
time, and what goes wrong while writing.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing
from byol_helpers.core.locks import hold_lock

BLOCK = 4096  # bytes that a file may take more than it holds
LOCK_NAME = ".download.lock"


def resolve_inside(folder: Path, name: str) -> Path:
    """The path of a relative name with slashes, below ``folder``.

    Raises:
        ValueError: an empty or absolute name, or one that climbs out by ``..``, a drive or
            backslashes.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or set(name) & set("\\:\0"):
        raise ValueError(f"{name!r} is not a name inside a folder")
    return folder.joinpath(*parts)


def check_room(folder: Path, size: int, files: int = 1) -> None:
    """Refuse to begin what does not fit: ``size`` bytes in so many files."""
    free = shutil.disk_usage(_find_existing(folder)).free
    needed = size + files * BLOCK
    if needed > free:
        raise UserError(
            f"{folder}: needs {format_bytes(needed)}, and {format_bytes(free)} are free; make room "
            "or choose a folder on another disk"
        )


def can_link(source: Path | None, folder: Path) -> bool:
    """Whether a local source lies on the disk of ``folder``, so that a link takes no room."""
    if source is None:
        return False
    return _find_existing(source).stat().st_dev == _find_existing(folder).stat().st_dev


def _find_existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(one for one in (path, *path.absolute().parents) if one.exists())


def format_bytes(size: float) -> str:
    """Bytes as a person says them: ``870 bytes``, ``12 kB``, ``253 MB``, ``19.3 GB``."""
    if 1e9 <= size < 1e11:
        return f"{size / 1e9:.1f} GB"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.0f} {unit}"
    return f"{size:.0f} bytes"


@contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn what the disk answers into one line."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        said = (error.strerror or str(error)).lower()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{folder}: the disk is full ({where}); make room and call the same command again: "
                "what has arrived is kept"
            ) from None
        raise UserError(f"{where}: cannot be written ({said}); choose a folder that can") from None


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep a folder to this process; two downloads would write the same parts.

    On a file system without locks nothing is kept.
    """

    def refuse() -> None:
        raise UserError(f"{folder}: another download is writing here; wait for it or stop it")

    with hold_lock(folder / LOCK_NAME, when_busy=refuse):
        yield


def link_or_copy(source: Path, path: Path) -> None:
    """A copy that is whole under its name or not there; a hard link where both lie on one disk."""
    if path.exists() and path.samefile(source):
        return
    with replacing(path) as part:
        part.unlink(missing_ok=True)
        try:
            os.link(source, part)
        except OSError:  # another disk, or a file system without links
            shutil.copyfile(source, part)
