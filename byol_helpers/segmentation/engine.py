"""What an engine is, and the fine-tuned models of any: prediction, ``model.pth``, predictor.

A new engine is a module that fulfils ``Engine`` and an entry in ``core.engines.ENGINES``.
"""

import importlib
import itertools
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from pycocotools import mask as rle
from torch import nn

from byol_helpers.coco.dataset import Split
from byol_helpers.core.channels import RGB, Channels
from byol_helpers.core.config import FULL_WIDTH, Finetune, Profile
from byol_helpers.core.engines import require_engine
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, replacing, write_json
from byol_helpers.core.profile_files import update_words
from byol_helpers.core.progress import work_in_pieces
from byol_helpers.core.weights import load_tensors
from byol_helpers.segmentation.dataset import load_image


class Engine(Protocol):
    """The functions of a module that builds, trains and applies Mask R-CNN."""

    def build(
        self,
        depth: int,
        classes: int,
        settings: Finetune,
        seed: int,
        weights: dict | None = None,
        channels: Channels = RGB,
        width: int = FULL_WIDTH,
    ) -> nn.Module:
        """Mask R-CNN on a ResNet with a feature pyramid.

        Args:
            depth: 18 or 50.
            classes: number of categories, without background.
            settings: sizes of the heads, proposals and regions, image size, norm policy.
            seed: of the random initial weights; the same heads whatever ``weights`` hold.
            weights: for the backbone, under torchvision's names; None for random.
            channels: of the images.
            width: channels of the ResNet's first stage.
        """
        ...

    def train(
        self,
        profile: Profile,
        split: Split,
        folder: Path,
        title: str,
        seed: int,
        weights: dict | None,
    ) -> nn.Module:
        """Fine-tune one arm, going on from ``folder/last.ckpt`` if there is one.

        Args:
            profile: section ``finetune`` decides.
            split: the training images and instances.
            folder: for the checkpoint and metrics.csv (a row is the median of 20 iterations).
            title: of the progress lines.
            seed: of the heads, the order of the images and the sampling.
            weights: as in ``build``.

        Returns:
            The network on the CPU, in eval mode.
        """
        ...

    def detect(self, network: nn.Module, image: torch.Tensor) -> dict[str, np.ndarray]:
        """What a network in eval mode finds in one image, most confident first.

        Args:
            image: float32 [C, H, W] in 0..1.

        Returns:
            boxes [N, 4] (x0, y0, x1, y1; pixels of the image), labels [N] from 0, scores [N],
            masks bool [N, H, W].
        """
        ...

    def compute_losses(self, network: nn.Module, items: list) -> dict[str, float]:
        """What training logs of one batch, without a step.

        Args:
            network: in train mode.
            items: of ``dataset.InstanceDataset``.

        Returns:
            total_loss, its parts and the training metrics, under the names of metrics.csv.
        """
        ...

    def raise_threshold(self, network: nn.Module, score: float) -> None:
        """Find only what is more confident than ``score`` and than the threshold there is."""
        ...


def load_engine(name: str) -> Engine:
    """Import an engine, a key of ``core.engines.ENGINES``.

    Raises:
        UserError: the package that it needs is not installed.
    """
    entry = require_engine(name)
    # What detectron2 does in old ways.
    warnings.filterwarnings("ignore", message=".*torch.(jit.script|meshgrid)")
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    return cast(Engine, importlib.import_module(entry.module))


def predict_image(
    network: nn.Module, image: torch.Tensor, category_ids: list[int], detect: Callable
) -> list[dict]:
    """COCO results (without image_id) for one image, most confident first.

    Args:
        network: in eval mode.
        image: float32 [3, H, W] in 0..1.
        category_ids: category id of each label from 0 on.
        detect: the engine's.

    Returns:
        For each detection category_id, score, bbox (x, y, width, height; pixels) and segmentation
        (compressed RLE).
    """
    found = detect(network, image)
    results = []
    columns = (found[name] for name in ("boxes", "labels", "scores", "masks"))
    for box, label, score, mask in zip(*columns, strict=True):
        run_lengths = rle.encode(np.asfortranarray(mask))
        counts = cast(bytes, run_lengths["counts"])
        x0, y0, x1, y1 = (float(value) for value in box)
        results.append(
            {
                "category_id": category_ids[label],
                "score": float(score),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": {"size": run_lengths["size"], "counts": counts.decode()},
            }
        )
    return results


def predict_split(
    path: Path, split: Split, title: str, unfinished: Path | None = None
) -> list[dict]:
    """COCO results of a ``model.pth`` for every image of a split.

    Args:
        path: of the model.
        split: its images are taken in their order.
        title, unfinished: as ``work_in_pieces``, and what it raises.
    """
    network, categories, engine = load_model(path)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    ids = [category["id"] for category in categories]

    def predict(record: dict) -> list[dict]:
        image = load_image(split.path(record))
        found = predict_image(network, image, ids, engine.detect)
        return [{"image_id": record["id"]} | one for one in found]

    of_images = work_in_pieces(title, split.images, predict, unfinished)
    return list(itertools.chain.from_iterable(of_images))


def save_model(
    network: nn.Module, folder: Path, profile: Profile, categories: list[dict], arm: str, seed: int
) -> None:
    """Write ``model.pth`` (plain tensors) and ``model.json`` (how to build the network again)."""
    tensors = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    with replacing(folder / "model.pth") as part:
        torch.save(tensors, part)
    write_json(
        folder / "model.json",
        {
            "engine": profile.finetune.engine,
            "profile": profile.name,
            "arm": arm,
            "seed": seed,
            "depth": profile.depth,
            "width": profile.width,
            "categories": categories,
            "finetune": profile.finetune.model_dump(),
        },
    )


def load_model(path: Path) -> tuple[nn.Module, list[dict], Engine]:
    """Read ``model.pth`` and its ``model.json``.

    Returns:
        The network in eval mode, its COCO categories and its engine.

    Raises:
        UserError: there is no such file, or its tensors do not fit ``model.json``.
    """
    path = Path(path)
    made = _description(path)
    engine = load_engine(made["engine"])
    settings = Finetune(**update_words(made["finetune"]))
    network = engine.build(
        made["depth"],
        len(made["categories"]),
        settings,
        made["seed"],
        width=made.get("width", FULL_WIDTH),  # earlier models do not say it
    )
    tensors = load_tensors(path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(
            f"{path}: its tensors do not fit {path.with_name('model.json')}; copy both from one "
            "folder"
        ) from None
    return network.eval(), made["categories"], engine


def read_categories(path: Path) -> list[dict]:
    """Read the COCO categories that a ``model.pth`` finds, in the order of its labels.

    The model itself is not read.
    """
    return _description(Path(path))["categories"]


def _description(path: Path) -> dict:
    """What stands in ``model.json`` beside a ``model.pth``."""
    if not path.is_file():
        raise UserError(f"{path}: no such model; give the model.pth of a finetune folder")
    beside = path.with_name("model.json")
    if not beside.is_file():
        raise UserError(
            f"{beside}: missing, and {path.name} cannot be read without it; copy both from one "
            "finetune folder"
        )
    return read_json(beside)


def make_predictor(path: Path, least_score: float = 0.0) -> Callable[[np.ndarray], list[dict]]:
    """A function from an image, uint8 [H, W, 3] RGB, to its COCO results, from a ``model.pth``.

    Args:
        path: the file.
        least_score: detections with a lower score are left out, before time and memory go into
            their masks. The engines leave out those below 0.05 anyway.
    """
    network, categories, engine = load_model(path)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    ids = [category["id"] for category in categories]
    # Both engines keep what is greater than a float32.
    engine.raise_threshold(network, float(np.nextafter(np.float32(least_score), np.float32(0))))

    def predict(pixels: np.ndarray) -> list[dict]:
        image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        return predict_image(network, image, ids, engine.detect)

    return predict
