"""One way to cut out: what to keep of an image, and what to put in the place of the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from byol_helpers.background.compositing import fill_background, soften_mask
from byol_helpers.background.removal import choose_instances, merge_masks


class WrittenCutout(NamedTuple):
    """A cut-out that was written: whether it shows anything, and what else there is to say."""

    found: bool
    remarks: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Cutter:
    """The arguments of ``choose_instances``, ``soften_mask`` and ``fill_background``.

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
            The cut-out as ``fill_background`` gives it, and whether anything was kept.

        Raises:
            ValueError: as ``choose_instances``, ``merge_masks`` and ``fill_background``.
        """
        kept = choose_instances(
            detections,
            self.rule,
            self.score_threshold,
            category=self.category,
            point=self.point,
            number=self.number,
        )
        mask = merge_masks(kept, image.shape[:2])
        alpha = soften_mask(mask, self.edge, self.close)
        return fill_background(image, alpha, self.background), bool(mask.any())

    @property
    def nothing_found(self) -> str:
        """What to say where nothing is kept."""
        narrowed = any(asked is not None for asked in (self.category, self.point, self.number))
        which = " of those asked for" if narrowed else ""
        return f"no object{which} scores {self.score_threshold:g} or more"


def get_video_suffix(cutter: Cutter) -> str:
    """Extension of a video's cut-out: ``.mov`` where it is transparent, else ``.mp4``."""
    transparent = isinstance(cutter.background, str) and cutter.background == "transparent"
    return ".mov" if transparent else ".mp4"
