"""Made-up ground truth and detections for the tests of evaluation: crowds, sizes, ties, empty
images.
"""

import numpy as np
from pycocotools import mask as masks

CATEGORIES = [
    {"id": i, "name": name} for i, name in ((3, "disc"), (7, "box"), (8, "bar"), (20, "rare"))
]
LIMITS = (150.0, 500.0)  # square pixels that divide these small images' objects into three sizes
SIDE = 64


def shape(
    rng: np.random.Generator, category: int, side: int = SIDE
) -> tuple[float, float, float, float]:
    """Centre and half axes of an object."""
    a, b = rng.uniform(4, 16, size=2)
    return rng.uniform(a, side - a), rng.uniform(b, side - b), a, b if category != 8 else b / 3


def rle(category: int, x: float, y: float, a: float, b: float, side: int = SIDE) -> dict:
    """An ellipse (discs) or a rectangle as compressed RLE with text counts, as in results."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    u, v = np.abs(columns - x) / a, np.abs(rows - y) / b
    inside = u**2 + v**2 <= 1 if category == 3 else np.maximum(u, v) <= 1
    encoded = masks.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def world(seed: int = 0, images: int = 12, per_image: int = 4) -> tuple[dict, dict[int, list]]:
    """COCO annotations, and the shapes behind them by image.

    Every fifth image is empty, "rare" is seldom.
    """
    rng = np.random.default_rng(seed)
    annotations, shapes = [], {}
    for image in range(1, images + 1):
        shapes[image] = []
        for _ in range(0 if image % 5 == 0 else per_image):
            category = int(rng.choice([3, 7, 8, 20], p=[0.4, 0.3, 0.25, 0.05]))
            one = shape(rng, category)
            segmentation = rle(category, *one)
            area = int(masks.area(segmentation))
            if not area:
                continue
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": image,
                    "category_id": category,
                    "segmentation": segmentation,
                    "bbox": [float(v) for v in masks.toBbox(segmentation)],
                    "area": area,
                    "iscrowd": int(rng.random() < 0.12),
                }
            )
            shapes[image].append((category, one))
    listed = [
        {"id": i, "width": SIDE, "height": SIDE, "file_name": f"{i}.png"}
        for i in range(1, images + 1)
    ]
    return {"images": listed, "categories": CATEGORIES, "annotations": annotations}, shapes


def guesses(
    shapes: dict[int, list], seed: int, noise: float = 1.5, decimals: int = 1
) -> list[dict]:
    """Shifted copies of the shapes and some inventions.

    Rounded scores make ties, also within one image.
    """
    rng = np.random.default_rng(seed)
    results = []
    for image, objects in shapes.items():
        found = [
            (c, tuple(np.array(s) + rng.normal(0, noise, 4))) for c, s in objects for _ in range(2)
        ]
        found += [(int(rng.choice([3, 7, 8, 20])), shape(rng, 3)) for _ in range(4)]
        for category, (x, y, a, b) in found:
            segmentation = rle(category, x, y, max(a, 2), max(b, 2))
            results.append(
                {
                    "image_id": image,
                    "category_id": category,
                    "score": round(float(rng.random()), decimals),
                    "bbox": [x - a, y - b, 2 * max(a, 2), 2 * max(b, 2)],
                    "segmentation": segmentation,
                }
            )
    return results


def from_one(truth: dict) -> dict:
    """The same annotations with ids from 1, which pycocotools needs."""
    return truth | {
        "annotations": [a | {"id": i} for i, a in enumerate(truth["annotations"], start=1)]
    }
