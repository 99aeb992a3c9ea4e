"""Many images, one by one over some connections, until each lies checked under its name.

A file gets its final name when it has the length that the server named, decodes, and has the width
and height that its annotations say; then it is noted in the folder's manifest. The same call again
fetches what is missing, nothing twice.
"""

import asyncio
import hashlib
import io
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from PIL import Image

from byol_helpers.coco.images import FORMATS, ORIENTATION_TAG
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_bytes
from byol_helpers.core.progress import Progress
from byol_helpers.download.disk import check_room, copy, inside, linkable, readable, writing
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

CONNECTIONS = 24
SAMPLE = 16  # files whose size is asked for, to estimate that of all
WRONG = 3  # times that a body is taken which is not the image
_SHOWN = 3  # names in an error message


@dataclass(frozen=True)
class Wanted:
    """One image: its name below the folder, where it comes from, and what is known of it."""

    name: str  # with slashes, for example train2017/000000000009.jpg
    url: str  # http:, https:, file:, or a path
    width: int | None = None  # pixels, upright as ``data.images.read_image`` gives them
    height: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class DownloadPlan:
    """What a call would do. ``there`` is trusted by the manifest.

    ``unlisted`` lies there and has to be looked at.
    """

    there: int
    unlisted: list[Wanted]
    missing: list[Wanted]
    bytes: int | None  # of the missing files; None: the server does not say
    sampled: int  # files whose sizes stand for those of all; 0: ``bytes`` is exact

    def __str__(self) -> str:
        total = self.there + len(self.unlisted) + len(self.missing)
        size = "size unknown" if self.bytes is None else readable(self.bytes)
        if self.sampled:
            size = f"about {size} (estimated from {self.sampled} of them)"
        rest = f"{len(self.missing):,} to fetch, {size}" if self.missing else "none to fetch"
        looked = f", {len(self.unlisted):,} there but unchecked" if self.unlisted else ""
        return f"{total:,} images: {self.there:,} there{looked}, {rest}"


@dataclass(frozen=True)
class Result:
    """What a call found and did."""

    there: int  # before the call
    fetched: int
    bytes: int  # of the fetched files
    seconds: float


def download_images(
    wanted: Iterable[Wanted],
    folder: Path,
    connections: int = CONNECTIONS,
    patience: Patience | None = None,
    dry_run: bool = False,
) -> Result:
    """Bring all wanted images into ``folder``.

    Args:
        wanted: the images; a name that comes twice is fetched once.
        folder: created when it is missing; gets ``manifest.jsonl`` too.
        connections: files on their way at the same time.
        patience: retries and timeouts.
        dry_run: only print what there is to do; nothing is written.

    Raises:
        UserError: a bad name or address, no connection, no room, a folder that cannot be written; or, after all others
            have arrived, files that did not. The same call goes on from there.
    """
    patience, start = patience or Patience(), time.monotonic()
    files = list({one.name: one for one in wanted}.values())
    _check_names(files, folder)
    todo = plan(files, folder, patience)
    print(f"download: {todo}", flush=True)
    if dry_run or not todo.unlisted and not todo.missing:
        return Result(todo.there, 0, 0, time.monotonic() - start)
    if todo.missing and not linkable(local_path(todo.missing[0].url), folder):
        check_room(folder, todo.bytes or 0, len(todo.missing))
    progress = Progress("download", len(files), "images", done=todo.there)
    with writing(folder), Manifest(folder) as manifest:
        work = _Work(folder, manifest, patience, progress, connections)
        run(lambda: work.all([*todo.unlisted, *todo.missing]))
    progress.close()
    if work.lost:
        raise UserError(_lost_files(folder, work.lost, len(files)))
    return Result(todo.there + work.adopted, work.fetched, work.bytes, time.monotonic() - start)


def plan(files: Sequence[Wanted], folder: Path, patience: Patience) -> DownloadPlan:
    """What is there, what is missing, and how many bytes that is: known, or estimated from a few
    files.
    """
    manifest, there, unlisted, missing = Manifest(folder), 0, [], []
    for one in files:
        if manifest.holds(one.name) and one.bytes in (None, manifest.entries[one.name][0]):
            there += 1
        elif one.name not in manifest.entries and (folder / one.name).is_file():
            unlisted.append(one)
        else:
            missing.append(one)
    unknown = [one for one in missing if one.bytes is None]
    known = sum(one.bytes for one in missing if one.bytes is not None)
    if not unknown:
        return DownloadPlan(there, unlisted, missing, known, 0)
    step = max(1, len(unknown) // SAMPLE)
    sizes = _sizes(unknown[::step][:SAMPLE], folder, patience)
    estimate = known + round(sum(sizes) / len(sizes) * len(unknown)) if sizes else None
    return DownloadPlan(
        there, unlisted, missing, estimate, len(sizes) if len(sizes) < len(unknown) else 0
    )


def _sizes(sample: list[Wanted], folder: Path, patience: Patience) -> list[int]:
    """Sizes of those files whose source says it.

    No answer at all ends here, before anything is written.
    """
    hasty = patience.hasty()

    async def one(file: Wanted, using: httpx.AsyncClient) -> int | None | LostError:
        try:
            source = local_path(file.url)
            return (
                await size_of(file.url, using, hasty) if source is None else source.stat().st_size
            )
        except OSError:
            return None
        except LostError as error:
            return error

    async def every() -> list:
        async with client(hasty) as using:
            return await asyncio.gather(*(one(file, using) for file in sample))

    found = run(every)
    if all(isinstance(size, LostError) and size.network for size in found):
        raise _no_connection(sample[0], folder, found[0])
    return [size for size in found if isinstance(size, int)]


@dataclass
class _Work:
    """The state that the connections share."""

    folder: Path
    manifest: Manifest
    patience: Patience
    progress: Progress
    connections: int
    adopted: int = 0
    fetched: int = 0
    bytes: int = 0
    silent: int = 0  # files in a row for which nobody answered
    lost: list[tuple[Wanted, str]] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    async def all(self, files: list[Wanted]) -> None:
        queue, count = iter(files), min(self.connections, len(files))
        workers = [asyncio.create_task(self.connection(queue, count)) for _ in range(count)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def connection(self, queue: Iterator[Wanted], count: int) -> None:
        """Take files from the queue until it is empty, or until nobody answers on any connection."""
        async with client(self.patience) as using:
            for wanted in queue:
                try:
                    await self.one(wanted, using)
                    self.silent = 0
                except LostError as error:
                    self.lost.append((wanted, str(error)))
                    self.silent = self.silent + 1 if error.network else 0
                    if self.silent >= count:
                        raise _no_connection(wanted, self.folder, error) from None

    async def one(self, wanted: Wanted, using: httpx.AsyncClient) -> None:
        path = self.folder / wanted.name
        if wanted.name not in self.manifest.entries and path.is_file():
            content = await asyncio.to_thread(path.read_bytes)
            if not await asyncio.to_thread(wrong, content, wanted):
                self.note(wanted, content)
                self.adopted += 1
                return
        for attempt in range(1, WRONG + 1):
            content = await self.content(wanted, using)
            reason = await asyncio.to_thread(_keep, path, content, wanted)
            if not reason:
                self.fetched, self.bytes = self.fetched + 1, self.bytes + len(content)
                return self.note(wanted, content)
            if attempt < WRONG:
                await asyncio.sleep(self.patience.pause(attempt))
        raise LostError(reason)

    async def content(self, wanted: Wanted, using: httpx.AsyncClient) -> bytes:
        source = local_path(wanted.url)
        if source is None:
            body = Body(wanted.url, io.BytesIO())
            await fetch(body, using, self.patience)
            return body.file.getvalue()
        try:
            return await asyncio.to_thread(source.read_bytes)
        except OSError as error:
            raise LostError((error.strerror or str(error)).lower()) from None

    def note(self, wanted: Wanted, content: bytes) -> None:
        self.manifest.add(wanted.name, len(content), hashlib.sha256(content).hexdigest())
        taken = max(time.monotonic() - self.start, 1e-9)
        self.progress.update(
            note=f"{(self.fetched + self.adopted) / taken:.1f} images/s, "
            f"{readable(self.bytes / taken)}/s"
        )


def wrong(content: bytes, wanted: Wanted) -> str | None:
    """Why these bytes are not the wanted image; None when they are."""
    if wanted.bytes is not None and len(content) != wanted.bytes:
        return f"{len(content)} bytes instead of {wanted.bytes}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                image.load()
                size = (
                    image.size[::-1] if image.getexif().get(ORIENTATION_TAG, 1) >= 5 else image.size
                )
    except Exception as error:  # decoders answer a broken file with errors of any kind
        begins = content[:20].decode("latin-1")
        return (
            f"not a whole image (begins with {begins!r})"
            if isinstance(error, OSError)
            else "does not decode"
        )
    if (wanted.width or size[0], wanted.height or size[1]) != size:
        return f"{size[0]} x {size[1]} pixels instead of {wanted.width} x {wanted.height}"
    return None


def _keep(path: Path, content: bytes, wanted: Wanted) -> str | None:
    """Put an image under its final name, unless it is the wrong one: then say why."""
    reason, source = wrong(content, wanted), local_path(wanted.url)
    if not reason and source is None:
        write_bytes(path, content)
    elif not reason:
        copy(source, path)
    return reason


def _check_names(files: list[Wanted], folder: Path) -> None:
    for one in files:
        try:
            inside(folder, one.name)
        except ValueError as error:
            raise UserError(f"{one.url}: {error}; correct the list of images") from None
        local_path(one.url)


def _no_connection(wanted: Wanted, folder: Path, error: LostError) -> UserError:
    return UserError(
        f"{wanted.url}: {error}; call the same command again once the network is there, or copy that file "
        f"by hand to {folder / wanted.name}, and the others likewise"
    )


def _lost_files(folder: Path, lost: list[tuple[Wanted, str]], total: int) -> str:
    first = ", ".join(f"{one.name} ({reason})" for one, reason in lost[:_SHOWN])
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    one = lost[0][0]
    return (
        f"{folder}: {len(lost)} of {total} images did not arrive: {first}{more}; call the same command again, or "
        f"copy them by hand, the first one from {one.url} to {folder / one.name}"
    )
