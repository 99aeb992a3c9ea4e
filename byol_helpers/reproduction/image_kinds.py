"""What was measured on real sets of other kinds of images, for claim C14.

No run of the thesis's experiment can test that claim: each kind of image needs images of its own.
Notebook 08 measures it where the sets lie; ``image_kinds.csv`` beside this file holds one such
measurement. A row compares BYOL's features with those of another start: the IoU of the foreground
that a linear layer finds in them, averaged over test images.
"""

import csv
from pathlib import Path
from typing import Any

from byol_helpers.core.arms import label_arm
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_rows
from byol_helpers.reproduction.measures import ABOVE, Measure

PUBLISHED = Path(__file__).with_name("image_kinds.csv")
KIND_NUMBERS = ("value", "low", "high")  # IoU points: BYOL minus the other, and its 95 % interval
KIND_COUNTS = ("unlabelled", "train", "test", "steps")  # images, and steps of pretraining
KIND_COLUMNS: tuple[str, ...] = ("kind", "set", "other", *KIND_NUMBERS, *KIND_COUNTS)


def read_image_kinds(path: Path = PUBLISHED) -> list[dict[str, Any]]:
    """The rows of the table, numbers as numbers; ``UserError`` where it is not such a table."""
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != KIND_COLUMNS:
            raise UserError(
                f"{path}: its columns are not {', '.join(KIND_COLUMNS)}; measure it again"
            )
        for row in reader:
            numbers = {name: float(row[name]) for name in KIND_NUMBERS}
            counts = {name: int(row[name]) for name in KIND_COUNTS}
            rows.append(row | numbers | counts)
    return rows


def write_image_kinds(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write such a table: numbers in IoU points with three digits."""
    written = [row | {name: f"{row[name]:.3f}" for name in KIND_NUMBERS} for row in rows]
    return write_rows(path, KIND_COLUMNS, written)


def make_measure(row: dict[str, Any]) -> Measure:
    """A row as a test of the claim: BYOL's features are better than the other's. One pretraining
    each."""
    name = f"{row['kind']} ({row['set']}): BYOL - {label_arm(row['other'])}"
    bounds = (row["low"], row["high"])
    return Measure(name, None, row["value"], bounds, ABOVE, unit="IoU points", trainings=1)
