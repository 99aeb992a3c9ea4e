"""Images over a bad line: all of them intact, none twice, and what cannot be had said in one line."""

import io
import random
import signal
import subprocess
import sys
import time
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol_helpers.data import disk, download
from byol_helpers.data.download import Wanted, images
from byol_helpers.data.fetching import Patience, retry_after
from byol_helpers.data.manifest import Manifest
from byol_helpers.errors import UserError
from loopback import CUT, DROP, STALL, Server, serving, status

HASTY = Patience(retries=8, first=0.02, longest=0.2, asked=0.2, connect=2.0, read=0.5)
SIZE = (64, 48)


def picture(seed: int) -> bytes:
    """A JPEG of a few kB."""
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80)
    return file.getvalue()


def served(count: int) -> dict[str, bytes]:
    different = [picture(seed) for seed in range(min(count, 16))]
    return {f"/train/{k:06}.jpg": different[k % len(different)] for k in range(count)}


def wanted(files: dict[str, bytes], address: str) -> list[Wanted]:
    return [Wanted(path[1:], address + path, *SIZE) for path in files]


def lying(folder: Path) -> dict[str, bytes]:
    """What lies under final names."""
    return {f"/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in folder.rglob("*.jpg")}


def bad_line(seed: int):
    """10 % dropped, 5 % cut, 1 % stalled, 4 % busy; one file begins with a page of a hotel's network."""
    draws = random.Random(seed)

    def fault(path, nth):
        if path.endswith("000123.jpg") and nth == 1:
            return b"<html>Please log in to the network of this hotel</html>"
        draw = draws.random()
        if draw < 0.16:
            return DROP if draw < 0.10 else CUT if draw < 0.15 else STALL
        if draw < 0.20:
            return status(503) if draw < 0.18 else status(429, Retry_After="1")
        return None

    return fault


CALL = """
import sys
from pathlib import Path
from byol_helpers.data.download import images
from test_download import HASTY, served, wanted
images(wanted(served(int(sys.argv[3])), sys.argv[1]), Path(sys.argv[2]), 16, HASTY)
"""


@pytest.mark.slow
def test_a_bad_line_and_five_kills(tmp_path):
    files, count = served(2000), 2000
    server = Server(files, bad_line(0))
    with serving(server) as address:
        command = [sys.executable, "-c", CALL, address, str(tmp_path), str(count)]
        paths = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
        for kill in range(5):
            call = subprocess.Popen(command, env={"PYTHONPATH": ":".join(paths)}, stdout=subprocess.DEVNULL)
            while sum(server.whole.values()) < 330 * (kill + 1):
                time.sleep(0.005)
            call.send_signal(signal.SIGKILL)
            call.wait()
            arrived = lying(tmp_path)
            assert arrived == {path: files[path] for path in arrived}, "half a file under a final name"
        subprocess.run(command, env={"PYTHONPATH": ":".join(paths)}, check=True, stdout=subprocess.DEVNULL)
        assert lying(tmp_path) == files
        assert server.served <= 1.15 * sum(map(len, files.values()))
        again = sum(times - 1 for times in server.whole.values())
        assert again <= 5 * 16 + 1
        before = server.served
        assert images(wanted(files, address), tmp_path, 16, HASTY).fetched == 0 and server.served == before
