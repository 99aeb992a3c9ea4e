"""The images that a benchmark measures on: those of a folder, or generated ones."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from byol_helpers.core.errors import UserError

GENERATED = 96
SIDE = 480  # pixels of a generated image


@dataclass(frozen=True)
class Photographs:
    """Image files, the folder that they lie in, and words that say which they are."""

    folder: Path
    paths: list[Path]
    source: str


@contextmanager
def open_photographs(folder: Path | None) -> Iterator[Photographs]:
    """The images of a folder; without a folder, generated ones in COCO's layout, which exist inside
    the block.

    Raises:
        UserError: no such folder, or one without images.
    """
    from byol_helpers.coco.images import list_images

    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            paths = generate_photographs(Path(made))
            source = f"{len(paths)} generated scenes of {SIDE} x {SIDE} pixels, PNG"
            yield Photographs(Path(made), paths, source)
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --images takes a folder with images")
    paths = list_images(folder)
    if not paths:
        raise UserError(f"{folder}: no images in it; --images takes a folder with images")
    word = "image" if len(paths) == 1 else "images"
    yield Photographs(folder, paths, f"{len(paths)} {word} of {folder.resolve().name}")


def generate_photographs(folder: Path) -> list[Path]:
    """Write ``GENERATED`` scenes and their annotations; returns the image files."""
    from byol_helpers.coco.images import list_images
    from byol_helpers.synthetic.scene_files import GeneratedFolder, write_split

    annotations = folder / "annotations" / "instances_train2017.json"
    write_split(GeneratedFolder(folder / "train2017", 0, GENERATED, SIDE), annotations, "train")
    return list_images(folder)


def repeat_paths(paths: list[Path], count: int) -> list[Path]:
    """``count`` of the paths, from the first again where there are fewer."""
    return [paths[number % len(paths)] for number in range(count)]
