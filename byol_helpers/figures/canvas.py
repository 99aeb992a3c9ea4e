"""What the diagrams are drawn with: a sheet measured in inches, boxes, arrows, text, thumbnails."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon

from byol_helpers.figures.style import INK, SOFT, use_style


def create_sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure under one invisible axes, whose unit is the inch, from the lower left corner."""
    use_style()
    fig = Figure(figsize=(width, height))
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return fig, ax


def add_text(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    size: float = 8,
    ink: str = INK,
    ha: str = "center",
    va: str = "center",
    linespacing: float = 1.25,
    **more: Any,
) -> None:
    """Text at a point; ``more``: properties of matplotlib's ``Text``."""
    ax.text(x, y, text, size=size, color=ink, ha=ha, va=va, linespacing=linespacing, **more)


def draw_box(
    ax: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    fill: str,
    edge: str = "none",
    lw: float = 1.2,
    radius: float = 0.07,
    zorder: float = 1,
    linestyle: str = "-",
) -> None:
    """A rectangle with round corners; ``x, y`` is its lower left one."""
    shape = f"round,pad=0,rounding_size={radius}"
    ax.add_patch(
        FancyBboxPatch(
            (x, y),
            width,
            height,
            boxstyle=shape,
            fc=fill,
            ec=edge,
            lw=lw,
            zorder=zorder,
            linestyle=linestyle,
        )
    )


def draw_arrow(
    ax: Axes,
    start: tuple[float, float],
    end: tuple[float, float],
    ink: str = SOFT,
    lw: float = 1.6,
    bend: float = 0.0,
    **more: Any,
) -> None:
    """An arrow between two points; ``bend`` curves it."""
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>,head_length=4,head_width=2.2",
            mutation_scale=1.0,
            lw=lw,
            color=ink,
            shrinkA=0,
            shrinkB=0,
            zorder=3,
            joinstyle="miter",
            connectionstyle=f"arc3,rad={bend}",
            **more,
        )
    )


def draw_path(
    ax: Axes, points: list[tuple[float, float]], ink: str = SOFT, lw: float = 1.6, **more: Any
) -> None:
    """A line with corners through points, and an arrow head at its end."""
    ax.plot(
        *zip(*points[:-1], strict=True), color=ink, lw=lw, zorder=3, solid_capstyle="butt", **more
    )
    draw_arrow(ax, points[-2], points[-1], ink, lw, **more)


def draw_funnel(
    ax: Axes, x: float, y: float, width: float, tall: float, low: float, fill: str, edge: str
) -> None:
    """A network that makes much into little: a trapezoid from ``tall`` to ``low``, left to right.

    ``x`` is its left side, ``y`` its middle.
    """
    corners = [
        (x, y - tall / 2),
        (x, y + tall / 2),
        (x + width, y + low / 2),
        (x + width, y - low / 2),
    ]
    ax.add_patch(
        Polygon(corners, closed=True, fc=fill, ec=edge, lw=1.4, joinstyle="round", zorder=2)
    )


def draw_backbone(ax: Axes, x: float, y: float, ink: str, scale: float = 1.0) -> None:
    """The sign for a backbone: feature maps that get smaller and deeper.

    It takes 0.62 by 0.56 inches; ``x`` is its left side, ``y`` its middle.
    """
    for tall, thick in ((0.56, 0.06), (0.43, 0.09), (0.31, 0.13), (0.2, 0.19)):
        draw_box(
            ax, x, y - scale * tall / 2, scale * thick, scale * tall, ink, radius=0.02, zorder=3
        )
        x += scale * (thick + 0.05)


def draw_thumbnail(
    ax: Axes,
    x: float,
    y: float,
    image: np.ndarray,
    side: float,
    edge: str = "white",
    lw: float = 1.5,
    zorder: float = 2,
) -> None:
    """An image whose lower left corner is ``x, y``, as wide as ``side``, in a thin frame."""
    tall = side * image.shape[0] / image.shape[1]
    ax.imshow(
        image,
        extent=(x, x + side, y, y + tall),
        aspect="auto",
        zorder=zorder,
        interpolation="lanczos",
        interpolation_stage="rgba",
    )
    ax.add_patch(
        Polygon(
            [(x, y), (x + side, y), (x + side, y + tall), (x, y + tall)],
            closed=True,
            fc="none",
            ec=edge,
            lw=lw,
            zorder=zorder + 0.01,
            joinstyle="round",
        )
    )


def draw_badge(ax: Axes, x: float, y: float, number: int | str, text: str, ink: str = INK) -> None:
    """A numbered circle and a heading to its right."""
    ax.add_patch(Circle((x, y), 0.115, fc=ink, ec="none", zorder=3))
    add_text(
        ax, x, y - 0.045, str(number), size=8.5, ink="white", weight="bold", zorder=4, va="baseline"
    )
    add_text(ax, x + 0.18, y - 0.052, text, size=10, ha="left", weight="bold", va="baseline")


def mix_with_white(ink: str, share: float) -> str:
    """A colour mixed with white; ``share`` 0 is white, 1 the colour."""
    red, green, blue = to_rgb(ink)
    return to_hex((1 - share * (1 - red), 1 - share * (1 - green), 1 - share * (1 - blue)))
