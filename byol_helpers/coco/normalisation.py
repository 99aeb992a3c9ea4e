"""One kind of each value in a COCO file, however it is spelled: ids, sizes, crowds, numbers.

What can only mean one thing is mended and counted. What could mean two is left, and named by
``validation``.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

LARGEST_ID = 2**63 - 1
LARGEST_SIDE = 100_000  # pixels; pycocotools counts those of a picture in 32 bits
_CROWD = {"true": 1, "false": 0, "1": 1, "0": 0, "1.0": 1, "0.0": 0, "": 0, "none": 0, "null": 0}

_FLOAT = re.ASCII | re.IGNORECASE

ImageRecord = dict[str, Any]


class Unusable(Exception):
    """An entry that cannot be mended: its kind (one of ``validation.ERRORS``), and what it has."""

    def __init__(self, kind: str, why: str):
        super().__init__(why)
        self.kind = kind
        self.why = why


class Mended:
    """How many entries of a file were mended, and of what."""

    def __init__(self):
        self._entries: dict[str, set[int]] = {}
        self._kinds: dict[str, Counter[str]] = {}

    def add(self, entries: str, kind: str, position: int) -> None:
        """One more entry of a list (``images``, ``annotations``, ...), named by its position."""
        self._entries.setdefault(entries, set()).add(position)
        self._kinds.setdefault(entries, Counter())[kind] += 1

    def __bool__(self) -> bool:
        return bool(self._entries)

    def __str__(self) -> str:
        """For example ``mended 24 annotations: area from the mask 24, iscrowd as 0 or 1 3``."""
        said = []
        for entries, positions in self._entries.items():
            kinds = ", ".join(f"{kind} {n:,}" for kind, n in self._kinds[entries].items())
            noun = entries if len(positions) > 1 else _singular(entries)
            said.append(f"{len(positions):,} {noun}: {kinds}")
        return "mended " + "; ".join(said)


def _singular(entries: str) -> str:
    return {"categories": "category", "entries": "entry"}.get(entries, entries.removesuffix("s"))


def as_whole_number(value: object) -> int | None:
    """7, 7.0, "7" and "7.0" as 7; None for anything else."""
    if isinstance(value, str) and "e" in value.lower():
        return None  # a name, as 1e5 may be one of the hexadecimal kind
    number = as_number(value)
    if number is None or number != math.floor(number) or abs(number) > LARGEST_ID:
        return None
    return int(number)


def as_number(value: object) -> int | float | None:
    """A finite number, also one written as text; None for anything else."""
    if isinstance(value, str):
        value = _read_number(value.strip())
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None


def _read_number(text: str) -> int | float | None:
    if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII):
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?\d+\.?\d*(e[+-]?\d+)?", text, _FLOAT) else None


def as_crowd(value: object) -> int | None:
    """``iscrowd`` as 0 or 1, from true, false, null, 0.0, "0", ...; None for anything else."""
    if value is None:
        return 0
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        return _CROWD.get(value.strip().lower())
    number = as_whole_number(value)
    return number if number in (0, 1) else None


class Ids:
    """Ids of one list as whole numbers: 1, 1.0 and "1" are one id; names are numbered from 1.

    Args:
        values: the ids as the file has them.
        aliases: gives other names of the entries, with their positions, for references that hold no
            id; a name that two entries share stands for neither.
    """

    def __init__(self, values: list[Any], aliases: Callable[[], Iterable[tuple[str, int]]]):
        self._list_aliases = aliases
        self._names: dict[str, int] = {}
        self.numbers: list[int | None] = values
        self.changed = False  # whether some ids were other than whole numbers
        if all(type(value) is int and abs(value) <= LARGEST_ID for value in values):
            return
        self.changed = True
        self.numbers = [as_whole_number(value) for value in values]
        names = [value for value in values if _is_name(value)]
        if any(as_whole_number(name) is None for name in names):
            self._names = {name: k for k, name in enumerate(dict.fromkeys(map(_text, names)), 1)}
            self.numbers = [self._named(value) for value in values]

    @property
    def named(self) -> bool:
        """Whether some ids are names, which were given numbers."""
        return bool(self._names)

    @cached_property
    def known(self) -> set[int]:
        """All ids there are."""
        return {number for number in self.numbers if number is not None}

    @cached_property
    def _aliases(self) -> dict[str, int | None]:
        found: dict[str, int | None] = {}
        for alias, position in self._list_aliases():
            number = self.numbers[position]
            if found.setdefault(alias, number) != number:
                found[alias] = None
        return found

    def find(self, value: object) -> int | None:
        """The number of a reference by id, whether or not there is an entry of it; else None."""
        return self._named(value) if self._names else as_whole_number(value)

    def find_alias(self, value: object) -> int | None:
        """The number of the entry that a reference means by another of its names; else None."""
        if not isinstance(value, (str, int)):
            return None
        return self._aliases.get(str(value).strip())

    def find_known(self, value: object) -> int | None:
        """The number of a reference by id, or else by another name; None where there is none."""
        number = self.find(value)
        return number if number in self.known else self.find_alias(value)

    def _named(self, value: object) -> int | None:
        return self._names.get(_text(value)) if _is_name(value) else None


def _is_name(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != ""


def _text(value: Any) -> str:
    number = as_whole_number(value)
    return str(value).strip() if number is None else str(number)


def iterate_file_names(images: Sequence[ImageRecord]) -> Iterator[tuple[str, int]]:
    """What an image may be called beside its id: its file name, without folders, without ending.

    Ultralytics writes the stem, and a stem of digits as a number: 000139.jpg as 139.
    """
    for position, record in enumerate(images):
        name = record.get("file_name")
        if not isinstance(name, str):
            continue
        path = PurePosixPath(name.replace("\\", "/"))
        spelled = {name, path.name, path.stem}
        number = as_whole_number(path.stem) if path.stem.isdigit() else None
        if number is not None:
            spelled.add(str(number))
        for alias in spelled:
            yield alias, position


def normalise_images(images: list[ImageRecord], mended: Mended) -> tuple[list[ImageRecord], Ids]:
    """Records with whole numbers where they stand for such, and their ids.

    What is no id or no size stays as it is.
    """
    ids = Ids([record.get("id") for record in images], lambda: iterate_file_names(images))
    normal = list(images)
    for position in _find_odd_records(images, ids):
        record = images[position]
        changes: dict[str, Any] = {}
        if _replace(record, "id", ids.numbers[position], changes):
            mended.add("images", "id as a number", position)
        sides = [key for key in ("width", "height") if type(record.get(key)) is not int]
        if any([_replace(record, key, _as_side(record.get(key)), changes) for key in sides]):
            mended.add("images", "width and height as whole numbers", position)
        normal[position] = record | changes
    return normal, ids


def _find_odd_records(images: list[ImageRecord], ids: Ids) -> list[int]:
    """Positions of the records some field of which is no whole number."""
    odd = []
    for position, record in enumerate(images):
        if type(record.get("width")) is not int or type(record.get("height")) is not int:
            odd.append(position)
        elif ids.changed:
            odd.append(position)
    return odd


def _as_side(value: object) -> int | None:
    number = as_whole_number(value)
    return number if number is not None and 0 < number <= LARGEST_SIDE else None


def _replace(entry: Mapping[str, Any], key: str, value: Any, changes: dict[str, Any]) -> bool:
    """Note a value for an entry where it is one and not there already; whether it was noted."""
    if value is None or (type(entry.get(key)) is type(value) and entry[key] == value):
        return False
    changes[key] = value
    return True


def normalise_categories(
    categories: list[dict[str, Any]], mended: Mended
) -> tuple[list[dict[str, Any]], Ids]:
    """Categories with numbers as ids and texts as names, and their ids."""
    names = [(str(category.get("name")), k) for k, category in enumerate(categories)]
    ids = Ids([category.get("id") for category in categories], lambda: names)
    normal = []
    for position, category in enumerate(categories):
        changes: dict[str, Any] = {}
        if _replace(category, "id", ids.numbers[position], changes):
            mended.add("categories", "id as a number", position)
        name = category.get("name")
        if isinstance(name, str) and not name.strip():
            name = None
        if name is None:
            changes["name"] = f"category {ids.numbers[position]}"
            mended.add("categories", "name from the id", position)
        elif not isinstance(name, str):
            changes["name"] = str(name)
            mended.add("categories", "name as text", position)
        normal.append(category | changes if changes else category)
    return normal, ids


def normalise_annotation(
    entry: object, images: Ids, categories: Ids
) -> tuple[dict[str, Any], list[str]]:
    """An annotation whose fields are of the kinds that COCO's have, and what was mended.

    Its own id is None where it is none: ids are given to all annotations together.

    Raises:
        Unusable: there is something that it cannot do without, or that cannot be meant.
    """
    if not isinstance(entry, dict):
        raise Unusable("annotation record", "is no object with fields")
    changes: dict[str, Any] = {}
    kinds = []
    image = _find(entry, "image_id", images)
    category = _find(entry, "category_id", categories)
    own = as_whole_number(entry.get("id"))
    found = [
        _replace(entry, "image_id", image, changes),
        _replace(entry, "category_id", category, changes),
        _replace(entry, "id", own, changes),
    ]
    if any(found):
        kinds.append("ids as numbers")
    if own is None:
        changes["id"] = None
    if "iscrowd" in entry:
        crowd = as_crowd(entry["iscrowd"])
        if crowd is None:
            said = f"has the iscrowd {show_value(entry['iscrowd'])}; give 0, or 1 for a crowd"
            raise Unusable("annotation record", said)
        if _replace(entry, "iscrowd", crowd, changes):
            kinds.append(f"iscrowd as {_name_spelling(entry['iscrowd'])}")
    area = as_number(entry.get("area"))
    if isinstance(entry.get("area"), str) and area is not None:
        kinds.append("area as a number")
    if not _is_number(entry.get("area")):
        changes["area"] = area
    box = as_box(entry.get("bbox"))
    if box != entry.get("bbox"):
        if box is not None:
            kinds.append("box as numbers")
        changes["bbox"] = box
    mask = entry.get("segmentation")
    plain = as_mask(mask)
    if plain is not mask:
        kinds.append("mask as numbers")
        changes["segmentation"] = plain
    return entry | changes, kinds


def _name_spelling(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    return "null" if value is None else "text" if isinstance(value, str) else "a float"


def _find(entry: Mapping[str, Any], key: str, ids: Ids) -> int:
    value = entry.get(key)
    number = ids.find_known(value)
    if number is None:
        number = ids.find(value)  # a number that is not in the list is named later
    if number is None and value is None:
        raise Unusable("annotation record", f"has no {key}; export the file again")
    if number is None:
        said = "image" if key == "image_id" else "category"
        kind = "missing image" if key == "image_id" else "unknown category"
        raise Unusable(kind, f"has the {key} {show_value(value)}, which is no {said} of the file")
    return number


def _is_number(value: object) -> bool:
    return value is None or (not isinstance(value, (str, bool)) and as_number(value) is not None)


def as_box(value: object) -> list[int | float] | None:
    """Four finite numbers, some perhaps written as text; None for anything else."""
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        return None
    numbers = [as_number(part) for part in value]
    return None if None in numbers else numbers  # type: ignore[return-value]


def as_mask(mask: object) -> object:
    """A segmentation with numbers in place of texts; what has another form stays as it is.

    Raises:
        Unusable: NaN or infinity among the numbers.
    """
    if isinstance(mask, list) and mask and all(isinstance(part, list) for part in mask):
        if not any(isinstance(v, (list, dict)) for part in mask for v in part):
            return _as_polygons(mask)
    if isinstance(mask, dict) and isinstance(mask.get("size"), list):
        plain = dict(mask)
        for key in ("size", "counts"):
            values = mask.get(key)
            if isinstance(values, list):
                numbers = [as_whole_number(value) for value in values]
                plain[key] = values if None in numbers else numbers
        same = all(_same(mask.get(key), plain.get(key)) for key in ("size", "counts"))
        return mask if same else plain
    return mask


def _as_polygons(mask: list[list[Any]]) -> list[list[Any]]:
    values = [value for part in mask for value in part]
    if all(type(value) in (int, float) for value in values):
        if any(as_number(value) is None for value in values):
            raise Unusable("broken mask", "has a mask with NaN or infinity; draw it again")
        return mask
    numbers = [[as_number(value) for value in part] for part in mask]
    return mask if any(None in part for part in numbers) else numbers


def write_counts_as_text(mask: Any) -> Any:
    """pycocotools' own run lengths are bytes, those of a file are text."""
    if isinstance(mask, dict) and isinstance(mask.get("counts"), bytes):
        return mask | {"counts": mask["counts"].decode("latin-1")}
    return mask


def _same(first: object, second: object) -> bool:
    if isinstance(first, list) and isinstance(second, list):
        kinds = [type(value) for value in first] == [type(value) for value in second]
        return kinds and first == second
    return first is second


def show_value(value: object) -> str:
    """A value in a message: short, on one line."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
