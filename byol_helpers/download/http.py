"""One file over HTTP on a bad line: tried again after drops, stalls and refusals, from the last byte that arrived.

What arrived is kept between attempts. The next one asks for the rest by ``Range``, with ``If-Range`` and the version
that the first answer named (RFC 9110, 13.1.5 and 14.2). Where the file changed meanwhile or the server knows no ranges,
the answer is the whole, and the file starts again.
"""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit

import httpx
from anyio.from_thread import start_blocking_portal

from byol_helpers.core.errors import UserError

AGAIN = {408, 425, 429}  # besides every 5xx: the server may answer otherwise later
Value = TypeVar("Value")


@dataclass(frozen=True)
class Patience:
    """How often and how long to wait, in seconds."""

    retries: int = 8  # in a row, without a new byte between them
    first: float = 0.5  # before the first retry; doubled each time
    longest: float = 30.0  # a pause is never longer than this,
    asked: float = 120.0  # or than this, where the server asks for it by Retry-After
    connect: float = 15.0
    read: float = 30.0  # without a byte: the connection has stalled

    def hasty(self) -> "Patience":
        """For the first question to a server: no connection at all is said soon."""
        return replace(self, retries=min(3, self.retries))

    def pause(self, failures: int) -> float:
        """Exponential back-off; at random between half and the whole, so that connections do not return together."""
        return min(self.longest, self.first * 2 ** (failures - 1)) * random.uniform(0.5, 1)


class LostError(Exception):
    """A file that does not arrive. ``network``: nobody answered, which says more of the line than of the file."""

    def __init__(self, reason: str, network: bool = False):
        super().__init__(reason)
        self.network = network


class _TryAgain(Exception):
    """An attempt that failed in a way that may pass."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


@dataclass
class Body:
    """A file on its way: an open file with what has arrived, standing at its end, and the version it belongs to."""

    url: str
    file: BinaryIO
    version: str | None = None  # strong ETag or Last-Modified; None: cannot be continued
    size: int | None = None  # bytes of the whole, as the server says

    def restart(self) -> None:
        """Forget what has arrived."""
        self.file.seek(0)
        self.file.truncate()
        self.version = self.size = None


def client(patience: Patience) -> httpx.AsyncClient:
    """A client whose bodies arrive as they are stored, so that their sizes can be compared.

    Meant for one connection: a pool of n asks all n whether they are still open whenever a request begins or ends.
    """
    return httpx.AsyncClient(
        timeout=httpx.Timeout(patience.read, connect=patience.connect, pool=None),
        headers={"Accept-Encoding": "identity"},
        follow_redirects=True,
        verify=_certificates(),
    )


@cache
def _certificates() -> ssl.SSLContext:
    """Read once, not for every connection."""
    return httpx.create_ssl_context()


def run(work: Callable[[], Awaitable[Value]]) -> Value:
    """Await ``work()`` in a thread of its own: a notebook has an event loop already. Ctrl-C cancels it."""
    with start_blocking_portal() as portal:
        return portal.call(work)


def local_path(url: str) -> Path | None:
    """The path that a ``file:`` URL or a plain path means; None for http and https.

    Raises:
        UserError: any other scheme.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return None
        if parts.scheme == "file":
            return Path(unquote(parts.path))
        known = "://" not in url and parts.scheme not in ("http", "https")
    except ValueError:
        known = False
    if not known:
        raise UserError(
            f"{url}: cannot be fetched; give an http: or https: address, a file: address or a folder"
        )
    return Path(url)


async def fetch(
    body: Body,
    using: httpx.AsyncClient,
    patience: Patience,
    arrived: Callable[[int], None] = lambda size: None,
) -> None:
    """Bring ``body`` to its end. ``arrived`` hears the size of every piece.

    Raises:
        LostError: refused, or no new byte in ``patience.retries`` attempts in a row after the first.
        OSError: the file cannot be written.
    """
    await _persist(lambda: _attempt(body, using, patience, arrived), patience, body.file.tell)


async def size_of(url: str, using: httpx.AsyncClient, patience: Patience) -> int | None:
    """Bytes of a file by its ``Content-Length``; None when the server does not say."""

    async def ask() -> int | None:
        response = await using.head(url)
        _raise_if_busy(response, patience)
        return _content_length(response) if response.status_code == 200 else None

    return await _persist(ask, patience)


async def _persist(
    attempt: Callable[[], Awaitable[Value]],
    patience: Patience,
    reached: Callable[[], int] = lambda: 0,
) -> Value:
    """Try again until it works, or until it failed too often in a row without reaching further than before."""
    failures, furthest = 0, reached()
    while True:
        try:
            return await attempt()
        except httpx.InvalidURL as error:
            raise LostError(f"not an address: {error}") from None
        except (_TryAgain, httpx.HTTPError) as error:
            failures = 1 if reached() > furthest else failures + 1
            furthest = max(furthest, reached())
            if failures > patience.retries:
                raise LostError(
                    _said(error), network=isinstance(error, httpx.TransportError)
                ) from None
            await asyncio.sleep(max(patience.pause(failures), getattr(error, "wait", 0.0)))


async def _attempt(
    body: Body, using: httpx.AsyncClient, patience: Patience, arrived: Callable[[int], None]
) -> None:
    start = body.file.tell()
    rest = {"Range": f"bytes={start}-", "If-Range": body.version} if start and body.version else {}
    async with using.stream("GET", body.url, headers=rest) as response:
        _raise_if_busy(response, patience)
        if rest and (
            response.status_code == 416
            or response.status_code == 206
            and not _continues(response, body)
        ):
            body.restart()
            raise _TryAgain("the file changed on the server")
        if response.status_code not in (200, 206) or (response.status_code == 206 and not rest):
            raise LostError(f"{response.status_code} {response.reason_phrase}".strip())
        if response.status_code == 200:
            body.restart()
            body.version, body.size = _version(response), _content_length(response)
        async for piece in response.aiter_raw():
            body.file.write(piece)
            arrived(len(piece))
    if body.size is not None and body.file.tell() != body.size:
        raise _TryAgain(f"{body.file.tell()} of {body.size} bytes")


def _raise_if_busy(response: httpx.Response, patience: Patience) -> None:
    if response.status_code in AGAIN or response.status_code >= 500:
        said = f"{response.status_code} {response.reason_phrase}".strip()
        raise _TryAgain(said, min(patience.asked, retry_after(response.headers.get("Retry-After"))))


def retry_after(value: str | None) -> float:
    """Seconds to wait by a ``Retry-After`` header, given in seconds or as a date; 0 when it says neither."""
    try:
        return float(value) if value.strip().isdigit() else _until(parsedate_to_datetime(value))
    except (AttributeError, TypeError, ValueError):
        return 0.0


def _until(date: datetime) -> float:
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _version(response: httpx.Response) -> str | None:
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _content_length(response: httpx.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdigit() else None


def _continues(response: httpx.Response, body: Body) -> bool:
    """Whether a part begins where ours ends, in the same version of the same size."""
    span, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    same = _version(response) in (None, body.version) and whole in ("*", str(body.size))
    return same and span.split("-")[0] == str(body.file.tell())


def _said(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        return f"no connection: {error or 'timed out'}".lower()
    if isinstance(error, httpx.TimeoutException):
        return "stalled"
    return " ".join(str(error).split()) or type(error).__name__
