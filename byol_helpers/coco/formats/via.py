"""VIA's own files: one JSON with the ``regions`` of many pictures, in pixels."""

from byol_helpers.coco.file_tree import FileTree, match_name
from byol_helpers.coco.formats.content import (
    Content,
    outline_ellipse,
    outline_rectangle,
    refusing_oddities,
)
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json

# Attributes that hold the name of an object, in the order in which they are looked for.
NAMING = ("name", "label", "class", "category", "type")
UNNAMED_OBJECT = "object"


def read_via(tree: FileTree, files: dict[str, list[str]]) -> Content:
    """Read VIA's files (versions 1 and 2, project or annotations alone) by split.

    Raises:
        UserError: no picture for an entry, or an entry that is not as VIA writes it.
    """
    content = Content(tree)
    for split, names in files.items():
        for name in names:
            with refusing_oddities(tree.root / name):
                entries = read_json(tree.root / name)
                entries = entries.get("_via_img_metadata", entries)
                for entry in sorted(entries.values(), key=lambda entry: str(entry["filename"])):
                    _add_picture(content, split, name, entry)
    content.note_unlabelled()
    return content


def _add_picture(content: Content, split: str, name: str, entry: dict) -> None:
    tree = content.tree
    found = match_name(tree, str(entry["filename"]), name.rpartition("/")[0])
    if len(found) != 1:
        said = "is not there" if not found else "is there several times"
        raise UserError(f"{tree.root / name}: its picture {entry['filename']} {said}; put it there")
    record = content.add_image(split, found[0])
    regions = entry.get("regions") or []
    for region in regions.values() if isinstance(regions, dict) else regions:
        shape = region.get("shape_attributes", {})
        polygon = _outline(shape)
        if polygon is None:
            content.left_out[f"regions of the kind {shape.get('name')}"] += 1
            continue
        category = _name_object(region.get("region_attributes") or {})
        content.add_polygons(split, record, category, [polygon])


def _outline(shape: dict) -> list[float] | None:
    """The polygon of a region; a closed polyline is one, a point is none."""
    kind = shape.get("name")
    if kind in ("polygon", "polyline"):
        corners = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
        polygon = [float(value) for corner in corners for value in corner]
        return polygon if len(polygon) >= 6 else None
    if kind == "rect":
        return outline_rectangle(shape["x"], shape["y"], shape["width"], shape["height"])
    if kind == "circle":
        return outline_ellipse(shape["cx"], shape["cy"], shape["r"], shape["r"])
    if kind == "ellipse":
        turn = float(shape.get("theta") or 0)
        return outline_ellipse(shape["cx"], shape["cy"], shape["rx"], shape["ry"], turn)
    return None


def _name_object(attributes: dict) -> str:
    """The category of a region: the attribute that names it, or the first one that is a choice."""
    ordered = [key for key in NAMING if key in attributes] + list(attributes)
    for key in ordered:
        value = attributes[key]
        if isinstance(value, dict):  # check boxes: {choice: true}
            value = next((choice for choice, chosen in value.items() if chosen), "")
        if str(value).strip():
            return str(value).strip()
    return UNNAMED_OBJECT
