"""Images and instances of one split, as torchvision's Mask R-CNN wants them."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision.ops import masks_to_boxes
from torchvision.transforms.v2 import functional

from byol_helpers.coco.dataset import Split
from byol_helpers.coco.images import read_image
from byol_helpers.coco.masks import decode_mask
from byol_helpers.core.config import Finetune
from byol_helpers.training.sampler import Item, rng


def fit_size(height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    """Height and width in pixels whose short side is ``short_side``.

    Where the long side would be longer than ``long_side``, it is ``long_side`` instead.
    """
    scale = min(short_side / min(height, width), long_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


class InstanceDataset(Dataset):
    """One item: an image, float32 [3, H, W] in 0..1, and its target.

    The target has boxes [N, 4] (x0, y0, x1, y1; pixels), labels [N] from 1, masks uint8 [N, H, W].

    The image is resized and perhaps flipped. Crowds are left out, as both engines do in training;
    an image without instances stays, with N = 0: its regions are all background. Masks are resized
    one by one, so that an image with hundreds of instances does not need all of them at full size.
    """

    def __init__(self, split: Split, settings: Finetune, seed: int):
        self.split = split
        self.settings = settings
        self.seed = seed
        self.labels = {category["id"]: k + 1 for k, category in enumerate(split.categories)}

    def __len__(self) -> int:
        return len(self.split.images)

    def __getitem__(self, item: Item) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        draw = rng(self.seed, item.position)
        record = self.split.images[item.index]
        image = torch.from_numpy(read_image(self.split.path(record))).permute(2, 0, 1)
        short = self.settings.short_side[int(draw.integers(len(self.settings.short_side)))]
        size = fit_size(record["height"], record["width"], short, self.settings.long_side)
        flip = draw.random() < 0.5
        image = functional.resize(image, list(size), antialias=True).float() / 255
        target = self._target(record, size)
        if flip:
            image = image.flip(-1)
            target["masks"] = target["masks"].flip(-1)
        if len(target["masks"]):
            target["boxes"] = masks_to_boxes(target["masks"]) + torch.tensor([0.0, 0.0, 1.0, 1.0])
        return image, target

    def _target(self, record: dict, size: tuple[int, int]) -> dict[str, torch.Tensor]:
        masks = []
        labels = []
        for annotation in self.split.annotations.get(record["id"], []):
            if annotation.get("iscrowd"):
                continue
            mask = torch.from_numpy(
                decode_mask(annotation, record["height"], record["width"]).astype(np.uint8)
            )
            if tuple(mask.shape) != size:
                mask = functional.resize(
                    mask[None], list(size), functional.InterpolationMode.NEAREST
                )[0]
            if mask.any():
                masks.append(mask)
                labels.append(self.labels[annotation["category_id"]])
        return {
            "boxes": torch.zeros(0, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "masks": torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.uint8),
        }


def collate(batch: list) -> tuple[list[torch.Tensor], list[dict]]:
    """Images of different sizes stay a list; torchvision pads them itself."""
    images, targets = zip(*batch, strict=True)
    return list(images), list(targets)


def load_image(path: Path) -> torch.Tensor:
    """Read an image as the network wants it: float32 [3, H, W] in 0..1."""
    return torch.from_numpy(read_image(path)).permute(2, 0, 1).float() / 255
