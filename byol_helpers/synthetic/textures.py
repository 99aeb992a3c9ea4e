"""Surfaces of the generated world: noise tiles, patterns and palettes.

A pattern is a function ``(stream, form, u, v) -> (second, accent)``: how much of a palette's second
colour, and then of its accent, each pixel takes (0 to 1). Exactly rounded operations only, as in
`shapes`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from byol_helpers.synthetic.random_stream import RandomStream
from byol_helpers.synthetic.shapes import Form, make_triangle_wave, measure_radius

TILE = 256  # texels of a tile's side


@dataclass(frozen=True)
class Material:
    """A pattern, its three colours (RGB, 0 to 1) and how much light it mirrors (0 to 1)."""

    pattern: Callable
    palette: tuple[tuple[float, float, float], ...]
    gloss: float


def upsample(coarse: np.ndarray, height: int, width: int, wrap: bool = False) -> np.ndarray:
    """Smooth interpolation of ``[..., rows, columns]`` to ``[..., height, width]``.

    ``wrap``: periodic.
    """
    for axis, count in ((-2, height), (-1, width)):
        cells = coarse.shape[axis]
        low, high, share = _weigh_cells(cells, count, wrap)
        share = share[:, None] if axis == -2 else share
        first = coarse.take(low, axis)
        coarse = first + (coarse.take(high, axis) - first) * share
    return coarse


@lru_cache(maxsize=256)
def _weigh_cells(cells: int, count: int, wrap: bool):
    place = np.arange(count, dtype=np.float64) * ((cells if wrap else cells - 1) / count)
    low = np.floor(place).astype(np.int64)
    share = place - low
    return low, (low + 1) % cells, (share * share * (3 - 2 * share)).astype(np.float32)


@lru_cache(maxsize=16)
def make_noise(rows: int, columns: int) -> np.ndarray:
    """A periodic tile of smooth noise with that many cells, values 0 to 1."""
    stream = RandomStream(7001, rows, columns)
    tile = upsample(stream.draw_array(rows, columns), TILE, TILE, wrap=True)
    finer = upsample(
        stream.draw_array(min(rows * 2, TILE), min(columns * 2, TILE)), TILE, TILE, wrap=True
    )
    tile = tile * 0.7 + finer * 0.3
    return np.clip((tile - 0.5) * 1.5 + 0.5, 0, 1)


@lru_cache(maxsize=8)
def make_cells(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Periodic tiles of scattered points.

    Texels to the nearest one, and to the border of its cell.
    """
    stream = RandomStream(7002, count)
    axis = np.arange(TILE, dtype=np.float32)
    nearest = np.full((TILE, TILE), 1e9, np.float32)
    second = nearest.copy()
    for _ in range(count):
        x = np.abs(axis - stream.draw_number(0, TILE))
        y = np.abs(axis - stream.draw_number(0, TILE))
        x = np.minimum(x, TILE - x)
        y = np.minimum(y, TILE - y)
        square = (x * x)[None, :] + (y * y)[:, None]
        second = np.minimum(second, np.maximum(nearest, square))
        nearest = np.minimum(nearest, square)
    nearest = np.sqrt(nearest)
    return nearest, (np.sqrt(second) - nearest) * 0.5


def sample_tile(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The tile's values at coordinates in texels: repeated without end, smooth if stretched."""
    low_x = np.floor(x)
    low_y = np.floor(y)
    columns = low_x.astype(np.int32) & (TILE - 1)
    rows = (low_y.astype(np.int32) & (TILE - 1)) * TILE
    flat = tile.ravel()
    if max(abs(x[0, 1] - x[0, 0]), abs(y[0, 1] - y[0, 0])) > 0.6:
        return flat.take(rows + columns)
    beside = (columns + 1) & (TILE - 1)
    below = (rows + TILE) & (TILE * TILE - 1)
    share_x = x - low_x
    share_y = y - low_y
    upper = flat.take(rows + columns)
    lower = flat.take(below + columns)
    upper += (flat.take(rows + beside) - upper) * share_x
    lower += (flat.take(below + beside) - lower) * share_x
    upper += (lower - upper) * share_y
    return upper


def place_tile(stream: RandomStream, tile: np.ndarray, u, v, texels: float) -> np.ndarray:
    """The tile at a random place; ``texels`` are the tile's texels per radius."""
    x = u * texels + stream.draw_number(0, TILE)
    y = v * texels + stream.draw_number(0, TILE)
    return sample_tile(tile, x, y)


def step_softly(x: np.ndarray, edge: float, slope: float) -> np.ndarray:
    """A soft step from 0 to 1 about ``edge``."""
    return np.clip((x - edge) * slope + 0.5, 0, 1)


def draw_speckles(stream: RandomStream, form: Form, u, v):
    """Irregular dark spots on a clouded ground."""
    texels = stream.draw_number(52, 80)
    spots = place_tile(stream, make_cells(150)[0], u, v, texels)
    clouds = place_tile(stream, make_noise(16, 16), u, v, texels)
    return clouds * 0.8, step_softly(clouds * 5 + 2.0 - spots, 0.0, 0.6)


def draw_stripes(stream: RandomStream, form: Form, u, v):
    """Broad stripes across, a head and a seam of the second colour, and a collar of the accent."""
    count = stream.draw_number(1.5, 2.2)
    slope = stream.draw_number(0.0, 0.5)
    wave = make_triangle_wave(
        form.along * count + np.abs(form.across) * slope + stream.draw_number(0, 1)
    )
    head = step_softly(form.along, 0.60, 20)
    collar = step_softly(0.10 - np.abs(form.along - 0.52), 0.0, 20)
    second = np.maximum(
        step_softly(wave, stream.draw_number(0.45, 0.6), 5),
        step_softly(0.05 - np.abs(form.across), 0.0, 16),
    )
    return np.maximum(second, head), collar


def draw_veins(stream: RandomStream, form: Form, u, v):
    """A midrib with side veins on a mottled blade."""
    count = stream.draw_number(2.2, 3.4)
    slope = stream.draw_number(1.2, 2.0)
    side = make_triangle_wave(
        form.along * count - form.across * count * slope * 0.6 + stream.draw_number(0, 1)
    )
    mottle = place_tile(stream, make_noise(32, 32), u, v, stream.draw_number(30, 60))
    rib = np.maximum(step_softly(side, 0.86, 7) * 0.75, step_softly(0.05 - form.across, 0.0, 18))
    return np.clip(mottle * 0.7 + form.across * 0.6, 0, 1), rib


def draw_granules(stream: RandomStream, form: Form, u, v):
    """Pale grains, and a darker rim."""
    grains = place_tile(stream, make_cells(420)[0], u, v, stream.draw_number(38, 58))
    return step_softly(form.distance, -0.10, 4), step_softly(2.6 - grains, 0.0, 0.7) * 0.9


def draw_checks(stream: RandomStream, form: Form, u, v):
    """A chessboard."""
    count = stream.draw_number(1.2, 1.9)
    x = stream.draw_number(0, 1)
    y = stream.draw_number(0, 1)
    first = make_triangle_wave(u * count + x) - 0.5
    other = make_triangle_wave(v * count + y) - 0.5
    return np.clip(first * other * 40 + 0.5, 0, 1), step_softly(form.distance, -0.04, 12) * 0.6


def draw_scratches(stream: RandomStream, form: Form, u, v):
    """Fine scratches and bright concentric grooves."""
    scratches = place_tile(stream, make_noise(128, 8), u, v, stream.draw_number(40, 70))
    groove = make_triangle_wave(
        measure_radius(u, v) * stream.draw_number(2.5, 3.5) + stream.draw_number(0, 1)
    )
    return scratches, step_softly(groove, 0.8, 5) * 0.7


def draw_sprinkles(stream: RandomStream, form: Form, u, v):
    """Icing with dark crumbs and a pale wavering edge."""
    texels = stream.draw_number(40, 56)
    crumbs = place_tile(stream, make_cells(150)[0], u, v * stream.draw_number(0.6, 1.4), texels)
    waver = place_tile(stream, make_noise(16, 16), u, v, texels)
    return step_softly(form.distance + waver * 0.14, -0.02, 14), step_softly(4.2 - crumbs, 0.0, 0.8)


def draw_petals(stream: RandomStream, form: Form, u, v):
    """Streaks that pale outwards, and a bright eye."""
    streak = make_triangle_wave(form.across * stream.draw_number(4, 7))
    eye = stream.draw_number(0.24, 0.33)
    pale = np.clip(form.along * 0.7 + streak * 0.35 - 0.1, 0, 1)
    return pale, step_softly(eye - measure_radius(u, v), 0.0, 14)


def draw_weave(stream: RandomStream, form: Form, u, v):
    """Bands crossing over and under, and a dark seam."""
    count = stream.draw_number(1.6, 2.4)
    across = make_triangle_wave(u * count)
    down = make_triangle_wave(v * count)
    thread = place_tile(stream, make_noise(64, 64), u, v, 80)
    bands = np.maximum(step_softly(across, 0.66, 9), step_softly(down, 0.66, 9))
    return np.clip(bands * (0.75 + 0.25 * thread), 0, 1), step_softly(form.distance, -0.07, 14)


def draw_ridges(stream: RandomStream, form: Form, u, v):
    """Smooth ridges along the back, with a glow where they are high."""
    wave = make_triangle_wave(form.across * stream.draw_number(3.5, 5.5) + stream.draw_number(0, 1))
    return step_softly(wave, 0.5, 2), place_tile(stream, make_noise(16, 16), u, v, 40) * 0.5


def draw_plain(stream: RandomStream, form: Form, u, v):
    """Hardly any pattern (clutter only)."""
    clouds = place_tile(stream, make_noise(16, 16), u, v, 50)
    return clouds, clouds * 0.3


def draw_cracks(stream: RandomStream, form: Form, u, v):
    """Cells with dark joints (clutter only)."""
    joints = place_tile(stream, make_cells(150)[1], u, v, stream.draw_number(40, 90))
    return place_tile(stream, make_noise(32, 32), u, v, 50), step_softly(1.2 - joints, 0.0, 0.8)


PATTERNS = (
    draw_speckles,
    draw_stripes,
    draw_veins,
    draw_granules,
    draw_checks,
    draw_scratches,
    draw_sprinkles,
    draw_petals,
    draw_weave,
    draw_ridges,
    draw_plain,
    draw_plain,
    draw_cracks,
)


def jitter_palette(stream: RandomStream, palette, amount: float) -> list[list[float]]:
    """The palette with a common cast and a common gain, and a little of its own for each colour."""
    cast = stream.draw_colour(amount)
    gain = 1 + stream.draw_number(-amount, amount)
    own = [stream.draw_colour(amount / 3) for _ in palette]
    jittered = []
    for colour, shift in zip(palette, own, strict=True):
        jittered.append([(colour[k] + cast[k] + shift[k]) * gain for k in range(3)])
    return jittered


def draw_palette(stream: RandomStream, greyness: float) -> list[list[float]]:
    """Three related colours of any hue; ``greyness`` 1 leaves only grey."""
    base = [stream.draw_number(0.1, 0.9) for _ in range(3)]
    grey = stream.draw_number(0.15, 0.8)
    mixed = [channel + (grey - channel) * greyness for channel in base]
    darker = stream.draw_number(0.5, 0.8)
    paler = stream.draw_number(0.1, 0.4)
    dark = [channel * darker for channel in mixed]
    pale = [channel * 0.6 + paler for channel in mixed]
    return [mixed, dark, pale]


def colour_surface(
    stream: RandomStream, material: Material, palette, form: Form, u, v
) -> np.ndarray:
    """The unlit surface, float32 ``[3, rows, columns]``."""
    second, accent = material.pattern(stream, form, u, v)
    ground, other, third = (np.array(colour, np.float32)[:, None, None] for colour in palette)
    surface = (other - ground) * second
    surface += ground
    surface += (third - surface) * accent
    return surface
