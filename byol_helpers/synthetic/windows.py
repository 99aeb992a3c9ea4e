"""Windows around the objects of generated scenes: what a detector must tell apart, one by one."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from PIL import Image

from byol_helpers.synthetic.scenes import Scene, make_scene

SHARE = 2 / 3  # of the window's side that the longer side of the object's box fills
FEWEST_PIXELS = 30  # of an object that is seen; one that is hidden to less gets no window


@lru_cache(maxsize=1)  # the probes of one arm after another ask about the same windows
def make_windows(
    seed: int, first: int, count: int, size: int, scene_size: int, world: str, draw: str = "val"
) -> tuple[np.ndarray, list[int]]:
    """Square windows around the objects of scenes number ``first`` and following.

    An object keeps its surroundings, what covers it and its own sharpness: it is shrunk or enlarged
    to two thirds of the side. Crowds have no window. Beyond the edge the scene is mirrored.

    Args:
        seed: of the scenes.
        first: number of the first scene.
        count: of windows.
        size: side of a window in pixels.
        scene_size: side of a scene in pixels.
        world: one of ``scenes.WORLDS``.
        draw: of the scenes.

    Returns:
        Images uint8 [count, size, size, 3], and the ids of their categories.
    """
    images = []
    ids = []
    index = first
    while len(images) < count:
        scene = make_scene(seed, index, scene_size, draw, world)
        for image, category_id in cut_around_objects(scene, size):
            images.append(image)
            ids.append(category_id)
        index += 1
    return np.stack(images[:count]), ids[:count]


def cut_around_objects(scene: Scene, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """A window uint8 [size, size, 3] and the category's id for each object that is seen."""
    side = len(scene.image)
    mirrored = Image.fromarray(np.pad(scene.image, ((side, side), (side, side), (0, 0)), "reflect"))
    for instance in scene.instances:
        if instance.iscrowd or instance.mask.sum() < FEWEST_PIXELS:
            continue
        rows, columns = np.nonzero(instance.mask)
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        half = longer / SHARE / 2
        across = side + (columns.min() + columns.max() + 1) / 2
        down = side + (rows.min() + rows.max() + 1) / 2
        box = (across - half, down - half, across + half, down + half)
        window = mirrored.resize((size, size), Image.Resampling.BILINEAR, box)
        yield np.asarray(window), instance.category_id
