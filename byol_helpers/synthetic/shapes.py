"""Silhouettes of the generated world as distance fields.

A shape is a function ``(stream, u, v) -> Form``: it draws its own parameters and evaluates an
(approximate) signed distance on the grid ``u, v`` of object coordinates. Every shape fits into
about the unit disc, whose radius is the unit of length. Only operations that IEEE 754 rounds
exactly are used (no sine, no power, no sum over an array, no matrix product), so that pixels are
the same on every machine.
"""

from dataclasses import dataclass

import numpy as np

from byol_helpers.synthetic.random_stream import RandomStream, measure_length

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

    def cut_frame(self, margin: int) -> "Form":
        """The form without a frame of ``margin`` pixels."""
        cut = slice(margin, -margin)
        return Form(
            self.distance[cut, cut], self.bevel, self.along[cut, cut], self.across[cut, cut]
        )


def measure_radius(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Distance from the origin."""
    return np.sqrt(u * u + v * v)


def make_triangle_wave(x: np.ndarray) -> np.ndarray:
    """Triangle wave of period one: 1 at the integers, 0 halfway."""
    return np.abs(2 * (x - np.floor(x)) - 1)


def fold_sectors(u: np.ndarray, v: np.ndarray, sectors: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates within one of ``sectors`` equal slices.

    Along its axis, and away from it (>= 0).
    """
    turn_x, turn_y, _, _ = TURN[sectors]
    x = 1.0
    y = 0.0
    along = np.full_like(u, -np.inf)
    for _ in range(sectors):
        np.maximum(along, u * x + v * y, out=along)
        turned = x * turn_x - y * turn_y
        y = x * turn_y + y * turn_x
        x = turned
    return along, np.sqrt(np.maximum(u * u + v * v - along * along, 0))


def draw_oval(stream: RandomStream, u, v) -> Form:
    """An ellipse with one end broader than the other."""
    width = stream.draw_number(0.62, 0.78)
    taper = stream.draw_number(-0.22, 0.22)
    x = u / (width * (1 + taper * v))
    return Form((np.sqrt(x * x + v * v) - 1) * width, 0.62, v, u)


def draw_leaf(stream: RandomStream, u, v) -> Form:
    """A bent lens with pointed ends and a finely toothed rim."""
    width = stream.draw_number(0.34, 0.48)
    bend = stream.draw_number(-0.25, 0.25)
    teeth = stream.draw_integer(4, 8)
    u = u - bend * (v * v - 0.4)
    offset = (1 - width * width) / (2 * width)  # centres of the two circles through the tips
    away = np.abs(u)
    x = away + offset
    distance = np.sqrt(x * x + v * v) - (offset + width)
    return Form(distance + 0.05 * make_triangle_wave(v * teeth), 0.30, v, away)


def draw_star(stream: RandomStream, u, v) -> Form:
    """Five or six arms with straight flanks and blunt tips."""
    sectors = stream.pick((5, 5, 6))
    notch = stream.draw_number(0.40, 0.52)
    blunt = stream.draw_number(0.06, 0.12)
    x, y = fold_sectors(u, v, sectors)
    _, _, cosine, sine = TURN[sectors]
    to_x = notch * cosine - 1.04
    to_y = notch * sine
    size = measure_length(to_x, to_y)
    flank = ((x - 1.04) * to_y - y * to_x) / size
    return Form(np.maximum(flank, x - (1 - blunt)), 0.22, x, y)


def draw_ring(stream: RandomStream, u, v) -> Form:
    """A torus seen from above."""
    half = stream.draw_number(0.23, 0.31)
    middle = measure_radius(u, v) - (1 - half)
    return Form(np.abs(middle) - half, half, v, middle)


def draw_flower(stream: RandomStream, u, v) -> Form:
    """Five to seven round petals about a centre."""
    sectors = stream.draw_integer(5, 7)
    slim = stream.draw_number(0.85, 1.05)
    x, y = fold_sectors(u, v, sectors)
    petal = TURN[sectors][3] * 0.62 * slim + 0.02
    away = x - (1 - petal * 1.25)
    along = np.where(away > 0, away * 0.8, away * 0.55)
    distance = np.sqrt(along * along + y * y) - petal
    return Form(np.minimum(distance, measure_radius(u, v) - 0.33), 0.24, x, y)


def draw_cushion(stream: RandomStream, u, v) -> Form:
    """A square with drawn-in sides and rounded corners."""
    half = stream.draw_number(0.66, 0.74)
    round_by = stream.draw_number(0.10, 0.16)
    pinch = stream.draw_number(0.02, 0.12)
    x = np.abs(u) - (half - round_by) + pinch * (1 - v * v)
    y = np.abs(v) - (half - round_by) + pinch * (1 - u * u)
    outside = measure_radius(np.maximum(x, 0), np.maximum(y, 0))
    return Form(outside + np.minimum(np.maximum(x, y), 0) - round_by, 0.5, u, v)


def draw_cog(stream: RandomStream, u, v) -> Form:
    """A toothed wheel with a hole."""
    sectors = stream.draw_integer(7, 9)
    root = stream.draw_number(0.72, 0.79)
    hole = stream.draw_number(0.20, 0.34)
    tooth = stream.draw_number(0.16, 0.20)
    x, y = fold_sectors(u, v, sectors)
    rho = measure_radius(u, v)
    teeth = np.maximum(x - 0.98, y + 0.25 * (x - 0.85) - tooth)
    return Form(np.maximum(np.minimum(rho - root, teeth), hole - rho), 0.12, rho, y)


def draw_crescent(stream: RandomStream, u, v) -> Form:
    """A disc bitten by a second disc."""
    bite = stream.draw_number(0.66, 0.78)
    offset = stream.draw_number(0.38, 0.50)
    x = u + 0.12
    outer = measure_radius(x, v)
    return Form(np.maximum(outer - 0.86, bite - measure_radius(x - offset, v)), 0.22, v, outer)


def draw_pebble(stream: RandomStream, u, v) -> Form:
    """A convex polygon of random half planes (clutter)."""
    x, y = stream.draw_direction()
    turn_x, turn_y, _, _ = TURN[stream.draw_integer(5, 9)]
    distance = np.full_like(u, -np.inf)
    for _ in range(stream.draw_integer(4, 7)):
        side = u * x + v * y - stream.draw_number(0.45, 0.85)
        np.maximum(distance, side, out=distance)
        turned = x * turn_x - y * turn_y
        y = x * turn_y + y * turn_x
        x = turned
    return Form(
        np.maximum(distance, measure_radius(u, v) - 0.95), stream.draw_number(0.08, 0.4), u, v
    )


def draw_stick(stream: RandomStream, u, v) -> Form:
    """A thin bent stroke: grass, twig, thread (clutter)."""
    half = stream.draw_number(0.04, 0.11)
    bend = stream.draw_number(-0.5, 0.5)
    u = u - bend * (v * v - 0.3)
    return Form(measure_radius(u, np.maximum(np.abs(v) - (0.95 - half), 0)) - half, half, v, u)


def draw_spot(stream: RandomStream, u, v) -> Form:
    """A disc, more or less flattened (clutter)."""
    width = stream.draw_number(0.6, 1.0)
    x = u / width
    return Form((measure_radius(x, v) - 0.95) * width, stream.draw_number(0.2, 0.8), u, v)


def draw_wedge(stream: RandomStream, u, v) -> Form:
    """A triangle, or a cross of two bars (clutter)."""
    if stream.happens(0.5):
        x = np.abs(u)
        y = v
        return Form(np.maximum(0.85 * x + 0.5 * y - 0.45, -y - 0.6), 0.2, v, u)
    half = stream.draw_number(0.16, 0.3)
    x = np.abs(u)
    y = np.abs(v)
    return Form(np.maximum(np.minimum(x, y) - half, np.maximum(x, y) - 0.9), 0.2, v, u)


# Mean area of each shape in units of the squared radius: the radius that gives a wanted area.
FILL = {
    draw_oval: 2.2,
    draw_leaf: 1.05,
    draw_star: 1.4,
    draw_ring: 2.5,
    draw_flower: 2.4,
    draw_cushion: 1.65,
    draw_cog: 2.2,
    draw_crescent: 1.05,
    draw_pebble: 1.65,
    draw_stick: 0.3,
    draw_spot: 2.3,
    draw_wedge: 1.4,
}
