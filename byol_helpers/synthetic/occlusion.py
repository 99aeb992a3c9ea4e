"""Which thing lies where.

Painter's order, in which enough of every annotated thing stays visible.
"""

from dataclasses import dataclass, field

import numpy as np

from byol_helpers.synthetic.random_stream import RandomStream
from byol_helpers.synthetic.rendering import (
    Light,
    Thing,
    Window,
    cut_windows,
    paint_background,
    paint_thing,
)

LEAST_VISIBLE = 0.3  # share of a thing that must remain visible
LEAST_AREA = 0.0007  # share of the image that must remain visible


@dataclass
class Composition:
    """A scene in the making: what owns each pixel, and how much of each annotated thing is left."""

    stream: RandomStream
    size: int
    light: Light
    canvas: np.ndarray
    owner: np.ndarray
    full: list[int] = field(default_factory=lambda: [0])
    left: list[int] = field(default_factory=lambda: [0])

    @classmethod
    def start(cls, stream: RandomStream, size: int) -> "Composition":
        """A background of ``size`` pixels a side, with nothing on it."""
        light = Light.draw(stream)
        return cls(
            stream,
            size,
            light,
            paint_background(stream, size, light),
            np.zeros((size, size), np.uint8),
        )

    def _count_taken(
        self, solid: np.ndarray, window: Window, full: int, annotated: bool, overlap: bool
    ) -> np.ndarray | None:
        """Pixels taken from each earlier owner (0 is the ground), or None where something would be
        hidden.
        """
        taken = np.bincount(self.owner[window][solid], minlength=len(self.full))
        visible = int(np.count_nonzero(solid))
        if annotated and not self._is_enough(visible, full):
            return None
        if not overlap and taken[0] < visible:
            return None
        for k in range(1, len(self.full)):
            if taken[k] and not self._is_enough(self.left[k] - taken[k], self.full[k]):
                return None
        return taken

    def _is_enough(self, visible: int, full: int) -> bool:
        least = max(LEAST_AREA * self.size * self.size, 4)
        return visible >= LEAST_VISIBLE * full and visible >= least

    def put(
        self,
        item: Thing,
        top: int,
        left: int,
        annotated: bool,
        overlap: bool = True,
        owner: int | None = None,
    ) -> bool:
        """Paint a thing unless it hides too much, or is hidden.

        ``owner`` adds it to that one (a crowd).
        """
        window, part = cut_windows(self.owner.shape, top, left, *item.colour.shape[1:])
        whole = item.solid
        solid = whole[part]
        full = int(np.count_nonzero(whole))
        taken = self._count_taken(solid, window, full, annotated and owner is None, overlap)
        if taken is None:
            return False
        for k in range(1, len(self.full)):
            self.left[k] -= int(taken[k])
        if annotated and owner is None:
            owner = len(self.full)
            self.full.append(0)
            self.left.append(0)
        owner = owner if annotated else 0
        self.owner[window][solid] = owner
        if owner:
            self.full[owner] += full
            self.left[owner] += int(np.count_nonzero(solid))
        paint_thing(self.canvas, item, top, left, self.light)
        return True

    def put_anywhere(self, item: Thing, annotated: bool) -> bool:
        """Paint a thing at a random place.

        Overlaps only every other time, and at the last of six tries.
        """
        rows, columns = item.colour.shape[1:]
        for attempt in range(6):
            cut = self.stream.happens(0.35)  # whether the border may cut it
            top = self._draw_start(rows, cut)
            left = self._draw_start(columns, cut)
            overlap = attempt == 5 or self.stream.happens(0.5)
            if self.put(item, top, left, annotated, overlap):
                return True
        return False

    def _draw_start(self, extent: int, cut: bool) -> int:
        """First row or column of a patch that long; with ``cut`` it may leave the image."""
        if cut or extent >= self.size:
            return int(self.stream.draw_number(0, self.size)) - extent // 2
        return self.stream.draw_integer(0, self.size - extent)
