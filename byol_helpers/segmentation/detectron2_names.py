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
