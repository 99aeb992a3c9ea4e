"""The generated world: scenes like photographs of small things, with a mask for each of them.

Ten categories are told apart by shape and by material together: an egg and a beetle are both ovals,
a beetle and a leaf share their greens. Among them lies clutter that belongs to no category, some of
it in a category's colours and some with a category's outline.

A scene depends on nothing but ``(seed, draw, index, size)``; its pixels are the same on every
machine (see `shapes`).
"""

import csv
import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from byol_helpers.core.files import write_bytes, write_json, write_text
from byol_helpers.core.progress import Progress
from byol_helpers.synthetic import shapes, textures
from byol_helpers.synthetic.occlusion import Composition
from byol_helpers.synthetic.random_stream import Dice
from byol_helpers.synthetic.rendering import Light, Thing, developed, thing
from byol_helpers.synthetic.textures import PATTERNS, Material, any_palette, jittered

# Difficulty: how far colours stray, how many things are clutter, and how many of those resemble a
# category.
PALETTE_JITTER = 0.09
CLUTTER = (1, 3)
RESEMBLANCE = 0.2

# How often a scene shows 1, 2, ... 6 things, holds none, or holds a crowd.
COUNTS = (1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6)
EMPTY, CROWDED = 0.05, 0.045
# Chances of small and medium things, and the bounds of the three ranges as shares of the image,
# among them COCO's 32^2 and 96^2 pixels of 640 x 480.
SMALL, MEDIUM = 0.38, 0.35
AREAS = (0.0024, 32 * 32 / (640 * 480), 96 * 96 / (640 * 480), 0.20)
DRAWS = ("unlabelled", "train", "val", "test", "crops")


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
        shapes.oval,
        Material(
            textures.speckles, ((0.93, 0.87, 0.73), (0.82, 0.70, 0.52), (0.36, 0.22, 0.12)), 0.15
        ),
    ),
    Category(
        2,
        "striped beetle",
        shapes.oval,
        Material(
            textures.stripes, ((0.18, 0.52, 0.20), (0.05, 0.13, 0.08), (0.72, 0.74, 0.20)), 0.5
        ),
    ),
    Category(
        4,
        "leaf",
        shapes.leaf,
        Material(textures.veins, ((0.22, 0.50, 0.16), (0.12, 0.36, 0.10), (0.66, 0.78, 0.36)), 0.1),
    ),
    Category(
        7,
        "sea star",
        shapes.star,
        Material(
            textures.granules, ((0.92, 0.46, 0.12), (0.74, 0.28, 0.08), (0.99, 0.78, 0.45)), 0.0
        ),
    ),
    Category(
        9,
        "paper star",
        shapes.star,
        Material(
            textures.checks, ((0.20, 0.38, 0.76), (0.86, 0.90, 0.97), (0.10, 0.17, 0.42)), 0.1
        ),
    ),
    Category(
        13,
        "glazed ring",
        shapes.ring,
        Material(
            textures.sprinkles, ((0.94, 0.52, 0.64), (0.78, 0.56, 0.34), (0.42, 0.16, 0.14)), 0.4
        ),
    ),
    Category(
        17,
        "violet",
        shapes.flower,
        Material(
            textures.petals, ((0.46, 0.22, 0.68), (0.78, 0.58, 0.90), (0.98, 0.84, 0.22)), 0.0
        ),
    ),
    Category(
        22,
        "woven cushion",
        shapes.cushion,
        Material(textures.weave, ((0.72, 0.12, 0.15), (0.93, 0.82, 0.64), (0.42, 0.06, 0.10)), 0.0),
    ),
    Category(
        28,
        "cog",
        shapes.cog,
        Material(
            textures.brushed, ((0.32, 0.42, 0.62), (0.20, 0.28, 0.46), (0.70, 0.78, 0.90)), 0.7
        ),
    ),
    Category(
        31,
        "moon pod",
        shapes.crescent,
        Material(
            textures.ridges, ((0.93, 0.54, 0.16), (0.76, 0.31, 0.08), (0.99, 0.82, 0.45)), 0.25
        ),
    ),
)
CLUTTER_SHAPES = (
    shapes.pebble,
    shapes.pebble,
    shapes.stick,
    shapes.stick,
    shapes.spot,
    shapes.wedge,
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


def _object(dice: Dice, category: Category, area: float, light: Light, longest: float) -> Thing:
    palette = jittered(dice, category.material.palette, PALETTE_JITTER)
    return thing(dice, category.shape, category.material, palette, area, light, longest)


def _clutter(dice: Dice, size: int, light: Light) -> Thing:
    """Something of no category: any shape and pattern, perhaps with a category's palette or
    outline.
    """
    shape, palette, gloss = dice.pick(CLUTTER_SHAPES), None, dice.pick((0.0, 0.0, 0.3))
    if dice.chance(RESEMBLANCE):
        double = dice.pick(CATEGORIES)
        if dice.chance(0.5):
            palette = jittered(dice, double.material.palette, PALETTE_JITTER)
        else:
            shape = double.shape
    palette = palette or any_palette(dice, dice.between(0.2, 1.0))
    side = dice.between(0.04, 0.10 if shape is shapes.stick else 0.16) * size
    material = Material(dice.pick(PATTERNS), (), gloss)
    return thing(dice, shape, material, palette, side * side, light, 0.4 * size)


def _area(dice: Dice) -> float:
    """Area of a thing as a share of the image: a range by COCO's proportions, then even in the
    side.
    """
    chance = dice.between(0, 1)
    k = 0 if chance < SMALL else 1 if chance < SMALL + MEDIUM else 2
    low, high = (math.sqrt(AREAS[k + end]) for end in (0, 1))
    side = dice.between(low, high)
    return side * side


def _crowd(dice: Dice, made: Composition) -> Category:
    """A tight cluster of tiny things of one category, owner 1 of the composition.

    Returns the category.
    """
    category, size = dice.pick(CATEGORIES), made.size
    spread, owner = dice.between(0.10, 0.17) * size, None
    centre_x, centre_y = dice.between(0.2, 0.8) * size, dice.between(0.2, 0.8) * size
    for _ in range(dice.whole(9, 16)):
        item = _object(dice, category, dice.between(0.0010, 0.0022) * size * size, made.light, size)
        x, y = dice.direction()
        far = dice.between(0, spread)
        rows, columns = item.colour.shape[1:]
        top, left = int(centre_y + far * y) - rows // 2, int(centre_x + far * x) - columns // 2
        if made.put(item, top, left, True, owner=owner):
            owner = 1
    return category


def scene(seed: int, index: int, size: int = 128, draw: str = "train") -> Scene:
    """Scene number ``index`` of a draw.

    ``size`` is the side in pixels, 64 to 512; ``draw`` is one of 'unlabelled', 'train', 'val',
    'test', which share no scene. One to six instances; about one scene in twenty has none, one in
    twenty-five a crowd too.
    """
    dice = Dice(seed, DRAWS.index(draw), index, size)
    made = Composition.empty(dice, size)
    count = 0 if dice.chance(EMPTY) else dice.pick(COUNTS)
    behind, before = dice.whole(*CLUTTER), dice.whole(0, 2)
    for _ in range(behind):
        made.put_anywhere(_clutter(dice, size, made.light), False)
    crowded = count > 0 and dice.chance(CROWDED)
    present = [_crowd(dice, made)] if crowded else []
    for _ in range(count):
        category = present[-1] if present and dice.chance(0.25) else dice.pick(CATEGORIES)
        item = _object(dice, category, _area(dice) * size * size, made.light, 0.6 * size)
        if made.put_anywhere(item, True):
            present.append(category)
    for _ in range(before):
        made.put_anywhere(_clutter(dice, size, made.light), False)
    instances = [
        Instance(category.id, made.owner == k, crowded and k == 1)
        for k, category in enumerate(present, 1)
    ]
    return Scene(developed(dice, made.canvas), instances)


def crop(seed: int, index: int, size: int = 64) -> tuple[np.ndarray, int]:
    """Labelled single object number ``index``: image uint8 ``[size, size, 3]`` and its category's
    id.

    The categories take turns, so that any run of ten crops holds each of them once.
    """
    dice = Dice(seed, DRAWS.index("crops"), index, size)
    made = Composition.empty(dice, size)
    category = CATEGORIES[index % len(CATEGORIES)]
    for _ in range(dice.whole(1, 4)):
        made.put_anywhere(_clutter(dice, size, made.light), False)
    side = dice.between(0.35, 0.68) * size
    item = _object(dice, category, side * side, made.light, 0.55 * size)
    rows, columns = item.colour.shape[1:]
    top, left = (
        int((0.5 + dice.between(-0.1, 0.1)) * size) - extent // 2 for extent in (rows, columns)
    )
    made.put(item, top, left, True)
    if dice.chance(0.3):
        made.put_anywhere(_clutter(dice, size, made.light), False)
    return developed(dice, made.canvas), category.id


def write_split(
    folder: Path,
    annotations_file: Path,
    seed: int,
    draw: str,
    count: int,
    size: int,
    progress: Progress | None = None,
) -> Path:
    """Write ``count`` scenes of a draw as ``folder/00000.png`` ... and their annotations as COCO
    JSON.

    Names in the JSON are relative to the folder's parent. Pictures that are there already are kept.
    """
    folder, images, annotations = Path(folder), [], []
    for index in range(count):
        made = scene(seed, index, size, draw)
        name = _write_image(folder, index, made.image)
        images.append(
            {"id": index + 1, "file_name": f"{folder.name}/{name}", "width": size, "height": size}
        )
        for instance in made.instances:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": index + 1, **_annotation(instance)}
            )
        if progress:
            progress.update()
    return write_json(
        Path(annotations_file),
        {
            "info": {"description": f"generated scenes, draw {draw}, seed {seed}", "version": "1"},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": [
                {"id": c.id, "name": c.name, "supercategory": "generated"} for c in CATEGORIES
            ],
        },
    )


def write_unlabelled(
    folder: Path, seed: int, count: int, size: int, progress: Progress | None = None
) -> Path:
    """Write ``count`` scenes of the draw 'unlabelled' as ``folder/00000.png`` ..., without
    annotations.
    """
    for index in range(count):
        if not (Path(folder) / f"{index:05d}.png").exists():
            _write_image(Path(folder), index, scene(seed, index, size, "unlabelled").image)
        if progress:
            progress.update()
    return Path(folder)


def write_crops(
    folder: Path, seed: int, count: int, size: int, progress: Progress | None = None
) -> Path:
    """Write ``count`` labelled crops as ``folder/<category>/00000.png`` ..., and a table beside the
    folder.

    The table (``crops.csv`` for ``crops``) has the columns file, relative to the folder's parent,
    and category_id.
    """
    folder, names = Path(folder), {c.id: c.name for c in CATEGORIES}
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("file", "category_id"))
    for index in range(count):
        image, category_id = crop(seed, index, size)
        name = _write_image(folder / names[category_id], index // len(CATEGORIES), image)
        rows.writerow((f"{folder.name}/{names[category_id]}/{name}", category_id))
        if progress:
            progress.update()
    return write_text(folder.with_name(folder.name + ".csv"), table.getvalue())


def _write_image(folder: Path, index: int, image: np.ndarray) -> str:
    """Write a PNG unless it is there; returns its name."""
    path = folder / f"{index:05d}.png"
    if not path.exists():
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG", compress_level=1)
        write_bytes(path, content.getvalue())
    return path.name


def _annotation(instance: Instance) -> dict:
    """COCO's fields for one mask: compressed run lengths, and uncompressed ones for a crowd, as in
    COCO.
    """
    columns = np.asfortranarray(instance.mask.astype(np.uint8))
    code = rle.encode(columns)
    box, area = rle.toBbox(code), rle.area(code)
    if instance.iscrowd:
        changes = np.flatnonzero(np.diff(columns.ravel("F"), prepend=0, append=2)).tolist()
        counts = [end - start for start, end in zip([0, *changes], changes, strict=False)]
    else:
        counts = code["counts"].decode()
    return {
        "category_id": instance.category_id,
        "iscrowd": int(instance.iscrowd),
        "area": int(area),
        "bbox": [float(x) for x in box],
        "segmentation": {"size": list(columns.shape), "counts": counts},
    }


def fingerprint() -> str:
    """A digest of one small scene and one crop: it changes when the generator does."""
    made, (picture, _) = scene(0, 0, 64), crop(0, 0, 32)
    return hashlib.sha256(made.image.tobytes() + picture.tobytes()).hexdigest()[:16]
