"""A web server on the loopback interface that behaves as badly as a test asks: drops, cuts, stalls,
refusals, lies.

Also a program for the benchmark: ``python -m tests.helpers.http_server FOLDER --latency 0.05``
serves a folder, prints its address and ends with its standard input.
"""

import argparse
import asyncio
import hashlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

os.environ["no_proxy"] = "127.0.0.1"  # whatever proxy this machine uses

DROP, STALL, CUT = "drop", "stall", "cut"


def status(code: int, **headers: str):
    """A fault: answer with this status and these headers, underscores read as hyphens."""
    return code, {name.replace("_", "-"): value for name, value in headers.items()}


class Server:
    """Files by path, and what happened to them.

    ``fault(path, nth)`` is asked before the nth answer (from 1) to a GET of a path: None, ``DROP``
    (no answer), ``STALL`` (half the body, then silence), ``CUT`` (half, then the end),
    ``status(...)``, or bytes to send instead. ``ranges="careless"`` sends the rest of another
    version, whatever ``If-Range`` says.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        fault: Callable = lambda path, nth: None,
        ranges: bool | str = True,
        latency: float = 0.0,
        heads: bool = True,
    ):
        self.files, self.fault, self.ranges, self.latency, self.heads = (
            files,
            fault,
            ranges,
            latency,
            heads,
        )
        self.gets, self.whole, self.served, self.asked = Counter(), Counter(), 0, []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if not await self.answer(head.decode("latin-1").split("\r\n"), writer):
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def answer(self, lines: list[str], writer: asyncio.StreamWriter) -> bool:
        """One request; whether the connection stays open."""
        method, path, _ = lines[0].split()
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        await asyncio.sleep(self.latency)
        fault = None
        if method == "GET":
            self.gets[path] += 1
            self.asked.append((path, headers))
            fault = self.fault(path, self.gets[path])
        if fault == DROP:
            writer.transport.abort()
            return False
        code, more, body = self.found(path, headers)
        if isinstance(fault, tuple):
            code, more, body = *fault, b""
        elif isinstance(fault, bytes):
            code, more, body = 200, {}, fault
        elif method == "HEAD" and not self.heads:
            code, body = 405, b""
        fields = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        sent = (
            b"" if method == "HEAD" else body[: len(body) // 2] if fault in (STALL, CUT) else body
        )
        # Counted first: the other side may have read all and looked before this thread goes on.
        self.served += len(sent)
        writer.write(
            f"HTTP/1.1 {code} Said\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + sent
        )
        await writer.drain()
        self.whole[path] += method == "GET" and code < 300 and len(sent) == len(body)
        if fault == STALL:
            await asyncio.sleep(60)
        return fault not in (STALL, CUT)

    def found(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        body = self.files.get(path)
        if body is None:
            return 404, {}, b""
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        start = int(headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if not self.ranges:
            return 200, {}, body
        if not start or headers.get("if-range", tag) != tag and self.ranges != "careless":
            return 200, {"ETag": tag, "Accept-Ranges": "bytes"}, body
        span = {"ETag": tag, "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        return (206, span, body[start:]) if start < len(body) else (416, span, b"")


@contextmanager
def serving(server: Server):
    """Run the server in a thread; gives its address."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []

    async def main() -> None:
        listening = await asyncio.start_server(server.connected, "127.0.0.1", 0)
        found.extend([listening.sockets[0].getsockname()[1], asyncio.Event()])
        ready.set()
        await found[1].wait()
        listening.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield f"http://127.0.0.1:{found[0]}"
    finally:
        loop.call_soon_threadsafe(found[1].set)
        thread.join()


def main() -> None:
    """Serve a folder until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    options = parser.parse_args()
    files = {
        f"/{path.relative_to(options.folder).as_posix()}": path.read_bytes()
        for path in options.folder.rglob("*")
        if path.is_file()
    }
    with serving(Server(files, latency=options.latency)) as address:
        print(address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
