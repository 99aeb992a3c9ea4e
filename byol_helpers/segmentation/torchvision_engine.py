"""Mask R-CNN of torchvision, built in the open: the same network for every arm, but for the backbone's weights.

``maskrcnn_resnet50_fpn`` is not used because its defaults decide in silence: it downloads ImageNet weights unless told
otherwise, and changes the norm layers and the number of trainable layers with them.
"""

import torch
from torch import nn
from torchvision.models import resnet
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.transforms.v2 import functional

from byol_helpers.config import Finetune
from byol_helpers.errors import UserError
from byol_helpers.segmentation.dataset import fitted

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FROZEN_STAGES = ("conv1", "bn1", "layer1")  # detectron2's FREEZE_AT 2
SCORE_THRESHOLD, DETECTIONS = 0.05, 100  # both engines' defaults


class Resize(GeneralizedRCNNTransform):
    """torchvision's transform, resizing with antialiasing as the training images were resized."""

    def resize(self, image: torch.Tensor, target: dict | None = None) -> tuple[torch.Tensor, dict | None]:
        """[3, H, W] to the test size; training images come in the right size and are left alone."""
        if self.training:
            return image, target
        height, width = fitted(*image.shape[-2:], self.min_size[-1], self.max_size)
        return functional.resize(image, [height, width], antialias=True), target


def backbone(depth: int, settings: Finetune, weights: dict[str, torch.Tensor] | None) -> BackboneWithFPN:
    """A ResNet with a feature pyramid.

    Args:
        depth: 18 or 50.
        settings: ``norm_policy`` ``fair`` trains batch norm and freezes nothing; ``frozen`` uses FrozenBatchNorm and
            freezes the stem and the first stage, the defaults of torchvision and detectron2.
        weights: torchvision-named tensors of the ResNet without ``fc``; None keeps the random ones.

    Raises:
        UserError: tensors are missing, unknown or of another shape.
    """
    norm = FrozenBatchNorm2d if settings.norm_policy == "frozen" else nn.BatchNorm2d
    body = getattr(resnet, f"resnet{depth}")(weights=None, norm_layer=norm)
    del body.fc
    if weights is not None:
        load_exactly(body, weights)
    if settings.norm_policy == "frozen":
        for name, parameter in body.named_parameters():
            parameter.requires_grad_(not name.startswith(FROZEN_STAGES))
    width = 64 if depth == 18 else 256
    return BackboneWithFPN(body, {f"layer{i + 1}": str(i) for i in range(4)}, [width * 2**i for i in range(4)],
                           settings.fpn_channels, extra_blocks=LastLevelMaxPool())


def load_exactly(body: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load weights into a ResNet and accept no difference in names or shapes."""
    wanted = {k: v for k, v in body.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    wrong = [k for k in wanted.keys() & given.keys() if wanted[k].shape != given[k].shape]
    problems = {"missing": sorted(wanted.keys() - given.keys()), "unknown": sorted(given.keys() - wanted.keys()),
                "of another shape": sorted(wrong)}
    said = "; ".join(f"{len(names)} {kind} ({', '.join(names[:3])} ...)" for kind, names in problems.items() if names)
    if said:
        raise UserError(f"the weights do not fit this ResNet: {said}; use weights of the same architecture")
    body.load_state_dict(given, strict=False)


def build(depth: int, classes: int, settings: Finetune, seed: int, weights: dict | None = None) -> MaskRCNN:
    """Mask R-CNN on R18-FPN or R50-FPN.

    Args:
        depth: 18 or 50.
        classes: number of categories, without background.
        settings: sizes of the heads, numbers of proposals and regions, image size, norm policy.
        seed: of the random initial weights. The same seed gives the same heads whatever ``weights`` hold.
        weights: for the backbone, torchvision names; None for random.
    """
    torch.manual_seed(seed)
    channels, maps = settings.fpn_channels, ["0", "1", "2", "3"]
    pyramid = backbone(depth, settings, weights)
    model = MaskRCNN(
        pyramid,
        rpn_anchor_generator=AnchorGenerator(tuple((size,) for size in settings.anchor_sizes), ((0.5, 1.0, 2.0),) * 5),
        rpn_pre_nms_top_n_train=2 * settings.proposals, rpn_pre_nms_top_n_test=settings.proposals,
        rpn_post_nms_top_n_train=settings.proposals, rpn_post_nms_top_n_test=settings.proposals,
        rpn_batch_size_per_image=settings.rpn_samples,
        box_roi_pool=MultiScaleRoIAlign(maps, output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(channels * 7 * 7, settings.box_features),
        box_predictor=FastRCNNPredictor(settings.box_features, classes + 1),
        box_batch_size_per_image=settings.roi_samples,
        box_score_thresh=SCORE_THRESHOLD, box_detections_per_img=DETECTIONS,
        mask_roi_pool=MultiScaleRoIAlign(maps, output_size=14, sampling_ratio=2),
        mask_head=MaskRCNNHeads(channels, (settings.mask_channels,) * 4, dilation=1),
        mask_predictor=MaskRCNNPredictor(settings.mask_channels, settings.mask_channels, classes + 1),
    )
    model.transform = Resize(settings.short_side, settings.long_side, IMAGENET_MEAN, IMAGENET_STD)
    return model
