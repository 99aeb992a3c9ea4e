"""What has arrived in a folder: one line of JSON for each finished file, added after the file has
its final name.

    {"name": "train2017/000000000009.jpg", "bytes": 224297, "sha256": "..."}

A file whose size agrees with its line is trusted. A crash costs at most the last line: a torn one
is skipped when the manifest is read, and the next one starts on a line of its own.
"""

import errno
import json
import os
from contextlib import ExitStack
from pathlib import Path

from byol_helpers.download.disk import lock_folder

NAME = "manifest.jsonl"


class Manifest:
    """The manifest of a folder: ``entries[name] = (bytes, sha256)``.

    As a context manager it can be added to, by one process at a time.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.path = folder / NAME
        self.entries: dict[str, tuple[int, str]] = {}
        try:
            content = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            content = b""
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                self.entries[entry["name"]] = (entry["bytes"], entry["sha256"])
            except (ValueError, KeyError, TypeError):
                continue

    def holds(self, name: str) -> bool:
        """Whether the file is there with the size that it arrived with."""
        if name not in self.entries:
            return False
        try:
            return (self.folder / name).stat().st_size == self.entries[name][0]
        except (FileNotFoundError, NotADirectoryError):
            return False

    def __enter__(self) -> "Manifest":
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            opened.enter_context(lock_folder(self.folder))
            self.file = opened.enter_context(open(self.path, "a+b", buffering=0))
            self.torn = self._ends_in_a_torn_line()
            self.opened = opened.pop_all()
        return self

    def __exit__(self, *_) -> None:
        self.opened.close()

    def _ends_in_a_torn_line(self) -> bool:
        if self.file.seek(0, os.SEEK_END) == 0:
            return False
        self.file.seek(-1, os.SEEK_END)
        return self.file.read(1) != b"\n"

    def add(self, name: str, size: int, digest: str) -> None:
        """Note a file that has its final name."""
        line = json.dumps({"name": name, "bytes": size, "sha256": digest}).encode() + b"\n"
        if self.torn:
            line = b"\n" + line
        self.torn = self.file.write(line) < len(line)
        if self.torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self.entries[name] = (size, digest)
