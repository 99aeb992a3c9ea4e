"""BYOL's data path and step beside lightly's, on photographs."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from benchmarks import compare
from benchmarks.photographs import open_photographs, repeat_paths
from byol_helpers.core.environment import installed_versions
from byol_helpers.core.errors import UserError

SIZE = 224  # pixels of a view
BATCH = 16
SIDE = 256  # pixels of the short side of a shrunk copy
AUGMENTED = 64  # images
READ = 96  # images
ROUNDS = 3
STEPS = 4
CROPS = 512  # generated crops, for views of a batch
CROP_SIDE = 64
CROP_VIEW = 48
CROP_BATCH = 128


def seconds(work: Callable[[], object]) -> float:
    """How long some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes in one thread inside the block."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def measure_augmentations(images: Path | None) -> dict:
    """Two 224-pixel views of decoded photographs on one core, images per second.

    The peer is lightly's transform.
    """
    from lightly.transforms.byol_transform import BYOLTransform

    from byol_helpers.coco.images import read_image
    from byol_helpers.pretraining.augmentations import two_views
    from byol_helpers.pretraining.torch_augmentations import render_view
    from byol_helpers.training.sampler import rng

    with open_photographs(images) as photographs:
        pixels = [read_image(path) for path in repeat_paths(photographs.paths, AUGMENTED)]
    opened = [Image.fromarray(image) for image in pixels]
    views = two_views(SIZE)
    transform = BYOLTransform()

    def render_with_torch() -> None:
        for k, image in enumerate(pixels):
            draw = rng(0, k)
            for view in views:
                render_view(image, view, draw)

    def render_with_pillow() -> None:
        for k, image in enumerate(opened):
            draw = rng(0, k)
            for view in views:
                view(image, draw)

    def render_with_lightly() -> None:
        for image in opened:
            transform(image)

    times = {"torch": [], "pillow": [], "lightly": []}
    with one_thread():
        for _ in range(ROUNDS):
            times["torch"].append(seconds(render_with_torch))
            times["lightly"].append(seconds(render_with_lightly))
            times["pillow"].append(seconds(render_with_pillow))
    rates = {name: len(pixels) / min(of) for name, of in times.items()}
    settings = {
        "photographs": photographs.source,
        "images": len(pixels),
        "view_size": SIZE,
        "threads": 1,
        "our Pillow renderer": round(rates["pillow"], 1),
        "versions": installed_versions(),
    }
    peer_name = "lightly's BYOLTransform"
    return compare(
        rates["torch"], rates["lightly"], peer_name, "images/s and core", False, settings
    )


def measure_input(images: Path | None) -> dict:
    """From files to a normalised two-view batch on one core: shrunk copies and fast views, raw
    files and lightly.
    """
    from lightly.transforms.byol_transform import BYOLTransform
    from torch.utils.data import default_collate

    from byol_helpers.coco.resized_cache import resize_images
    from byol_helpers.pretraining.dataset import ViewsDataset
    from byol_helpers.training.sampler import Item

    transform = BYOLTransform()
    times = {"ours": [], "peer": []}
    with open_photographs(images) as photographs, tempfile.TemporaryDirectory() as folder:
        files = repeat_paths(photographs.paths, READ)
        copies = resize_images(files, Path(folder), SIDE, "shrink")
        dataset = ViewsDataset(copies, SIZE, 0, fast=True, copies=True)
        bytes_of_files = sum(path.stat().st_size for path in files)
        bytes_of_copies = sum(path.stat().st_size for path in copies)

        def read_ours() -> None:
            for start in range(0, len(files), BATCH):
                numbers = range(start, min(start + BATCH, len(files)))
                default_collate([dataset[Item(k, k)] for k in numbers])

        def read_peer() -> None:
            for start in range(0, len(files), BATCH):
                batch = files[start : start + BATCH]
                default_collate([transform(Image.open(path).convert("RGB")) for path in batch])

        with one_thread():
            for _ in range(ROUNDS):
                times["ours"].append(seconds(read_ours))
                times["peer"].append(seconds(read_peer))
    rates = {name: len(files) / min(of) for name, of in times.items()}
    settings = {
        "photographs": photographs.source,
        "images": len(files),
        "view_size": SIZE,
        "short_side": SIDE,
        "threads": 1,
        "megabytes": bytes_of_files / 1e6,
        "megabytes of the copies": bytes_of_copies / 1e6,
        "bytes, copies to originals": round(bytes_of_copies / bytes_of_files, 3),
        "versions": installed_versions(),
    }
    peer_name = "raw files and lightly's BYOLTransform"
    return compare(rates["ours"], rates["peer"], peer_name, "images/s and core", False, settings)


def measure_views(images: Path | None) -> dict:
    """From generated crops to a two-view batch on one core: decoded once and rendered in a batch,
    beside ours per image from files.
    """
    from torch.utils.data import default_collate

    from byol_helpers.coco.pixel_cache import decode_images
    from byol_helpers.pretraining.dataset import BatchViewsDataset, ViewsDataset
    from byol_helpers.synthetic.scenes import make_crop
    from byol_helpers.training.sampler import Item

    times = {"batch": [], "torch": [], "pillow": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [folder / f"{k:04d}.png" for k in range(CROPS)]
        for k, file in enumerate(files):
            Image.fromarray(make_crop(0, k, CROP_SIDE, "shapes")[0]).save(file)
        start = time.perf_counter()
        decoded = decode_images(files, folder / "cache", "decode")
        once = time.perf_counter() - start
        batched = BatchViewsDataset(decoded, CROP_VIEW, 0)
        datasets = {
            "torch": ViewsDataset(files, CROP_VIEW, 0, fast=True),
            "pillow": ViewsDataset(files, CROP_VIEW, 0),
        }
        batches = []
        for first in range(0, CROPS, CROP_BATCH):
            batches.append([Item(k, k) for k in range(first, first + CROP_BATCH)])
        with one_thread():
            for _ in range(ROUNDS):
                start = time.perf_counter()
                for batch in batches:
                    default_collate(batched.__getitems__(batch))
                times["batch"].append(time.perf_counter() - start)
                for kind, dataset in datasets.items():
                    start = time.perf_counter()
                    for batch in batches:
                        default_collate([dataset[item] for item in batch])
                    times[kind].append(time.perf_counter() - start)
    rates = {kind: CROPS / min(of) for kind, of in times.items()}
    settings = {
        "images": f"{CROPS} generated crops of {CROP_SIDE} pixels",
        "view_size": CROP_VIEW,
        "batch": CROP_BATCH,
        "threads": 1,
        "our Pillow renderer": round(rates["pillow"], 1),
        "seconds to decode once": round(once, 2),
        "versions": installed_versions(),
    }
    peer_name = "views=torch, per image from PNG"
    return compare(rates["batch"], rates["torch"], peer_name, "images/s and core", False, settings)


def measure_memory(images: Path | None) -> dict:
    """From photographs to two small views of a batch, in seconds of CPU time: drawn and rendered a
    batch at a time from pixels in memory.

    The peer is lightly's transform in a DataLoader over the files. ``with the step`` says how many
    images a second of one core trains, the step of each included.
    """
    import torch
    from lightly.transforms.byol_transform import (
        BYOLTransform,
        BYOLView1Transform,
        BYOLView2Transform,
    )
    from torch.utils.data import DataLoader

    from byol_helpers.coco.images import read_image
    from byol_helpers.coco.photographs import shrink_image
    from byol_helpers.coco.pixel_cache import decode_images
    from byol_helpers.pretraining.memory_views import MemoryViews
    from byol_helpers.training.sampler import StepBatches

    times: dict[str, list[float]] = {"ours": [], "peer": []}
    with open_photographs(images) as photographs, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = []
        for k, path in enumerate(repeat_paths(photographs.paths, CROPS)):
            files.append(folder / f"{k:04d}.jpg")
            small = shrink_image(read_image(path), CROP_SIDE)
            Image.fromarray(small).save(files[-1], quality=90)
        start = time.process_time()
        decoded = decode_images(files, folder / "cache", "decode")
        once = time.process_time() - start
        views = MemoryViews(decoded, CROP_VIEW, 0)
        transform = BYOLTransform(
            BYOLView1Transform(input_size=CROP_VIEW), BYOLView2Transform(input_size=CROP_VIEW)
        )
        pictures = cast(Any, PictureFiles(files, transform))
        peer = DataLoader(pictures, CROP_BATCH, shuffle=True)
        steps = CROPS // CROP_BATCH
        here = torch.device("cpu")

        def load_ours() -> Iterator[list]:
            return views.load_batches(StepBatches(CROPS, CROP_BATCH, 0, 0, steps), here)

        with one_thread():
            for _ in range(ROUNDS):
                for kind, load in (("ours", load_ours), ("peer", lambda: iter(peer))):
                    start = time.process_time()
                    for _ in load():
                        pass
                    times[kind].append(time.process_time() - start)
            batch = next(load_ours())
            network = {"depth": 18, "width": 32, "hidden": 1024, "output": 128}
            cost = {}
            for kind, make in (("ours", our_step), ("peer", lightly_step)):
                step = make(**network)
                step(batch)
                start = time.process_time()
                step(batch)
                cost[kind] = time.process_time() - start
    rates = {kind: CROPS / min(of) for kind, of in times.items()}
    whole = {}
    for kind, rate in rates.items():
        whole[kind] = round(1 / (1 / rate + cost[kind] / CROP_BATCH), 1)
    settings = {
        "photographs": photographs.source,
        "images": f"{CROPS}, of {CROP_SIDE} pixels, JPEG",
        "view_size": CROP_VIEW,
        "batch": CROP_BATCH,
        "threads": 1,
        "clock": "CPU time of the process",
        "seconds to decode once": round(once, 2),
        "network": network,
        "seconds of a step": {kind: round(value, 2) for kind, value in cost.items()},
        "with the step, images/s and core": whole,
        "versions": installed_versions(),
    }
    peer_name = "files, lightly's BYOLTransform and a DataLoader"
    return compare(rates["ours"], rates["peer"], peer_name, "images/s and core", False, settings)


class PictureFiles:
    """Files as a torch dataset of what a transform makes of them."""

    def __init__(self, files: list[Path], transform: Callable):
        self.files = files
        self.transform = transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> list:
        return self.transform(Image.open(self.files[index]).convert("RGB"))


def measure_byol_step(images: Path | None) -> dict:
    """A training step of BYOL, ResNet-50, 224 pixels, batch 16, fp32.

    The peer is a plain loop over lightly's modules.

    The biases of lightly's heads start at zero, as ours have none; both losses must agree at the
    first step.
    """
    import torch

    ours = our_step()
    peer = lightly_step()
    torch.manual_seed(0)
    batch = [torch.randn(BATCH, 3, SIZE, SIZE) for _ in range(2)]
    first_losses = ours(batch), peer(batch)
    if abs(first_losses[0] - first_losses[1]) > 1e-4:
        raise UserError(
            f"byol-step: the losses are {first_losses[0]} and {first_losses[1]}; they must be the "
            "same mathematics"
        )
    times = {"ours": [], "peer": []}
    for _ in range(STEPS):
        times["ours"].append(seconds(lambda: ours(batch)))
        times["peer"].append(seconds(lambda: peer(batch)))
    settings = {
        "batch": BATCH,
        "view_size": SIZE,
        "threads": torch.get_num_threads(),
        "first losses": first_losses,
        "rounds": {name: np.round(of, 2).tolist() for name, of in times.items()},
        "versions": installed_versions(),
    }
    return compare(
        statistics.median(times["ours"]),
        statistics.median(times["peer"]),
        "plain loop over lightly's modules",
        "s",
        True,
        settings,
    )


def our_step(
    depth: int = 50, width: int = 64, hidden: int = 2048, output: int = 256
) -> Callable[[list], float]:
    import torch

    from byol_helpers.pretraining.byol import BYOL
    from byol_helpers.pretraining.encoder import build_encoder, group_parameters

    torch.manual_seed(0)
    network = BYOL(build_encoder(depth, width), hidden, output)
    network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(group_parameters(network, 1e-4), 0.05, momentum=0.9)

    def step(batch: list) -> float:
        loss, _ = network(*(view.contiguous(memory_format=torch.channels_last) for view in batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        network.update_target(0.99)
        return loss.item()

    return step


def lightly_step(
    depth: int = 50, width: int = 64, hidden: int = 2048, output: int = 256
) -> Callable[[list], float]:
    import copy

    import torch
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum
    from torch import nn

    from byol_helpers.pretraining.byol import BYOL
    from byol_helpers.pretraining.encoder import build_encoder, group_parameters

    torch.manual_seed(0)
    encoder = build_encoder(depth, width)
    same = BYOL(encoder, hidden, output)  # the same start
    projector = BYOLProjectionHead(cast(int, encoder.width), hidden, output)
    predictor = BYOLPredictionHead(output, hidden, output)
    with torch.no_grad():
        for theirs, ours in ((projector, same.projector), (predictor, same.predictor)):
            for number in (0, 3):  # the linear layers
                mine = cast(nn.Linear, ours[number])
                layer = cast(nn.Linear, theirs.layers[number])
                layer.weight.copy_(mine.weight)
            cast(nn.Linear, theirs.layers[3]).bias.zero_()
    online = torch.nn.ModuleList([same.encoder, projector, predictor]).train()
    backbone = copy.deepcopy(same.encoder)
    head = copy.deepcopy(projector)
    for module in (backbone, head):
        deactivate_requires_grad(module.train())
    criterion = NegativeCosineSimilarity()
    optimizer = torch.optim.SGD(group_parameters(online, 1e-4), 0.05, momentum=0.9)

    def step(batch: list) -> float:
        predictions = [predictor(projector(same.encoder(view))) for view in batch]
        with torch.no_grad():
            targets = [head(backbone(view)) for view in batch]
        loss = 4 + 2 * (
            criterion(predictions[0], targets[1]) + criterion(predictions[1], targets[0])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        update_momentum(same.encoder, backbone, 0.99)
        update_momentum(projector, head, 0.99)
        return loss.item()

    return step
