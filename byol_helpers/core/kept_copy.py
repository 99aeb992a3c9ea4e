"""A copy of the run in a folder that outlives the session: Google Drive, a share, another disk.

Training reads and writes the local disk, which is faster and survives a lost connection. After each
checkpoint and each stage what changed is copied, each file under another name first, and the
stage's record last. A new session begins by bringing the copy back.
"""

import os
import shutil
import sys
from pathlib import Path

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import expand_path, replacing
from byol_helpers.core.progress import announce

# Made again from the images faster than copied: the stage prepare, and shrunk images. Locks are of
# this machine's processes.
NOT_COPIED = ("data", "cache", "locks")
# Say what state a folder is in, so they are copied after what they speak of.
RECORDS = ("started.json", "stage.json")
COLAB_DRIVE = Path("/content/drive")

_copies: dict[Path, Path] = {}  # run folders, and where they are copied to


def restore_run(run: Path, keep_in: str | Path) -> None:
    """Bring the copy of a run back, and copy it from now on; an empty ``keep_in`` does neither.

    Folders of stages that are there already stay as they are: this session made them.

    Args:
        run: the run folder.
        keep_in: a folder that is there, or one of Colab's Drive, which is mounted then; the copy
            lies in it under the run's name.

    Raises:
        UserError: there is no such folder.
    """
    _copies.pop(run.absolute(), None)
    if not keep_in:
        return
    target = _open_folder(expand_path(keep_in)) / run.name
    here = {path.parent for path in run.rglob("*.json") if path.name in RECORDS}
    restored = 0
    for path in _list_files(target):
        local = run / path.relative_to(target)
        if local.exists() or here & set(local.parents):
            continue
        _copy(path, local)
        restored += 1
    if restored:
        announce(f"{run}: {restored} files restored from {target}")
    _copies[run.absolute()] = target


def copy_folder(folder: Path) -> None:
    """Make the copy hold what a folder of the run holds; nothing happens where none is kept.

    Raises:
        UserError: the copy cannot be written; the run itself is whole.
    """
    for run, target in _copies.items():
        if folder.absolute().is_relative_to(run):
            below = folder.absolute().relative_to(run)
            if set(below.parts) & set(NOT_COPIED):
                continue
            try:
                _mirror_files(folder, target / below)
            except OSError as error:
                said = (error.strerror or str(error)).lower()
                raise UserError(
                    f"{target}: cannot be copied to ({said}); make room or connect it again, then "
                    "call the same again: the run itself is kept"
                ) from None


def _open_folder(folder: Path) -> Path:
    if "google.colab" in sys.modules and folder.is_relative_to(COLAB_DRIVE):
        from google.colab import drive  # pyright: ignore[reportMissingImports]

        drive.mount(str(COLAB_DRIVE))  # asks the user; nothing happens where it is mounted
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise UserError(f"KEEP_IN={folder}: no such folder; make it, or mount the drive it is on")
    return folder


def _list_files(folder: Path) -> list[Path]:
    """Files that belong into a copy, the records of the stages last."""
    if not folder.is_dir():
        return []
    files = []
    for path in sorted(folder.rglob("*")):
        left_out = set(path.relative_to(folder).parts) & set(NOT_COPIED)
        if path.is_file() and not path.name.endswith(".part") and not left_out:
            files.append(path)
    return sorted(files, key=lambda path: path.name in RECORDS)


def _mirror_files(source: Path, target: Path) -> None:
    """Copy what is new, then remove what is gone from ``source``."""
    ours = _list_files(source)
    for path in ours:
        copied = target / path.relative_to(source)
        try:
            if not _is_same(path, copied):
                _copy(path, copied)
        except FileNotFoundError:
            if path.exists():  # else another command has removed it meanwhile
                raise
    names = {path.relative_to(source) for path in ours}
    for path in _list_files(target):
        if path.relative_to(target) not in names:
            path.unlink(missing_ok=True)


def _is_same(path: Path, copied: Path) -> bool:
    if not copied.is_file():
        return False
    ours = path.stat()
    theirs = copied.stat()
    same_time = abs(ours.st_mtime - theirs.st_mtime) < 2  # seconds: some file systems round
    return ours.st_size == theirs.st_size and same_time


def _copy(path: Path, target: Path) -> None:
    with replacing(target) as part:
        shutil.copyfile(path, part)
        os.utime(part, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
