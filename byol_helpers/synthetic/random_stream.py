"""Chance for the generated world: the same numbers on every machine."""

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Option = TypeVar("Option")


class RandomStream:
    """A stream of random numbers named by integers.

    Only the raw generator (PCG64, whose stream numpy keeps stable) and single rounded operations
    are used, so that the same name gives the same bits everywhere.
    """

    def __init__(self, *name: int):
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(name))).random

    def draw_number(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._random()

    def draw_integer(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + int(self._random() * (high - low + 1))

    def happens(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def pick(self, options: Sequence[Option]) -> Option:
        """One element of a sequence, all equally likely."""
        return options[int(self._random() * len(options))]

    def draw_sign(self) -> float:
        """Minus one or one."""
        return 1.0 if self._random() < 0.5 else -1.0

    def draw_direction(self) -> tuple[float, float]:
        """A unit vector (cosine, sine), from the rational parametrisation of the circle."""
        t = self.draw_number(-1.0, 1.0)
        cosine = (1 - t * t) / (1 + t * t)
        sine = 2 * t / (1 + t * t)
        return self.draw_sign() * cosine, sine

    def draw_colour(self, spread: float) -> tuple[float, float, float]:
        """Three numbers in [-spread, spread)."""
        red, green, blue = (self.draw_number(-spread, spread) for _ in range(3))
        return red, green, blue

    def draw_array(self, *shape: int) -> np.ndarray:
        """Numbers in [0, 1), float32."""
        return self._random(shape, dtype=np.float32)


def measure_length(x: float, y: float) -> float:
    """Euclidean length of a plane vector."""
    return math.sqrt(x * x + y * y)
