"""Light, backgrounds and the painting of things onto a canvas (float32 ``[3, rows, columns]``, 0 to
1).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from byol_helpers.synthetic.random_stream import Dice, length
from byol_helpers.synthetic.shapes import FILL, Form
from byol_helpers.synthetic.textures import (
    TILE,
    Material,
    cells,
    coloured,
    jittered,
    noise,
    sample,
    sharp,
    upsampled,
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
    def any(cls, dice: Dice) -> "Light":
        x, y = dice.direction()
        z = dice.between(0.55, 0.95)
        size = length(1.0, z)
        return cls(x / size, y / size, z / size, dice.between(0.38, 0.55), dice.between(0.35, 0.6))


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


def thing(
    dice: Dice,
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
    aspect = dice.between(0.82, 1.0)
    size = min(math.sqrt(area / (FILL[shape] * aspect)), longest)
    half = int(size) + 2
    margin = 2 + int(size * 0.22)
    axis = np.arange(-half - margin, half + margin + 1, dtype=np.float32)
    x, y = (
        (axis + dice.between(-0.5, 0.5)) / size,
        ((axis + dice.between(-0.5, 0.5)) / size)[:, None],
    )
    cosine, sine = dice.direction()
    u, v = (x * cosine + y * sine) / aspect, y * cosine - x * sine
    whole = shape(dice, u, v)
    form, cut = whole.inner(margin), slice(margin, -margin)
    colour = coloured(dice, material, palette, form, u[cut, cut], v[cut, cut])
    _shade(dice, colour, form, size, light, material.gloss)
    return Thing(whole.distance * size, margin, colour)


def _shade(
    dice: Dice, colour: np.ndarray, form: Form, size: float, light: Light, gloss: float
) -> None:
    """Dome shading: the surface rises from the rim over the bevel, its slope faces the light or
    not.
    """
    rise = np.clip(form.distance * (-1 / form.bevel), 0, 1)
    height = rise * (2 - rise) * (form.bevel * size * 0.62)
    slope_x, slope_y = np.zeros_like(height), np.zeros_like(height)
    slope_x[:, 1:-1] = (height[:, :-2] - height[:, 2:]) * 0.5
    slope_y[1:-1] = (height[:-2] - height[2:]) * 0.5
    facing = slope_x * light.x + slope_y * light.y + light.z
    facing /= np.sqrt(slope_x * slope_x + slope_y * slope_y + 1)
    lit = light.ambient + np.maximum(facing, 0) * (1.28 - light.ambient)
    rim = np.clip(form.distance * (size / dice.between(0.8, 1.8)) + 1, 0, 1) * dice.between(
        -0.12, 0.4
    )
    colour *= lit * (1 - rim)
    if gloss:
        shine = np.maximum(facing, 0)
        for _ in range(4):
            shine = shine * shine
        colour += shine * gloss


def paint(canvas: np.ndarray, item: Thing, top: int, left: int, light: Light) -> None:
    """Lay the shadow and then the object on the canvas.

    ``top, left`` place the patch without its frame.
    """
    margin = item.margin
    rows, columns = item.colour.shape[1:]
    reach = margin - 2
    down, right = -round(light.y * reach), -round(light.x * reach)
    _blend_shadow(canvas, item, top - margin, left - margin, down, right, light)
    window, part = windows(canvas.shape[1:], top, left, rows, columns)
    cover = np.clip(0.5 - item.distance[margin:-margin, margin:-margin][part], 0, 1)
    view = canvas[:, *window]
    view += (item.colour[:, *part] - view) * cover


def _blend_shadow(
    canvas, item: Thing, top: int, left: int, down: int, right: int, light: Light
) -> None:
    rows, columns = item.distance.shape
    rows, columns = rows - abs(down), columns - abs(right)
    window, part = windows(
        canvas.shape[1:], top + max(down, 0), left + max(right, 0), rows, columns
    )
    start = max(-down, 0), max(-right, 0)
    shifted = item.distance[start[0] :, start[1] :][part]
    soft = item.margin * 0.9
    canvas[:, *window] *= 1 - np.clip(0.4 - shifted / soft, 0, 1) * light.shadow


def windows(shape: tuple[int, int], top: int, left: int, rows: int, columns: int):
    """Slices of a canvas, and of a patch, where the patch at ``top, left`` lies on the canvas."""
    y0, y1 = max(top, 0), max(min(top + rows, shape[0]), max(top, 0))
    x0, x1 = max(left, 0), max(min(left + columns, shape[1]), max(left, 0))
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def paint_background(dice: Dice, size: int, light: Light) -> np.ndarray:
    """One or two textured grounds, parted by a band or by soft blobs, under uneven light."""
    canvas = _ground(dice, size, light)
    if dice.chance(0.6):
        edge = upsampled(dice.array(3, 3), size, size) - 0.5
        slope = dice.between(4, 16)
        if dice.chance(0.5):
            x, y = dice.direction()
            axis = np.arange(size, dtype=np.float32) / size - 0.5
            edge = edge * 0.35 + (axis * x + (axis * y)[:, None]) - dice.between(-0.3, 0.3)
        canvas += (_ground(dice, size, light) - canvas) * sharp(edge, 0.0, slope)
    axis = np.arange(size, dtype=np.float32) / size - 0.5
    strength, vignette = dice.between(0.0, 0.5), dice.between(0.0, 0.5)
    across, down = axis * (light.x * strength), axis * (light.y * strength) + 1
    canvas *= (across - axis * axis * vignette) + (down - axis * axis * vignette)[:, None]
    return canvas


def _ground(dice: Dice, size: int, light: Light) -> np.ndarray:
    """Soft colour clouds between three related colours, with a lit relief."""
    dark, base, pale = (
        np.array(colour, np.float32)[:, None, None]
        for colour in jittered(dice, dice.pick(GROUNDS), 0.07)
    )
    coarse = dice.whole(3, 6)
    clouds = upsampled(dice.array(coarse, coarse), size, size)
    relief = _relief(dice, size)
    step_y, step_x = 1 + round(light.y * 1.6), 1 + round(light.x * 1.6)
    bump = relief[1:-1, 1:-1] - relief[step_y : step_y + size, step_x : step_x + size]
    share = clouds + relief[1:-1, 1:-1] * 0.7
    canvas = (base - dark) * share + dark
    canvas += (pale - base) * np.maximum(share - 0.7, 0)
    canvas *= 1 + bump * dice.between(0.3, 1.0)
    return canvas


def _relief(dice: Dice, size: int) -> np.ndarray:
    """Sand, wood, gravel, cloth: values about -0.5 to 0.5, one pixel more than the canvas on each
    side.
    """
    kind = dice.whole(0, 4)
    texels = (
        dice.between(0.5, 1.3) * 128 / size if kind != 3 else dice.between(1.0, 2.0) * 128 / size
    )
    cosine, sine = dice.direction()
    axis = np.arange(size + 2, dtype=np.float32) * texels
    x, y = axis * cosine + (axis * sine)[:, None], (axis * cosine)[:, None] - axis * sine
    x, y = x + dice.between(0, TILE), y + dice.between(0, TILE)
    if kind == 0:
        return sample(noise(64, 64), x, y) - 0.5
    if kind == 1:
        return sample(noise(64, 8), x, y) - 0.5
    if kind == 2:
        return np.minimum(sample(cells(420)[1], x, y) * 0.25, 1) - 0.6
    if kind == 3:
        return sample(noise(32, 32), x, y) * 0.6 + sample(noise(128, 128), y, x) * 0.4 - 0.5
    return sample(noise(16, 16), x, y) - 0.5


def developed(dice: Dice, canvas: np.ndarray) -> np.ndarray:
    """The canvas as a camera gives it: focus, colour, exposure, grain.

    Uint8 ``[rows, columns, 3]``.
    """
    if dice.chance(0.4):
        side = dice.between(0.05, 0.2)
        for rows in (True, False):
            view = canvas.transpose(0, 2, 1) if rows else canvas
            near = view[..., 1:-1] * (1 - 2 * side)
            near += (view[..., 2:] + view[..., :-2]) * side
            view[..., 1:-1] = near
    exposure, contrast = dice.between(0.82, 1.18), dice.between(0.85, 1.2)
    balance = np.array(dice.colour(0.06), np.float32)[:, None, None] + 1
    gain, lift = balance * (exposure * contrast), 0.5 * (1 - contrast)
    grain = dice.array(*canvas.shape)
    grain -= 0.5
    grain *= dice.between(4, 18)
    canvas = canvas * (gain * 255)
    canvas += grain
    canvas += lift * 255
    np.clip(canvas, 0, 255, out=canvas)
    return np.ascontiguousarray(canvas.astype(np.uint8).transpose(1, 2, 0))
