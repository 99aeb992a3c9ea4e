"""JPEG files for a server to send, and the list that asks for them."""

import io

import numpy as np
from PIL import Image

from byol_helpers.download.http import Patience
from byol_helpers.download.images import WantedImage

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


def wanted(files: dict[str, bytes], address: str) -> list[WantedImage]:
    return [WantedImage(path[1:], address + path, *SIZE) for path in files]
