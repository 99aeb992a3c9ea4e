"""What cutting out costs beside the prediction it follows, beside a plain loop over files, and in memory."""

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import benchmark, result
from benchmarks.pretraining import photographs
from byol_helpers.background.cutout import cutout as cut_out
from byol_helpers.background.removal import choose_instances, remove_background, thesis_loop, to_rgba, union
from byol_helpers.data.images import read_image
from byol_helpers.runs import installed_versions

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
    """The network of the profile quick with random weights; it answers with its ``OBJECTS`` best detections."""
    import torch

    from byol_helpers.config import load_profile
    from byol_helpers.segmentation.models import predict_image
    from byol_helpers.segmentation.torchvision_engine import build, detect

    profile = load_profile("quick")
    network = build(profile.depth, 10, profile.finetune, seed=0).eval()
    network.roi_heads.detections_per_img = OBJECTS

    def predict(picture: np.ndarray) -> list[dict]:
        pixels = torch.from_numpy(picture).permute(2, 0, 1).float() / 255
        return predict_image(network, pixels, list(range(10)), detect)

    return predict


def post_processing(predict: Callable[[np.ndarray], list[dict]]) -> dict:
    """Choice, union and removal, the thesis's loop, and the prediction, for a picture of 640 x 480.

    In milliseconds of the processors, which other programs on the machine do not lengthen.
    """
    image = next(image for image in map(read_image, photographs()) if image.shape[:2] == SIZE)
    found = predict(image)

    def vectorised() -> np.ndarray:
        return remove_background(image, union(choose_instances(found, "all", 0), SIZE))

    def looped() -> np.ndarray:
        return thesis_loop(image, union(choose_instances(found, "all", 0), SIZE))

    if not np.array_equal(vectorised(), looped()):
        raise RuntimeError("the vectorised removal and the thesis's loop differ")
    times = {name: 1000 * float(np.median([quiet(work)[1] for _ in range(rounds)]))
             for name, work, rounds in (("ours", vectorised, 50), ("thesis_loop", looped, 5),
                                        ("prediction", lambda: predict(image), 10))}
    return {f"{name}_ms": round(value, 3) for name, value in times.items()} | {
        "detections": len(found), "times_faster_than_the_loop": round(times["thesis_loop"] / times["ours"], 1),
        "percent_of_the_prediction": round(100 * times["ours"] / times["prediction"], 2)}


def plain_loop(files: list[Path], predict: Callable[[np.ndarray], list[dict]], out: Path) -> None:
    """The peer: read, predict, save, with Pillow and its defaults, one after the other."""
    out.mkdir()
    for file in files:
        with Image.open(file) as opened:
            image = np.array(opened.convert("RGB"))
        mask = union(choose_instances(predict(image), "all", 0), image.shape[:2])
        Image.fromarray(to_rgba(image, mask)).save(out / f"{file.stem}.png")


@benchmark
def cutout() -> dict:
    """A folder of photographs with a real network, pictures a second; post-processing and memory in the settings."""
    import torch

    memory, predict = peak_memory(), quick_model()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = link(root / "in", PICTURES)
        plain_loop(files[:4], predict, root / "warm")
        spent = {"ours": [], "peer": []}
        for turn in range(ROUNDS):
            for who in ("ours", "peer") if turn % 2 else ("peer", "ours"):
                spent[who].append(quiet(
                    partial(cut_out, root / "in", predict, root / f"ours{turn}", "all", 0.0) if who == "ours" else
                    partial(plain_loop, files, predict, root / f"peer{turn}")))
        if not all(np.array_equal(np.asarray(Image.open(root / f"ours0/{f.stem}.png")),
                                  np.asarray(Image.open(root / f"peer0/{f.stem}.png"))) for f in files[:8]):
            raise RuntimeError("our cut-outs and the plain loop's differ")
    settings = {
        "profile": "quick", "weights": "random", "pictures": f"{PICTURES} of COCO, about 640 x 480",
        "objects": OBJECTS, "counted": f"the best of {ROUNDS} rounds",
        "images_per_second": {who: [round(PICTURES / clock, 2) for clock, _ in of] for who, of in spent.items()},
        "processor_ms_per_image": {who: round(1000 * min(used for _, used in of) / PICTURES, 1)
                                   for who, of in spent.items()},
        "post_processing_640x480": post_processing(predict), "peak_memory_mb": memory,
        "processors": os.cpu_count(), "threads": torch.get_num_threads(), "versions": installed_versions()}
    ours, peer = (PICTURES / min(clock for clock, _ in spent[who]) for who in ("ours", "peer"))
    return result(ours, peer, "plain loop (Pillow, same network)", "images/s", False, settings)


def link(folder: Path, many: int) -> list[Path]:
    """A folder with ``many`` links to the photographs, some more than once."""
    folder.mkdir()
    originals, made = photographs(), []
    for number in range(many):
        made.append(folder / f"{number:04}.jpg")
        made[-1].symlink_to(originals[number % len(originals)])
    return made


def peak_memory() -> dict:
    """Of a process of its own without a network: after a few pictures and after many, and the same for a video.

    To be called while this process is small: on Linux a child's peak starts with its parent's.
    """
    return {kind: json.loads(subprocess.run([sys.executable, "-m", "benchmarks.cutout", kind], check=True,
                                            stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[1]).stdout)
            for kind in ("pictures", "video")}


def measure(kind: str) -> dict:
    """Peak memory in MB after each number of pictures or frames, and the seconds of the larger."""
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for many in (FEW, MANY if kind == "pictures" else FRAMES):
            source = root / str(many)
            if kind == "pictures":
                link(source, many)
            else:
                source = film(root / f"{many}.mp4", many)
            seconds, _ = quiet(partial(cut_out, source, left_half, root / f"out{many}"))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
            measured |= {f"after_{many}": round(peak), "seconds": round(seconds, 1)}
    return measured


def left_half(image: np.ndarray) -> list[dict]:
    """In place of a network: the left half of the picture."""
    from pycocotools import mask as rle

    mask = np.zeros(image.shape[:2], np.uint8, order="F")
    mask[:, : image.shape[1] // 2] = 1
    return [{"category_id": 1, "score": 1.0, "segmentation": rle.encode(mask)}]


def film(path: Path, frames: int) -> Path:
    """A video of 640 x 480 that moves over a photograph."""
    import av

    image = next(image for image in map(read_image, photographs()) if image.shape[:2] == SIZE)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=30)
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        for shift in range(frames):
            out.mux(video.encode(av.VideoFrame.from_ndarray(np.roll(image, shift, axis=1), format="rgb24")))
        out.mux(video.encode(None))
    return path


if __name__ == "__main__":  # what ``peak_memory`` starts
    print(json.dumps(measure(sys.argv[1])))
