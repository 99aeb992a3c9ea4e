"""What cutting out costs beside the prediction it follows, beside a plain loop over files, and in memory."""

import contextlib
import io
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from benchmarks import benchmark, result
from benchmarks.pretraining import PHOTOS, photographs
from byol_helpers.background.removal import (
    choose_instances,
    merge_masks,
    to_rgba,
    zero_background,
    zero_background_by_pixel,
)
from byol_helpers.coco.images import read_image
from byol_helpers.coco.masks import compress_mask
from byol_helpers.core.environment import installed_versions
from byol_helpers.core.files import read_json
from byol_helpers.cutout.cut_files import cut_out as cut_out

PICTURES, ROUNDS, OBJECTS = 24, 5, 5
MANY, FEW, FRAMES = 1000, 100, 600
SIZE = (480, 640)


def quiet(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the processors for some work, its output kept off the screen."""
    start, processors = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        work()
    return time.perf_counter() - start, time.process_time() - processors


def quick_model() -> Callable[[np.ndarray], list[dict]]:
    """The network of the profile quick predicts; as its weights are random, the annotated masks are its answer."""
    import torch

    from byol_helpers.core.config import load_profile
    from byol_helpers.segmentation.engine import predict_image
    from byol_helpers.segmentation.torchvision_engine import build, detect

    profile, truth = load_profile("quick"), annotated()
    network = build(profile.depth, 10, profile.finetune, seed=0).eval()
    network.roi_heads.detections_per_img = OBJECTS

    def predict(picture: np.ndarray) -> list[dict]:
        pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
        predict_image(network, pixels, list(range(10)), detect)
        return truth[zlib.crc32(picture)]

    return predict


def annotated() -> dict[int, list[dict]]:
    """The largest ``OBJECTS`` masks of each photograph, by the checksum of its pixels."""
    coco, truth = read_json(PHOTOS / "annotations" / "instances_train2017.json"), {}
    for entry in coco["images"]:
        size = entry["height"], entry["width"]
        own = [a for a in coco["annotations"] if a["image_id"] == entry["id"] and not a["iscrowd"]]
        largest = sorted(own, key=lambda a: -a["area"])[:OBJECTS]
        truth[zlib.crc32(read_image(PHOTOS / "train2017" / entry["file_name"]))] = [
            {"category_id": 1, "score": 1.0, "segmentation": compress_mask(a, *size)}
            for a in largest
        ]
    return truth


def post_processing(predict: Callable[[np.ndarray], list[dict]]) -> dict:
    """Choice, union and removal, the thesis's loop, and the prediction, for a picture of 640 x 480.

    In milliseconds of the processors, which other programs on the machine do not lengthen.
    """
    image = next(image for image in map(read_image, photographs()) if image.shape[:2] == SIZE)
    found = predict(image)

    def vectorised() -> np.ndarray:
        return zero_background(image, merge_masks(choose_instances(found, "all", 0), SIZE))

    def looped() -> np.ndarray:
        return zero_background_by_pixel(image, merge_masks(choose_instances(found, "all", 0), SIZE))

    if not np.array_equal(vectorised(), looped()):
        raise RuntimeError("the vectorised removal and the thesis's loop differ")
    times = {
        name: 1000 * float(np.median([quiet(work)[1] for _ in range(rounds)]))
        for name, work, rounds in (
            ("ours", vectorised, 50),
            ("thesis_loop", looped, 5),
            ("prediction", lambda: predict(image), 10),
        )
    }
    return {f"{name}_ms": round(value, 3) for name, value in times.items()} | {
        "detections": len(found),
        "times_faster_than_the_loop": round(times["thesis_loop"] / times["ours"], 1),
        "percent_of_the_prediction": round(100 * times["ours"] / times["prediction"], 2),
    }


def plain_loop(files: list[Path], predict: Callable[[np.ndarray], list[dict]], out: Path) -> None:
    """The peer: read, predict, save, with Pillow and its defaults, one after the other."""
    out.mkdir()
    for file in files:
        with Image.open(file) as opened:
            image = np.array(opened.convert("RGB"))
        mask = merge_masks(choose_instances(predict(image), "all", 0), image.shape[:2])
        Image.fromarray(to_rgba(image, mask)).save(out / f"{file.stem}.png")


@benchmark
def cutout() -> dict:
    """A folder of photographs with a real network, pictures a second; post-processing and memory in the settings.

    Ours leaves a core to the threads that read and write, as the command does. The peer is the better of two loops,
    with all of torch's threads and with as many as ours. All three take turns.
    """
    import torch

    memory, predict, threads = peak_memory(), quick_model(), torch.get_num_threads()
    variants = {
        "ours": max(1, threads - 1),
        "loop": threads,
        "loop, threads of ours": max(1, threads - 1),
    }
    spent = {name: [] for name in variants}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = sorted(link(root / "in", PICTURES).iterdir())
        plain_loop(files[:4], predict, root / "warm")
        for turn in range(ROUNDS):
            for name in list(variants)[:: 1 if turn % 2 else -1]:
                torch.set_num_threads(variants[name])
                out = root / f"{name}{turn}"
                spent[name].append(
                    quiet(
                        partial(cut_out, root / "in", predict, out, "all")
                        if name == "ours"
                        else partial(plain_loop, files, predict, out)
                    )
                )
        torch.set_num_threads(variants["ours"])
        post = post_processing(predict)
        torch.set_num_threads(threads)
        if not all(
            np.array_equal(
                np.asarray(Image.open(root / f"ours0/{f.stem}.png")),
                np.asarray(Image.open(root / f"loop0/{f.stem}.png")),
            )
            for f in files
        ):
            raise RuntimeError("our cut-outs and the plain loop's differ")
    rates = {name: [PICTURES / clock for clock, _ in of] for name, of in spent.items()}
    settings = {
        "profile": "quick",
        "masks": f"annotated, up to {OBJECTS} an image",
        "torch_threads": variants,
        "pictures": f"{PICTURES} of COCO, about 640 x 480",
        "counted": f"the median of {ROUNDS} rounds",
        "images_per_second": {name: [round(rate, 2) for rate in of] for name, of in rates.items()},
        "processor_ms_per_image": {
            name: round(1000 * min(used for _, used in of) / PICTURES, 1)
            for name, of in spent.items()
        },
        "post_processing_640x480": post,
        "peak_memory_mb": memory,
        "processors": os.cpu_count(),
        "load_of_the_machine": round(os.getloadavg()[0], 1),
        "versions": installed_versions(),
    }
    ours, *loops = (float(np.median(of)) for of in rates.values())
    return result(
        ours, max(loops), "plain loop (Pillow, same network)", "images/s", False, settings
    )


def link(folder: Path, many: int) -> Path:
    """A folder with ``many`` links to the photographs, some more than once."""
    folder.mkdir()
    originals = photographs()
    for number in range(many):
        (folder / f"{number:04}.jpg").symlink_to(originals[number % len(originals)])
    return folder


def peak_memory() -> dict:
    """Of a process of its own without a network: after a few pictures and after many, and the same for videos."""
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, make, numbers in (
            ("pictures", link, (FEW, MANY)),
            ("video", film, (FEW, FRAMES)),
        ):
            sources = [make(Path(folder) / f"{kind}-{many}", many) for many in numbers]
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.cutout", *map(str, sources)],
                check=True,
                stdout=subprocess.PIPE,
                cwd=Path(__file__).resolve().parents[1],
            )
            measured[kind] = dict(zip(numbers, json.loads(done.stdout), strict=True))
    return measured


def measure(sources: list[str]) -> list[dict]:
    """This process' peak memory in MB after cutting out each of the sources, one after the other, and its seconds."""
    measured = []
    with tempfile.TemporaryDirectory() as out:
        for number, source in enumerate(sources):
            seconds, _ = quiet(partial(cut_out, Path(source), left_half, Path(out) / str(number)))
            measured.append({"mb": peak(), "seconds": round(seconds, 1)})
    return measured


def peak() -> int:
    """Most memory that this process has held, in MB. On Linux ``ru_maxrss`` would begin with that of the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return round(int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) / 1024)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2)


def left_half(image: np.ndarray) -> list[dict]:
    """In place of a network: the left half of the picture."""
    mask = np.zeros(image.shape[:2], np.uint8, order="F")
    mask[:, : image.shape[1] // 2] = 1
    return [{"category_id": 1, "score": 1.0, "segmentation": rle.encode(mask)}]


def film(path: Path, frames: int) -> Path:
    """A video of 640 x 480 that moves over a photograph; the path gets its extension."""
    import av

    image = next(image for image in map(read_image, photographs()) if image.shape[:2] == SIZE)
    path = path.with_suffix(".mp4")
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=30)
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        for shift in range(frames):
            out.mux(
                video.encode(
                    av.VideoFrame.from_ndarray(np.roll(image, shift, axis=1), format="rgb24")
                )
            )
        out.mux(video.encode(None))
    return path


if __name__ == "__main__":  # what ``peak_memory`` starts
    print(json.dumps(measure(sys.argv[1:])))
