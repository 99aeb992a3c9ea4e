"""Generated scenes and crops as files: PNG images, COCO JSON, a table of crops."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from byol_helpers.core.files import write_bytes, write_json, write_text
from byol_helpers.core.progress import Progress
from byol_helpers.synthetic.scenes import CATEGORIES, Instance, make_crop, make_scene


@dataclass(frozen=True)
class GeneratedFolder:
    """A folder of generated images. Those that are there already are kept.

    With ``progress``, writing them raises ``StopRequested`` where the time of ``core.deadline`` is
    over.

    Attributes:
        folder: for the images.
        seed: of all that is drawn.
        count: of the images.
        size: their side in pixels.
        world: one of ``scenes.WORLDS``.
        progress: counts every image.
    """

    folder: Path
    seed: int
    count: int
    size: int
    world: str = "colours"
    progress: Progress | None = None

    def count_up(self) -> Iterator[int]:
        """The numbers of the images; each is reported as soon as the next is asked for."""
        for index in range(self.count):
            yield index
            if self.progress:
                self.progress.update()


def write_split(images: GeneratedFolder, annotations_file: Path, draw: str) -> Path:
    """Write scenes of a draw as ``00000.png`` ... and their annotations as COCO JSON.

    Names in the JSON are relative to the folder's parent.
    """
    records = []
    annotations = []
    for index in images.count_up():
        made = make_scene(images.seed, index, images.size, draw, images.world)
        name = _write_image(images, images.folder, index, made.image)
        record = {"id": index + 1, "file_name": f"{images.folder.name}/{name}"}
        records.append(record | {"width": images.size, "height": images.size})
        for instance in made.instances:
            annotations.append(
                {"id": len(annotations) + 1, "image_id": index + 1, **_make_annotation(instance)}
            )
    description = f"generated scenes, draw {draw}, seed {images.seed}"
    if images.world != "colours":
        description += f", world {images.world}"
    return write_json(
        annotations_file,
        {
            "info": {"description": description, "version": "1"},
            "licenses": [],
            "images": records,
            "annotations": annotations,
            "categories": [
                {"id": c.id, "name": c.name, "supercategory": "generated"} for c in CATEGORIES
            ],
        },
    )


def write_unlabelled(images: GeneratedFolder) -> Path:
    """Write scenes of the draw 'unlabelled' as ``00000.png`` ..., without annotations."""
    for index in images.count_up():
        if not _name_image(images.folder, index).exists():
            made = make_scene(images.seed, index, images.size, "unlabelled", images.world)
            _write_image(images, images.folder, index, made.image)
    return images.folder


def write_crops(images: GeneratedFolder, scene_size: int | None = None) -> Path:
    """Write labelled crops as ``<category>/00000.png`` ..., and a table beside the folder.

    The table (``crops.csv`` for ``crops``) has the columns file, relative to the folder's parent,
    and category_id. ``scene_size`` as in ``make_crop``.
    """
    folder = images.folder
    names = {c.id: c.name for c in CATEGORIES}
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("file", "category_id"))
    for index in images.count_up():
        image, category_id = make_crop(images.seed, index, images.size, images.world, scene_size)
        inside = folder / names[category_id]
        name = _write_image(images, inside, index // len(CATEGORIES), image)
        rows.writerow((f"{folder.name}/{names[category_id]}/{name}", category_id))
    return write_text(folder.with_name(folder.name + ".csv"), table.getvalue())


def _name_image(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.png"


def _write_image(images: GeneratedFolder, folder: Path, index: int, image: np.ndarray) -> str:
    """Write a PNG unless it is there; returns its name.

    After a new one it stops where the time is over, so every call gets on by one image at least.
    """
    path = _name_image(folder, index)
    if not path.exists():
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG", compress_level=1)
        write_bytes(path, content.getvalue())
        if images.progress:
            images.progress.stop_in_time()
    return path.name


def _make_annotation(instance: Instance) -> dict:
    """COCO's fields for one mask: compressed run lengths, and uncompressed ones for a crowd, as in
    COCO.
    """
    columns = np.asfortranarray(instance.mask.astype(np.uint8))
    code = rle.encode(columns)
    box = rle.toBbox(code)
    area = rle.area(code)
    if instance.iscrowd:
        changes = np.flatnonzero(np.diff(columns.ravel("F"), prepend=0, append=2)).tolist()
        counts = [end - start for start, end in zip([0, *changes], changes, strict=False)]
    else:
        counts = code["counts"].decode()  # pyright: ignore[reportAttributeAccessIssue]  # bytes here
    return {
        "category_id": instance.category_id,
        "iscrowd": int(instance.iscrowd),
        "area": int(area),
        "bbox": [float(x) for x in box],
        "segmentation": {"size": list(columns.shape), "counts": counts},
    }
