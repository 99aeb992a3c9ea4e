"""Generated images that are not colour photographs: grey, medical, electron microscope, many bands.

Each stands in for a kind of image, none was taken by a device: a *medical* image here is one
channel with little contrast, soft edges and much noise, no picture of a patient. What they share
with the real kinds is what changes in code: the number of channels, the statistics of the values,
and how many and how large the objects are.

An image depends on nothing but ``(kind, seed, index, size, draw)``; its pixels are the same on
every machine (see `shapes`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from byol_helpers.synthetic.random_stream import RandomStream
from byol_helpers.synthetic.scenes import DRAWS, Instance, Scene, make_scene
from byol_helpers.synthetic.textures import make_cells, make_noise, place_tile, step_softly

LUMA_WEIGHTS = (
    0.299,
    0.587,
    0.114,
)  # ITU-R BT.601: the weights of red, green and blue in a grey value
GRANULE = 1  # category id of the one category of the electron microscope
INFRARED = ("I1", "I2", "I3")
GROUND_SPECTRUM = (0.42, 0.45, 0.40)  # what ground and clutter reflect in the three infrared bands
# What the materials of the ten categories reflect there, by category id; some hardly differ from
# the ground.
SPECTRA = {
    1: (0.70, 0.62, 0.30),
    2: (0.30, 0.55, 0.60),
    4: (0.80, 0.78, 0.55),
    7: (0.45, 0.30, 0.25),
    9: (0.62, 0.70, 0.72),
    13: (0.38, 0.40, 0.58),
    17: (0.74, 0.50, 0.42),
    22: (0.55, 0.66, 0.35),
    28: (0.20, 0.22, 0.24),
    31: (0.48, 0.47, 0.36),
}


@dataclass(frozen=True)
class Kind:
    """A kind of image: what its channels are called, and who makes scene ``(seed, index, size,
    draw)``."""

    channels: tuple[str, ...]
    make: Callable[[int, int, int, str], Scene]


def make_grey(seed: int, index: int, size: int, draw: str) -> Scene:
    """The luma of a scene of the generated world, uint8 ``[size, size, 1]``."""
    made = make_scene(seed, index, size, draw)
    return Scene(_quantise(_measure_luma(made.image)[..., None]), made.instances)


def make_medical(seed: int, index: int, size: int, draw: str) -> Scene:
    """A scene as one channel of a quarter of the contrast, blurred, under noise.

    Uint8 ``[size, size, 1]``.
    """
    made = make_scene(seed, index, size, draw)
    stream = _name_stream(1, seed, index, size, draw)
    soft = _measure_luma(made.image)
    for _ in range(3):
        soft = _smooth(soft)
    noise = stream.draw_array(size, size) + stream.draw_array(size, size) - 1
    level = stream.draw_number(0.30, 0.45)
    return Scene(_quantise((level + (soft - 0.5) * 0.25 + noise * 0.08)[..., None]), made.instances)


def make_electron(seed: int, index: int, size: int, draw: str) -> Scene:
    """Dark membranes on pale ground, and 14 to 40 dark-rimmed granules, each an instance.

    Uint8 ``[size, size, 1]``.
    """
    stream = _name_stream(2, seed, index, size, draw)
    axis = np.arange(size, dtype=np.float32) / size
    u = axis + np.zeros((size, 1), np.float32)
    v = axis[:, None] + np.zeros((1, size), np.float32)
    texels = stream.draw_number(70, 120)
    clouds = place_tile(stream, make_noise(16, 16), u, v, texels) - 0.5
    joints = place_tile(stream, make_cells(150)[1], u, v, texels)
    image = clouds * 0.25 + 0.66
    image -= step_softly(0.7 - joints, 0.0, 1.5) * 0.35
    owner = np.zeros((size, size), np.int64)
    count = stream.draw_integer(14, 40)
    for number in range(1, count + 1):
        radius = stream.draw_number(0.018, 0.045) * size
        x = axis * size - stream.draw_number(0, size)
        y = (axis * size - stream.draw_number(0, size))[:, None]
        distance = np.sqrt(x * x + y * y) - radius
        core = stream.draw_number(0.30, 0.50)
        inside = core + (0.14 - core) * np.clip(distance / radius * 3 + 1.6, 0, 1)
        image += (inside - image) * np.clip(0.5 - distance, 0, 1)
        owner[distance < 0] = number
    image += (stream.draw_array(size, size) - 0.5) * stream.draw_number(0.15, 0.30)
    instances = []
    for number in range(1, count + 1):
        if (owner == number).any():
            instances.append(Instance(GRANULE, owner == number, False))
    return Scene(_quantise(image[..., None]), instances)


def make_multispectral(seed: int, index: int, size: int, draw: str) -> Scene:
    """A scene of the world of shapes with three infrared bands, in which materials differ.

    Uint8 ``[size, size, 6]``: red, green, blue, then ``INFRARED``. In that world colour tells
    nothing about a category; what an infrared band shows is the reflectance of the category's
    material under the light of the scene.
    """
    made = make_scene(seed, index, size, draw, world="shapes")
    stream = _name_stream(3, seed, index, size, draw)
    light = _measure_luma(made.image) * 0.6 + 0.6
    bands = [made.image[..., k].astype(np.float32) / 255 for k in range(3)]
    for band, ground in enumerate(GROUND_SPECTRUM):
        reflected = np.full((size, size), ground, np.float32)
        for instance in made.instances:
            reflected[instance.mask] = SPECTRA[instance.category_id][band]
        bands.append(reflected * light + (stream.draw_array(size, size) - 0.5) * 0.12)
    return Scene(_quantise(np.stack(bands, axis=-1)), made.instances)


KINDS = {
    "grey": Kind(("Y",), make_grey),
    "medical": Kind(("Y",), make_medical),
    "electron microscope": Kind(("Y",), make_electron),
    "multispectral": Kind(("R", "G", "B", *INFRARED), make_multispectral),
}


def _name_stream(kind: int, seed: int, index: int, size: int, draw: str) -> RandomStream:
    """Chance of its own for each kind, apart from that of the scenes."""
    return RandomStream(7100 + kind, seed, DRAWS.index(draw), index, size)


def _measure_luma(image: np.ndarray) -> np.ndarray:
    """Grey values 0 to 1, float32 ``[H, W]``, of RGB, uint8 ``[H, W, 3]``."""
    parts = [image[..., k].astype(np.float32) * (LUMA_WEIGHTS[k] / 255) for k in range(3)]
    return parts[0] + parts[1] + parts[2]


def _smooth(grey: np.ndarray) -> np.ndarray:
    """Each pixel mixed with its neighbours in rows and columns, in shares 1 : 2 : 1."""
    wide = np.pad(grey, 1, mode="edge")
    across = (wide[:, :-2] + wide[:, 2:]) * 0.25 + wide[:, 1:-1] * 0.5
    return (across[:-2] + across[2:]) * 0.25 + across[1:-1] * 0.5


def _quantise(values: np.ndarray) -> np.ndarray:
    """0 to 1 as 0 to 255, uint8; what lies outside is cut."""
    return np.clip(values * 255, 0, 255).astype(np.uint8)
