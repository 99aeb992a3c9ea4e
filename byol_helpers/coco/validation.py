"""What is wrong with an instances file: every problem in one go, the most important first.

A problem is one line with its place, the remedy, and how many more there are of its kind. Errors
would break a training or give numbers without meaning; notes are worth knowing. What can only mean
one thing is mended in the file as read (``Labels``) and counted: areas and boxes from the masks,
stray parts of polygons, boxes over the edge.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from byol_helpers.coco.agreement import Agreement, Row
from byol_helpers.coco.annotations import Labels
from byol_helpers.coco.images import explain_size, list_images, read_image
from byol_helpers.coco.normalisation import LARGEST_SIDE, show_value
from byol_helpers.coco.problems import Problems
from byol_helpers.core.errors import UserError

AT_ONCE = 500  # masks measured together, to bound the memory
RARE = 1000  # one mask without pixels among so many is a note: COCO's train2017 has such, too
FOLLOW_UP = "follow-up"  # kind of what is wrong only because something else is
SKIP = ", or leave such out with data.skip_invalid=true"


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
        self.agreement = Agreement(labels, shape, "" if scoring else SKIP, self.found)
        self.habits = self.agreement.habits
        self.invalid = self.agreement.invalid
        self.with_objects: set[int] = set()  # ids of images
        self.with_crowds: set[int] = set()
        self.used: set[int] = set()  # ids of categories
        self.records: dict[int, dict] = {}
        self.bad_images: dict[int, str] = {}  # by position: the line
        self.bad_ids: set[int | None] = set()  # of such images
        self.categories: dict[int, str] = {}
        self.bad_categories = False  # whether some have no usable id
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
                self.bad_images[position] = f"{file}: image number {position} {lacking}{self.skip}"
                self.bad_ids.add(record["id"] if type(record.get("id")) is int else None)
                continue
            if record["id"] in self.records:
                line = f"{file}: two images share an id, {record['id']}; give every image its own"
                self.found.add("image id twice", line)
            name = record.get("file_name")
            if isinstance(name, str) and name in names:
                line = f"{file}: {show_value(name)} is listed twice, under different ids"
                self.found.add("name twice", line)
            self.records[record["id"]] = record
            names.add(str(name))
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
                self.bad_categories = True
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
            self.agreement.compare(batch)
        # Only now: going through them made them be of COCO's kinds.
        for position, why in self.labels.unusable.items():
            where = f"{self.labels.file}: annotation number {position}"
            self.invalid[position] = (why.kind, f"{where} {why}{self.skip}")

    def _known(self) -> Iterator[Row]:
        """Annotations with an image and a category."""
        for position, _, annotation in self.labels.usable(all_needed=False):
            if annotation.category_id not in self.categories and not self.bad_categories:
                said = f"has the unknown category {annotation.category_id}; add the category"
                line = f"{self.labels.file}: annotation {annotation.id} {said}{self.skip}"
                self.invalid[position] = ("unknown category", line)
            self.used.add(annotation.category_id)
            record = self.records.get(annotation.image_id)
            if record is None:
                said = f"belongs to image {annotation.image_id}, which is missing"
                line = f"{self.labels.file}: annotation {annotation.id} {said}; remove it or add "
                line += f"the image{self.skip}"
                follows = annotation.image_id in self.bad_ids or None in self.bad_ids
                self.invalid[position] = (FOLLOW_UP if follows else "missing image", line)
                continue
            found = self.with_crowds if annotation.iscrowd else self.with_objects
            found.add(annotation.image_id)
            size = (record["height"], record["width"])
            yield self.agreement.read(position, annotation, size)

    def judge(self, skip_invalid: bool) -> None:
        """What concerns the file as a whole; then the invalid entries are left out or reported."""
        about_all = self._judge_meaning()
        if about_all:
            self.found.add(*about_all)
        else:
            self._judge_crowds()
            self.agreement.mend_box_areas(self.records)
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
        file = self.labels.file
        habits = self.habits
        shifted = self._describe_shift()
        if shifted:
            return "unknown category", f"{file}: {shifted}"
        if 2 * habits.relative > habits.measured:
            said = f"{habits.relative:,} of {habits.measured:,} objects lie within 0..1"
            remedy = "multiply coordinates by the width and height of their images"
            return "relative coordinates", f"{file}: {said}, relative to the image; {remedy}"
        if 2 * habits.corners > habits.telling and habits.corners:
            said = f"{habits.corners:,} of {habits.measured:,} boxes are corners x0, y0, x1, y1"
            remedy = "write x, y, width, height"
            return "corners for box", f"{file}: {said}, as their masks show; {remedy}"
        return None

    def _judge_crowds(self) -> None:
        """Nothing but crowds: no training and no AP, though a library's caller may want that."""
        if self.with_crowds and not self.with_objects:
            said = f"all {self.habits.measured:,} annotations have iscrowd 1, so none is an object"
            self.found.all_crowds = f"{self.labels.file}: {said}; set iscrowd to 0"
            if not self.scoring:
                self.found.add("all crowds", self.found.all_crowds)

    def _describe_shift(self) -> str:
        """How categories of the annotations miss those of the list by one, if they do."""
        used = self.used
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
            if kind != FOLLOW_UP:
                self.found.add(kind, line)

    def _leave_out_invalid(self) -> None:
        """Take what cannot be used out of the labels, and list it."""
        lines = [*self.bad_images.values(), *(line for _, line in self.invalid.values())]
        if not lines:
            return
        self.labels.left_out += [line.removesuffix(self.skip) for line in lines]
        self.labels.leave_out(self.invalid, self.bad_images)
        if not len(self.labels):
            line = self.labels.left_out[0].removeprefix(f"{self.labels.file}: ")
            self.found.add("no annotations", f"{self.labels.file}: none is left, as {line}")

    def _note_what_is_rare(self) -> None:
        file = self.labels.file
        add = self.found.add
        if only := self.with_crowds - self.with_objects:
            said = f"image {min(only)} holds crowds only; it trains as an image without objects"
            add("crowds only", f"{file}: {said}", len(only))
        unused = {key: name for key, name in self.categories.items() if key not in self.used}
        if unused:
            name = show_value(min(unused.values()))
            add("unused category", f"{file}: no object of the category {name}", len(unused))
        self._judge_names(unused)
        images = len(self.labels.images)
        empty = images - len(self.with_objects | self.with_crowds)
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


def check_folder(
    data: Path,
    folder: Path,
    labels: Labels,
    each: Callable[[], object],
    skip_invalid: bool = False,
) -> Problems:
    """``check_labels``, and every picture decoded and compared with its record.

    Args:
        data: the data folder.
        folder: of the pictures, below it.
        labels: the instances file.
        each: called after each picture.
        skip_invalid: what cannot be used is listed in the labels' ``left_out``, and no error.
    """
    found = check_labels(labels, skip_invalid=skip_invalid)
    listed = set()
    invalid = []
    for position, record in enumerate(labels.images):
        name = record.get("file_name")
        if isinstance(name, str):
            listed.add((data / folder / name).resolve())
            own = Problems() if skip_invalid else found
            check_image(own, data / folder / name, record)
            if skip_invalid:
                labels.left_out += list_left_out(own)
                invalid += [position] if own.errors() else []
        each()
    if invalid:
        labels.leave_out((), invalid)
    if labels.left_out:
        found.add("left out", f"{labels.file.name}: {describe_left_out(labels.left_out)}")
    unlisted = [path for path in list_images(data / folder) if path.resolve() not in listed]
    if unlisted and folder != Path("."):
        said = f"not in {labels.file.name}, so it is used by nothing but pretraining"
        found.add("unlisted files", f"{unlisted[0]}: {said} from that folder", len(unlisted))
    return found


def list_left_out(found: Problems) -> list[str]:
    """The errors as lines on what was left out because of them."""
    return [line.removesuffix(SKIP) for line in found.errors()]


def describe_left_out(lines: list[str]) -> str:
    """How many entries and images were left out, and the first of them."""
    return f"{len(lines):,} left out as invalid, the first: {lines[0]}"


def check_image(found: Problems, path: Path, record: dict) -> None:
    """Decode one picture: better now than in mid-training."""
    if not path.is_file():
        said = "no such file; put the image there or take it out of the annotations"
        found.add("no file", f"{path}: {said}{SKIP}")
        return
    size = check_decodes(found, path)
    if size is None:
        return
    height, width = size
    given = (record.get("height"), record.get("width"))
    if (height, width) != given and all(type(side) is int for side in given):
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
