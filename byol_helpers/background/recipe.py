"""What to keep of a picture, and what to put in the place of the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from byol_helpers.background.compositing import fill, soften
from byol_helpers.background.removal import choose_instances, union


class Made(NamedTuple):
    """A cut-out that was written: whether it shows anything, and what else there is to say about it."""

    found: bool
    remarks: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Recipe:
    """One way to cut out: the arguments of ``choose_instances``, ``soften`` and ``fill``.

    Without any, the thesis's choice on a transparent background.
    """

    rule: str = "confident"
    score_threshold: float = 0.5
    category: int | None = None
    point: tuple[float, float] | None = None
    number: int | None = None
    background: str | tuple[int, int, int] | np.ndarray = "transparent"
    edge: float = 0.0
    close: int = 0

    def cut(self, image: np.ndarray, detections: Sequence[dict]) -> tuple[np.ndarray, bool]:
        """Cut out of an image [H, W, 3], uint8, RGB, what its COCO results ``detections`` hold.

        Returns:
            The cut-out as ``fill`` gives it, and whether anything was kept.

        Raises:
            ValueError: as ``choose_instances``, ``union`` and ``fill``.
        """
        kept = choose_instances(
            detections,
            self.rule,
            self.score_threshold,
            category=self.category,
            point=self.point,
            number=self.number,
        )
        mask = union(kept, image.shape[:2])
        return fill(image, soften(mask, self.edge, self.close), self.background), bool(mask.any())

    @property
    def wanted(self) -> str:
        """What is missing where nothing is kept, in words."""
        narrowed = any(asked is not None for asked in (self.category, self.point, self.number))
        return f"no object{' of those asked for' if narrowed else ''} scores {self.score_threshold:g} or more"
