"""Many small images from a server far away."""

import io
import os
import platform
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import compare
from byol_helpers.download.images import CONNECTIONS, WantedImage, download_images

IMAGES = 400
LATENCY = 0.05  # seconds
SIDE = 64  # pixels
PACKAGES = ("anyio", "httpcore", "httpx", "sniffio")
ROOT = Path(__file__).resolve().parents[1]


def measure_download(images: Path | None) -> dict:
    """Seconds until 400 JPEGs of a few kB lie on the disk, from a process that answers each request
    after 50 ms.

    The peer is a ``for`` loop over ``urllib.request.urlopen`` that writes each body to its file.
    Ours also decodes every image, compares its size in pixels, and keeps the manifest.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = root / "source"
        names = make_images(source)
        server = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.helpers.http_server",
                str(source),
                "--latency",
                str(LATENCY),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            start = time.perf_counter()
            wanted = [WantedImage(name, f"{address}/{name}", SIDE, SIDE) for name in names]
            download_images(wanted, root / "ours")
            ours = time.perf_counter() - start
            start = time.perf_counter()
            one_by_one(address, names, root / "peer")
            peer = time.perf_counter() - start
        finally:
            server.communicate()
        for name in names:
            if (root / "ours" / name).read_bytes() != (root / "peer" / name).read_bytes():
                raise RuntimeError(f"{name} differs")
    settings = {
        "images": IMAGES,
        "latency": f"{LATENCY * 1000:.0f} ms",
        "connections": CONNECTIONS,
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES if find_spec(name)},
    }
    return compare(ours, peer, "a loop over urllib", "s", True, settings)


def make_images(folder: Path) -> list[str]:
    """Write noise as JPEGs; returns their names."""
    folder.mkdir()
    names = [f"{k:06}.jpg" for k in range(IMAGES)]
    for seed, name in enumerate(names):
        file = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(file, "JPEG", quality=80)
        (folder / name).write_bytes(file.getvalue())
    return names


def one_by_one(address: str, names: list[str], folder: Path) -> None:
    """The peer."""
    folder.mkdir()
    for name in names:
        with urllib.request.urlopen(f"{address}/{name}", timeout=30) as response:
            (folder / name).write_bytes(response.read())
