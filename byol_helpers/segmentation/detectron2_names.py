"""torchvision's names of a ResNet's tensors as detectron2's, and back."""

import re

import torch

BODY = "backbone.bottom_up."  # where detectron2 keeps the ResNet below a feature pyramid


def rename_for_detectron2(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """torchvision's names as detectron2's.

    ``layer1.0.bn1`` becomes ``backbone.bottom_up.res2.0.conv1.norm``. What has detectron2's names
    already keeps them; ``fc`` and the counters of batches are left out.
    """
    renamed = {}
    for name, value in tensors.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        renamed[name if name.startswith(BODY) else BODY + _rename(name)] = value
    return renamed


def _rename(name: str) -> str:
    name = re.sub(r"bn(\d)", r"conv\1.norm", name)
    name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    name = re.sub(r"layer(\d)", lambda match: f"res{int(match[1]) + 1}", name)
    return name if name.startswith("res") else f"stem.{name}"


def rename_from_detectron2(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """detectron2's names of a ResNet as torchvision's: the inverse of ``rename_for_detectron2``.

    ``BODY`` must be gone from the names. What is no part of the ResNet keeps its name.
    """
    renamed = {}
    for name, value in tensors.items():
        name = name.removeprefix("stem.").replace("shortcut.norm", "downsample.1")
        name = name.replace("shortcut", "downsample.0")
        name = re.sub(r"conv(\d)\.norm", r"bn\1", name)
        name = re.sub(r"^res(\d)", lambda match: f"layer{int(match[1]) - 1}", name)
        renamed[name] = value
    return renamed
