"""Whether masks, boxes and areas of annotations agree; what the mask decides is mended.

A mask is measured on its outline (or its run lengths), and painted only where something about it is
in doubt: its area or box is missing or off, it is tiny, or it leaves its image. So COCO's own
860,000 masks take seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import numpy as np

from byol_helpers.coco import masks
from byol_helpers.coco.annotations import Annotation, Labels
from byol_helpers.coco.boxes import clip_corners, find_corners, find_relative, measure_overlap
from byol_helpers.coco.masks import ReadMask
from byol_helpers.coco.normalisation import Unusable, as_mask, show_value
from byol_helpers.coco.problems import Problems

ROUNDING = 1.0  # pixels that outlines leave their images by when coordinates were rounded
_TINY = 4.0  # square pixels (and pixels across) below which an outline may hold no pixel
_EDGE = 3.0  # pixels by which an edge of a box may lie beside that of the mask
_AREA = 16.0  # square pixels by which an area may be off, apart from a factor of two
_HABIT = 5  # areas that tell whether a file has those of its boxes
_SAME = 1.5  # pixels within which two edges count as one


class Row(NamedTuple):
    """An annotation of a known image."""

    position: int  # in the file
    annotation: Annotation
    size: tuple[int, int]  # height, width of the image
    mask: ReadMask


@dataclass(frozen=True)
class _Given:
    """Areas and boxes of N annotations as the file gives them; nan where there are none."""

    areas: np.ndarray  # [N]
    boxes: np.ndarray  # [N, 4] x, y, width, height
    corners: np.ndarray  # [N, 4] x0, y0, x1, y1

    @staticmethod
    def read(rows: Sequence[Row]) -> "_Given":
        areas = [row.annotation.area for row in rows]
        boxes = [row.annotation.bbox for row in rows]
        none = [np.nan] * 4
        kept = np.array([box if box and len(box) == 4 else none for box in boxes], dtype=float)
        found = np.array([np.nan if area is None else area for area in areas], dtype=float)
        return _Given(found, kept, find_corners(kept))

    def find_off_areas(self, measured: np.ndarray) -> np.ndarray:
        """Which areas are none, or far from those of the masks: bool [N].

        Areas of polygons whose parts overlap count twice in COCO's own files, hence the factor.
        """
        good = (self.areas > 0) & (self.areas <= 2 * measured + _AREA)
        return ~(good & (self.areas >= measured / 2 - _AREA))

    def find_off_boxes(self, corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Which boxes are none, or elsewhere than masks with these corners [N, 4]: bool [N]."""
        kept = clip_corners(self.corners, sizes)
        edges = np.abs(kept - corners).max(axis=1)
        near = (edges <= _EDGE) | (measure_overlap(kept, corners) >= 0.5)
        return ~(near & (self.boxes[:, 2:] >= 0).all(axis=1))

    def find_leaving(self, sizes: np.ndarray) -> np.ndarray:
        """Which boxes leave their images [N, 2] (height, width): bool [N]."""
        before = np.any(self.corners[:, :2] < 0, axis=1)
        return np.logical_or(before, np.any(self.corners[:, 2:] > sizes[:, ::-1], axis=1))

    def find_flat(self) -> np.ndarray:
        """Which boxes have no width or no height: bool [N]."""
        return np.asarray(np.any(self.boxes[:, 2:] <= 0, axis=1))


def _describe_empty(row: Row) -> str:
    """Why a mask has no pixels."""
    height, width = row.size
    if row.mask.polygons:
        (x0, y0, x1, y1), *_ = masks.measure_outlines([row.mask.polygons]).corners.tolist()
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            return f"has a mask wholly outside its image of {width} x {height}; correct it"
        if x0 == x1 and y0 == y1:
            return "has a polygon of a single point; draw it again"
    return "has a mask without a pixel; draw it again"


@dataclass
class Habits:
    """What all annotations of a file together tell about whoever wrote it."""

    measured: int = 0  # annotations of known images
    relative: int = 0  # of those, outlines (boxes, where there is none) within 0..1
    telling: int = 0  # boxes that lie elsewhere when read as corners
    corners: int = 0  # of those, boxes that are their mask's corners
    areas: int = 0  # masks that are smaller than their box
    box_areas: list[int] = field(default_factory=list)  # of those, with the area of the box


class Agreement:
    """Compares annotations in batches, mends ``labels``, and keeps what cannot be used.

    Args:
        labels: the file.
        shape: what every annotation must have, a mask (``segm``) or a box (``bbox``).
        remedy: ends the line of an annotation that cannot be used.
        found: takes clipped boxes and notes.
    """

    def __init__(self, labels: Labels, shape: str, remedy: str, found: Problems):
        self.labels = labels
        self.shape = shape
        self.remedy = remedy
        self.found = found
        self.habits = Habits()
        self.invalid: dict[int, tuple[str, str]] = {}  # by position: kind and line

    def read(self, position: int, annotation: Annotation, size: tuple[int, int]) -> Row:
        """An annotation with its mask; one whose numbers are written as text is mended."""
        mask = masks.read_mask(annotation.segmentation, *size)
        if not mask.fault or mask.fault == masks.NO_MASK:
            return Row(position, annotation, size, mask)
        given = self.labels.read(position).get("segmentation")
        try:
            plain = as_mask(given)
        except Unusable as error:
            return Row(position, annotation, size, ReadMask(fault=error.why))
        if plain is given:
            return Row(position, annotation, size, mask)
        row = Row(position, annotation, size, masks.read_mask(msgspec.json.encode(plain), *size))
        self._mend(row, "mask as numbers", segmentation=plain)
        return row

    def compare(self, rows: list[Row]) -> None:
        """Compare masks, boxes and areas of some annotations."""
        self.habits.measured += len(rows)
        outlined = [row for row in rows if row.mask.polygons]
        packed = [row for row in rows if row.mask.runs]
        for row in rows:
            if row.mask.fault:
                self._judge_without_mask(row)
            elif row.mask.dropped:
                self._mend(row, "stray polygon parts dropped", segmentation=row.mask.polygons)
        if outlined:
            self._judge_outlines(outlined)
        if packed:
            self._judge_runs(packed)

    def _judge_without_mask(self, row: Row) -> None:
        fault = row.mask.fault
        if self.shape == "bbox":
            self._judge_box_alone(row)
        elif fault == masks.NO_MASK:
            said = f"{fault}; instance segmentation needs one for every object: draw it"
            self.refuse(row, "no mask", said)
        else:
            self.refuse(row, "broken mask", f"{fault}; draw or export it again")

    def _judge_box_alone(self, row: Row) -> None:
        """A box without a mask: it must be one, and its area is its own where there is no other."""
        box = row.annotation.bbox
        if box is None or len(box) != 4:
            said = "has no box (bbox) of four numbers; export the file again with boxes"
            return self.refuse(row, "no box", said)
        height, width = row.size
        corners = find_corners(np.array([box], dtype=float))
        self.habits.relative += int(find_relative(corners, np.array([row.size]))[0])
        kept = clip_corners(corners, np.array([row.size]))[0]
        if min(box[2:]) < 0 or kept[0] >= kept[2] or kept[1] >= kept[3]:
            said = f"has the box {show_value(box)}, outside its image of {width} x {height}"
            return self.refuse(row, "box outside", f"{said} or without size; correct it")
        if (corners[0] != kept).any():
            self._clip_box(row)
        if not row.annotation.area or row.annotation.area <= 0:
            self._mend(row, "area from the box", area=float(np.prod(kept[2:] - kept[:2])))
        return None

    def _judge_outlines(self, rows: list[Row]) -> None:
        """Masks given as polygons: painted only where something is in doubt."""
        outlines = masks.measure_outlines([row.mask.polygons or [] for row in rows])
        sizes = np.array([row.size for row in rows])
        far = masks.find_far(outlines.corners, sizes)
        for k in np.flatnonzero(far).tolist():
            height, width = rows[k].size
            said = f"has a point far outside its image of {width} x {height}; draw it again"
            self.refuse(rows[k], "broken mask", said)
        corners = clip_corners(outlines.corners, sizes)
        self.habits.relative += int(find_relative(outlines.corners, sizes)[~far].sum())
        across = outlines.corners[:, 2:] - outlines.corners[:, :2]
        leaves = np.abs(outlines.corners - corners).max(axis=1) > ROUNDING
        doubtful = (outlines.areas < _TINY) | (across < _TINY).any(axis=1) | leaves
        given = _Given.read(rows)
        doubtful |= given.find_off_areas(outlines.areas) | given.find_off_boxes(corners, sizes)
        self._count_habits(rows, given, outlines.areas, corners)
        chosen = np.flatnonzero(doubtful & ~far).tolist()
        if chosen:
            painted = []
            for k in chosen:
                entry = {"segmentation": rows[k].mask.polygons}
                painted.append(masks.compress_mask(entry, *rows[k].size))
            self._settle([rows[k] for k in chosen], painted)
        for k in np.flatnonzero(~doubtful & ~far & given.find_leaving(sizes)).tolist():
            self._clip_box(rows[k])

    def _judge_runs(self, rows: list[Row]) -> None:
        """Masks given as run lengths: their pixels are counted without unpacking them."""
        runs = [row.mask.runs or {} for row in rows]
        damaged = masks.find_damaged(runs)
        for k in np.flatnonzero(damaged).tolist():
            self.refuse(rows[k], "broken mask", f"{masks.DAMAGED}; draw or export it again")
        whole = np.flatnonzero(~damaged).tolist()
        rows = [rows[k] for k in whole]
        painted = [masks.compress_mask({"segmentation": runs[k]}, *runs[k]["size"]) for k in whole]
        if rows:
            corners = find_corners(masks.box_masks(painted))
            self._count_habits(rows, _Given.read(rows), masks.measure_masks(painted), corners)
            self._settle(rows, painted)

    def _settle(self, rows: list[Row], painted: list[dict]) -> None:
        """Mend areas and boxes that are not those of their painted masks; refuse empty masks."""
        areas = masks.measure_masks(painted)
        boxes = masks.box_masks(painted)
        sizes = np.array([row.size for row in rows])
        given = _Given.read(rows)
        off_areas = given.find_off_areas(areas)
        off_boxes = given.find_off_boxes(find_corners(boxes), sizes)
        leaving = given.find_leaving(sizes)
        flat = given.find_flat()
        for k, row in enumerate(rows):
            if not areas[k]:
                self.refuse(row, "empty mask", _describe_empty(row))
                continue
            if off_areas[k]:
                self._mend(row, "area from the mask", area=float(areas[k]))
            if off_boxes[k]:
                self._mend(row, "box from the mask", bbox=boxes[k].tolist())
            elif leaving[k]:
                self._clip_box(row)
            if flat[k] and not off_boxes[k]:
                line = f"{self.labels.file}: annotation {row.annotation.id} has a flat box"
                self.found.add("flat box", line)

    def _clip_box(self, row: Row) -> None:
        x, y, width, height = row.annotation.bbox or (0.0, 0.0, 0.0, 0.0)
        rows, columns = row.size
        left = max(0.0, x)
        top = max(0.0, y)
        box = [left, top, min(x + width, columns) - left, min(y + height, rows) - top]
        self._mend(row, "box clipped to its image", bbox=box)

    def _count_habits(
        self, rows: list[Row], given: _Given, areas: np.ndarray, corners: np.ndarray
    ) -> None:
        """Whether boxes are corners, and areas those of the boxes: habits of whoever wrote it."""
        as_corners = np.abs(given.boxes - corners).max(axis=1) <= _SAME
        as_box = np.abs(given.corners - corners).max(axis=1) <= _SAME
        self.habits.telling += int((corners[:, :2].max(axis=1) > 2 * _SAME).sum())
        self.habits.corners += int((as_corners & ~as_box).sum())
        products = given.boxes[:, 2] * given.boxes[:, 3]
        differ = np.abs(areas - products) > np.maximum(_TINY, 0.1 * products)
        of_box = differ & (np.abs(given.areas - products) <= 0.01 * products)
        self.habits.areas += int(differ.sum())
        self.habits.box_areas += [rows[k].position for k in np.flatnonzero(of_box).tolist()]

    def _mend(self, row: Row, kind: str, **changes: object) -> None:
        self.labels.replace(row.position, changes)
        self.labels.mended.add("annotations", kind, row.position)

    def refuse(self, row: Row, kind: str, said: str) -> None:
        line = f"{self.labels.file}: annotation {row.annotation.id} {said}{self.remedy}"
        self.invalid[row.position] = (kind, line)

    def mend_box_areas(self, records: dict[int, dict]) -> None:
        """Areas from the masks, where a file has the boxes' instead for nearly all objects."""
        if len(self.habits.box_areas) < max(_HABIT, 0.9 * self.habits.areas):
            return
        for position in self.habits.box_areas:
            annotation = self.labels.read(position)
            record = records[annotation["image_id"]]
            if position in self.invalid:
                continue
            mask = masks.compress_mask(annotation, record["height"], record["width"])
            area = float(masks.measure_masks([mask])[0])
            if annotation.get("area") != area:
                self.labels.replace(position, {"area": area})
                self.labels.mended.add("annotations", "area from the mask", position)
