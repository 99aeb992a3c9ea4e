"""YOLO's segmentation labels: a text file for each picture, a line ``class x y x y ...`` for each
object, coordinates as shares of the picture's size; names of the classes in a YAML file.
"""

from pathlib import Path

import yaml

from byol_helpers.coco.file_tree import SPLIT_WORDS, FileTree, match_name
from byol_helpers.coco.formats.content import Content
from byol_helpers.core.errors import UserError

CLASS_LISTS = ("classes.txt", "obj.names", "labels.txt", "_darknet.labels")


def read_yolo(tree: FileTree, files: dict[str, list[str]]) -> Content:
    """Read label files by split; pictures beside the labelled ones that have no file hold nothing.

    Raises:
        UserError: boxes without outlines, pixels instead of shares, a class without a name, or no
            picture for a label file.
    """
    content = Content(tree)
    names = read_class_names(tree)
    content.add_categories(names.values())
    boxes = []
    for split, labels in files.items():
        pictures = {find_picture(tree, label): label for label in labels}
        folders = {picture.rpartition("/")[0] for picture in pictures}
        beside = [name for name in tree.images if name.rpartition("/")[0] in folders]
        for picture in sorted(beside, key=lambda name: name.split("/")):
            record = content.add_image(split, picture)
            if picture in pictures:
                boxes += _add_objects(content, split, record, pictures[picture], names)
    if boxes and not content.count_objects():
        raise UserError(
            f"{boxes[0]}: a box and no outline, as in all {len(boxes):,} lines; instance "
            "segmentation needs outlines: export YOLO's segmentation labels"
        )
    content.left_out["boxes without an outline"] += len(boxes)
    content.note_unlabelled()
    return content


def find_picture(tree: FileTree, label: str) -> str:
    """The picture of a label file: of its name, in the folder ``images`` beside ``labels``."""
    folders = label.split("/")[:-1]
    swapped = ["images" if folder.lower() == "labels" else folder for folder in folders]
    found = match_name(tree, "/".join([*swapped, label.split("/")[-1][:-4]]))
    if len(found) != 1:
        said = "no picture" if not found else f"{len(found)} pictures"
        raise UserError(f"{tree.root / label}: {said} of its name; give each its own picture")
    return found[0]


def read_class_names(tree: FileTree) -> dict[int, str]:
    """Names of the classes by number, from a YAML file with ``names`` or from a list of lines."""
    for name in tree.names:
        if name.lower().endswith((".yaml", ".yml")):
            names = _read_yaml(tree.root / name).get("names")
            if isinstance(names, dict):
                return {int(number): str(word) for number, word in sorted(names.items())}
            if isinstance(names, list):
                return {number: str(word) for number, word in enumerate(names)}
    for name in tree.names:
        if name.lower().split("/")[-1] in CLASS_LISTS:
            lines = (tree.root / name).read_text(encoding="utf-8-sig").splitlines()
            return dict(enumerate(line.strip() for line in lines if line.strip()))
    return {}


def read_yaml_folders(tree: FileTree) -> dict[str, str]:
    """Folders that a YAML file with ``names`` gives for its splits: {folder: split}."""
    folders = {}
    for name in tree.names:
        if not name.lower().endswith((".yaml", ".yml")):
            continue
        content = _read_yaml(tree.root / name)
        for key, split in SPLIT_WORDS.items():
            if "names" in content and isinstance(content.get(key), str):
                parts = [part for part in content[key].split("/") if part not in ("", ".", "..")]
                folders["/".join(parts)] = split
    return folders


def _read_yaml(file: Path) -> dict:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def _add_objects(
    content: Content, split: str, record: dict, label: str, names: dict[int, str]
) -> list[str]:
    """Add the objects of one label file; return the places of lines that are boxes."""
    file = content.tree.root / label
    boxes = []
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        category, shares = _read_line(line, where)
        if len(shares) == 4:
            boxes.append(where)
            continue
        if names and category not in names:
            raise UserError(f"{where}: class {category} has no name in the YAML file; add it")
        sides = [record["width"], record["height"]] * (len(shares) // 2)
        polygon = [share * side for share, side in zip(shares, sides, strict=True)]
        content.add_polygons(split, record, names.get(category, str(category)), [polygon])
    return boxes


def _read_line(line: str, where: str) -> tuple[int, list[float]]:
    """Class and coordinates of one object; four of them are a box."""
    try:
        category, *shares = [float(word) for word in line.split()]
    except ValueError:
        raise UserError(f"{where}: not numbers alone; export the labels again") from None
    if len(shares) != 4 and (len(shares) < 6 or len(shares) % 2):
        raise UserError(f"{where}: {len(shares)} coordinates; an outline has pairs, three or more")
    if not all(-0.01 <= share <= 1.01 for share in shares):
        raise UserError(
            f"{where}: coordinates beyond 0 to 1; YOLO's are shares of the picture's size, not "
            "pixels"
        )
    return int(category), shares
