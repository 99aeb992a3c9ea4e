"""Mask R-CNN of torchvision, built in the open: arms differ in the backbone's weights alone.

``maskrcnn_resnet50_fpn`` is not used because its defaults decide in silence: it downloads ImageNet
weights unless told otherwise, and changes the norm layers and the number of trainable layers with
them.

What an engine must have stands in ``engine.Engine``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, paste_masks_in_image
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.transforms.v2 import functional

from byol_helpers.coco.dataset import Split
from byol_helpers.core.channels import RGB, Channels
from byol_helpers.core.config import FULL_WIDTH, Finetune, Profile
from byol_helpers.core.resnet import build_resnet, count_channels, make_group_norm
from byol_helpers.core.weights import drop_statistics, load_exactly
from byol_helpers.segmentation.dataset import InstanceDataset, collate, fit_size
from byol_helpers.segmentation.shared_settings import (
    DETECTIONS,
    SCORE_THRESHOLD,
    TRAINING_METRICS,
    make_plan,
    scale_learning_rate,
)
from byol_helpers.segmentation.training_metrics import record_training_metrics
from byol_helpers.training.loop import Task, fit

FROZEN_STAGES = ("conv1", "bn1", "layer1")  # detectron2's FREEZE_AT 2
NORMS: dict[str, Callable[..., nn.Module]] = {  # of the ResNet, for each norm policy
    "trainable": nn.BatchNorm2d,
    "frozen": FrozenBatchNorm2d,
    "group": make_group_norm,
}
DETECTRON2_NAMES = {
    "loss_classifier": "loss_cls",
    "loss_box_reg": "loss_box_reg",
    "loss_mask": "loss_mask",
    "loss_objectness": "loss_rpn_cls",
    "loss_rpn_box_reg": "loss_rpn_loc",
}


class Resize(GeneralizedRCNNTransform):
    """torchvision's transform, resizing with antialiasing as the training images were resized."""

    def resize(
        self, image: torch.Tensor, target: dict | None = None
    ) -> tuple[torch.Tensor, dict | None]:
        """[3, H, W] to the test size; training images come in the right size and are left alone."""
        if self.training:
            return image, target
        short_side = cast(list[int], self.min_size)[-1]
        height, width = fit_size(image.shape[-2], image.shape[-1], short_side, self.max_size)
        return functional.resize(image, [height, width], antialias=True), target

    def postprocess(
        self, result: list[dict], image_shapes: list, original_image_sizes: list
    ) -> list[dict]:
        """Boxes and masks in the size of the original image.

        The masks are bool instead of float, made one by one: a hundred of them on a photograph of
        12 megapixels are 1.2 GB, and not 10.
        """
        if self.training:
            return result
        small = [found.pop("masks") for found in result]
        super().postprocess(result, image_shapes, original_image_sizes)
        for found, masks, size in zip(result, small, original_image_sizes, strict=True):
            found["masks"] = masks.new_empty((len(masks), 1, *size), dtype=torch.bool)
            for pasted, mask, box in zip(found["masks"], masks, found["boxes"], strict=True):
                pasted[:] = paste_masks_in_image(mask[None], box[None], size)[0] > 0.5
        return result


def build_backbone(
    depth: int,
    settings: Finetune,
    weights: dict[str, torch.Tensor] | None,
    channels: Channels = RGB,
    width: int = FULL_WIDTH,
) -> BackboneWithFPN:
    """A ResNet with a feature pyramid.

    Args:
        depth: 18 or 50.
        settings: ``norm_policy`` ``trainable`` trains batch norm, freezes nothing; ``frozen`` uses
            FrozenBatchNorm and freezes the stem and the first stage, the defaults of torchvision
            and detectron2; ``group`` has group norms with the gamma and beta of the batch norms,
            and freezes nothing.
        weights: torchvision-named tensors of the ResNet without ``fc``; None keeps the random ones.
        channels: of the images.
        width: channels of the ResNet's first stage.

    Raises:
        UserError: tensors are missing, unknown or of another shape.
    """
    body = build_resnet(depth, width, NORMS[settings.norm_policy], channels)
    del body.fc
    if weights is not None and settings.norm_policy == "group":
        weights = drop_statistics(weights)
    if weights is not None:
        load_exactly(body, weights)
    if settings.norm_policy == "frozen":
        for name, parameter in body.named_parameters():
            parameter.requires_grad_(not name.startswith(FROZEN_STAGES))
    return BackboneWithFPN(
        body,
        {f"layer{i + 1}": str(i) for i in range(4)},
        count_channels(depth, width),
        settings.fpn_channels,
        extra_blocks=LastLevelMaxPool(),
    )


def build(
    depth: int,
    classes: int,
    settings: Finetune,
    seed: int,
    weights: dict | None = None,
    channels: Channels = RGB,
    width: int = FULL_WIDTH,
) -> MaskRCNN:
    """Mask R-CNN on R18-FPN or R50-FPN; see ``engine.Engine``."""
    torch.manual_seed(seed)
    maps = ["0", "1", "2", "3"]
    pyramid = build_backbone(depth, settings, weights, channels, width)
    model = MaskRCNN(
        pyramid,
        rpn_anchor_generator=AnchorGenerator(
            tuple((size,) for size in settings.anchor_sizes), ((0.5, 1.0, 2.0),) * 5
        ),
        rpn_pre_nms_top_n_train=2 * settings.proposals,
        rpn_pre_nms_top_n_test=settings.proposals,
        rpn_post_nms_top_n_train=settings.proposals,
        rpn_post_nms_top_n_test=settings.proposals,
        rpn_batch_size_per_image=settings.rpn_samples,
        box_roi_pool=MultiScaleRoIAlign(maps, output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(settings.fpn_channels * 7 * 7, settings.box_features),
        box_predictor=FastRCNNPredictor(settings.box_features, classes + 1),
        box_batch_size_per_image=settings.roi_samples,
        box_score_thresh=SCORE_THRESHOLD,
        box_detections_per_img=DETECTIONS,
        mask_roi_pool=MultiScaleRoIAlign(maps, output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(settings.fpn_channels, (settings.mask_channels,) * 4, dilation=1),
        mask_predictor=MaskRCNNPredictor(
            settings.mask_channels, settings.mask_channels, classes + 1
        ),
    )
    model.transform = Resize(
        cast(int, settings.short_side),  # a list is one of the sizes, drawn for each image
        settings.long_side,
        list(channels.mean),
        list(channels.std),
    )
    _start_heads(model.roi_heads)
    return model


def _start_heads(heads: Any) -> None:
    """Start the box and mask heads as detectron2 does: near zero, every answer equally likely.

    torchvision's own start gives large random logits (a mask loss of 1.6 where ignorance costs
    ln 2), which a high learning rate turns into divergence.
    """
    for layer in (heads.box_head.fc6, heads.box_head.fc7):
        nn.init.kaiming_uniform_(layer.weight, a=1)  # what Caffe2 calls Xavier
    predictors = {
        heads.box_predictor.cls_score: 0.01,
        heads.box_predictor.bbox_pred: 0.001,
        heads.mask_predictor.mask_fcn_logits: 0.001,
    }
    for layer, spread in predictors.items():
        nn.init.normal_(layer.weight, std=spread)
    hidden = (heads.box_head.fc6, heads.box_head.fc7, heads.mask_predictor.conv5_mask)
    for layer in (*hidden, *predictors):
        nn.init.zeros_(layer.bias)


class MaskRCNNTask(Task):
    """Mask R-CNN, with detectron2's names for everything that is logged."""

    collate = staticmethod(collate)

    def __init__(self, network: MaskRCNN, dataset: InstanceDataset, settings: Finetune):
        self.network = network
        self.dataset = dataset
        self.settings = settings
        self.learning_rate = settings.learning_rate

    def make_optimizer(self) -> torch.optim.Optimizer:
        norms = set()
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                norms.update(module.parameters())
        trained = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p not in norms]},
            {"params": [p for p in trained if p in norms], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(
            [group for group in groups if group["params"]],
            self.learning_rate,
            momentum=self.settings.momentum,
            weight_decay=self.settings.weight_decay,
        )

    def lr_factor(self, step: int) -> float:
        return scale_learning_rate(step, self.settings)

    def loss(
        self, network: nn.Module, batch: tuple, step: int
    ) -> tuple[torch.Tensor, dict[str, float]]:
        with record_training_metrics() as metrics:
            named = network(*batch)
        losses = {DETECTRON2_NAMES[name]: value for name, value in named.items()}
        total = sum(losses.values(), start=torch.zeros(()))
        values = {"total_loss": total.item()}
        values |= {name: value.item() for name, value in losses.items()}
        values["lr"] = self.lr_at(step)
        values |= {name: metrics[name] for name in TRAINING_METRICS}
        return total, values


def train(
    profile: Profile, split: Split, folder: Path, title: str, seed: int, weights: dict | None
) -> MaskRCNN:
    """Fine-tune one arm; see ``engine.Engine``."""
    settings = profile.finetune
    classes = len(split.categories)
    network = build(profile.depth, classes, settings, seed, weights, width=profile.width)
    plan = make_plan(settings, split, folder, title, seed)
    fit(MaskRCNNTask(network, InstanceDataset(split, settings, seed), settings), plan)
    return network.cpu().eval()


@torch.inference_mode()
def detect(network: MaskRCNN, image: torch.Tensor) -> dict[str, np.ndarray]:
    """What a network in eval mode finds in one image; see ``engine.Engine``."""
    device = next(network.parameters()).device
    found = {key: value.cpu().numpy() for key, value in network([image.to(device)])[0].items()}
    return {
        "boxes": found["boxes"],
        "labels": found["labels"] - 1,
        "scores": found["scores"],
        "masks": found["masks"][:, 0],
    }


def compute_losses(network: MaskRCNN, items: list) -> dict[str, float]:
    """Losses and metrics of one batch; see ``engine.Engine``."""
    device = next(network.parameters()).device
    images, targets = collate(items)
    moved = [{key: value.to(device) for key, value in target.items()} for target in targets]
    with record_training_metrics() as metrics:
        named = network([image.to(device) for image in images], moved)
    losses = {DETECTRON2_NAMES[name]: value.item() for name, value in named.items()}
    return {"total_loss": sum(losses.values())} | losses | metrics


def raise_threshold(network: MaskRCNN, score: float) -> None:
    """Find only what is more confident than ``score``; see ``engine.Engine``."""
    heads = cast(RoIHeads, network.roi_heads)
    heads.score_thresh = max(heads.score_thresh, score)
