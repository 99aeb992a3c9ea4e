"""What has arrived in a folder: one line of JSON for each finished file, added after the file has
its final name.

    {"name": "train2017/000000000009.jpg", "bytes": 224297, "sha256": "..."}

A file whose size agrees with its line is trusted. A crash costs at most the last line: a torn one
is skipped when the manifest is read, and the next one starts on a line of its own.
"""

import errno
import json
import os
from pathlib import Path

from byol_helpers.core.errors import UserError
from byol_helpers.download.disk import lock

NAME = "manifest.jsonl"


class Manifest:
    """The manifest of a folder: ``entries[name] = (bytes, sha256)``.

    As a context manager it can be added to.
    """

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / NAME
        self.entries: dict[str, tuple[int, str]] = {}
        try:
            lines = self.path.read_bytes().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            lines = []
        for line in lines:
            try:
                entry = json.loads(line)
                self.entries[entry["name"]] = (entry["bytes"], entry["sha256"])
            except (ValueError, KeyError, TypeError):
                continue

    def holds(self, name: str) -> bool:
        """Whether the file is there with the size that it arrived with."""
        try:
            return (
                name in self.entries
                and (self.folder / name).stat().st_size == self.entries[name][0]
            )
        except (FileNotFoundError, NotADirectoryError):
            return False

    def __enter__(self) -> "Manifest":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            lock(self.file, self.folder)
        except UserError:
            os.close(self.file)
            raise
        size = os.fstat(self.file).st_size
        self.torn = size > 0 and os.pread(self.file, 1, size - 1) != b"\n"
        return self

    def __exit__(self, *_) -> None:
        os.close(self.file)

    def add(self, name: str, size: int, digest: str) -> None:
        """Note a file that has its final name."""
        line = json.dumps({"name": name, "bytes": size, "sha256": digest}).encode() + b"\n"
        if self.torn:
            line = b"\n" + line
        written = os.write(self.file, line)
        self.torn = written < len(line)
        if self.torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self.entries[name] = (size, digest)
