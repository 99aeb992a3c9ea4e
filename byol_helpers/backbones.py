"""The bridge from pretraining to Mask R-CNN: files of tensors under torchvision's names.

A weights file opens with ``torch.load(path, weights_only=True)``. Beside it lies a JSON file that
says where the tensors come from and how pictures must be normalised for them.
"""

import re
from pathlib import Path

import torch
from torchvision.models import ResNet18_Weights, ResNet50_Weights

from byol_helpers.adoption import adopt_checkpoint as adopt_checkpoint
from byol_helpers.core.channels import RGB
from byol_helpers.core.config import FULL_WIDTH
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing, sha256, write_json
from byol_helpers.core.resnet import run_stages
from byol_helpers.core.weights import load_tensors
from byol_helpers.segmentation.detectron2_names import (
    BODY,
    rename_from_detectron2,
)
from byol_helpers.segmentation.detectron2_names import (
    rename_for_detectron2 as rename_for_detectron2,
)

IMAGENET = {18: ResNet18_Weights.IMAGENET1K_V1, 50: ResNet50_Weights.IMAGENET1K_V1}
NORMALISATION = {
    "mean": list(RGB.mean),
    "std": list(RGB.std),
    "range": "0..1",
    "channels": "".join(RGB.names),
}


def save_backbone(tensors: dict[str, torch.Tensor], path: Path, source: dict) -> Path:
    """Write a backbone's tensors (``fc`` dropped) and the JSON file beside it.

    Args:
        tensors: a torchvision ResNet's state.
        path: for example ``weights/byol.pth``.
        source: what the JSON file says about their origin.
    """
    kept = {name: value.contiguous() for name, value in drop_classifier(tensors).items()}
    with replacing(path) as part:
        torch.save(kept, part)
    write_json(
        path.with_suffix(".json"),
        {
            "sha256": sha256(path),
            "tensors": len(kept),
            "source": source,
            "normalisation": NORMALISATION,
        },
    )
    return path


def load_backbone(path: Path) -> dict[str, torch.Tensor]:
    """Read a backbone file; a pickle that holds more than tensors is refused, not run."""
    return drop_classifier(load_tensors(Path(path)))


def load_body(path: Path) -> dict[str, torch.Tensor]:
    """The ResNet's tensors of a backbone file, or of a fine-tuned ``model.pth`` of either engine.

    A detector's, asked by the probes, says what labels of the task itself can teach a backbone.
    """
    tensors = load_backbone(path)
    for prefix in ("backbone.body.", BODY):
        of_body = {}
        for name, value in tensors.items():
            if name.startswith(prefix):
                of_body[name.removeprefix(prefix)] = value
        if of_body:
            return rename_from_detectron2(of_body) if prefix == BODY else of_body
    return tensors


def drop_classifier(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors without those of the layer ``fc``."""
    return {name: value for name, value in tensors.items() if not name.startswith("fc.")}


def open_residual_branches(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors with gamma = 1 in the last batch norm of every residual block.

    Random weights may begin with gamma = 0 there, which training moves away from; a frozen batch
    norm never does, and every block would stay its shortcut alone.
    """
    last = {}
    for name in sorted(tensors):
        found = re.fullmatch(r"(layer\d\.\d+)\.bn\d\.weight", name)
        if found:
            last[found[1]] = name  # bn2 of a basic block, bn3 of a bottleneck
    opened = {name: torch.ones_like(tensors[name]) for name in last.values()}
    return tensors | opened


def extract_encoder(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The trained encoder in a checkpoint of the stages pretrain or supervised.

    Of BYOL's two it is the online one.

    Checkpoints of version 0.1 keep the network's state under ``state_dict`` and a longer prefix.
    """
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tensors = state["network"] if "network" in state else state.get("state_dict", {})
    for prefix in ("encoder.", "network.encoder.", "network."):
        found = {}
        for name, value in tensors.items():
            if name.startswith(prefix):
                found[name.removeprefix(prefix)] = value
        if found:
            return found
    raise UserError(f"{checkpoint}: holds no encoder; run the stage that writes it again")


def read_imagenet(
    depth: int, file: Path | None = None, width: int = FULL_WIDTH
) -> tuple[dict[str, torch.Tensor], dict]:
    """torchvision's IMAGENET1K_V1 weights, downloaded or from a file.

    Nothing else is taken in their place. The file must be torchvision's: its published name ends in
    the first eight digits of its SHA-256. There are none of another width than 64.
    """
    weights = IMAGENET[depth]
    if width != FULL_WIDTH:
        raise UserError(
            f"{weights}: of width {FULL_WIDTH}, and the profile has width={width}; set "
            f"width={FULL_WIDTH} (--set width={FULL_WIDTH})"
        )
    published = weights.url.removesuffix(".pth")[-8:]
    if file is not None:
        tensors = load_backbone(file)
        if not sha256(file).startswith(published):
            raise UserError(
                f"{file}: not torchvision's {weights} (its SHA-256 begins with {published}); "
                "download it again"
            )
        return tensors, {"kind": "ImageNet", "weights": str(weights), "from": "file"}
    try:
        tensors = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"the ImageNet weights {weights} could not be downloaded ({error}); copy the file "
            f"{Path(weights.url).name} here and pass --set supervised.weights_file=FILE"
        ) from None
    return tensors, {"kind": "ImageNet", "weights": str(weights), "from": "download"}


@torch.inference_mode()
def measure_feature_differences(
    first: torch.nn.Module, second: torch.nn.Module, images: torch.Tensor
) -> dict[str, float]:
    """Largest absolute difference of layer1 to layer4 (detectron2: res2 to res5) of two ResNets.

    Both in eval mode, on the same normalised images [N, 3, H, W]; each may be torchvision's or
    detectron2's (``backbone.bottom_up``). 0.0 everywhere proves a transfer, 1e-4 of the features'
    size does for other norm layers; anything else disproves it.
    """
    outputs = []
    for network in (first, second):
        was_training = network.training
        outputs.append(_run_stages(network.eval(), images))
        network.train(was_training)
    return {name: float((outputs[0][name] - outputs[1][name]).abs().max()) for name in outputs[0]}


def _run_stages(network: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The maps of torchvision's stages, or of detectron2's, which gives them itself."""
    if hasattr(network, "layer1"):
        return run_stages(network, images)
    return {f"layer{int(name[-1]) - 1}": value for name, value in network(images).items()}
