"""Photographs made ready by the stage prepare: decoded once, and kept with their classes.

``data/photographs`` of a run holds those for training as one file of bytes and ``photographs.csv``,
``data/held-out`` those that only the probes ask.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from byol_helpers.coco.class_folders import Photograph
from byol_helpers.coco.images import read_image
from byol_helpers.coco.pixel_cache import DecodedImages, open_pixels, write_pixels
from byol_helpers.coco.resized_cache import UNREADABLE
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing
from byol_helpers.core.progress import Progress
from byol_helpers.core.stage import Run

TRAINING_FOLDER = "photographs"
HELD_OUT_FOLDER = "held-out"
LIST_FILE = "photographs.csv"  # place in the pixels, file, class


@dataclass(frozen=True)
class PreparedPhotographs:
    """Decoded photographs of a run, and what they show.

    Attributes:
        images: their pixels.
        files: their names, relative to the folder that they came from.
        labels: int64 [N], places in ``classes``; -1 where a photograph has no class.
        classes: names, sorted.
    """

    images: DecodedImages
    files: list[str]
    labels: np.ndarray
    classes: list[str]


def decode_photographs(
    listed: list[Photograph], root: Path, folder: Path, side: int | None, title: str
) -> list[Photograph]:
    """Decode photographs into ``folder``; those that decode, in their order.

    Args:
        listed: names from ``root``.
        root: the user's folder.
        folder: gets the pixels.
        side: of the short side in pixels, to which larger ones are shrunk; None: as they are.
        title: of the progress lines.

    Raises:
        UserError: more than one in a hundred do not decode; the first one is named.
    """
    progress = Progress(title, len(listed), "images")
    kept: list[Photograph] = []
    broken: list[str] = []

    def read() -> Iterator[np.ndarray]:
        for photograph in listed:
            progress.update()
            try:
                image = read_image(root / photograph.name)
            except UserError as error:
                broken.append(str(error))
                continue
            kept.append(photograph)
            yield shrink_image(image, side) if side else image

    write_pixels(read(), folder)
    progress.close()
    if len(broken) > UNREADABLE * len(listed):
        raise UserError(f"{broken[0]} ({len(broken):,} of {len(listed):,} photographs are like it)")
    if broken:
        print(f"note: {len(broken):,} photographs left out, the first: {broken[0]}", flush=True)
    return kept


def shrink_image(image: np.ndarray, side: int) -> np.ndarray:
    """An image, uint8 [H, W, 3], whose short side is ``side`` pixels at most."""
    height, width = image.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return image
    size = max(side, round(scale * width)), max(side, round(scale * height))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def write_list(listed: list[Photograph], places: list[int], folder: Path) -> None:
    """``photographs.csv``: which of the decoded photographs are used.

    ``places``: of each in the pixels.
    """
    with (
        replacing(folder / LIST_FILE) as part,
        open(part, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("place", "file", "class"))
        for place, photograph in zip(places, listed, strict=True):
            writer.writerow((place, *photograph))


def open_photographs(data: Path, part: str = TRAINING_FOLDER) -> PreparedPhotographs:
    """The photographs of a prepared run.

    Args:
        data: folder ``data`` of the run.
        part: ``TRAINING_FOLDER`` or ``HELD_OUT_FOLDER``.

    Raises:
        UserError: the run has none.
    """
    file = data / part / LIST_FILE
    if not file.is_file():
        raise UserError(
            f"{file}: not there; give a folder of photographs in class folders with "
            "data.photographs, and run the stage that writes it: prepare"
        )
    with open(file, newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    classes = read_classes(data)
    place_of = {name: place for place, name in enumerate(classes)}
    labels = [place_of.get(row["class"], -1) for row in rows]
    places = np.array([int(row["place"]) for row in rows], np.int64)
    return PreparedPhotographs(
        open_pixels(data / part).take(places),
        [row["file"] for row in rows],
        np.array(labels, np.int64),
        classes,
    )


def describe_photographs(run: Run) -> dict | None:
    """Name of the folder of a run's photographs, how many are used, and how many classes they have;
    None where there are none.
    """
    if not run.profile.data.photographs:
        return None
    found = open_photographs(run.path / "data")
    name = Path(run.profile.data.photographs).resolve().name
    return {"name": name, "images": len(found.files), "classes": len(found.classes)}


def read_classes(data: Path) -> list[str]:
    """Names of the classes of a run's photographs for training, sorted."""
    with open(data / TRAINING_FOLDER / LIST_FILE, newline="", encoding="utf-8") as table:
        return sorted({row["class"] for row in csv.DictReader(table)} - {""})
