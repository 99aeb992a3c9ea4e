"""What is wrong with an instances file: every problem in one go, the most important first.

A problem is one line with its place, the remedy, and how many more there are of its kind. Errors
would break a training or give numbers without meaning; notes are worth knowing. What can only mean
one thing is mended in the file as read (``Labels``) and counted: areas and boxes from the masks,
stray parts of polygons, boxes over the edge.

A mask is measured on its outline (or its run lengths), and painted only where something about it is
in doubt: its area or box is missing or off, it is tiny, or it leaves its image. So COCO's own
860,000 masks take seconds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from byol_helpers.coco import masks
from byol_helpers.coco.annotations import Annotation, Labels
from byol_helpers.coco.boxes import clip_corners, find_corners, find_relative, measure_overlap
from byol_helpers.coco.images import explain_size, list_images, read_image
from byol_helpers.coco.masks import ReadMask, read_mask
from byol_helpers.coco.normalisation import LARGEST_SIDE, show_value
from byol_helpers.core.errors import UserError

ROUNDING = 1.0  # pixels that boxes leave their images by when coordinates were rounded
AT_ONCE = 2000  # masks measured together, to bound the memory
RARE = 1000  # one mask without pixels among so many is a note: COCO's train2017 has such, too
_TINY = 4.0  # square pixels (and pixels across) below which an outline may hold no pixel
_EDGE = 3.0  # pixels by which an edge of a box may lie beside that of the mask
_AREA = 16.0  # square pixels by which an area may be off, apart from a factor of two
_HABIT = 5  # areas that tell whether a file has those of its boxes
_SAME = 1.5  # pixels within which two edges count as one

SKIP = ", or leave such out with data.skip_invalid=true"

ERRORS = (
    "no images",
    "no annotations",
    "image record",
    "image id twice",
    "category record",
    "category id twice",
    "category name twice",
    "annotation record",
    "missing image",
    "unknown category",
    "all crowds",
    "relative coordinates",
    "corners for box",
    "no file",
    "unreadable",
    "wrong size",
    "no mask",
    "broken mask",
    "empty mask",
    "no box",
    "box outside",
)
NOTES = (
    "mended",
    "left out",
    "name twice",
    "rare empty mask",
    "flat box",
    "crowds only",
    "unused category",
    "empty images",
    "unlisted files",
)
# Of single annotations, which can be left out; the others concern the whole file.
SKIPPABLE = (
    "annotation record",
    "missing image",
    "unknown category",
    "no mask",
    "broken mask",
    "empty mask",
    "no box",
    "box outside",
)


class Problems:
    """A collection of problems.

    ``mended`` and ``skipped`` are lines of what was mended and left out, ``all_crowds`` of a file
    that holds no object, empty where nothing was;
    ``left_out`` lists every entry that was left out; ``boxes`` by annotation id were clipped.
    """

    def __init__(self):
        self._first: dict[str, str] = {}
        self._count: dict[str, int] = defaultdict(int)
        self.boxes: dict[int, list[float]] = {}
        self.left_out: list[str] = []
        self.mended = ""
        self.all_crowds = ""
        self.skipped = ""

    def add(self, kind: str, line: str, count: int = 1) -> None:
        """One more of a kind in ``ERRORS`` or ``NOTES``; the line of the first one is kept."""
        self._first.setdefault(kind, line)
        self._count[kind] += count

    def errors(self) -> list[str]:
        """One line a kind, most important first."""
        return self._lines(ERRORS)

    def notes(self) -> list[str]:
        """As ``errors``, of what does not stop anything."""
        return self._lines(NOTES)

    def _lines(self, kinds: tuple[str, ...]) -> list[str]:
        lines = []
        for kind in kinds:
            if kind in self._first:
                count = self._count[kind]
                more = f" (and {count - 1:,} more like it)" if count > 1 else ""
                lines.append(self._first[kind] + more)
        return lines


@dataclass(frozen=True)
class _Row:
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
    def read(rows: Sequence[_Row]) -> "_Given":
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


def _describe_empty(row: _Row) -> str:
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
class _Counts:
    """What is known of a file when all of its annotations were looked at."""

    objects: set[int] = field(default_factory=set)  # ids of images with an object
    crowds: set[int] = field(default_factory=set)  # ids of images with a crowd
    used: set[int] = field(default_factory=set)  # ids of categories
    measured: int = 0  # annotations of known images
    relative: int = 0  # of those, outlines (boxes, where there is none) within 0..1
    telling: int = 0  # boxes that lie elsewhere when read as corners
    corners: int = 0  # of those, boxes that are their mask's corners
    areas: int = 0  # masks that are smaller than their box
    box_areas: list[int] = field(default_factory=list)  # of those, with the area of the box


def check_labels(
    labels: Labels,
    shape: Literal["segm", "bbox"] = "segm",
    skip_invalid: bool = False,
    scoring: bool = False,
) -> Problems:
    """Everything that an instances file itself can tell; no picture is opened.

    ``labels`` are mended where there is no doubt; the problems have a line that counts it.

    Args:
        labels: the file.
        shape: what every annotation must have, a mask (``segm``) or a box.
        skip_invalid: annotations and images that cannot be used are taken out of ``labels`` and
            listed, instead of being errors.
        scoring: no picture and no setting of a run is there, so messages name none.
    """
    check = _Check(labels, shape, scoring)
    check.look_at_heads()
    check.look_at_annotations()
    check.judge(skip_invalid)
    return check.found


class _Check:
    """One pass over an instances file."""

    def __init__(self, labels: Labels, shape: str, scoring: bool):
        self.labels = labels
        self.shape = shape
        self.scoring = scoring
        self.found = Problems()
        self.counts = _Counts()
        self.records: dict[int, dict] = {}
        self.bad_images: dict[int, str] = {}  # by position: the line
        self.bad_ids: set[int | None] = set()  # of such images
        self.invalid: dict[int, tuple[str, str]] = {}  # annotations by position: kind and line
        self.categories: dict[int, str] = {}
        self.skip = "" if scoring else SKIP

    def look_at_heads(self) -> None:
        """Images and categories."""
        labels = self.labels
        file = labels.file
        if not labels.images:
            line = f"{file}: lists no images; export it again with its images"
            self.found.add("no images", line)
        if not len(labels):
            line = f"{file}: holds no annotations; label some images first"
            self.found.add("no annotations", line)
        names = set()
        for position, record in enumerate(labels.images):
            if lacking := self._name_lacking(record):
                self.bad_images[position] = f"{file}: image number {position} {lacking}"
                self.bad_ids.add(record["id"] if type(record.get("id")) is int else None)
                continue
            if record["id"] in self.records:
                line = f"{file}: two images share an id, {record['id']}; give every image its own"
                self.found.add("image id twice", line)
            name = record.get("file_name")
            if name is not None and name in names:
                line = f"{file}: {show_value(name)} is listed twice, under different ids"
                self.found.add("name twice", line)
            self.records[record["id"]] = record
            names.add(name)
        self._look_at_categories()

    def _name_lacking(self, record: dict) -> str:
        kinds = {"id": int, "file_name": str, "width": int, "height": int}
        if self.scoring:
            del kinds["file_name"]
        wrong = [key for key, kind in kinds.items() if type(record.get(key)) is not kind]
        sides = [key for key in ("width", "height") if key not in wrong]
        wrong += [key for key in sides if not 0 < record[key] <= LARGEST_SIDE]
        if wrong == ["file_name"] and "coco_url" in record:
            said = "has a coco_url but no file_name, as LVIS has it"
            return f"{said}; add the last part of the URL as file_name"
        said = ", ".join(f"{key} ({show_value(record.get(key))})" for key in wrong)
        return f"has no usable {said}; export the file again" if wrong else ""

    def _look_at_categories(self) -> None:
        file = self.labels.file
        for position, category in enumerate(self.labels.categories):
            key = category.get("id")
            if type(key) is not int:
                said = f"category number {position} has the id {show_value(key)}"
                self.found.add("category record", f"{file}: {said}; give it a number")
                continue
            if key in self.categories:
                line = f"{file}: two categories share the id {key}; give each its own"
                self.found.add("category id twice", line)
            self.categories[key] = category["name"]

    def look_at_annotations(self) -> None:
        """All annotations, in batches."""
        known = self._known()
        while batch := list(islice(known, AT_ONCE)):
            self._measure(batch)
        # Only now: going through them made them be of COCO's kinds.
        for position, why in self.labels.unusable.items():
            where = f"{self.labels.file}: annotation number {position}"
            self.invalid[position] = (why.kind, f"{where} {why}")

    def _known(self) -> Iterator[_Row]:
        """Annotations with an image and a category."""
        for position, _, annotation in self.labels.usable(all_needed=False):
            where = f"{self.labels.file}: annotation {annotation.id}"
            if annotation.category_id not in self.categories:
                said = f"has the unknown category {annotation.category_id}; add the category"
                self.invalid[position] = ("unknown category", f"{where} {said}{self.skip}")
            self.counts.used.add(annotation.category_id)
            record = self.records.get(annotation.image_id)
            if record is None:
                if annotation.image_id not in self.bad_ids and None not in self.bad_ids:
                    said = f"belongs to image {annotation.image_id}, which is missing"
                    line = f"{where} {said}; remove it or add the image{self.skip}"
                    self.invalid[position] = ("missing image", line)
                continue
            found = self.counts.crowds if annotation.iscrowd else self.counts.objects
            found.add(annotation.image_id)
            size = (record["height"], record["width"])
            yield _Row(position, annotation, size, read_mask(annotation.segmentation, *size))

    def _measure(self, rows: list[_Row]) -> None:
        """Compare masks, boxes and areas of some annotations."""
        self.counts.measured += len(rows)
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

    def _judge_without_mask(self, row: _Row) -> None:
        fault = row.mask.fault
        if self.shape == "bbox":
            self._judge_box_alone(row)
        elif fault == masks.NO_MASK:
            said = f"{fault}; instance segmentation needs one for every object: draw it"
            self._refuse(row, "no mask", said)
        else:
            self._refuse(row, "broken mask", f"{fault}; draw or export it again")

    def _judge_box_alone(self, row: _Row) -> None:
        """A box without a mask: it must be one, and its area is its own where there is no other."""
        box = row.annotation.bbox
        if box is None or len(box) != 4:
            said = "has no box (bbox) of four numbers; export the file again with boxes"
            return self._refuse(row, "no box", said)
        height, width = row.size
        corners = find_corners(np.array([box], dtype=float))
        self.counts.relative += int(find_relative(corners, np.array([row.size]))[0])
        kept = clip_corners(corners, np.array([row.size]))[0]
        if min(box[2:]) < 0 or kept[0] >= kept[2] or kept[1] >= kept[3]:
            said = f"has the box {show_value(box)}, outside its image of {width} x {height}"
            return self._refuse(row, "box outside", f"{said} or without size; correct it")
        if (corners[0] != kept).any():
            self._clip_box(row)
        if not row.annotation.area or row.annotation.area <= 0:
            self._mend(row, "area from the box", area=float(np.prod(kept[2:] - kept[:2])))
        return None

    def _judge_outlines(self, rows: list[_Row]) -> None:
        """Masks given as polygons: painted only where something is in doubt."""
        outlines = masks.measure_outlines([row.mask.polygons or [] for row in rows])
        sizes = np.array([row.size for row in rows])
        far = masks.find_far(outlines.corners, sizes)
        for k in np.flatnonzero(far).tolist():
            height, width = rows[k].size
            said = f"has a point far outside its image of {width} x {height}; draw it again"
            self._refuse(rows[k], "broken mask", said)
        corners = clip_corners(outlines.corners, sizes)
        self.counts.relative += int(find_relative(outlines.corners, sizes)[~far].sum())
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

    def _judge_runs(self, rows: list[_Row]) -> None:
        """Masks given as run lengths: their pixels are counted without unpacking them."""
        runs = [row.mask.runs or {} for row in rows]
        damaged = masks.find_damaged(runs)
        for k in np.flatnonzero(damaged).tolist():
            self._refuse(rows[k], "broken mask", f"{masks.DAMAGED}; draw or export it again")
        whole = np.flatnonzero(~damaged).tolist()
        rows = [rows[k] for k in whole]
        painted = [masks.compress_mask({"segmentation": runs[k]}, *runs[k]["size"]) for k in whole]
        if rows:
            corners = find_corners(masks.box_masks(painted))
            self._count_habits(rows, _Given.read(rows), masks.measure_masks(painted), corners)
            self._settle(rows, painted)

    def _settle(self, rows: list[_Row], painted: list[dict]) -> None:
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
                self._refuse(row, "empty mask", _describe_empty(row))
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

    def _clip_box(self, row: _Row) -> None:
        x, y, width, height = row.annotation.bbox or (0.0, 0.0, 0.0, 0.0)
        rows, columns = row.size
        left = max(0.0, x)
        top = max(0.0, y)
        box = [left, top, min(x + width, columns) - left, min(y + height, rows) - top]
        self.found.boxes[row.annotation.id] = box
        self._mend(row, "box clipped to its image", bbox=box)

    def _count_habits(
        self, rows: list[_Row], given: _Given, areas: np.ndarray, corners: np.ndarray
    ) -> None:
        """Whether boxes are corners, and areas those of the boxes: habits of whoever wrote it."""
        as_corners = np.abs(given.boxes - corners).max(axis=1) <= _SAME
        as_box = np.abs(given.corners - corners).max(axis=1) <= _SAME
        self.counts.telling += int((corners[:, :2].max(axis=1) > 2 * _SAME).sum())
        self.counts.corners += int((as_corners & ~as_box).sum())
        products = given.boxes[:, 2] * given.boxes[:, 3]
        differ = np.abs(areas - products) > np.maximum(_TINY, 0.1 * products)
        of_box = differ & (np.abs(given.areas - products) <= 0.01 * products)
        self.counts.areas += int(differ.sum())
        self.counts.box_areas += [rows[k].position for k in np.flatnonzero(of_box).tolist()]

    def _mend(self, row: _Row, kind: str, **changes: object) -> None:
        self.labels.replace(row.position, changes)
        self.labels.mended.add("annotations", kind, row.position)

    def _refuse(self, row: _Row, kind: str, said: str) -> None:
        line = f"{self.labels.file}: annotation {row.annotation.id} {said}{self.skip}"
        self.invalid[row.position] = (kind, line)

    def judge(self, skip_invalid: bool) -> None:
        """What concerns the file as a whole; then the invalid entries are left out or reported."""
        about_all = self._judge_meaning()
        if about_all:
            self.found.add(*about_all)
        else:
            self._judge_crowds()
            self._mend_box_areas()
            self._note_what_is_rare()
            if skip_invalid:
                self._leave_out_invalid()
            else:
                self._report_invalid()
        if self.labels.mended:
            self.found.mended = f"{self.labels.file.name}: {self.labels.mended}"
            self.found.add("mended", self.found.mended)

    def _judge_meaning(self) -> tuple[str, str] | None:
        """Kind and line of a file whose values mean something else than COCO's."""
        counts = self.counts
        file = self.labels.file
        shifted = self._describe_shift()
        if shifted:
            return "unknown category", f"{file}: {shifted}"
        if 2 * counts.relative > counts.measured:
            said = f"{counts.relative:,} of {counts.measured:,} objects lie within 0..1"
            remedy = "multiply coordinates by the width and height of their images"
            return "relative coordinates", f"{file}: {said}, relative to the image; {remedy}"
        if 2 * counts.corners > counts.telling and counts.corners:
            said = f"{counts.corners:,} of {counts.measured:,} boxes are corners x0, y0, x1, y1"
            remedy = "write x, y, width, height"
            return "corners for box", f"{file}: {said}, as their masks show; {remedy}"
        return None

    def _judge_crowds(self) -> None:
        """Nothing but crowds: no training and no AP, though a library's caller may want that."""
        if self.counts.crowds and not self.counts.objects:
            said = f"all {self.counts.measured:,} annotations have iscrowd 1, so none is an object"
            self.found.all_crowds = f"{self.labels.file}: {said}; set iscrowd to 0"
            if not self.scoring:
                self.found.add("all crowds", self.found.all_crowds)

    def _describe_shift(self) -> str:
        """How categories of the annotations miss those of the list by one, if they do."""
        used = self.counts.used
        listed = set(self.categories)
        if not used or used <= listed:
            return ""
        for shift, side in ((1, "below"), (-1, "above")):
            if {category + shift for category in used} <= listed:
                said = f"the annotations' categories {min(used)} to {max(used)} are one {side}"
                return f"{said} those of the list; number one of them anew"
        return ""

    def _report_invalid(self) -> None:
        for line in self.bad_images.values():
            self.found.add("image record", line)
        empty = sum(kind == "empty mask" for kind, _ in self.invalid.values())
        for kind, line in self.invalid.values():
            if kind == "empty mask" and empty * RARE <= len(self.labels):
                kind = "rare empty mask"
            self.found.add(kind, line)

    def _leave_out_invalid(self) -> None:
        """Take what cannot be used out of the labels, and list it."""
        lines = [*self.bad_images.values(), *(line for _, line in self.invalid.values())]
        if not lines:
            return
        self.found.left_out = [line.removesuffix(self.skip) for line in lines]
        counted = f"{len(self.invalid):,} annotations and {len(self.bad_images):,} images"
        self.found.skipped = f"{self.labels.file.name}: left out {counted}"
        self.found.add("left out", self.found.skipped)
        self.labels.leave_out(self.invalid, self.bad_images)
        if not len(self.labels):
            line = f"{self.labels.file}: no annotation can be used; {lines[0].split(': ', 1)[1]}"
            self.found.add("no annotations", line.removesuffix(self.skip))

    def _mend_box_areas(self) -> None:
        """Areas from the masks, where a file has the boxes' instead for nearly all objects."""
        if len(self.counts.box_areas) < max(_HABIT, 0.9 * self.counts.areas):
            return
        for position in self.counts.box_areas:
            annotation = self.labels.read(position)
            record = self.records[annotation["image_id"]]
            if position in self.invalid:
                continue
            mask = masks.compress_mask(annotation, record["height"], record["width"])
            area = float(masks.measure_masks([mask])[0])
            if annotation.get("area") != area:
                self.labels.replace(position, {"area": area})
                self.labels.mended.add("annotations", "area from the mask", position)

    def _note_what_is_rare(self) -> None:
        file = self.labels.file
        add = self.found.add
        counts = self.counts
        if only := counts.crowds - counts.objects:
            said = f"image {min(only)} holds crowds only; it trains as an image without objects"
            add("crowds only", f"{file}: {said}", len(only))
        unused = {key: name for key, name in self.categories.items() if key not in counts.used}
        if unused:
            name = show_value(min(unused.values()))
            add("unused category", f"{file}: no object of the category {name}", len(unused))
        self._judge_names(unused)
        images = len(self.labels.images)
        empty = images - len(counts.objects | counts.crowds)
        if empty > 0 and not self.bad_images and not self.invalid:
            said = f"{empty:,} of {images:,} images hold no annotation; they stay, as images in "
            add("empty images", f"{file}: {said}which there is nothing to find")

    def _judge_names(self, unused: dict[int, str]) -> None:
        """Two categories of one name are told apart where one of them is of no object."""
        ids: dict[str, list[int]] = defaultdict(list)
        for key, name in self.categories.items():
            ids[name].append(key)
        for name, keys in ids.items():
            used = [key for key in keys if key not in unused]
            if len(used) > 1:
                said = f"the categories {used[0]} and {used[1]} are both called {show_value(name)}"
                line = f"{self.labels.file}: {said}; give each its own name"
                self.found.add("category name twice", line)
            elif len(keys) > 1:
                self._rename_unused(keys, used or keys[:1])

    def _rename_unused(self, keys: list[int], kept: list[int]) -> None:
        for position, category in enumerate(self.labels.categories):
            if category.get("id") in keys and category["id"] not in kept:
                renamed = category | {"name": f"{category['name']} ({category['id']})"}
                self.labels.categories[position] = renamed
                self.labels.mended.add("categories", "name used twice", position)


def check_folder(data: Path, folder: Path, labels: Labels, each: Callable[[], object]) -> Problems:
    """``check_labels``, and every picture decoded and compared with its record.

    Args:
        data: the data folder.
        folder: of the pictures, below it.
        labels: the instances file.
        each: called after each picture.
    """
    found = check_labels(labels)
    listed = set()
    for record in labels.images:
        name = record.get("file_name")
        if isinstance(name, str):
            listed.add((data / folder / name).resolve())
            check_image(found, data / folder / name, record)
        each()
    unlisted = [path for path in list_images(data / folder) if path.resolve() not in listed]
    if unlisted and folder != Path("."):
        said = f"not in {labels.file.name}, so it is used by nothing but pretraining"
        found.add("unlisted files", f"{unlisted[0]}: {said} from that folder", len(unlisted))
    return found


def check_image(found: Problems, path: Path, record: dict) -> None:
    """Decode one picture: better now than in mid-training."""
    if not path.is_file():
        said = "no such file; put the image there or take it out of the annotations"
        found.add("no file", f"{path}: {said}")
        return
    size = check_decodes(found, path)
    if size is None:
        return
    height, width = size
    if (height, width) != (record.get("height"), record.get("width")):
        said = f"is {width} x {height}, its annotations say {record.get('width')} x "
        said += f"{record.get('height')}; {explain_size(path, record)}"
        found.add("wrong size", f"{path}: {said}")


def check_decodes(found: Problems, path: Path) -> tuple[int, int] | None:
    """Height and width of a picture; None, and a problem more, where it does not decode."""
    try:
        height, width = read_image(path).shape[:2]
    except UserError as error:
        found.add("unreadable", str(error))
        return None
    return height, width
