"""Fine-tuned models of either engine: prediction, ``model.pth`` and the function that a tool needs."""

import importlib.util
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from pycocotools import mask as rle
from torch import nn

from byol_helpers.coco.dataset import Split
from byol_helpers.core.config import Finetune, Profile
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, replacing, write_json
from byol_helpers.core.progress import Progress
from byol_helpers.core.stage import update_words
from byol_helpers.core.weights import load_tensors
from byol_helpers.segmentation.dataset import image_of


def engine(name: str) -> ModuleType:
    """The module with ``build``, ``train`` and ``detect``: ``torchvision`` or ``detectron2``."""
    if name == "torchvision":
        from byol_helpers.segmentation import torchvision_engine

        return torchvision_engine
    if importlib.util.find_spec("detectron2") is None:
        raise UserError(
            "the engine detectron2 is not installed; install it from its repository (see the README), or "
            "use the engine torchvision"
        )
    warnings.filterwarnings(
        "ignore", message=".*torch.(jit.script|meshgrid)"
    )  # what detectron2 does in old ways
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    from byol_helpers.segmentation import detectron2_engine

    return detectron2_engine


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
        For each detection category_id, score, bbox (x, y, width, height; pixels) and segmentation (compressed RLE).
    """
    found, results = detect(network, image), []
    columns = (found[name] for name in ("boxes", "labels", "scores", "masks"))
    for box, label, score, mask in zip(*columns, strict=True):
        run_lengths = rle.encode(np.asfortranarray(mask))
        x0, y0, x1, y1 = (float(value) for value in box)
        results.append(
            {
                "category_id": category_ids[label],
                "score": float(score),
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "segmentation": {
                    "size": run_lengths["size"],
                    "counts": run_lengths["counts"].decode(),
                },
            }
        )
    return results


def predict_split(path: Path, split: Split, title: str) -> list[dict]:
    """COCO results of a ``model.pth`` for every image of a split."""
    network, categories, detect = load_model(path)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    ids = [category["id"] for category in categories]
    progress, results = Progress(title, len(split.images), "images"), []
    for record in split.images:
        for found in predict_image(network, image_of(split.path(record)), ids, detect):
            results.append({"image_id": record["id"]} | found)
        progress.update()
    progress.close()
    return results


def save_model(
    network: nn.Module, folder: Path, profile: Profile, categories: list[dict], arm: str, seed: int
) -> None:
    """``model.pth`` (plain tensors) and ``model.json`` (what is needed to build the network again)."""
    with replacing(folder / "model.pth") as part:
        torch.save(
            {name: value.detach().cpu() for name, value in network.state_dict().items()}, part
        )
    write_json(
        folder / "model.json",
        {
            "engine": profile.finetune.engine,
            "profile": profile.name,
            "arm": arm,
            "seed": seed,
            "depth": profile.depth,
            "categories": categories,
            "finetune": profile.finetune.model_dump(),
        },
    )


def load_model(path: Path) -> tuple[nn.Module, list[dict], Callable]:
    """From ``model.pth`` and its ``model.json``: the network in eval mode, its categories, its engine's ``detect``."""
    path = Path(path)
    made = _description(path)
    used = engine(made["engine"])
    settings = Finetune(**update_words(made["finetune"]))
    network = used.build(made["depth"], len(made["categories"]), settings, made["seed"])
    tensors = load_tensors(path)
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise UserError(
            f"{path}: its tensors do not fit {path.with_name('model.json')}; copy both from one "
            "folder"
        ) from None
    return network.eval(), made["categories"], used.detect


def categories_of(path: Path) -> list[dict]:
    """The COCO categories that a ``model.pth`` finds, in the order of its labels; the model itself is not read."""
    return _description(Path(path))["categories"]


def _description(path: Path) -> dict:
    """What stands in ``model.json`` beside a ``model.pth``."""
    if not path.is_file():
        raise UserError(f"{path}: no such model; give the model.pth of a finetune folder")
    return read_json(path.with_name("model.json"))


def predictor(path: Path, least_score: float = 0.0) -> Callable[[np.ndarray], list[dict]]:
    """A function from a picture, uint8 [H, W, 3] RGB, to its COCO results, from a ``model.pth``.

    Args:
        path: the file.
        least_score: detections with a lower score are left out, before time and memory go into their masks. The
            engines leave out those below 0.05 anyway.
    """
    network, categories, detect = load_model(path)
    network.to("cuda" if torch.cuda.is_available() else "cpu")
    ids = [category["id"] for category in categories]
    # Both engines keep what is greater than a float32.
    heads, below = network.roi_heads, float(np.nextafter(np.float32(least_score), np.float32(0)))
    if hasattr(heads, "score_thresh"):  # torchvision
        heads.score_thresh = max(heads.score_thresh, below)
    else:
        heads.box_predictor.test_score_thresh = max(heads.box_predictor.test_score_thresh, below)

    def predict(picture: np.ndarray) -> list[dict]:
        return predict_image(
            network, torch.from_numpy(picture).permute(2, 0, 1).float() / 255, ids, detect
        )

    return predict
