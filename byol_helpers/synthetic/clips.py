"""Moving scenes: a short generated video in which it is known which object is which.

Objects move in straight lines at a speed of their own over a ground that stands still, and hide
one another. A clip depends on nothing but ``(seed, index, size, frames)``.
"""

import numpy as np

from byol_helpers.synthetic.occlusion import Composition
from byol_helpers.synthetic.random_stream import RandomStream
from byol_helpers.synthetic.rendering import cut_windows, make_thing, paint_thing
from byol_helpers.synthetic.scenes import CATEGORIES, PALETTE_JITTER, Instance, Scene
from byol_helpers.synthetic.textures import jitter_palette

FASTEST = 0.03  # of the image's side, in one frame
GRAIN = 10.0  # grey values, anew in each frame


def make_clip(seed: int, index: int, size: int = 128, frames: int = 12) -> list[Scene]:
    """The frames of clip ``index``.

    Each scene lists the same two or three instances in the same order: number k is one object
    throughout. Its mask holds what is visible of it, and is empty where that is nothing.
    """
    stream = RandomStream(7200, seed, index, size)
    ground = Composition.start(stream, size)
    moving = []
    for _ in range(stream.draw_integer(2, 3)):
        category = stream.pick(CATEGORIES)
        palette = jitter_palette(stream, category.material.palette, PALETTE_JITTER)
        side = stream.draw_number(0.14, 0.24) * size
        thing = make_thing(
            stream, category.shape, category.material, palette, side * side, ground.light, size
        )
        place = [stream.draw_number(0.2, 0.8) * size for _ in range(2)]
        speed = [stream.draw_number(-FASTEST, FASTEST) * size for _ in range(2)]
        moving.append((category, thing, place, speed))
    made = []
    for frame in range(frames):
        canvas = ground.canvas.copy()
        owner = np.zeros((size, size), np.uint8)
        for number, (_, thing, place, speed) in enumerate(moving, 1):
            rows, columns = thing.colour.shape[1:]
            top = int(place[0] + speed[0] * frame) - rows // 2
            left = int(place[1] + speed[1] * frame) - columns // 2
            paint_thing(canvas, thing, top, left, ground.light)
            window, part = cut_windows((size, size), top, left, rows, columns)
            owner[window][thing.solid[part]] = number
        grain = (stream.draw_array(3, size, size) - 0.5) * GRAIN
        pixels = np.clip(canvas * 255 + grain, 0, 255).astype(np.uint8).transpose(1, 2, 0)
        instances = []
        for number, (category, *_) in enumerate(moving, 1):
            instances.append(Instance(category.id, owner == number, False))
        made.append(Scene(np.ascontiguousarray(pixels), instances))
    return made
