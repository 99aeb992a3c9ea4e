"""BYOL's data path and step beside lightly's, on photographs."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import benchmark, result
from byol_helpers.core.environment import installed_versions
from byol_helpers.core.errors import UserError

PHOTOS = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco-real"
SIZE, BATCH, SIDE = 224, 16, 256


def photographs() -> list[Path]:
    """JPEG files of COCO."""
    from byol_helpers.coco.images import list_images

    if not PHOTOS.is_dir():
        raise UserError(f"{PHOTOS}: not here; this benchmark needs COCO photographs there")
    return [path for path in list_images(PHOTOS) if path.suffix == ".jpg"]


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


@benchmark
def augment() -> dict:
    """Two 224-pixel views of decoded photographs on one core, images per second; the peer is lightly's transform."""
    import torch
    from lightly.transforms.byol_transform import BYOLTransform

    from byol_helpers.coco.images import read_image
    from byol_helpers.pretraining.augmentations import two_views
    from byol_helpers.pretraining.torch_augmentations import view_of
    from byol_helpers.training.sampler import rng

    torch.set_num_threads(1)
    pixels = [read_image(path) for path in photographs()[:64]]
    pictures, views, theirs = [Image.fromarray(p) for p in pixels], two_views(SIZE), BYOLTransform()

    def ours() -> None:
        for k, image in enumerate(pixels):
            draw = rng(0, k)
            for view in views:
                view_of(image, view, draw)

    def pillow() -> None:
        for k, image in enumerate(pictures):
            draw = rng(0, k)
            for view in views:
                view(image, draw)

    times = {name: [] for name in ("ours", "pillow", "lightly")}
    for _ in range(3):
        times["ours"].append(seconds(ours, 1))
        times["lightly"].append(seconds(lambda: [theirs(picture) for picture in pictures], 1))
        times["pillow"].append(seconds(pillow, 1))
    rates = {name: len(pixels) / min(of) for name, of in times.items()}
    about = {
        "images": len(pixels),
        "view_size": SIZE,
        "threads": 1,
        "our Pillow renderer": round(rates["pillow"], 1),
        "versions": installed_versions(),
    }
    return result(
        rates["ours"],
        rates["lightly"],
        "lightly's BYOLTransform",
        "images/s and core",
        False,
        about,
    )


@benchmark
def input_() -> dict:
    """From files to a normalised two-view batch on one core: shrunk copies and fast views, raw JPEG and lightly."""
    import torch
    from lightly.transforms.byol_transform import BYOLTransform
    from torch.utils.data import default_collate

    from byol_helpers.coco.resized_cache import resize_images
    from byol_helpers.pretraining.stages import ViewsDataset
    from byol_helpers.training.sampler import Item

    torch.set_num_threads(1)
    files, theirs = photographs()[:96], BYOLTransform()
    with tempfile.TemporaryDirectory() as folder:
        copies = resize_images(files, Path(folder), SIDE, "shrink")
        dataset = ViewsDataset(copies, SIZE, 0, fast=True, copies=True)
        whole, small = (sum(path.stat().st_size for path in of) for of in (files, copies))

        def ours() -> None:
            for start in range(0, len(files), BATCH):
                default_collate([dataset[Item(k, k)] for k in range(start, start + BATCH)])

        def peer() -> None:
            for start in range(0, len(files), BATCH):
                default_collate(
                    [
                        theirs(Image.open(path).convert("RGB"))
                        for path in files[start : start + BATCH]
                    ]
                )

        times = {"ours": [], "peer": []}
        for _ in range(3):
            times["ours"].append(seconds(ours, 1))
            times["peer"].append(seconds(peer, 1))
    rates = {name: len(files) / min(of) for name, of in times.items()}
    about = {
        "images": len(files),
        "view_size": SIZE,
        "short_side": SIDE,
        "threads": 1,
        "megabytes": whole / 1e6,
        "megabytes of the copies": small / 1e6,
        "bytes, copies to originals": round(small / whole, 3),
        "versions": installed_versions(),
    }
    name = "raw JPEG and lightly's BYOLTransform"
    return result(rates["ours"], rates["peer"], name, "images/s and core", False, about)


@benchmark
def byol_step() -> dict:
    """A training step of BYOL, ResNet-50, 224 pixels, batch 16, fp32; the peer is a plain loop over lightly's modules.

    The heads have lightly's biases taken out of the comparison by their start at zero; both losses must agree at the
    first step.
    """
    import torch

    ours, peer, agreed = our_step(), lightly_step(), None
    torch.manual_seed(0)
    batch = [torch.randn(BATCH, 3, SIZE, SIZE) for _ in range(2)]
    agreed = ours(batch), peer(batch)
    if abs(agreed[0] - agreed[1]) > 1e-4:
        raise UserError(
            f"byol-step: the losses are {agreed[0]} and {agreed[1]}; they must be the same mathematics"
        )
    times = {"ours": [], "peer": []}
    for _ in range(4):
        times["ours"].append(seconds(lambda: ours(batch), 1))
        times["peer"].append(seconds(lambda: peer(batch), 1))
    about = {
        "batch": BATCH,
        "view_size": SIZE,
        "threads": torch.get_num_threads(),
        "first losses": agreed,
        "rounds": {name: np.round(of, 2).tolist() for name, of in times.items()},
        "versions": installed_versions(),
    }
    return result(
        statistics.median(times["ours"]),
        statistics.median(times["peer"]),
        "plain loop over lightly's modules",
        "s",
        True,
        about,
    )


def our_step() -> Callable[[list], float]:
    import torch

    from byol_helpers.pretraining.byol import BYOL, encoder, parameter_groups

    torch.manual_seed(0)
    network = BYOL(encoder(50), 2048, 256).train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(parameter_groups(network, 1e-4), 0.05, momentum=0.9)

    def step(batch: list) -> float:
        loss, _ = network(*(view.contiguous(memory_format=torch.channels_last) for view in batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        network.update_target(0.99)
        return loss.item()

    return step


def lightly_step() -> Callable[[list], float]:
    import copy

    import torch
    from lightly.loss import NegativeCosineSimilarity
    from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
    from lightly.models.utils import deactivate_requires_grad, update_momentum

    from byol_helpers.pretraining.byol import BYOL, encoder, parameter_groups

    torch.manual_seed(0)
    same = BYOL(encoder(50), 2048, 256)  # the same start
    projector, predictor = BYOLProjectionHead(2048, 2048, 256), BYOLPredictionHead(256, 2048, 256)
    with torch.no_grad():
        for theirs, ours in ((projector, same.projector), (predictor, same.predictor)):
            theirs.layers[0].weight.copy_(ours[0].weight)
            theirs.layers[3].weight.copy_(ours[3].weight)
            theirs.layers[3].bias.zero_()
    online = torch.nn.ModuleList([same.encoder, projector, predictor]).train()
    backbone, head = copy.deepcopy(same.encoder), copy.deepcopy(projector)
    for module in (backbone, head):
        deactivate_requires_grad(module.train())
    criterion = NegativeCosineSimilarity()
    optimizer = torch.optim.SGD(parameter_groups(online, 1e-4), 0.05, momentum=0.9)

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
