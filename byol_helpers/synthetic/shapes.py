"""Silhouettes of the generated world as distance fields.

A shape is a function ``(dice, u, v) -> Form``: it draws its own parameters and evaluates an
(approximate) signed distance on the grid ``u, v`` of object coordinates. Every shape fits into
about the unit disc, whose radius is the unit of length. Only operations that IEEE 754 rounds
exactly are used (no sine, no power, no sum over an array, no matrix product), so that pixels are
the same on every machine.
"""

from dataclasses import dataclass

import numpy as np

from byol_helpers.synthetic.random_stream import Dice, length

# Cosine and sine of 2 pi / n and of pi / n: turning by a fixed angle needs no trigonometry.
TURN = {
    5: (0.30901699437494745, 0.9510565162951535, 0.8090169943749475, 0.5877852522924731),
    6: (0.5, 0.8660254037844386, 0.8660254037844386, 0.5),
    7: (0.6234898018587336, 0.7818314824680298, 0.9009688679024191, 0.4338837391175581),
    8: (0.7071067811865476, 0.7071067811865476, 0.9238795325112867, 0.3826834323650898),
    9: (0.766044443118978, 0.6427876096865393, 0.9396926207859084, 0.3420201433256687),
}


@dataclass
class Form:
    """A silhouette on a grid. ``distance`` is negative inside; ``bevel`` is how far from the rim
    the surface still rises; ``along`` and ``across`` are the coordinates that a texture follows."""

    distance: np.ndarray
    bevel: float
    along: np.ndarray
    across: np.ndarray

    def inner(self, margin: int) -> "Form":
        """The form without a frame of ``margin`` pixels."""
        cut = slice(margin, -margin)
        return Form(
            self.distance[cut, cut], self.bevel, self.along[cut, cut], self.across[cut, cut]
        )


def radius(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance from the origin."""
    return np.sqrt(u * u + v * v)


def triangle(x: np.ndarray) -> np.ndarray:
    """Triangle wave of period one: 1 at the integers, 0 halfway."""
    return np.abs(2 * (x - np.floor(x)) - 1)


def fold(u: np.ndarray, v: np.ndarray, sectors: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates within one of ``sectors`` equal slices: along its axis, and away from it (>= 0)."""
    turn_x, turn_y, _, _ = TURN[sectors]
    x, y, along = 1.0, 0.0, None
    for _ in range(sectors):
        projected = u * x + v * y
        along = projected if along is None else np.maximum(along, projected, out=along)
        x, y = x * turn_x - y * turn_y, x * turn_y + y * turn_x
    return along, np.sqrt(np.maximum(u * u + v * v - along * along, 0))


def oval(dice: Dice, u, v) -> Form:
    """An ellipse with one end broader than the other."""
    width, taper = dice.between(0.62, 0.78), dice.between(-0.22, 0.22)
    x = u / (width * (1 + taper * v))
    return Form((np.sqrt(x * x + v * v) - 1) * width, 0.62, v, u)


def leaf(dice: Dice, u, v) -> Form:
    """A bent lens with pointed ends and a finely toothed rim."""
    width, bend, teeth = dice.between(0.34, 0.48), dice.between(-0.25, 0.25), dice.whole(4, 8)
    u = u - bend * (v * v - 0.4)
    offset = (1 - width * width) / (2 * width)  # centres of the two circles through the tips
    away = np.abs(u)
    x = away + offset
    distance = np.sqrt(x * x + v * v) - (offset + width)
    return Form(distance + 0.05 * triangle(v * teeth), 0.30, v, away)


def star(dice: Dice, u, v) -> Form:
    """Five or six arms with straight flanks and blunt tips."""
    sectors = dice.pick((5, 5, 6))
    notch, blunt = dice.between(0.40, 0.52), dice.between(0.06, 0.12)
    x, y = fold(u, v, sectors)
    _, _, cosine, sine = TURN[sectors]
    to_x, to_y = notch * cosine - 1.04, notch * sine
    size = length(to_x, to_y)
    flank = ((x - 1.04) * to_y - y * to_x) / size
    return Form(np.maximum(flank, x - (1 - blunt)), 0.22, x, y)


def ring(dice: Dice, u, v) -> Form:
    """A torus seen from above."""
    half = dice.between(0.23, 0.31)
    middle = radius(u, v) - (1 - half)
    return Form(np.abs(middle) - half, half, v, middle)


def flower(dice: Dice, u, v) -> Form:
    """Five to seven round petals about a centre."""
    sectors, slim = dice.whole(5, 7), dice.between(0.85, 1.05)
    x, y = fold(u, v, sectors)
    petal = TURN[sectors][3] * 0.62 * slim + 0.02
    away = x - (1 - petal * 1.25)
    along = np.where(away > 0, away * 0.8, away * 0.55)
    distance = np.sqrt(along * along + y * y) - petal
    return Form(np.minimum(distance, radius(u, v) - 0.33), 0.24, x, y)


def cushion(dice: Dice, u, v) -> Form:
    """A square with drawn-in sides and rounded corners."""
    half, round_by, pinch = (
        dice.between(0.66, 0.74),
        dice.between(0.10, 0.16),
        dice.between(0.02, 0.12),
    )
    x = np.abs(u) - (half - round_by) + pinch * (1 - v * v)
    y = np.abs(v) - (half - round_by) + pinch * (1 - u * u)
    outside = radius(np.maximum(x, 0), np.maximum(y, 0))
    return Form(outside + np.minimum(np.maximum(x, y), 0) - round_by, 0.5, u, v)


def cog(dice: Dice, u, v) -> Form:
    """A toothed wheel with a hole."""
    sectors = dice.whole(7, 9)
    root, hole, tooth = dice.between(0.72, 0.79), dice.between(0.20, 0.34), dice.between(0.16, 0.20)
    x, y = fold(u, v, sectors)
    rho = radius(u, v)
    teeth = np.maximum(x - 0.98, y + 0.25 * (x - 0.85) - tooth)
    return Form(np.maximum(np.minimum(rho - root, teeth), hole - rho), 0.12, rho, y)


def crescent(dice: Dice, u, v) -> Form:
    """A disc bitten by a second disc."""
    bite, offset = dice.between(0.66, 0.78), dice.between(0.38, 0.50)
    x = u + 0.12
    outer = radius(x, v)
    return Form(np.maximum(outer - 0.86, bite - radius(x - offset, v)), 0.22, v, outer)


def pebble(dice: Dice, u, v) -> Form:
    """A convex polygon of random half planes (clutter)."""
    x, y = dice.direction()
    turn_x, turn_y, _, _ = TURN[dice.whole(5, 9)]
    distance = None
    for _ in range(dice.whole(4, 7)):
        side = u * x + v * y - dice.between(0.45, 0.85)
        distance = side if distance is None else np.maximum(distance, side, out=distance)
        x, y = x * turn_x - y * turn_y, x * turn_y + y * turn_x
    return Form(np.maximum(distance, radius(u, v) - 0.95), dice.between(0.08, 0.4), u, v)


def stick(dice: Dice, u, v) -> Form:
    """A thin bent stroke: grass, twig, thread (clutter)."""
    half, bend = dice.between(0.04, 0.11), dice.between(-0.5, 0.5)
    u = u - bend * (v * v - 0.3)
    return Form(radius(u, np.maximum(np.abs(v) - (0.95 - half), 0)) - half, half, v, u)


def spot(dice: Dice, u, v) -> Form:
    """A disc, more or less flattened (clutter)."""
    width = dice.between(0.6, 1.0)
    x = u / width
    return Form((radius(x, v) - 0.95) * width, dice.between(0.2, 0.8), u, v)


def wedge(dice: Dice, u, v) -> Form:
    """A triangle, or a cross of two bars (clutter)."""
    if dice.chance(0.5):
        x, y = np.abs(u), v
        return Form(np.maximum(0.85 * x + 0.5 * y - 0.45, -y - 0.6), 0.2, v, u)
    half = dice.between(0.16, 0.3)
    x, y = np.abs(u), np.abs(v)
    return Form(np.maximum(np.minimum(x, y) - half, np.maximum(x, y) - 0.9), 0.2, v, u)


# Mean area of each shape in units of the squared radius: the radius that gives a wanted area.
FILL = {
    oval: 2.2,
    leaf: 1.05,
    star: 1.4,
    ring: 2.5,
    flower: 2.4,
    cushion: 1.65,
    cog: 2.2,
    crescent: 1.05,
    pebble: 1.65,
    stick: 0.3,
    spot: 2.3,
    wedge: 1.4,
}
