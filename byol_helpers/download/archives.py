"""The archive of COCO's annotations: brought over a bad line, continued after any interruption, and
unpacked.

An archive on its way lies beside its name as ``.NAME.part``, with the version it belongs to in
``.NAME.part.json``.
"""

import os
import shutil
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, replacing, write_json
from byol_helpers.core.progress import Progress
from byol_helpers.download.disk import check_room, explain_disk_errors, format_bytes, lock_folder
from byol_helpers.download.http import (
    LostError,
    PartialFile,
    Patience,
    ask_size,
    download_file,
    get_local_path,
    open_client,
    run_async,
)

MB = 1_000_000
# What zipfile raises for an archive that is not whole.
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


def download_archive(url: str, path: Path, patience: Patience | None = None) -> Path:
    """Bring an archive to ``path`` and return where it lies.

    A local one (``file:`` or a path) stays where it is. What lies at ``path`` already is taken as
    it is; what arrived of it before goes on, unless it changed on the server.

    Raises:
        UserError: no such file, no connection, no room, a folder that cannot be written, or not a
            zip archive.
    """
    source = get_local_path(url)
    if source is not None:
        if not source.is_file():
            raise UserError(
                f"{source}: no such archive; put it there, or give the address of another one"
            )
        return source
    if path.is_file():
        return path
    part = path.with_name(f".{path.name}.part")
    state = path.with_name(f".{path.name}.part.json")
    with explain_disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock_folder(path.parent):
            _download_part(url, path, part, state, patience or Patience())
            with open(part, "rb") as file:
                begins = file.read(20).decode("latin-1")
            if zipfile.is_zipfile(part):
                os.replace(part, path)
            part.unlink(missing_ok=True)
            state.unlink(missing_ok=True)
    if path.is_file():
        return path
    raise UserError(
        f"{url}: is not a whole zip archive (begins with {begins!r}); check the address, or copy "
        f"the archive by hand to {path}"
    )


def ask_archive_size(url: str, path: Path, patience: Patience | None = None) -> int | None:
    """Bytes of an archive that would go to ``path``; None when its server does not say."""
    source = get_local_path(url)
    if source is not None:
        return source.stat().st_size if source.is_file() else None
    short = (patience or Patience()).shorten()

    async def ask() -> int | None:
        async with open_client(short) as client:
            return await ask_size(url, client, short)

    try:
        return run_async(ask)
    except LostError as error:
        raise _explain_loss(url, path, error) from None


def _explain_loss(url: str, path: Path, error: LostError) -> UserError:
    remedy = "check the address"
    if error.network:
        remedy = "call the same command again once the network is there"
    return UserError(f"{url}: {error}; {remedy}, or copy that file by hand to {path}")


def _download_part(url: str, path: Path, part: Path, state: Path, patience: Patience) -> None:
    """Bring ``part`` to its end, noting in ``state`` which version it belongs to."""
    whole = False
    try:
        with open(part, "ab+") as file:
            partial = _continue_or_begin(url, file, state)
            if file.tell() != partial.size:
                _download_rest(partial, path, state, patience)
        whole = True
    except LostError as error:
        raise _explain_loss(url, path, error) from None
    finally:
        if not whole and part.is_file() and part.stat().st_size == 0:
            part.unlink()


def _continue_or_begin(url: str, file: BinaryIO, state: Path) -> PartialFile:
    """What an earlier call left of the same address, or nothing yet."""
    try:
        kept = read_json(state)
        if kept["url"] == url and kept["version"]:
            return PartialFile(url, file, kept["version"], kept["size"])
    except (UserError, KeyError, TypeError):
        pass
    partial = PartialFile(url, file)
    partial.restart()
    return partial


def _download_rest(partial: PartialFile, path: Path, state: Path, patience: Patience) -> None:
    """Fetch what is missing, with a line of progress every few seconds."""
    before = partial.file.tell()
    size = partial.size or ask_archive_size(partial.url, path, patience) or 0
    check_room(path.parent, max(0, size - before))
    progress = Progress(f"download {path.name}", size // MB, "MB", done=before // MB)
    start = time.monotonic()
    noted = (partial.version, partial.size)
    arrived = 0

    def report(piece: int) -> None:
        nonlocal noted, arrived
        version = (partial.version, partial.size)
        if version != noted:
            noted = version
            about = {"url": partial.url, "version": partial.version, "size": partial.size}
            write_json(state, about)
        arrived += piece
        more = partial.file.tell() // MB - progress.done
        if more > 0:
            progress.update(more, f"{format_bytes(arrived / (time.monotonic() - start))}/s")

    async def download() -> None:
        async with open_client(patience) as client:
            await download_file(partial, client, patience, report)

    run_async(download)
    progress.close()


def unpack_members(archive: Path, folder: Path, names: Sequence[str]) -> list[Path]:
    """Unpack some members of a zip archive below ``folder``; each is checked by its CRC.

    Args:
        archive: a local zip archive.
        folder: created when it is missing.
        names: of the members, with slashes; they get the same names below ``folder``.

    Returns:
        Their paths, in the order of ``names``.

    Raises:
        UserError: not a zip archive, truncated or damaged; a member that is missing; no room, or a
            folder that cannot be written.
    """
    with _open_archive(archive) as whole, explain_disk_errors(folder):
        members = {member.filename: member for member in whole.infolist()}
        missing = [name for name in names if name not in members]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise UserError(f"{archive}: holds no {missing[0]}{more}; give the archive that does")
        check_room(folder, sum(members[name].file_size for name in names), len(names))
        for name in names:
            try:
                _unpack_member(whole, members[name], folder / name)
            except BROKEN as error:
                raise _explain_damage(archive, f"{name}: {error}") from None
            print(f"unpack {archive.name}: {name}", flush=True)
    return [folder / name for name in names]


@contextmanager
def _open_archive(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        whole = zipfile.ZipFile(archive)
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise UserError(f"{archive}: cannot be read ({said}); check the path") from None
    except BROKEN as error:
        raise _explain_damage(archive, str(error)) from None
    with whole:
        yield whole


def _explain_damage(archive: Path, said: str) -> UserError:
    return UserError(
        f"{archive}: truncated, damaged or not a zip archive ({said}); delete it and call the same "
        "command again, or put a whole one in its place"
    )


def _unpack_member(whole: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Write a member under its final name when it is whole.

    ``zipfile`` reads no further than the declared size, and compares the CRC there: a bomb that
    unpacks to more than it declares ends as damaged.
    """
    with whole.open(member) as source, replacing(path) as part, open(part, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        if file.tell() != member.file_size:
            raise zipfile.BadZipFile(f"{file.tell()} of {member.file_size} bytes")
