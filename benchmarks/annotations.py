"""A file of train2017's shape: a subset of it, and the start of the fine-tuning's loader, beside
pycocotools.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import compare
from byol_helpers.core.environment import installed_versions

# Those of COCO's instances_train2017.json, 449 MB.
IMAGES = 118_287
ANNOTATIONS = 860_001
CLASSES = 80
PART = 20_000

OURS = """
from byol_helpers.coco.annotations import Labels
labels = Labels(sys.argv[1])
ids = set(json.load(open(sys.argv[2])))
labels.write_subset([record for record in labels.images if record["id"] in ids], sys.argv[3])
"""
PEER = """
from pycocotools.coco import COCO
COCO(sys.argv[1])
"""
LOADER = """
from pathlib import Path
from byol_helpers.coco.annotations import AnnotationsByImage, Labels
from byol_helpers.coco.dataset import Split
labels = Labels(sys.argv[1])
file = Path(sys.argv[1])
by_image = AnnotationsByImage(labels)
split = Split("train", Path("."), labels.images, by_image, labels.categories, file)
for record in split.images[:64]:
    split.annotations.get(record["id"], [])
"""
MEASURED = """
import json, sys, time
start = time.perf_counter()
{}
seconds = time.perf_counter() - start
from benchmarks.memory import own_peak_memory_mb
print(json.dumps([seconds, own_peak_memory_mb()]))
"""


def measure_subset(images: Path | None) -> dict:
    """Seconds to write the annotations of 20,000 images out of 118,287; the peer is ``COCO(file)``,
    which only reads.

    Each in a process of its own, whose peak memory is read at its end; imports are counted.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole, ids, part = (
            Path(folder) / name for name in ("instances.json", "ids.json", "part.json")
        )
        listed = write_file(whole)
        ids.write_text(json.dumps(listed[:: IMAGES // PART][:PART]))
        ours, memory = measured(OURS, whole, ids, part)
        start, loader = measured(LOADER, part)
        fifth = whole.with_name("fifth.json")
        ids.write_text(json.dumps(listed[:: IMAGES // PART][: PART // 5]))
        measured(OURS, whole, ids, fifth)
        _, smaller = measured(LOADER, fifth)
        peer, theirs = measured(PEER, whole)
        _, nothing = measured("import msgspec, numpy, pycocotools.mask", whole)
        about = {
            "images": IMAGES,
            "annotations": ANNOTATIONS,
            "megabytes": whole.stat().st_size / 1e6,
            "peak memory, MB": {"ours": memory, "COCO(file)": theirs},
            "ratio of memory": theirs / memory,
            "loader of 20,000 images": {"seconds": start, "peak memory, MB": loader},
            "loader of 4,000 images": {"peak memory, MB": smaller},
            "imports alone, MB": nothing,
            "versions": installed_versions(),
        }
    return compare(ours, peer, "pycocotools' COCO(file) alone", "s", True, about)


def measured(code: str, *arguments: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB of some code in a process of its own."""
    output = subprocess.run(
        [sys.executable, "-c", MEASURED.format(code), *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    ).stdout
    seconds, megabytes = json.loads(output.splitlines()[-1])
    return seconds, megabytes


def write_file(path: Path) -> list[int]:
    """Generate the file; returns the ids of its images."""
    draw = np.random.default_rng(0)
    ids = np.sort(draw.choice(600_000, IMAGES, replace=False))
    with open(path, "w") as file:
        file.write('{"info": {"year": 2017}, "licenses": [], "images": [')
        file.write(", ".join(json.dumps(image_record(int(i))) for i in ids))
        file.write('], "annotations": [')
        for k in range(ANNOTATIONS):
            corners = draw.uniform(0, 480, 2 * int(draw.lognormal(2.9, 0.6)) + 6).round(2).tolist()
            entry = {
                "segmentation": [corners],
                "area": round(draw.uniform(10, 1e5), 4),
                "iscrowd": 0,
                "image_id": int(ids[draw.integers(IMAGES)]),
                "bbox": draw.uniform(0, 200, 4).round(2).tolist(),
                "category_id": int(draw.integers(1, CLASSES + 1)),
                "id": k + 1,
            }
            file.write((", " if k else "") + json.dumps(entry))
        kinds = [
            {"supercategory": "thing", "id": k, "name": f"class {k}"} for k in range(1, CLASSES + 1)
        ]
        file.write('], "categories": ' + json.dumps(kinds) + "}")
    return ids.tolist()


def image_record(i: int) -> dict:
    """With the fields of COCO's."""
    return {
        "license": i % 8 + 1,
        "file_name": f"{i:012d}.jpg",
        "coco_url": f"http://images.cocodataset.org/train2017/{i:012d}.jpg",
        "height": 480,
        "width": 640,
        "date_captured": "2013-11-14 17:02:52",
        "id": i,
        "flickr_url": f"http://farm9.staticflickr.com/8186/{i}_z.jpg",
    }
