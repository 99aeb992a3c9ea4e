"""One file over HTTP on a bad line: tried again after drops, stalls and refusals, from the last
byte that arrived.

What arrived is kept between attempts. The next one asks for the rest by ``Range``, with
``If-Range`` and the version that the first answer named (RFC 9110, 13.1.5 and 14.2). Where the file
changed meanwhile or the server knows no ranges, the answer is the whole, and the file starts again.
"""

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import httpx
from anyio.from_thread import start_blocking_portal
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)
from tenacity.wait import wait_base

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

    def shorten(self) -> "Patience":
        """For the first question to a server: no connection at all is said soon."""
        return replace(self, retries=min(3, self.retries))

    def back_off(self) -> wait_base:
        """Longer each time, and at random, so that connections do not return together."""
        doubled = wait_exponential(multiplier=self.first, max=self.longest)
        return doubled + wait_random(0, self.first)


class LostError(Exception):
    """A file that does not arrive.

    ``network``: nobody answered, which says more of the line than of the file.
    """

    def __init__(self, reason: str, network: bool = False):
        super().__init__(reason)
        self.network = network


class _TryAgain(Exception):
    """An attempt that failed in a way that may pass."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


@dataclass
class PartialFile:
    """A file on its way: an open file that stands at the end of what has arrived."""

    url: str
    file: BinaryIO
    version: str | None = None  # strong ETag or Last-Modified; None: cannot be continued
    size: int | None = None  # bytes of the whole, as the server says

    def restart(self) -> None:
        """Forget what has arrived."""
        self.file.seek(0)
        self.file.truncate()
        self.version = None
        self.size = None


def open_client(patience: Patience) -> httpx.AsyncClient:
    """A client whose bodies arrive as they are stored, so that their sizes can be compared.

    Meant for one connection: a pool of n asks all n whether they are still open whenever a request
    begins or ends.
    """
    return httpx.AsyncClient(
        timeout=httpx.Timeout(patience.read, connect=patience.connect, pool=None),
        headers={"Accept-Encoding": "identity"},
        follow_redirects=True,
        verify=_read_certificates(),
    )


@cache
def _read_certificates() -> ssl.SSLContext:
    """Read once, not for every connection."""
    return httpx.create_ssl_context()


def run_async(work: Callable[[], Awaitable[Value]]) -> Value:
    """Await ``work()`` in a thread of its own, since a notebook has an event loop already.

    Ctrl-C cancels it.
    """
    with start_blocking_portal() as portal:
        return portal.call(work)


def get_local_path(url: str) -> Path | None:
    """The path that a ``file:`` URL or a plain path means; None for http and https.

    Raises:
        UserError: any other scheme.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return None
        if parts.scheme == "file":
            return Path(url2pathname(parts.path))
        known = "://" not in url and parts.scheme not in ("http", "https")
    except ValueError:
        known = False
    if not known:
        raise UserError(
            f"{url}: cannot be fetched; give an http:, https: or file: address, or a folder"
        )
    return Path(url)


async def download_file(
    partial: PartialFile,
    client: httpx.AsyncClient,
    patience: Patience,
    report: Callable[[int], None] = lambda size: None,
) -> None:
    """Bring a file to its end. ``report`` hears the size of every piece.

    Raises:
        LostError: refused, or no new byte in ``patience.retries`` attempts in a row after the
            first.
        OSError: the file cannot be written.
    """

    async def attempt() -> None:
        await _fetch_rest(partial, client, patience, report)

    await _persist(attempt, patience, partial.file.tell)


async def ask_size(url: str, client: httpx.AsyncClient, patience: Patience) -> int | None:
    """Bytes of a file by its ``Content-Length``; None when the server does not say."""

    async def ask() -> int | None:
        response = await client.head(url)
        _raise_if_busy(response, patience)
        return _read_length(response) if response.status_code == 200 else None

    return await _persist(ask, patience)


async def _persist(
    attempt: Callable[[], Awaitable[Value]],
    patience: Patience,
    count_arrived: Callable[[], int] = lambda: 0,
) -> Value:
    """Try again until it works, or until it failed too often without getting any further.

    Most files need one attempt, and tenacity takes a fifth of its time: it begins with a failure.
    """
    furthest = count_arrived()
    try:
        return await attempt()
    except httpx.InvalidURL as error:
        raise LostError(f"not an address: {error}") from None
    except (_TryAgain, httpx.HTTPError) as error:
        failures = [error]
    back_off = patience.back_off()

    async def attempt_again() -> Value:
        if failures:
            raise failures.pop()
        return await attempt()

    def forgive_failures(state: RetryCallState) -> None:
        nonlocal furthest
        if count_arrived() > furthest:
            furthest = count_arrived()
            state.attempt_number = 1

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return max(back_off(state), error.wait if isinstance(error, _TryAgain) else 0.0)

    retrying = AsyncRetrying(
        retry=retry_if_exception_type((_TryAgain, httpx.HTTPError)),
        after=forgive_failures,
        wait=wait,
        stop=stop_after_attempt(patience.retries + 1),
        reraise=True,
    )
    try:
        return await retrying(attempt_again)
    except (_TryAgain, httpx.HTTPError) as error:
        network = isinstance(error, httpx.TransportError)
        raise LostError(_describe_error(error), network) from None


async def _fetch_rest(
    partial: PartialFile,
    client: httpx.AsyncClient,
    patience: Patience,
    report: Callable[[int], None],
) -> None:
    """One attempt: the rest of a file, or the whole of it."""
    start = partial.file.tell()
    headers = {}
    if start and partial.version:
        headers = {"Range": f"bytes={start}-", "If-Range": partial.version}
    async with client.stream("GET", partial.url, headers=headers) as response:
        _raise_if_busy(response, patience)
        status = response.status_code
        other_part = status == 206 and not _continues(response, partial)
        if headers and (status == 416 or other_part):
            partial.restart()
            raise _TryAgain("the file changed on the server")
        if status not in (200, 206) or (status == 206 and not headers):
            raise LostError(f"{status} {response.reason_phrase}".strip())
        if status == 200:
            partial.restart()
            partial.version = _read_version(response)
            partial.size = _read_length(response)
        async for piece in response.aiter_raw():
            partial.file.write(piece)
            report(len(piece))
    if partial.size is not None and partial.file.tell() != partial.size:
        raise _TryAgain(f"{partial.file.tell()} of {partial.size} bytes")


def _raise_if_busy(response: httpx.Response, patience: Patience) -> None:
    if response.status_code in AGAIN or response.status_code >= 500:
        said = f"{response.status_code} {response.reason_phrase}".strip()
        wait = read_retry_after(response.headers.get("Retry-After"))
        raise _TryAgain(said, min(patience.asked, wait))


def read_retry_after(value: str | None) -> float:
    """Seconds to wait by a ``Retry-After`` header: seconds or a date; 0 when it says neither."""
    if value is None:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _read_version(response: httpx.Response) -> str | None:
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _read_length(response: httpx.Response) -> int | None:
    value = response.headers.get("Content-Length", "")
    return int(value) if value.isdigit() else None


def _continues(response: httpx.Response, partial: PartialFile) -> bool:
    """Whether a part begins where ours ends, in the same version of the same size."""
    span, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    same_version = _read_version(response) in (None, partial.version)
    same_size = whole in ("*", str(partial.size))
    return same_version and same_size and span.split("-")[0] == str(partial.file.tell())


def _describe_error(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError):
        return f"no connection: {error or 'timed out'}".lower()
    if isinstance(error, httpx.TimeoutException):
        return "stalled"
    return " ".join(str(error).split()) or type(error).__name__
