"""What a reader of another form fills: images, objects and categories of one data folder."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from byol_helpers.coco.file_tree import FileTree
from byol_helpers.coco.images import read_image_size
from byol_helpers.core.errors import UserError

ELLIPSE_CORNERS = 36  # of the polygon that stands for a circle or an ellipse


@contextmanager
def refusing_oddities(file: Path) -> Iterator[None]:
    """Turn what a reader stumbles over in a file into one line that names the file."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"[:100]
        raise UserError(
            f"{file}: not as its tool writes it ({said}); save or export it again"
        ) from error


class Content:
    """COCO's content by split, with one list of categories; file names start from the data folder.

    ``left_out`` counts what has no place in it, by a reason in words; ``notes`` are lines to say.
    """

    def __init__(self, tree: FileTree):
        self.tree = tree
        self.splits: dict[str, dict[str, list[dict]]] = {}
        self.left_out = Counter()
        self.notes: list[str] = []
        self._categories: dict[str, int] = {}
        self._records = 0
        self._objects = 0

    def add_categories(self, names: Iterable[str]) -> None:
        """Give names the next ids, from 1 on, those without any object too."""
        for name in names:
            self._categories.setdefault(name, len(self._categories) + 1)

    def add_image(self, split: str, name: str) -> dict:
        """A record for a picture, with the size that it has upright."""
        height, width = read_image_size(self.tree.root / name)
        self._records += 1
        record = {"id": self._records, "file_name": name, "height": height, "width": width}
        self.splits.setdefault(split, {"images": [], "annotations": []})["images"].append(record)
        return record

    def add_polygons(
        self, split: str, record: dict, category: str, polygons: Sequence[Sequence[float]]
    ) -> None:
        """An object outlined by polygons [x, y, x, y, ...] in pixels."""
        size = (record["height"], record["width"])
        segmentation = [[float(value) for value in polygon] for polygon in polygons]
        packed: Any = rle.merge(rle.frPyObjects(segmentation, *size))  # pyright: ignore
        self._add(split, record, category, packed, segmentation)

    def add_mask(self, split: str, record: dict, category: str, mask: np.ndarray) -> None:
        """An object given by its pixels, bool [H, W]."""
        packed: Any = rle.encode(np.asfortranarray(mask).view(np.uint8))
        counts = packed["counts"].decode()
        segmentation = {"size": [record["height"], record["width"]], "counts": counts}
        self._add(split, record, category, packed, segmentation)

    def _add(
        self, split: str, record: dict, category: str, packed: Any, segmentation: object
    ) -> None:
        area = int(rle.area(packed))
        if not area:
            self.left_out["objects without a pixel in their picture"] += 1
            return
        self.add_categories([category])
        self._objects += 1
        annotation = {
            "id": self._objects,
            "image_id": record["id"],
            "category_id": self._categories[category],
            "iscrowd": 0,
            "area": area,
            "bbox": rle.toBbox(packed).tolist(),
            "segmentation": segmentation,
        }
        self.splits[split]["annotations"].append(annotation)

    def note_unlabelled(self, masks: Iterable[str] = ()) -> None:
        """Count the pictures that no label file speaks of; they are not used."""
        used = {r["file_name"] for part in self.splits.values() for r in part["images"]}
        self.left_out["pictures without labels"] += len(set(self.tree.images) - used - set(masks))

    def to_coco(self, split: str) -> dict:
        """The content of a COCO instances file."""
        categories = [{"id": number, "name": name} for name, number in self._categories.items()]
        return {**self.splits[split], "categories": categories}

    def count_objects(self) -> int:
        """How many objects all splits hold."""
        return self._objects


def outline_rectangle(x: float, y: float, width: float, height: float) -> list[float]:
    """A rectangle as a polygon."""
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def outline_ellipse(x: float, y: float, across: float, down: float, turn: float = 0) -> list[float]:
    """An ellipse as a polygon: centre and half axes in pixels, turned by ``turn`` radians."""
    angles = np.linspace(0, 2 * np.pi, ELLIPSE_CORNERS, endpoint=False)
    along = across * np.cos(angles)
    beside = down * np.sin(angles)
    columns = x + along * np.cos(turn) - beside * np.sin(turn)
    rows = y + along * np.sin(turn) + beside * np.cos(turn)
    return np.stack([columns, rows], axis=1).ravel().tolist()
