"""Surfaces of the generated world: noise tiles, patterns and palettes.

A pattern is a function ``(dice, form, u, v) -> (second, accent)``: how much of a palette's second
colour, and then of its accent, each pixel takes (0 to 1). Exactly rounded operations only, as in
`shapes`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from byol_helpers.synthetic.random_stream import Dice
from byol_helpers.synthetic.shapes import Form, radius, triangle

TILE = 256  # texels of a tile's side


@dataclass(frozen=True)
class Material:
    """A pattern, its three colours (RGB, 0 to 1) and how much light it mirrors (0 to 1)."""

    pattern: Callable
    palette: tuple[tuple[float, float, float], ...]
    gloss: float


def upsampled(coarse: np.ndarray, height: int, width: int, wrap: bool = False) -> np.ndarray:
    """Smooth interpolation of ``[..., rows, columns]`` to ``[..., height, width]``.

    ``wrap``: periodic.
    """
    for axis, count in ((-2, height), (-1, width)):
        cells = coarse.shape[axis]
        low, high, share = _weights(cells, count, wrap)
        share = share[:, None] if axis == -2 else share
        first = coarse.take(low, axis)
        coarse = first + (coarse.take(high, axis) - first) * share
    return coarse


@lru_cache(maxsize=256)
def _weights(cells: int, count: int, wrap: bool):
    place = np.arange(count, dtype=np.float64) * ((cells if wrap else cells - 1) / count)
    low = np.floor(place).astype(np.int64)
    share = place - low
    return low, (low + 1) % cells, (share * share * (3 - 2 * share)).astype(np.float32)


@lru_cache(maxsize=16)
def noise(rows: int, columns: int) -> np.ndarray:
    """A periodic tile of smooth noise with that many cells, values 0 to 1."""
    dice = Dice(7001, rows, columns)
    tile = upsampled(dice.array(rows, columns), TILE, TILE, wrap=True)
    finer = upsampled(
        dice.array(min(rows * 2, TILE), min(columns * 2, TILE)), TILE, TILE, wrap=True
    )
    tile = tile * 0.7 + finer * 0.3
    return np.clip((tile - 0.5) * 1.5 + 0.5, 0, 1)


@lru_cache(maxsize=8)
def cells(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Periodic tiles of scattered points: texels to the nearest one, and to the border of its cell."""
    dice = Dice(7002, count)
    axis = np.arange(TILE, dtype=np.float32)
    nearest = np.full((TILE, TILE), 1e9, np.float32)
    second = nearest.copy()
    for _ in range(count):
        x, y = np.abs(axis - dice.between(0, TILE)), np.abs(axis - dice.between(0, TILE))
        x, y = np.minimum(x, TILE - x), np.minimum(y, TILE - y)
        square = (x * x)[None, :] + (y * y)[:, None]
        second = np.minimum(second, np.maximum(nearest, square))
        nearest = np.minimum(nearest, square)
    nearest = np.sqrt(nearest)
    return nearest, (np.sqrt(second) - nearest) * 0.5


def sample(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The tile's values at coordinates in texels, repeated without end, interpolated if stretched."""
    low_x, low_y = np.floor(x), np.floor(y)
    columns = low_x.astype(np.int32) & (TILE - 1)
    rows = (low_y.astype(np.int32) & (TILE - 1)) * TILE
    flat = tile.ravel()
    if max(abs(x[0, 1] - x[0, 0]), abs(y[0, 1] - y[0, 0])) > 0.6:
        return flat.take(rows + columns)
    beside = (columns + 1) & (TILE - 1)
    below = (rows + TILE) & (TILE * TILE - 1)
    share_x, share_y = x - low_x, y - low_y
    upper, lower = flat.take(rows + columns), flat.take(below + columns)
    upper += (flat.take(rows + beside) - upper) * share_x
    lower += (flat.take(below + beside) - lower) * share_x
    upper += (lower - upper) * share_y
    return upper


def scattered(dice: Dice, tile: np.ndarray, u, v, texels: float) -> np.ndarray:
    """The tile at a random place; ``texels`` are the tile's texels per radius."""
    return sample(tile, u * texels + dice.between(0, TILE), v * texels + dice.between(0, TILE))


def sharp(x: np.ndarray, edge: float, slope: float) -> np.ndarray:
    """A soft step from 0 to 1 about ``edge``."""
    return np.clip((x - edge) * slope + 0.5, 0, 1)


def speckles(dice: Dice, form: Form, u, v):
    """Irregular dark spots on a clouded ground."""
    texels = dice.between(52, 80)
    spots = scattered(dice, cells(150)[0], u, v, texels)
    clouds = scattered(dice, noise(16, 16), u, v, texels)
    return clouds * 0.8, sharp(clouds * 5 + 2.0 - spots, 0.0, 0.6)


def stripes(dice: Dice, form: Form, u, v):
    """Broad stripes across, a head and a seam of the second colour, and a collar of the accent."""
    count, slope = dice.between(1.5, 2.2), dice.between(0.0, 0.5)
    wave = triangle(form.along * count + np.abs(form.across) * slope + dice.between(0, 1))
    head, collar = sharp(form.along, 0.60, 20), sharp(0.10 - np.abs(form.along - 0.52), 0.0, 20)
    second = np.maximum(
        sharp(wave, dice.between(0.45, 0.6), 5), sharp(0.05 - np.abs(form.across), 0.0, 16)
    )
    return np.maximum(second, head), collar


def veins(dice: Dice, form: Form, u, v):
    """A midrib with side veins on a mottled blade."""
    count, slope = dice.between(2.2, 3.4), dice.between(1.2, 2.0)
    side = triangle(form.along * count - form.across * count * slope * 0.6 + dice.between(0, 1))
    mottle = scattered(dice, noise(32, 32), u, v, dice.between(30, 60))
    rib = np.maximum(sharp(side, 0.86, 7) * 0.75, sharp(0.05 - form.across, 0.0, 18))
    return np.clip(mottle * 0.7 + form.across * 0.6, 0, 1), rib


def granules(dice: Dice, form: Form, u, v):
    """Pale grains, and a darker rim."""
    grains = scattered(dice, cells(420)[0], u, v, dice.between(38, 58))
    return sharp(form.distance, -0.10, 4), sharp(2.6 - grains, 0.0, 0.7) * 0.9


def checks(dice: Dice, form: Form, u, v):
    """A chessboard."""
    count, x, y = dice.between(1.2, 1.9), dice.between(0, 1), dice.between(0, 1)
    first, other = triangle(u * count + x) - 0.5, triangle(v * count + y) - 0.5
    return np.clip(first * other * 40 + 0.5, 0, 1), sharp(form.distance, -0.04, 12) * 0.6


def brushed(dice: Dice, form: Form, u, v):
    """Fine scratches and bright concentric grooves."""
    scratches = scattered(dice, noise(128, 8), u, v, dice.between(40, 70))
    groove = triangle(radius(u, v) * dice.between(2.5, 3.5) + dice.between(0, 1))
    return scratches, sharp(groove, 0.8, 5) * 0.7


def sprinkles(dice: Dice, form: Form, u, v):
    """Icing with dark crumbs and a pale wavering edge."""
    texels = dice.between(40, 56)
    crumbs = scattered(dice, cells(150)[0], u, v * dice.between(0.6, 1.4), texels)
    waver = scattered(dice, noise(16, 16), u, v, texels)
    return sharp(form.distance + waver * 0.14, -0.02, 14), sharp(4.2 - crumbs, 0.0, 0.8)


def petals(dice: Dice, form: Form, u, v):
    """Streaks that pale outwards, and a bright eye."""
    streak = triangle(form.across * dice.between(4, 7))
    eye = dice.between(0.24, 0.33)
    return np.clip(form.along * 0.7 + streak * 0.35 - 0.1, 0, 1), sharp(eye - radius(u, v), 0.0, 14)


def weave(dice: Dice, form: Form, u, v):
    """Bands crossing over and under, and a dark seam."""
    count = dice.between(1.6, 2.4)
    across, down = triangle(u * count), triangle(v * count)
    thread = scattered(dice, noise(64, 64), u, v, 80)
    bands = np.maximum(sharp(across, 0.66, 9), sharp(down, 0.66, 9))
    return np.clip(bands * (0.75 + 0.25 * thread), 0, 1), sharp(form.distance, -0.07, 14)


def ridges(dice: Dice, form: Form, u, v):
    """Smooth ridges along the back, with a glow where they are high."""
    wave = triangle(form.across * dice.between(3.5, 5.5) + dice.between(0, 1))
    return sharp(wave, 0.5, 2), scattered(dice, noise(16, 16), u, v, 40) * 0.5


def plain(dice: Dice, form: Form, u, v):
    """Hardly any pattern (clutter only)."""
    clouds = scattered(dice, noise(16, 16), u, v, 50)
    return clouds, clouds * 0.3


def cracked(dice: Dice, form: Form, u, v):
    """Cells with dark joints (clutter only)."""
    joints = scattered(dice, cells(150)[1], u, v, dice.between(40, 90))
    return scattered(dice, noise(32, 32), u, v, 50), sharp(1.2 - joints, 0.0, 0.8)


PATTERNS = (
    speckles,
    stripes,
    veins,
    granules,
    checks,
    brushed,
    sprinkles,
    petals,
    weave,
    ridges,
    plain,
    plain,
    cracked,
)


def jittered(dice: Dice, palette, amount: float) -> list[list[float]]:
    """The palette with a common cast and a common gain, and a little of its own for each colour."""
    cast, gain = dice.colour(amount), 1 + dice.between(-amount, amount)
    own = [dice.colour(amount / 3) for _ in palette]
    return [
        [(colour[k] + cast[k] + shift[k]) * gain for k in range(3)]
        for colour, shift in zip(palette, own, strict=True)
    ]


def any_palette(dice: Dice, greyness: float) -> list[list[float]]:
    """Three related colours of any hue; ``greyness`` 1 leaves only grey."""
    base, grey = [dice.between(0.1, 0.9) for _ in range(3)], dice.between(0.15, 0.8)
    mixed = [channel + (grey - channel) * greyness for channel in base]
    return [
        [channel * gain + shift for channel in mixed]
        for gain, shift in (
            (1.0, 0.0),
            (dice.between(0.5, 0.8), 0.0),
            (0.6, dice.between(0.1, 0.4)),
        )
    ]


def coloured(dice: Dice, material: Material, palette, form: Form, u, v) -> np.ndarray:
    """The unlit surface, float32 ``[3, rows, columns]``."""
    second, accent = material.pattern(dice, form, u, v)
    ground, other, third = (np.array(colour, np.float32)[:, None, None] for colour in palette)
    surface = (other - ground) * second
    surface += ground
    surface += (third - surface) * accent
    return surface
