"""What is wrong with an instances file: every problem in one go, the most important first.

A problem is one line with its place, the remedy, and how many more there are of its kind. Errors
would break a training or give numbers without meaning; notes are worth knowing.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import msgspec

from byol_helpers.coco.annotations import Annotation, Labels
from byol_helpers.coco.images import list_images, read_image
from byol_helpers.core.errors import UserError

ROUNDING = 1.0  # pixels that a box may leave its image by; it is clipped then
Segmentation = list[list[float]] | dict[str, msgspec.Raw]

ERRORS = (
    "no images",
    "no annotations",
    "image record",
    "image id twice",
    "category id twice",
    "annotation id twice",
    "missing image",
    "unknown category",
    "no file",
    "unreadable",
    "wrong size",
    "no mask",
    "broken mask",
    "no box",
    "box outside",
    "no area",
)
NOTES = (
    "box clipped",
    "flat box",
    "name twice",
    "crowds only",
    "unused category",
    "empty images",
    "unlisted files",
)


class Problems:
    """A collection of problems, and the boxes that were clipped: ``bbox`` by annotation id."""

    def __init__(self):
        self._first, self._count, self.boxes = {}, defaultdict(int), {}

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
        found = [(self._first[kind], self._count[kind]) for kind in kinds if kind in self._first]
        return [
            line + (f" (and {count - 1:,} more like it)" if count > 1 else "")
            for line, count in found
        ]


def check_labels(labels: Labels) -> Problems:
    """Everything that an instances file itself can tell; no picture is opened."""
    found, file = Problems(), labels.file
    if not labels.images:
        found.add("no images", f"{file}: lists no images; export it again with its images")
    if not len(labels):
        found.add("no annotations", f"{file}: holds no annotations; label some images first")
    records = _records(found, labels)
    categories, seen = _categories(found, labels), set()
    single, crowds, used = set(), set(), set()
    for _, annotation in labels:
        where = f"{file}: annotation {annotation.id}"
        if annotation.id in seen:
            found.add(
                "annotation id twice", f"{where} is there twice; give every annotation its own id"
            )
        seen.add(annotation.id)
        if annotation.category_id not in categories:
            found.add(
                "unknown category",
                f"{where} has the unknown category {annotation.category_id}; add the category",
            )
        if annotation.image_id not in records:
            found.add(
                "missing image",
                f"{where} belongs to image {annotation.image_id}, which is missing; remove it "
                "or add the image",
            )
            continue
        _check_annotation(found, annotation, records[annotation.image_id], where)
        (crowds if annotation.iscrowd else single).add(annotation.image_id)
        used.add(annotation.category_id)
    _note_what_is_rare(found, labels, categories, single, crowds, used)
    return found


def check_folder(data: Path, folder: Path, labels: Labels, each: Callable[[], object]) -> Problems:
    """``check_labels``, and every picture decoded and compared with its record.

    Args:
        data: the data folder.
        folder: of the pictures, below it.
        labels: the instances file.
        each: called after each picture.
    """
    found, listed = check_labels(labels), set()
    for record in labels.images:
        name = record.get("file_name")
        if isinstance(name, str):
            listed.add((data / folder / name).resolve())
            check_image(found, data / folder / name, record)
        each()
    unlisted = [path for path in list_images(data / folder) if path.resolve() not in listed]
    if unlisted and folder != Path("."):
        found.add(
            "unlisted files",
            f"{unlisted[0]}: not in {labels.file.name}, so it is used by nothing but "
            "pretraining from that folder",
            len(unlisted),
        )
    return found


def check_image(found: Problems, path: Path, record: dict) -> None:
    """Decode one picture: better now than in mid-training."""
    if not path.is_file():
        found.add(
            "no file",
            f"{path}: no such file; put the image there or take it out of the annotations",
        )
        return
    size = check_decodes(found, path)
    if size is None:
        return
    height, width = size
    if (height, width) != (record.get("height"), record.get("width")):
        found.add(
            "wrong size",
            f"{path}: is {width} x {height}, its annotations say {record.get('width')} x "
            f"{record.get('height')}; rotate or resize it back",
        )


def check_decodes(found: Problems, path: Path) -> tuple[int, int] | None:
    """Height and width of a picture; None, and a problem more, where it does not decode."""
    try:
        return read_image(path).shape[:2]
    except UserError as error:
        found.add("unreadable", str(error))
        return None


def _records(found: Problems, labels: Labels) -> dict[int, dict]:
    """Image records by id, those without their fields reported and left out."""
    records, names = {}, set()
    for number, record in enumerate(labels.images):
        wrong = [
            key
            for key, kind in (("id", int), ("file_name", str), ("width", int), ("height", int))
            if not isinstance(record.get(key), kind)
        ]
        if wrong:
            found.add(
                "image record",
                f"{labels.file}: image number {number} has no usable {', '.join(wrong)}; export "
                "the file again",
            )
            continue
        if record["id"] in records:
            found.add(
                "image id twice",
                f"{labels.file}: two images share an id, {record['id']}; give every image its own",
            )
        if record["file_name"] in names:
            found.add(
                "name twice",
                f"{labels.file}: {record['file_name']} is listed twice, under different ids",
            )
        records[record["id"]] = record
        names.add(record["file_name"])
    return records


def _categories(found: Problems, labels: Labels) -> dict[int, str]:
    categories = {}
    for category in labels.categories:
        key = category.get("id")
        if key in categories:
            found.add(
                "category id twice",
                f"{labels.file}: two categories share the id {key}; give each its own",
            )
        categories[key] = category.get("name", str(key))
    return categories


def _check_annotation(found: Problems, annotation: Annotation, record: dict, where: str) -> None:
    if problem := mask_problem(annotation.segmentation, record):
        kind = "no mask" if problem == "has no mask" else "broken mask"
        remedy = (
            "instance segmentation needs one for every object"
            if kind == "no mask"
            else "draw or export it again"
        )
        found.add(
            kind, f"{where} {problem}{' (segmentation)' if kind == 'no mask' else ''}; {remedy}"
        )
    if annotation.area is None:
        found.add(
            "no area", f"{where} has no area; export the file again with the pixels of each mask"
        )
    if annotation.bbox is None or len(annotation.bbox) != 4:
        found.add(
            "no box", f"{where} has no box (bbox) of four numbers; export the file again with boxes"
        )
        return
    x, y, width, height = annotation.bbox
    beyond = max(-x, -y, x + width - record["width"], y + height - record["height"])
    if beyond > ROUNDING or not beyond == beyond:
        found.add(
            "box outside",
            f"{where} has the box {annotation.bbox}, {beyond:g} pixels outside its image of "
            f"{record['width']} x {record['height']}; correct it",
        )
    elif beyond > 0:
        left, top = max(0.0, x), max(0.0, y)
        found.boxes[annotation.id] = [
            left,
            top,
            min(x + width, record["width"]) - left,
            min(y + height, record["height"]) - top,
        ]
        found.add(
            "box clipped", f"{where} has a box {beyond:.2g} pixels outside its image; it is clipped"
        )
    if min(width, height) <= 0:
        found.add("flat box", f"{where} has a box without {'width' if width <= 0 else 'height'}")


def mask_problem(text: msgspec.Raw, record: dict) -> str:
    """What is wrong with a segmentation of an image with ``height`` and ``width``.

    Empty where nothing is.
    """
    try:
        mask = msgspec.json.decode(text, type=Segmentation | None)
        if not mask:
            return "has no mask"
        if isinstance(mask, list):
            short = min(len(polygon) for polygon in mask)
            return (
                "has a polygon of fewer than three points"
                if short < 6 or any(len(p) % 2 for p in mask)
                else ""
            )
        size = msgspec.json.decode(mask["size"], type=tuple[int, int])
        counts = msgspec.json.decode(mask["counts"], type=list[int] | str)
    except (msgspec.MsgspecError, KeyError):
        return "has a mask that is neither polygons nor run lengths"
    if size != (record["height"], record["width"]):
        return f"has a mask of {size[1]} x {size[0]} for an image of {record['width']} x {record['height']}"
    lengths = unpacked(counts) if isinstance(counts, str) else counts
    whole = (
        lengths is not None and min(lengths, default=-1) >= 0 and sum(lengths) == size[0] * size[1]
    )
    return "" if whole else "has run lengths that do not fill its mask"


def unpacked(text: str) -> list[int] | None:
    """Run lengths of COCO's packed string.

    None where it is broken (pycocotools would read beyond it).
    """
    counts, value, shift = [], 0, 0
    for bits in (character - 48 for character in text.encode()):
        if not 0 <= bits < 64 or shift > 30:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return None if shift else counts


def _note_what_is_rare(
    found: Problems, labels: Labels, categories: dict, single: set, crowds: set, used: set
) -> None:
    file = labels.file
    if only := crowds - single:
        found.add(
            "crowds only",
            f"{file}: image {min(only)} holds crowds only; it trains as an image without objects",
            len(only),
        )
    if absent := sorted(str(name) for key, name in categories.items() if key not in used):
        found.add("unused category", f"{file}: no object of the category {absent[0]}", len(absent))
    empty = len(labels.images) - len(single | crowds)
    if empty > 0:
        found.add(
            "empty images",
            f"{file}: {empty:,} of {len(labels.images):,} images hold no annotation; they stay, "
            "as images in which there is nothing to find",
        )
