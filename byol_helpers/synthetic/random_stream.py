"""Chance for the generated world: the same numbers on every machine."""

import math

import numpy as np


class Dice:
    """A stream of random numbers named by integers.

    Only the raw generator (PCG64, whose stream numpy keeps stable) and single rounded operations
    are used, so that the same name gives the same bits everywhere.
    """

    def __init__(self, *name: int):
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(name))).random

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._random()

    def whole(self, low: int, high: int) -> int:
        """An integer in [low, high], both ends included."""
        return low + int(self._random() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def pick(self, options):
        """One element of a sequence, all equally likely."""
        return options[int(self._random() * len(options))]

    def sign(self) -> float:
        """Minus one or one."""
        return 1.0 if self._random() < 0.5 else -1.0

    def direction(self) -> tuple[float, float]:
        """A unit vector (cosine, sine), from the rational parametrisation of the circle."""
        t = self.between(-1.0, 1.0)
        cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        return self.sign() * cosine, sine

    def colour(self, spread: float) -> tuple[float, float, float]:
        """Three numbers in [-spread, spread)."""
        return tuple(self.between(-spread, spread) for _ in range(3))

    def array(self, *shape: int) -> np.ndarray:
        """Numbers in [0, 1), float32."""
        return self._random(shape, dtype=np.float32)


def length(x: float, y: float) -> float:
    """Euclidean length of a plane vector."""
    return math.sqrt(x * x + y * y)
