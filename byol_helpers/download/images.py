"""Many files over some connections, until each lies checked under its name.

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
from PIL import ExifTags, Image

from byol_helpers.coco.images import FORMATS
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_bytes
from byol_helpers.core.progress import Progress
from byol_helpers.download.disk import (
    can_link,
    check_room,
    explain_disk_errors,
    format_bytes,
    link_or_copy,
    resolve_inside,
)
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
from byol_helpers.download.manifest import Manifest

CONNECTIONS = 24
SAMPLE = 16  # files whose size is asked for, to estimate that of all
WRONG = 3  # times that a body is taken which is not the image
_SHOWN = 3  # names in an error message


@dataclass(frozen=True)
class WantedImage:
    """One image: its name below the folder, where it comes from, and what is known of it."""

    name: str  # with slashes, for example train2017/000000000009.jpg
    url: str  # http:, https:, file:, or a path
    width: int | None = None  # pixels, upright as ``coco.images.read_image`` gives them
    height: int | None = None
    size: int | None = None  # bytes


@dataclass(frozen=True)
class DownloadPlan:
    """What a call would do. ``there`` is trusted by the manifest.

    ``unlisted`` lies there and has to be looked at.
    """

    there: int
    unlisted: list[WantedImage]
    missing: list[WantedImage]
    size: int | None  # bytes of the missing files; None: the server does not say
    sampled: int  # files whose sizes stand for those of all; 0: ``size`` is exact

    def __str__(self) -> str:
        total = self.there + len(self.unlisted) + len(self.missing)
        size = "size unknown" if self.size is None else format_bytes(self.size)
        if self.sampled:
            size = f"about {size} (estimated from {self.sampled} of them)"
        rest = f"{len(self.missing):,} to fetch, {size}" if self.missing else "none to fetch"
        looked = f", {len(self.unlisted):,} there but unchecked" if self.unlisted else ""
        return f"{total:,} images: {self.there:,} there{looked}, {rest}"


@dataclass(frozen=True)
class DownloadResult:
    """What a call found and did."""

    there: int  # before the call
    fetched: int
    size: int  # bytes of the fetched files
    seconds: float


def download_images(
    wanted: Iterable[WantedImage],
    folder: Path,
    connections: int = CONNECTIONS,
    patience: Patience | None = None,
    dry_run: bool = False,
) -> DownloadResult:
    """Bring all wanted images into ``folder``.

    Args:
        wanted: the images; a name that comes twice is fetched once.
        folder: created when it is missing; gets ``manifest.jsonl`` too.
        connections: files on their way at the same time.
        patience: retries and timeouts.
        dry_run: only print what there is to do; nothing is written.

    Raises:
        UserError: a bad name or address, no connection, no room, a folder that cannot be written;
            or, after all others have arrived, files that did not. The same call goes on from there.
    """
    patience = patience or Patience()
    start = time.monotonic()
    files = list({one.name: one for one in wanted}.values())
    _check_names(files, folder)
    plan = plan_download(files, folder, patience)
    print(f"download: {plan}", flush=True)
    if dry_run or not plan.unlisted and not plan.missing:
        return DownloadResult(plan.there, 0, 0, time.monotonic() - start)
    if plan.missing and not can_link(get_local_path(plan.missing[0].url), folder):
        check_room(folder, plan.size or 0, len(plan.missing))
    progress = Progress("download", len(files), "images", done=plan.there)
    with explain_disk_errors(folder), Manifest(folder) as manifest:
        work = _Work(folder, manifest, patience, progress, connections)
        run_async(lambda: work.download_all([*plan.unlisted, *plan.missing]))
    progress.close()
    if work.lost:
        raise UserError(_describe_lost_files(folder, work.lost, len(files)))
    there = plan.there + work.adopted
    return DownloadResult(there, work.fetched, work.received, time.monotonic() - start)


def plan_download(files: Sequence[WantedImage], folder: Path, patience: Patience) -> DownloadPlan:
    """What is there, what is missing, and how many bytes that is: known, or estimated from a few
    files.
    """
    manifest = Manifest(folder)
    there = 0
    unlisted: list[WantedImage] = []
    missing: list[WantedImage] = []
    for one in files:
        if manifest.holds(one.name) and one.size in (None, manifest.entries[one.name][0]):
            there += 1
        elif one.name not in manifest.entries and (folder / one.name).is_file():
            unlisted.append(one)
        else:
            missing.append(one)
    unknown = [one for one in missing if one.size is None]
    known = sum(one.size for one in missing if one.size is not None)
    if not unknown:
        return DownloadPlan(there, unlisted, missing, known, 0)
    step = max(1, len(unknown) // SAMPLE)
    sizes = _ask_sizes(unknown[::step][:SAMPLE], folder, patience)
    estimate = known + round(sum(sizes) / len(sizes) * len(unknown)) if sizes else None
    sampled = len(sizes) if len(sizes) < len(unknown) else 0
    return DownloadPlan(there, unlisted, missing, estimate, sampled)


def _ask_sizes(sample: list[WantedImage], folder: Path, patience: Patience) -> list[int]:
    """Sizes of those files whose source says it.

    No answer at all ends here, before anything is written.
    """
    short = patience.shorten()

    async def ask(file: WantedImage, client: httpx.AsyncClient) -> int | None | LostError:
        try:
            source = get_local_path(file.url)
            if source is not None:
                return source.stat().st_size
            return await ask_size(file.url, client, short)
        except OSError:
            return None
        except LostError as error:
            return error

    async def ask_all() -> list[int | None | LostError]:
        async with open_client(short) as client:
            return await asyncio.gather(*(ask(file, client) for file in sample))

    found = run_async(ask_all)
    silent = [error for error in found if isinstance(error, LostError) and error.network]
    if len(silent) == len(sample):
        raise _explain_silence(sample[0], folder, silent[0])
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
    received: int = 0  # bytes
    silent: int = 0  # files in a row for which nobody answered
    lost: list[tuple[WantedImage, str]] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    async def download_all(self, files: list[WantedImage]) -> None:
        queue = iter(files)
        count = min(self.connections, len(files))
        workers = [asyncio.create_task(self.empty_queue(queue, count)) for _ in range(count)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def empty_queue(self, queue: Iterator[WantedImage], count: int) -> None:
        """Take files from the queue until it is empty, or nobody answers on any connection."""
        async with open_client(self.patience) as client:
            for wanted in queue:
                try:
                    await self.download_or_adopt(wanted, client)
                    self.silent = 0
                except LostError as error:
                    self.lost.append((wanted, str(error)))
                    self.silent = self.silent + 1 if error.network else 0
                    if self.silent >= count:
                        raise _explain_silence(wanted, self.folder, error) from None

    async def download_or_adopt(self, wanted: WantedImage, client: httpx.AsyncClient) -> None:
        """Note what lies there and is right, else fetch it, a few times where it is wrong."""
        path = self.folder / wanted.name
        if wanted.name not in self.manifest.entries and path.is_file():
            content = await asyncio.to_thread(path.read_bytes)
            if not await asyncio.to_thread(find_fault, content, wanted):
                self.note(wanted, content)
                self.adopted += 1
                return
        fault = None
        for _ in range(WRONG):
            content = await self.read_content(wanted, client)
            fault = await asyncio.to_thread(_keep_image, path, content, wanted)
            if not fault:
                self.fetched += 1
                self.received += len(content)
                return self.note(wanted, content)
            await asyncio.sleep(self.patience.first)
        raise LostError(str(fault))

    async def read_content(self, wanted: WantedImage, client: httpx.AsyncClient) -> bytes:
        source = get_local_path(wanted.url)
        if source is None:
            file = io.BytesIO()
            await download_file(PartialFile(wanted.url, file), client, self.patience)
            return file.getvalue()
        try:
            return await asyncio.to_thread(source.read_bytes)
        except OSError as error:
            raise LostError((error.strerror or str(error)).lower()) from None

    def note(self, wanted: WantedImage, content: bytes) -> None:
        self.manifest.add(wanted.name, len(content), hashlib.sha256(content).hexdigest())
        taken = max(time.monotonic() - self.start, 1e-9)
        rate = (self.fetched + self.adopted) / taken
        self.progress.update(note=f"{rate:.1f} images/s, {format_bytes(self.received / taken)}/s")


def find_fault(content: bytes, wanted: WantedImage) -> str | None:
    """Why these bytes are not the wanted image; None when they are."""
    if wanted.size is not None and len(content) != wanted.size:
        return f"{len(content)} bytes instead of {wanted.size}"
    try:
        width, height = _decode_size(content)
    except OSError:
        begins = content[:20].decode("latin-1")
        return f"not a whole image (begins with {begins!r})"
    except Exception as error:  # decoders answer a broken file with errors of any kind
        return f"does not decode ({type(error).__name__})"
    if (wanted.width or width, wanted.height or height) != (width, height):
        return f"{width} x {height} pixels instead of {wanted.width} x {wanted.height}"
    return None


def _decode_size(content: bytes) -> tuple[int, int]:
    """Width and height of an image, upright, after all its pixels were decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            width, height = image.size
            lies = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    return (height, width) if lies else (width, height)


def _keep_image(path: Path, content: bytes, wanted: WantedImage) -> str | None:
    """Put an image under its final name, unless it is the wrong one: then say why."""
    fault = find_fault(content, wanted)
    source = get_local_path(wanted.url)
    if not fault and source is None:
        write_bytes(path, content)
    elif not fault and source is not None:
        link_or_copy(source, path)
    return fault


def _check_names(files: list[WantedImage], folder: Path) -> None:
    for one in files:
        try:
            resolve_inside(folder, one.name)
        except ValueError as error:
            raise UserError(f"{one.url}: {error}; correct the list of images") from None
        get_local_path(one.url)


def _explain_silence(wanted: WantedImage, folder: Path, error: LostError) -> UserError:
    return UserError(
        f"{wanted.url}: {error}; call the same command again once the network is there, or copy "
        f"that file by hand to {folder / wanted.name}, and the others likewise"
    )


def _describe_lost_files(folder: Path, lost: list[tuple[WantedImage, str]], total: int) -> str:
    first = ", ".join(f"{one.name} ({reason})" for one, reason in lost[:_SHOWN])
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    one = lost[0][0]
    return (
        f"{folder}: {len(lost)} of {total} images did not arrive: {first}{more}; call the same "
        f"command again, or copy them by hand, the first one from {one.url} to {folder / one.name}"
    )
