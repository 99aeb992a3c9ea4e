"""labelme's own files: a JSON for each picture, with ``shapes`` in pixels."""

import base64
import binascii
import io
from collections import defaultdict

import numpy as np
from PIL import Image, UnidentifiedImageError

from byol_helpers.coco.file_tree import FileTree, match_name
from byol_helpers.coco.formats.content import (
    Content,
    outline_ellipse,
    outline_rectangle,
    refusing_oddities,
)
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json

UNNAMED = ("__ignore__", "_background_")  # labels that name no object


def read_labelme(tree: FileTree, files: dict[str, list[str]]) -> Content:
    """Read labelme's files by split. Shapes of one ``group_id`` and label are one object.

    Raises:
        UserError: no picture for a file, a picture of another size, or a broken shape.
    """
    content = Content(tree)
    read = {}
    labels = set()
    for name in (name for names in files.values() for name in names):
        with refusing_oddities(tree.root / name):
            read[name] = read_json(tree.root / name)
            labels |= {str(shape.get("label")) for shape in read[name]["shapes"]}
    content.add_categories(sorted(labels - set(UNNAMED)))
    for split, names in files.items():
        for name in names:
            with refusing_oddities(tree.root / name):
                _add_picture(content, split, name, read[name])
    content.note_unlabelled()
    return content


def _add_picture(content: Content, split: str, name: str, file: dict) -> None:
    tree = content.tree
    home = name.rpartition("/")[0]
    found = match_name(tree, str(file["imagePath"]), home)
    if len(found) != 1:
        said = "is not there" if not found else "is there several times"
        raise UserError(f"{tree.root / name}: its picture {file['imagePath']} {said}; put it there")
    record = content.add_image(split, found[0])
    size = (file.get("imageHeight"), file.get("imageWidth"))
    if None not in size and size != (record["height"], record["width"]):
        raise UserError(
            f"{tree.root / found[0]}: is {record['width']} x {record['height']}, {name} says "
            f"{size[1]} x {size[0]}; rotate or resize it back"
        )
    objects = defaultdict(list)
    for number, shape in enumerate(file["shapes"]):
        label = str(shape.get("label"))
        group = shape.get("group_id")
        if label in UNNAMED:
            continue
        if shape.get("shape_type") == "mask":
            content.add_mask(split, record, label, _read_mask(shape, record, tree.root / name))
            continue
        polygon = _outline(shape)
        if polygon is None:
            content.left_out[f"shapes of the kind {shape.get('shape_type')}"] += 1
            continue
        objects[label, number if group is None else f"group {group}"].append(polygon)
    for (label, _), polygons in objects.items():
        content.add_polygons(split, record, label, polygons)


def _outline(shape: dict) -> list[float] | None:
    """The polygon of a shape; None for a line, a point or an outline of fewer than three points."""
    points = np.array(shape.get("points") or [], dtype=float).reshape(-1, 2)
    kind = shape.get("shape_type") or "polygon"
    if kind == "polygon" and len(points) >= 3:
        return points.ravel().tolist()
    if kind == "rectangle" and len(points) in (2, 4):
        low = points.min(axis=0)
        width, height = points.max(axis=0) - low
        return outline_rectangle(low[0], low[1], width, height)
    if kind == "circle" and len(points) == 2:
        radius = float(np.hypot(*(points[1] - points[0])))
        return outline_ellipse(points[0][0], points[0][1], radius, radius)
    return None


def _read_mask(shape: dict, record: dict, file: object) -> np.ndarray:
    """The mask of labelme's shape ``mask``: a PNG in text, laid at its upper left corner."""
    whole = np.zeros((record["height"], record["width"]), bool)
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(shape["mask"])))
        part = np.asarray(picture.convert("L")) > 0
        column, row = (round(value) for value in shape["points"][0])
        whole[row : row + part.shape[0], column : column + part.shape[1]] = part
    except (KeyError, IndexError, ValueError, binascii.Error, UnidentifiedImageError) as error:
        raise UserError(f"{file}: a mask that cannot be read ({error}); draw it again") from None
    return whole
