"""Whole zip archives: brought over a bad line, continued after any interruption, checked, and unpacked with care.

An archive on its way lies beside its name as ``.NAME.part``, with the version it belongs to in ``.NAME.part.json``.
"""

import hashlib
import os
import stat
import time
import zipfile
import zlib
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, replacing, write_json
from byol_helpers.core.progress import Progress
from byol_helpers.download.disk import check_room, inside, lock, readable, writing
from byol_helpers.download.http import (
    Body,
    LostError,
    Patience,
    client,
    fetch,
    local_path,
    run,
    size_of,
)
from byol_helpers.download.manifest import Manifest

MB = 1_000_000
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)  # as zipfile says it


def bring(url: str, path: Path, patience: Patience | None = None) -> Path:
    """Bring an archive to ``path`` and return where it lies: a local one (``file:`` or a path) stays where it is.

    What lies at ``path`` already is taken as it is; what arrived of it before goes on, unless it changed on the server.

    Raises:
        UserError: no such file, no connection, no room, a folder that cannot be written, or not a zip archive.
    """
    source = local_path(url)
    if source is not None and not source.is_file():
        raise UserError(
            f"{source}: no such archive; put it there, or give the address of another one"
        )
    if source is not None or path.is_file():
        return source or path
    part, state = _part(path), path.with_name(f".{path.name}.part.json")
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "ab+") as file:
            lock(file.fileno(), path.parent)
            try:
                _complete(_begun(url, file, state), path, state, patience or Patience())
            finally:
                if not file.tell():
                    part.unlink()
            whole, begins = zipfile.is_zipfile(file), _beginning(file)
        if whole:
            os.replace(part, path)
        part.unlink(missing_ok=True)
        state.unlink(missing_ok=True)
    if not whole:
        raise UserError(
            f"{url}: is not a whole zip archive (begins with {begins!r}); check the address, or copy the "
            f"archive by hand to {path}"
        )
    return path


def remote_size(url: str, path: Path, patience: Patience | None = None) -> int | None:
    """Bytes of an archive that would go to ``path``; None when its server does not say."""
    source, hasty = local_path(url), (patience or Patience()).hasty()
    if source is not None:
        return source.stat().st_size if source.is_file() else None

    async def ask() -> int | None:
        async with client(hasty) as using:
            return await size_of(url, using, hasty)

    try:
        return run(ask)
    except LostError as error:
        raise _lost(url, path, error) from None


def begun(path: Path) -> int:
    """Bytes that have arrived of an archive on its way to ``path``."""
    part = _part(path)
    return part.stat().st_size if part.is_file() else 0


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _lost(url: str, path: Path, error: LostError) -> UserError:
    remedy = (
        "call the same command again once the network is there"
        if error.network
        else "check the address"
    )
    return UserError(f"{url}: {error}; {remedy}, or copy that file by hand to {path}")


def _beginning(file: BinaryIO) -> str:
    file.seek(0)
    return file.read(20).decode("latin-1")


def _begun(url: str, file: BinaryIO, state: Path) -> Body:
    """What an earlier call left of the same address, or an empty body."""
    body = Body(url, file)
    try:
        kept = read_json(state)
        if kept["url"] == url and kept["version"]:
            body.version, body.size = kept["version"], kept["size"]
            return body
    except (UserError, KeyError, TypeError):
        pass
    body.restart()
    return body


def _complete(body: Body, path: Path, state: Path, patience: Patience) -> None:
    """Fetch the rest, noting in ``state`` which version it belongs to."""
    lying = body.file.tell()
    try:
        if lying != body.size:
            size = body.size or remote_size(body.url, path, patience) or 0
            check_room(path.parent, max(0, size - lying))
            progress = Progress(f"download {path.name}", size // MB, "MB", done=lying // MB)
            start, noted, came = time.monotonic(), (body.version, body.size), 0

            def arrived(piece: int) -> None:
                nonlocal noted, came
                if (body.version, body.size) != noted:
                    noted = body.version, body.size
                    write_json(state, {"url": body.url, "version": body.version, "size": body.size})
                came += piece
                more = body.file.tell() // MB - progress.done
                if more > 0:
                    progress.update(more, f"{readable(came / (time.monotonic() - start))}/s")

            async def rest() -> None:
                async with client(patience) as using:
                    await fetch(body, using, patience, arrived)

            run(rest)
            progress.close()
    except LostError as error:
        raise _lost(body.url, path, error) from None


def unpack(archive: Path, folder: Path, names: Iterable[str]) -> list[Path]:
    """Unpack some members of a zip archive below ``folder`` and note them in its manifest.

    Members that lie there with their size are not unpacked again. Every member is checked by its CRC.

    Args:
        archive: a local zip archive.
        folder: created when it is missing.
        names: of the members, with slashes; they get the same names below ``folder``.

    Returns:
        Their paths, in the order of ``names``.

    Raises:
        UserError: not a zip archive, truncated or damaged; a member that is missing, that is a link, or whose name
            leaves the folder; no room, or a folder that cannot be written.
    """
    names = list(names)
    with _opened(archive) as whole, writing(folder), Manifest(folder) as manifest:
        members = {member.filename: member for member in whole.infolist()}
        _check(archive, folder, members.values())
        missing = [name for name in names if name not in members]
        if missing:
            raise UserError(
                f"{archive}: holds no {missing[0]}"
                + f" (and {len(missing) - 1} more)" * (len(missing) > 1)
                + "; give the archive that does"
            )
        todo = [name for name in names if not _there(folder / name, members[name])]
        check_room(folder, sum(members[name].file_size for name in todo), len(todo))
        progress = Progress(
            f"unpack {archive.name}", len(names), "files", done=len(names) - len(todo)
        )
        for name in todo:
            try:
                manifest.add(
                    name, members[name].file_size, _extract(whole, members[name], folder / name)
                )
            except BROKEN as error:
                raise _broken(archive, f"{name}: {error}") from None
            progress.update()
        progress.close()
    return [folder / name for name in names]


@contextmanager
def _opened(archive: Path):
    try:
        whole = zipfile.ZipFile(archive)
    except OSError as error:
        raise UserError(
            f"{archive}: cannot be read ({error.strerror.lower()}); check the path"
        ) from None
    except (*BROKEN, ValueError) as error:
        raise _broken(archive, str(error)) from None
    with whole:
        yield whole


def _broken(archive: Path, said: str) -> UserError:
    return UserError(
        f"{archive}: truncated, damaged or not a zip archive ({said}); delete it and call the same "
        "command again, or put a whole one in its place"
    )


def _check(archive: Path, folder: Path, members: Iterable[zipfile.ZipInfo]) -> None:
    """One member that means harm condemns the archive."""
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        try:
            inside(folder, member.filename)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"{member.filename!r} is a link or a device")
        except ValueError as error:
            raise UserError(
                f"{archive}: {error}; do not trust this archive, get it from another place"
            ) from None


def _there(path: Path, member: zipfile.ZipInfo) -> bool:
    return path.is_file() and path.stat().st_size == member.file_size


def _extract(whole: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> str:
    """Write a member under its final name when it is whole; returns its SHA-256.

    ``zipfile`` reads no further than the declared size, and compares the CRC there: a bomb that unpacks to more than it
    declares ends as damaged.
    """
    digest = hashlib.sha256()
    with whole.open(member) as source, replacing(path) as part:
        with open(part, "wb") as file:
            while block := source.read(1 << 20):
                file.write(block)
                digest.update(block)
            if file.tell() != member.file_size:
                raise zipfile.BadZipFile(f"{file.tell()} of {member.file_size} bytes")
    return digest.hexdigest()
