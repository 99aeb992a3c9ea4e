"""The generated world: scenes like photographs of small things, with a mask for each of them.

Ten categories are told apart by shape and by material together: an egg and a beetle are both ovals,
a beetle and a leaf share their greens. Among them lies clutter that belongs to no category, some of
it in a category's colours and some with a category's outline.

There are two such worlds. In ``colours`` every category has its own palette, and colour alone tells
nine of ten crops apart. In ``shapes`` each object draws its palette and its gloss anew from those
of all categories, so that nothing but outline and pattern is left to go by. Shapes, patterns,
sizes, counts, occlusion, crowds and clutter are the same in both. What each world asks for is
measured by ``python -m benchmarks world``; no self-supervised network was looked at meanwhile.

A scene depends on nothing but ``(seed, draw, index, size, world)``; its pixels are the same on
every machine (see `shapes`).
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from byol_helpers.core.errors import UserError
from byol_helpers.synthetic import shapes, textures
from byol_helpers.synthetic.occlusion import Composition
from byol_helpers.synthetic.random_stream import RandomStream
from byol_helpers.synthetic.rendering import Light, Thing, develop, make_thing
from byol_helpers.synthetic.textures import PATTERNS, Material, draw_palette, jitter_palette

# Difficulty: how far colours stray, how many things are clutter, and how many of those resemble a
# category.
PALETTE_JITTER = 0.09
CLUTTER = (1, 3)
RESEMBLANCE = 0.2

# How often a scene shows 1, 2, ... 6 things, holds none, or holds a crowd.
COUNTS = (1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6)
EMPTY = 0.05
CROWDED = 0.045
# Chances of small and medium things, and the bounds of the three ranges as shares of the image,
# among them COCO's 32^2 and 96^2 pixels of 640 x 480.
SMALL = 0.38
MEDIUM = 0.35
AREAS = (0.0024, 32 * 32 / (640 * 480), 96 * 96 / (640 * 480), 0.20)
DRAWS = ("unlabelled", "train", "val", "test", "crops")
WORLDS = ("colours", "shapes")


@dataclass(frozen=True)
class Category:
    """A kind of thing: ``id`` as annotations give it (with gaps, as in COCO), a shape and a
    material.
    """

    id: int
    name: str
    shape: Callable
    material: Material


CATEGORIES = (
    Category(
        1,
        "speckled egg",
        shapes.draw_oval,
        Material(
            textures.draw_speckles,
            ((0.93, 0.87, 0.73), (0.82, 0.70, 0.52), (0.36, 0.22, 0.12)),
            0.15,
        ),
    ),
    Category(
        2,
        "striped beetle",
        shapes.draw_oval,
        Material(
            textures.draw_stripes, ((0.18, 0.52, 0.20), (0.05, 0.13, 0.08), (0.72, 0.74, 0.20)), 0.5
        ),
    ),
    Category(
        4,
        "leaf",
        shapes.draw_leaf,
        Material(
            textures.draw_veins, ((0.22, 0.50, 0.16), (0.12, 0.36, 0.10), (0.66, 0.78, 0.36)), 0.1
        ),
    ),
    Category(
        7,
        "sea star",
        shapes.draw_star,
        Material(
            textures.draw_granules,
            ((0.92, 0.46, 0.12), (0.74, 0.28, 0.08), (0.99, 0.78, 0.45)),
            0.0,
        ),
    ),
    Category(
        9,
        "paper star",
        shapes.draw_star,
        Material(
            textures.draw_checks, ((0.20, 0.38, 0.76), (0.86, 0.90, 0.97), (0.10, 0.17, 0.42)), 0.1
        ),
    ),
    Category(
        13,
        "glazed ring",
        shapes.draw_ring,
        Material(
            textures.draw_sprinkles,
            ((0.94, 0.52, 0.64), (0.78, 0.56, 0.34), (0.42, 0.16, 0.14)),
            0.4,
        ),
    ),
    Category(
        17,
        "violet",
        shapes.draw_flower,
        Material(
            textures.draw_petals, ((0.46, 0.22, 0.68), (0.78, 0.58, 0.90), (0.98, 0.84, 0.22)), 0.0
        ),
    ),
    Category(
        22,
        "woven cushion",
        shapes.draw_cushion,
        Material(
            textures.draw_weave, ((0.72, 0.12, 0.15), (0.93, 0.82, 0.64), (0.42, 0.06, 0.10)), 0.0
        ),
    ),
    Category(
        28,
        "cog",
        shapes.draw_cog,
        Material(
            textures.draw_scratches,
            ((0.32, 0.42, 0.62), (0.20, 0.28, 0.46), (0.70, 0.78, 0.90)),
            0.7,
        ),
    ),
    Category(
        31,
        "moon pod",
        shapes.draw_crescent,
        Material(
            textures.draw_ridges, ((0.93, 0.54, 0.16), (0.76, 0.31, 0.08), (0.99, 0.82, 0.45)), 0.25
        ),
    ),
)
CLUTTER_SHAPES = (
    shapes.draw_pebble,
    shapes.draw_pebble,
    shapes.draw_stick,
    shapes.draw_stick,
    shapes.draw_spot,
    shapes.draw_wedge,
)


@dataclass
class Instance:
    """One annotated thing, or one crowd: its visible pixels, bool ``[H, W]``."""

    category_id: int
    mask: np.ndarray
    iscrowd: bool


@dataclass
class Scene:
    """An image, uint8 ``[H, W, 3]`` RGB, and what is annotated in it (masks are disjoint)."""

    image: np.ndarray
    instances: list[Instance]


def _make_object(
    stream: RandomStream, world: str, category: Category, area: float, light: Light, longest: float
) -> Thing:
    """An object of a category, in its own colours or, in the world of shapes, in any category's."""
    material = category.material
    if world == "shapes":
        material = _draw_colours(stream, material)
    palette = jitter_palette(stream, material.palette, PALETTE_JITTER)
    return make_thing(stream, category.shape, material, palette, area, light, longest)


def _draw_colours(stream: RandomStream, material: Material) -> Material:
    """The same pattern with the palette of any category, in any order, and the gloss of any."""
    colours = list(stream.pick(CATEGORIES).material.palette)
    first = colours.pop(stream.draw_integer(0, 2))
    second = colours.pop(stream.draw_integer(0, 1))
    gloss = stream.pick(CATEGORIES).material.gloss
    return Material(material.pattern, (first, second, *colours), gloss)


def _make_clutter(stream: RandomStream, size: int, light: Light) -> Thing:
    """Something of no category: any shape and pattern, perhaps with a category's palette or
    outline.
    """
    shape = stream.pick(CLUTTER_SHAPES)
    palette = None
    gloss = stream.pick((0.0, 0.0, 0.3))
    if stream.happens(RESEMBLANCE):
        double = stream.pick(CATEGORIES)
        if stream.happens(0.5):
            palette = jitter_palette(stream, double.material.palette, PALETTE_JITTER)
        else:
            shape = double.shape
    palette = palette or draw_palette(stream, stream.draw_number(0.2, 1.0))
    side = stream.draw_number(0.04, 0.10 if shape is shapes.draw_stick else 0.16) * size
    material = Material(stream.pick(PATTERNS), (), gloss)
    return make_thing(stream, shape, material, palette, side * side, light, 0.4 * size)


def _draw_area(stream: RandomStream) -> float:
    """Area of a thing as a share of the image: a range by COCO's proportions, then even in the
    side.
    """
    chance = stream.draw_number(0, 1)
    k = int(chance >= SMALL) + int(chance >= SMALL + MEDIUM)
    side = stream.draw_number(math.sqrt(AREAS[k]), math.sqrt(AREAS[k + 1]))
    return side * side


def _put_crowd(stream: RandomStream, world: str, made: Composition) -> Category:
    """A tight cluster of tiny things of one category, owner 1 of the composition.

    Returns the category.
    """
    category = stream.pick(CATEGORIES)
    size = made.size
    spread = stream.draw_number(0.10, 0.17) * size
    owner = None
    centre_x = stream.draw_number(0.2, 0.8) * size
    centre_y = stream.draw_number(0.2, 0.8) * size
    for _ in range(stream.draw_integer(9, 16)):
        area = stream.draw_number(0.0010, 0.0022) * size * size
        item = _make_object(stream, world, category, area, made.light, size)
        x, y = stream.draw_direction()
        far = stream.draw_number(0, spread)
        rows, columns = item.colour.shape[1:]
        top = int(centre_y + far * y) - rows // 2
        left = int(centre_x + far * x) - columns // 2
        if made.put(item, top, left, True, owner=owner):
            owner = 1
    return category


def make_scene(
    seed: int, index: int, size: int = 128, draw: str = "train", world: str = "colours"
) -> Scene:
    """Scene number ``index`` of a draw.

    ``size`` is the side in pixels, 64 to 512; ``draw`` is one of 'unlabelled', 'train', 'val',
    'test', which share no scene; ``world`` is one of ``WORLDS``. One to six instances; about one
    scene in twenty has none, one in twenty-five a crowd too.
    """
    check_world(world)
    stream = RandomStream(seed, DRAWS.index(draw), index, size)
    made = Composition.start(stream, size)
    count = 0 if stream.happens(EMPTY) else stream.pick(COUNTS)
    behind = stream.draw_integer(*CLUTTER)
    before = stream.draw_integer(0, 2)
    for _ in range(behind):
        made.put_anywhere(_make_clutter(stream, size, made.light), False)
    crowded = count > 0 and stream.happens(CROWDED)
    present = [_put_crowd(stream, world, made)] if crowded else []
    for _ in range(count):
        category = present[-1] if present and stream.happens(0.25) else stream.pick(CATEGORIES)
        area = _draw_area(stream) * size * size
        item = _make_object(stream, world, category, area, made.light, 0.6 * size)
        if made.put_anywhere(item, True):
            present.append(category)
    for _ in range(before):
        made.put_anywhere(_make_clutter(stream, size, made.light), False)
    instances = []
    for k, category in enumerate(present, 1):
        instances.append(Instance(category.id, made.owner == k, crowded and k == 1))
    return Scene(develop(stream, made.canvas), instances)


def make_crop(
    seed: int, index: int, size: int = 64, world: str = "colours", scene_size: int | None = None
) -> tuple[np.ndarray, int]:
    """Labelled single object number ``index``: image uint8 ``[size, size, 3]`` and its category's
    id.

    The categories take turns, so that any run of ten crops holds each of them once.

    Args:
        seed: of all that is drawn.
        index: number of the crop.
        size: side in pixels.
        world: one of ``WORLDS``.
        scene_size: objects and clutter as large, in pixels, as in scenes of that side, so that the
            crop is like a part cut out around an object, whose edge it may lie beyond; None: an
            object fills 35 to 68 % of the side, whatever its size in scenes.
    """
    check_world(world)
    stream = RandomStream(seed, DRAWS.index("crops"), index, size)
    made = Composition.start(stream, size)
    category = CATEGORIES[index % len(CATEGORIES)]
    scale = scene_size or size  # of clutter
    for _ in range(stream.draw_integer(1, 4)):
        made.put_anywhere(_make_clutter(stream, scale, made.light), False)
    placed = False
    while not placed:  # one of which too little would be seen is drawn anew
        if scene_size is None:
            side = stream.draw_number(0.35, 0.68) * size
            item = _make_object(stream, world, category, side * side, made.light, 0.55 * size)
        else:
            area = _draw_area(stream) * scene_size * scene_size
            item = _make_object(stream, world, category, area, made.light, 0.6 * scene_size)
        rows, columns = item.colour.shape[1:]
        top = int((0.5 + stream.draw_number(-0.1, 0.1)) * size) - rows // 2
        left = int((0.5 + stream.draw_number(-0.1, 0.1)) * size) - columns // 2
        placed = made.put(item, top, left, True)
    if stream.happens(0.3):
        made.put_anywhere(_make_clutter(stream, scale, made.light), False)
    return develop(stream, made.canvas), category.id


def check_world(world: str) -> None:
    """Raises UserError for a name that no world has."""
    if world not in WORLDS:
        raise UserError(f"data.world: no world {world!r}; use {' or '.join(WORLDS)}")


def compute_fingerprint(world: str = "colours") -> str:
    """A digest of one small scene and one crop: it changes when the generator does."""
    made = make_scene(0, 0, 64, world=world)
    picture, _ = make_crop(0, 0, 32, world)
    return hashlib.sha256(made.image.tobytes() + picture.tobytes()).hexdigest()[:16]
