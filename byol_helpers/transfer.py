"""The bridge from pretraining to Mask R-CNN: files of plain tensors under torchvision's names, and their proof.

A weights file opens with ``torch.load(path, weights_only=True)``. Beside it lies a JSON file that says where the
tensors come from and how pictures must be normalised for them.
"""

import re
from pathlib import Path

import torch
from torchvision.models import ResNet18_Weights, ResNet50_Weights

from byol_helpers.errors import UserError
from byol_helpers.runs import replacing, sha256, write_json
from byol_helpers.training import load_tensors

IMAGENET = {18: ResNet18_Weights.IMAGENET1K_V1, 50: ResNet50_Weights.IMAGENET1K_V1}
NORMALISATION = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "range": "0..1", "channels": "RGB"}


def export(tensors: dict[str, torch.Tensor], path: Path, source: dict) -> Path:
    """Write a backbone's tensors (``fc`` dropped) and the JSON file beside it.

    Args:
        tensors: a torchvision ResNet's state.
        path: for example ``weights/byol.pth``.
        source: what the JSON file says about their origin.
    """
    kept = {name: value.contiguous() for name, value in tensors.items() if not name.startswith("fc.")}
    with replacing(path) as part:
        torch.save(kept, part)
    write_json(path.with_suffix(".json"), {"sha256": sha256(path), "tensors": len(kept), "source": source,
                                           "normalisation": NORMALISATION})
    return path


def load(path: Path) -> dict[str, torch.Tensor]:
    """Read a backbone file; a pickle that holds more than tensors is refused, not run."""
    return {name: value for name, value in load_tensors(Path(path)).items() if not name.startswith("fc.")}


def encoder_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The trained encoder in a checkpoint of the stages pretrain (the online encoder, not the target) or supervised."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    for prefix in ("network.encoder.", "network."):
        found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        if found:
            return found
    raise UserError(f"{checkpoint}: holds no encoder; run the stage that writes it again")


def imagenet(depth: int, file: str | None) -> tuple[dict[str, torch.Tensor], dict]:
    """torchvision's IMAGENET1K_V1 weights, downloaded or from a file; nothing else is taken in their place.

    The file must be torchvision's: its published name ends in the first eight digits of its SHA-256.
    """
    weights = IMAGENET[depth]
    published = re.search(r"-([0-9a-f]{8})\.pth$", weights.url).group(1)
    if file is not None:
        tensors = load(Path(file))
        if not sha256(Path(file)).startswith(published):
            raise UserError(f"{file}: not torchvision's {weights} (its SHA-256 begins with {published}); "
                            "download it again")
        return tensors, {"kind": "ImageNet", "weights": str(weights), "from": "file"}
    try:
        tensors = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"the ImageNet weights {weights} could not be downloaded ({error}); copy the file "
                        f"{Path(weights.url).name} here and pass --set supervised.weights_file=FILE") from None
    return tensors, {"kind": "ImageNet", "weights": str(weights), "from": "download"}


def to_detectron2(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """torchvision's names as detectron2's: ``layer1.0.bn1`` -> ``backbone.bottom_up.res2.0.conv1.norm``."""
    renamed = {}
    for name, value in tensors.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        name = re.sub(r"bn(\d)", r"conv\1.norm", name)
        name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        name = re.sub(r"layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
        if not name.startswith("res"):
            name = f"stem.{name}"
        renamed[f"backbone.bottom_up.{name}"] = value
    return renamed


@torch.inference_mode()
def feature_differences(first: torch.nn.Module, second: torch.nn.Module, images: torch.Tensor) -> dict[str, float]:
    """Largest absolute difference of layer1 to layer4 of two ResNets in eval mode, on normalised images [N, 3, H, W].

    0.0 everywhere proves a transfer; anything else disproves it.
    """
    outputs = []
    for network in (first, second):
        was_training = network.training
        x, kept = network.eval().maxpool(network.relu(network.bn1(network.conv1(images)))), {}
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = kept[name] = getattr(network, name)(x)
        network.train(was_training)
        outputs.append(kept)
    return {name: float((outputs[0][name] - outputs[1][name]).abs().max()) for name in outputs[0]}
