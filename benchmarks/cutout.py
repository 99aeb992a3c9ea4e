"""What cutting out costs beside the prediction it follows, beside a plain loop over files, and in
memory.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import psutil
from PIL import Image
from pycocotools.mask import encode

from benchmarks import compare
from benchmarks.memory import own_peak_memory_mb
from benchmarks.photographs import Photographs, open_photographs, repeat_paths
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

IMAGES = 24  # of the comparison
ROUNDS = 5
OBJECTS = 5  # in an image, at most
FEW, MANY = 100, 1000  # images whose memory is compared
FRAMES = 600  # of the long video
SIZE = (480, 640)


def quiet(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock and of the processors for some work, its output kept off the screen."""
    start = time.perf_counter()
    processors = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        work()
    return time.perf_counter() - start, time.process_time() - processors


def load_quick_model(photographs: Photographs) -> Callable[[np.ndarray], list[dict]]:
    """The network of the profile quick predicts.

    As its weights are random, the masks to cut out are given.
    """
    import torch
    from torchvision.models.detection.roi_heads import RoIHeads

    from byol_helpers.core.profile_files import load_profile
    from byol_helpers.segmentation.engine import predict_image
    from byol_helpers.segmentation.torchvision_engine import build, detect

    profile = load_profile("quick")
    answers = read_answers(photographs)
    network = build(profile.depth, 10, profile.finetune, seed=0, width=profile.width).eval()
    heads = cast(RoIHeads, network.roi_heads)
    heads.detections_per_img = OBJECTS

    def predict(image: np.ndarray) -> list[dict]:
        pixels = torch.from_numpy(image).permute(2, 0, 1).float() / 255
        predict_image(network, pixels, list(range(10)), detect)
        return answers.get(zlib.crc32(image.tobytes())) or predict_left_half(image)

    return predict


def read_answers(photographs: Photographs) -> dict[int, list[dict]]:
    """The largest ``OBJECTS`` annotated masks of each image, by the checksum of its pixels.

    Empty for a folder without ``annotations/*.json``.
    """
    answers = {}
    by_name = {path.name: path for path in photographs.paths}
    for file in sorted(photographs.folder.glob("annotations/*.json")):
        coco = read_json(file)
        by_image = defaultdict(list)
        for annotation in coco["annotations"]:
            if not annotation["iscrowd"]:
                by_image[annotation["image_id"]].append(annotation)
        for record in coco["images"]:
            path = by_name.get(Path(record["file_name"]).name)
            if path is None:
                continue
            size = (record["height"], record["width"])
            largest = sorted(by_image[record["id"]], key=lambda a: -a["area"])[:OBJECTS]
            found = [
                {"category_id": 1, "score": 1.0, "segmentation": compress_mask(a, *size)}
                for a in largest
            ]
            answers[zlib.crc32(read_image(path).tobytes())] = found
    return answers


def image_of_size(paths: list[Path]) -> np.ndarray:
    """The first image of 640 x 480, or the first one resized to it; uint8 [480, 640, 3]."""
    height, width = SIZE
    for path in paths:
        image = read_image(path)
        if image.shape[:2] == SIZE:
            return image
    return np.asarray(Image.fromarray(read_image(paths[0])).resize((width, height)))


def measure_post_processing(
    image: np.ndarray, predict: Callable[[np.ndarray], list[dict]]
) -> dict[str, float]:
    """Choice, union and removal, the thesis's loop, and the prediction, for an image of 640 x 480.

    In milliseconds of the processors, which other programs on the machine do not lengthen.
    """
    found = predict(image)

    def vectorised() -> np.ndarray:
        return zero_background(image, merge_masks(choose_instances(found, "all", 0), SIZE))

    def looped() -> np.ndarray:
        return zero_background_by_pixel(image, merge_masks(choose_instances(found, "all", 0), SIZE))

    if not np.array_equal(vectorised(), looped()):
        raise RuntimeError("the vectorised removal and the thesis's loop differ")
    ours = median_milliseconds(vectorised, 50)
    loop = median_milliseconds(looped, 5)
    prediction = median_milliseconds(lambda: predict(image), 10)
    return {
        "ours_ms": round(ours, 3),
        "thesis_loop_ms": round(loop, 3),
        "prediction_ms": round(prediction, 3),
        "detections": len(found),
        "times_faster_than_the_loop": round(loop / ours, 1),
        "percent_of_the_prediction": round(100 * ours / prediction, 2),
    }


def median_milliseconds(work: Callable[[], object], rounds: int) -> float:
    """Of the processors."""
    return 1000 * float(np.median([quiet(work)[1] for _ in range(rounds)]))


def cut_out_in_a_loop(
    files: list[Path], predict: Callable[[np.ndarray], list[dict]], out: Path
) -> None:
    """The peer: read, predict, save, with Pillow and its defaults, one after the other."""
    out.mkdir()
    for file in files:
        with Image.open(file) as opened:
            image = np.array(opened.convert("RGB"))
        mask = merge_masks(choose_instances(predict(image), "all", 0), image.shape[:2])
        Image.fromarray(to_rgba(image, mask)).save(out / f"{file.stem}.png")


def measure_cutout(images: Path | None) -> dict:
    """A folder of photographs with a real network, images a second; post-processing and memory in
    the settings.

    Ours leaves a core to the threads that read and write, as the command does. The peer is the
    better of two loops, with all of torch's threads and with as many as ours. All three take turns.
    """
    import torch

    threads = torch.get_num_threads()
    variants = {
        "ours": max(1, threads - 1),
        "loop": threads,
        "loop, threads of ours": max(1, threads - 1),
    }
    spent = {name: [] for name in variants}
    with open_photographs(images) as photographs, tempfile.TemporaryDirectory() as folder:
        memory = measure_memory(photographs)
        predict = load_quick_model(photographs)
        root = Path(folder)
        files = sorted(link_images(photographs.paths, root / "in", IMAGES).iterdir())
        cut_out_in_a_loop(files[:4], predict, root / "warm")
        for turn in range(ROUNDS):
            for name in list(variants)[:: 1 if turn % 2 else -1]:
                torch.set_num_threads(variants[name])
                out = root / f"{name}{turn}"
                work = partial(cut_out_in_a_loop, files, predict, out)
                if name == "ours":
                    work = partial(cut_out, root / "in", predict, out, "all")
                spent[name].append(quiet(work))
        torch.set_num_threads(variants["ours"])
        post = measure_post_processing(image_of_size(photographs.paths), predict)
        torch.set_num_threads(threads)
        for file in files:
            first = Image.open(root / f"ours0/{file.stem}.png")
            second = Image.open(root / f"loop0/{file.stem}.png")
            if not np.array_equal(np.asarray(first), np.asarray(second)):
                raise RuntimeError("our cut-outs and the plain loop's differ")
    rates = {name: [IMAGES / clock for clock, _ in of] for name, of in spent.items()}
    processors = {name: min(used for _, used in of) for name, of in spent.items()}
    settings = {
        "profile": "quick",
        "photographs": photographs.source,
        "masks": f"annotated, up to {OBJECTS} an image; the left half where there are none",
        "torch_threads": variants,
        "images": IMAGES,
        "counted": f"the median of {ROUNDS} rounds",
        "images_per_second": {name: np.round(of, 2).tolist() for name, of in rates.items()},
        "processor_ms_per_image": {
            name: round(1000 * used / IMAGES, 1) for name, used in processors.items()
        },
        "post_processing_640x480": post,
        "peak_memory_mb": memory,
        "processors": os.cpu_count(),
        "load_of_the_machine": round(psutil.getloadavg()[0], 1),
        "versions": installed_versions(),
    }
    ours, *loops = (float(np.median(of)) for of in rates.values())
    peer_name = "plain loop (Pillow, same network)"
    return compare(ours, max(loops), peer_name, "images/s", False, settings)


def link_images(paths: list[Path], folder: Path, count: int) -> Path:
    """A new folder with ``count`` links to the images, some more than once."""
    folder.mkdir()
    for number, path in enumerate(repeat_paths(paths, count)):
        (folder / f"{number:04}{path.suffix}").symlink_to(path.resolve())
    return folder


def measure_memory(photographs: Photographs) -> dict:
    """Peak memory and seconds of a process of its own without a network, by kind and number.

    After a few images and after many, after a short video and after a long one.
    """
    image = image_of_size(photographs.paths)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images = {
            count: link_images(photographs.paths, root / str(count), count) for count in (FEW, MANY)
        }
        videos = {
            count: write_video(image, root / f"{count}.mp4", count) for count in (FEW, FRAMES)
        }
        return {"images": measure_in_process(images), "video": measure_in_process(videos)}


def measure_in_process(sources: dict[int, Path]) -> dict[int, dict]:
    """What ``cut_out_sources`` measures in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cutout", *map(str, sources.values())],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    return dict(zip(sources, json.loads(done.stdout), strict=True))


def cut_out_sources(sources: list[str]) -> list[dict]:
    """This process' peak memory in MB after cutting out each of the sources, one after the other,
    and its seconds.
    """
    measured = []
    with tempfile.TemporaryDirectory() as out:
        for number, source in enumerate(sources):
            target = Path(out) / str(number)
            seconds, _ = quiet(partial(cut_out, Path(source), predict_left_half, target))
            measured.append({"mb": own_peak_memory_mb(), "seconds": round(seconds, 1)})
    return measured


def predict_left_half(image: np.ndarray) -> list[dict]:
    """In place of a network: the left half of the image."""
    mask = np.zeros(image.shape[:2], np.uint8, order="F")
    mask[:, : image.shape[1] // 2] = 1
    return [{"category_id": 1, "score": 1.0, "segmentation": encode(mask)}]


def write_video(image: np.ndarray, path: Path, frames: int) -> Path:
    """Write a video of 640 x 480 that moves over an image."""
    import av

    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=30)
        video.height, video.width = SIZE
        video.pix_fmt = "yuv420p"
        for shift in range(frames):
            moved = np.roll(image, shift, axis=1)
            out.mux(video.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        out.mux(video.encode(None))
    return path


if __name__ == "__main__":  # what ``measure_in_process`` starts
    print(json.dumps(cut_out_sources(sys.argv[1:])))
