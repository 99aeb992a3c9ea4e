"""Light, backgrounds and the painting of things onto a canvas (float32 ``[3, rows, columns]``, 0 to
1).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from byol_helpers.synthetic.random_stream import RandomStream, measure_length
from byol_helpers.synthetic.shapes import FILL, Form
from byol_helpers.synthetic.textures import (
    TILE,
    Material,
    colour_surface,
    jitter_palette,
    make_cells,
    make_noise,
    sample_tile,
    step_softly,
    upsample,
)

# Earth, moss, sand, slate, bark, dusk, snow, straw, clay, water: what backgrounds are made of.
GROUNDS = (
    ((0.36, 0.29, 0.22), (0.22, 0.17, 0.12), (0.52, 0.44, 0.34)),
    ((0.30, 0.36, 0.22), (0.17, 0.23, 0.13), (0.46, 0.48, 0.30)),
    ((0.72, 0.64, 0.50), (0.58, 0.49, 0.36), (0.84, 0.78, 0.66)),
    ((0.42, 0.44, 0.47), (0.26, 0.28, 0.31), (0.60, 0.62, 0.64)),
    ((0.40, 0.31, 0.26), (0.25, 0.18, 0.15), (0.57, 0.47, 0.40)),
    ((0.62, 0.60, 0.66), (0.46, 0.45, 0.54), (0.80, 0.74, 0.74)),
    ((0.82, 0.83, 0.85), (0.66, 0.69, 0.74), (0.93, 0.93, 0.92)),
    ((0.66, 0.58, 0.36), (0.48, 0.40, 0.22), (0.80, 0.74, 0.54)),
    ((0.58, 0.40, 0.32), (0.42, 0.27, 0.21), (0.70, 0.54, 0.45)),
    ((0.30, 0.42, 0.46), (0.18, 0.28, 0.33), (0.50, 0.60, 0.60)),
)


# The slices of rows and columns that cut a part out of an array.
Window = tuple[slice, slice]


@dataclass
class Light:
    """One light for the whole scene: direction towards it (unit vector), ambient share, depth of
    shadows.
    """

    x: float
    y: float
    z: float
    ambient: float
    shadow: float

    @classmethod
    def draw(cls, stream: RandomStream) -> "Light":
        """Any direction, low enough to throw shadows."""
        x, y = stream.draw_direction()
        z = stream.draw_number(0.55, 0.95)
        size = measure_length(1.0, z)
        return cls(
            x / size,
            y / size,
            z / size,
            stream.draw_number(0.38, 0.55),
            stream.draw_number(0.35, 0.6),
        )


@dataclass
class Thing:
    """A lit object on its patch. ``distance`` (in pixels, negative inside) has a frame of
    ``margin`` pixels more than ``colour``; the frame holds the shadow."""

    distance: np.ndarray
    margin: int
    colour: np.ndarray

    @property
    def solid(self) -> np.ndarray:
        """Which pixels of the patch without its frame the object covers."""
        return self.distance[self.margin : -self.margin, self.margin : -self.margin] < 0


def make_thing(
    stream: RandomStream,
    shape: Callable,
    material: Material,
    palette,
    area: float,
    light: Light,
    longest: float,
) -> Thing:
    """An object of about ``area`` square pixels, its radius at most ``longest`` pixels, turned at
    random.
    """
    aspect = stream.draw_number(0.82, 1.0)
    size = min(math.sqrt(area / (FILL[shape] * aspect)), longest)
    half = int(size) + 2
    margin = 2 + int(size * 0.22)
    axis = np.arange(-half - margin, half + margin + 1, dtype=np.float32)
    x = (axis + stream.draw_number(-0.5, 0.5)) / size
    y = ((axis + stream.draw_number(-0.5, 0.5)) / size)[:, None]
    cosine, sine = stream.draw_direction()
    u = (x * cosine + y * sine) / aspect
    v = y * cosine - x * sine
    whole = shape(stream, u, v)
    form = whole.cut_frame(margin)
    cut = slice(margin, -margin)
    colour = colour_surface(stream, material, palette, form, u[cut, cut], v[cut, cut])
    _shade(stream, colour, form, size, light, material.gloss)
    return Thing(whole.distance * size, margin, colour)


def _shade(
    stream: RandomStream, colour: np.ndarray, form: Form, size: float, light: Light, gloss: float
) -> None:
    """Dome shading: the surface rises from the rim over the bevel, its slope faces the light or
    not.
    """
    rise = np.clip(form.distance * (-1 / form.bevel), 0, 1)
    height = rise * (2 - rise) * (form.bevel * size * 0.62)
    slope_x = np.zeros_like(height)
    slope_y = np.zeros_like(height)
    slope_x[:, 1:-1] = (height[:, :-2] - height[:, 2:]) * 0.5
    slope_y[1:-1] = (height[:-2] - height[2:]) * 0.5
    facing = slope_x * light.x + slope_y * light.y + light.z
    facing /= np.sqrt(slope_x * slope_x + slope_y * slope_y + 1)
    lit = light.ambient + np.maximum(facing, 0) * (1.28 - light.ambient)
    rim = np.clip(form.distance * (size / stream.draw_number(0.8, 1.8)) + 1, 0, 1)
    colour *= lit * (1 - rim * stream.draw_number(-0.12, 0.4))
    if gloss:
        shine = np.maximum(facing, 0)
        for _ in range(4):
            shine = shine * shine
        colour += shine * gloss


def paint_thing(canvas: np.ndarray, item: Thing, top: int, left: int, light: Light) -> None:
    """Lay the shadow and then the object on the canvas.

    ``top, left`` place the patch without its frame.
    """
    margin = item.margin
    rows, columns = item.colour.shape[1:]
    reach = margin - 2
    down = -round(light.y * reach)
    right = -round(light.x * reach)
    _blend_shadow(canvas, item, top - margin, left - margin, down, right, light)
    window, part = cut_windows(canvas.shape[1:], top, left, rows, columns)
    cover = np.clip(0.5 - item.distance[margin:-margin, margin:-margin][part], 0, 1)
    view = canvas[:, *window]
    view += (item.colour[:, *part] - view) * cover


def _blend_shadow(
    canvas: np.ndarray, item: Thing, top: int, left: int, down: int, right: int, light: Light
) -> None:
    """Darken the canvas beside an object, ``down`` and ``right`` pixels away from it."""
    rows, columns = item.distance.shape
    rows = rows - abs(down)
    columns = columns - abs(right)
    window, part = cut_windows(
        canvas.shape[1:], top + max(down, 0), left + max(right, 0), rows, columns
    )
    start = max(-down, 0), max(-right, 0)
    shifted = item.distance[start[0] :, start[1] :][part]
    soft = item.margin * 0.9
    canvas[:, *window] *= 1 - np.clip(0.4 - shifted / soft, 0, 1) * light.shadow


def cut_windows(
    shape: tuple[int, ...], top: int, left: int, rows: int, columns: int
) -> tuple[Window, Window]:
    """Slices of a canvas, and of a patch, where the patch at ``top, left`` lies on the canvas."""
    y0 = max(top, 0)
    y1 = max(min(top + rows, shape[0]), y0)
    x0 = max(left, 0)
    x1 = max(min(left + columns, shape[1]), x0)
    on_canvas = slice(y0, y1), slice(x0, x1)
    on_patch = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    return on_canvas, on_patch


def paint_background(stream: RandomStream, size: int, light: Light) -> np.ndarray:
    """One or two textured grounds, parted by a band or by soft blobs, under uneven light."""
    canvas = _paint_ground(stream, size, light)
    if stream.happens(0.6):
        edge = upsample(stream.draw_array(3, 3), size, size) - 0.5
        slope = stream.draw_number(4, 16)
        if stream.happens(0.5):
            x, y = stream.draw_direction()
            axis = np.arange(size, dtype=np.float32) / size - 0.5
            edge = edge * 0.35 + (axis * x + (axis * y)[:, None]) - stream.draw_number(-0.3, 0.3)
        canvas += (_paint_ground(stream, size, light) - canvas) * step_softly(edge, 0.0, slope)
    axis = np.arange(size, dtype=np.float32) / size - 0.5
    strength = stream.draw_number(0.0, 0.5)
    vignette = stream.draw_number(0.0, 0.5)
    across = axis * (light.x * strength)
    down = axis * (light.y * strength) + 1
    canvas *= (across - axis * axis * vignette) + (down - axis * axis * vignette)[:, None]
    return canvas


def _paint_ground(stream: RandomStream, size: int, light: Light) -> np.ndarray:
    """Soft colour clouds between three related colours, with a lit relief."""
    palette = jitter_palette(stream, stream.pick(GROUNDS), 0.07)
    dark, base, pale = (np.array(colour, np.float32)[:, None, None] for colour in palette)
    coarse = stream.draw_integer(3, 6)
    clouds = upsample(stream.draw_array(coarse, coarse), size, size)
    relief = _make_relief(stream, size)
    step_y = 1 + round(light.y * 1.6)
    step_x = 1 + round(light.x * 1.6)
    bump = relief[1:-1, 1:-1] - relief[step_y : step_y + size, step_x : step_x + size]
    share = clouds + relief[1:-1, 1:-1] * 0.7
    canvas = (base - dark) * share + dark
    canvas += (pale - base) * np.maximum(share - 0.7, 0)
    canvas *= 1 + bump * stream.draw_number(0.3, 1.0)
    return canvas


def _make_relief(stream: RandomStream, size: int) -> np.ndarray:
    """Sand, wood, gravel, cloth: values about -0.5 to 0.5, one pixel more than the canvas on each
    side.
    """
    kind = stream.draw_integer(0, 4)
    finest, coarsest = (1.0, 2.0) if kind == 3 else (0.5, 1.3)
    texels = stream.draw_number(finest, coarsest) * 128 / size
    cosine, sine = stream.draw_direction()
    axis = np.arange(size + 2, dtype=np.float32) * texels
    x = axis * cosine + (axis * sine)[:, None] + stream.draw_number(0, TILE)
    y = (axis * cosine)[:, None] - axis * sine + stream.draw_number(0, TILE)
    if kind == 0:
        return sample_tile(make_noise(64, 64), x, y) - 0.5
    if kind == 1:
        return sample_tile(make_noise(64, 8), x, y) - 0.5
    if kind == 2:
        return np.minimum(sample_tile(make_cells(420)[1], x, y) * 0.25, 1) - 0.6
    if kind == 3:
        coarse = sample_tile(make_noise(32, 32), x, y)
        fine = sample_tile(make_noise(128, 128), y, x)
        return coarse * 0.6 + fine * 0.4 - 0.5
    return sample_tile(make_noise(16, 16), x, y) - 0.5


def develop(stream: RandomStream, canvas: np.ndarray) -> np.ndarray:
    """The canvas as a camera gives it: focus, colour, exposure, grain.

    Uint8 ``[rows, columns, 3]``.
    """
    if stream.happens(0.4):
        side = stream.draw_number(0.05, 0.2)
        for rows in (True, False):
            view = canvas.transpose(0, 2, 1) if rows else canvas
            near = view[..., 1:-1] * (1 - 2 * side)
            near += (view[..., 2:] + view[..., :-2]) * side
            view[..., 1:-1] = near
    exposure = stream.draw_number(0.82, 1.18)
    contrast = stream.draw_number(0.85, 1.2)
    balance = np.array(stream.draw_colour(0.06), np.float32)[:, None, None] + 1
    gain = balance * (exposure * contrast)
    lift = 0.5 * (1 - contrast)
    grain = stream.draw_array(*canvas.shape)
    grain -= 0.5
    grain *= stream.draw_number(4, 18)
    canvas = canvas * (gain * 255)
    canvas += grain
    canvas += lift * 255
    np.clip(canvas, 0, 255, out=canvas)
    return np.ascontiguousarray(canvas.astype(np.uint8).transpose(1, 2, 0))
