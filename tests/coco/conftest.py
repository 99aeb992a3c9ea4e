"""What the tests of this room share."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "nuclei"


@pytest.fixture(scope="session")
def nuclei(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Microscopy in COCO's layout, masks as run lengths: real where it is there, else generated."""
    if REAL.is_dir():
        return REAL
    folder = tmp_path_factory.mktemp("nuclei")
    draw = np.random.default_rng(0)
    for split, count in (("train", 32), ("val", 8)):
        (folder / split).mkdir()
        images = []
        annotations = []
        for number in range(1, count + 1):
            name = f"{number:03d}.png"
            pixels, masks = draw_cells(draw)
            Image.fromarray(pixels).save(folder / split / name)
            images.append({"id": number, "file_name": name, "width": 96, "height": 80})
            for mask in masks:
                annotations.append(describe_mask(mask, number, len(annotations) + 1))
        write_instances(folder / "annotations" / f"instances_{split}.json", images, annotations)
    return folder


def draw_cells(draw: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """A grey picture of 80 x 96 pixels with some bright discs, and the mask of each disc."""
    clouds = Image.fromarray(draw.uniform(20, 60, (5, 6)).astype(np.float32))
    pixels = np.array(clouds.resize((96, 80), Image.Resampling.BICUBIC), np.float64)
    rows, columns = np.mgrid[:80, :96]
    masks = []
    for row, column in draw.permutation([(r, c) for r in (16, 40, 64) for c in (16, 48, 80)])[:5]:
        centre = (row + draw.integers(-4, 5), column + draw.integers(-4, 5))
        mask = np.hypot(rows - centre[0], columns - centre[1]) < draw.uniform(4, 10)
        pixels[mask] += draw.uniform(60, 200)
        masks.append(mask)
    return np.clip(pixels, 0, 255).astype(np.uint8), masks


def describe_mask(mask: np.ndarray, image_id: int, own_id: int) -> dict:
    """A COCO annotation of a mask, bool [H, W], as compressed run lengths."""
    packed = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "id": own_id,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "area": int(rle.area(packed)),
        "bbox": rle.toBbox(packed).tolist(),
        "segmentation": {"size": list(mask.shape), "counts": packed["counts"].decode()},
    }


def write_instances(file: Path, images: list[dict], annotations: list[dict]) -> None:
    """A COCO instances file with one category."""
    file.parent.mkdir(exist_ok=True)
    categories = [{"id": 1, "name": "nucleus"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content))
