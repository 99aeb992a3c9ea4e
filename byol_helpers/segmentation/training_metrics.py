"""The training metrics of figures 4.8 to 4.10, under detectron2's names.

They are rates on the *training batch*: of mask pixels (``mask_rcnn/*``) and of sampled regions
(``fast_rcnn/*``), not of detections on test images. torchvision's Mask R-CNN does not report them,
so ``record_training_metrics`` listens to its loss functions.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torchvision.models.detection import roi_heads


def compute_mask_metrics(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """Pixel rates of the predicted masks (detectron2's ``mask_rcnn_loss``).

    Args:
        logits: [N, M, M] mask logits of the true class of N foreground regions.
        targets: [N, M, M] ground truth in 0..1; above 0.5 is object.

    Returns:
        accuracy = 1 - wrong / all pixels; false_positive = wrong background pixels / background
        pixels; false_negative = wrong object pixels / object pixels; all in 0..1.
    """
    wanted = targets > 0.5
    wrong = (logits > 0) != wanted
    positive = wanted.sum().item()
    missed = (wrong & wanted).sum().item()
    invented = (wrong & ~wanted).sum().item()
    return {
        "mask_rcnn/accuracy": 1 - wrong.sum().item() / max(wrong.numel(), 1),
        "mask_rcnn/false_positive": invented / max(wanted.numel() - positive, 1),
        "mask_rcnn/false_negative": missed / max(positive, 1),
    }


def compute_region_metrics(
    logits: torch.Tensor, labels: torch.Tensor, background: int
) -> dict[str, float]:
    """Classification rates of the sampled regions (detectron2's ``_log_classification_stats``).

    Args:
        logits: [R, C] class logits, background included.
        labels: [R] true class.
        background: index of the background class: 0 in torchvision, C - 1 in detectron2.

    Returns:
        cls_accuracy over all regions; fg_cls_accuracy and false_negative (called background) over
        foreground regions; all in 0..1.
    """
    predicted = logits.argmax(dim=1)
    foreground = labels != background
    objects = max(foreground.sum().item(), 1)
    return {
        "fast_rcnn/cls_accuracy": (predicted == labels).sum().item() / max(labels.numel(), 1),
        "fast_rcnn/fg_cls_accuracy": (predicted == labels)[foreground].sum().item() / objects,
        "fast_rcnn/false_negative": (predicted == background)[foreground].sum().item() / objects,
    }


@contextmanager
def record_training_metrics() -> Iterator[dict[str, float]]:
    """Within the block, torchvision's two ROI losses leave their metrics in the yielded dictionary.

    torchvision looks both functions up in its module at each call, so replacing them there for the
    time of a training step is enough; the losses themselves stay what they are, to the last bit.
    """
    metrics: dict[str, float] = {}
    region_loss = roi_heads.fastrcnn_loss
    mask_loss = roi_heads.maskrcnn_loss

    def regions(class_logits, box_regression, labels, regression_targets):
        metrics.update(
            compute_region_metrics(class_logits.detach(), torch.cat(labels), background=0)
        )
        return region_loss(class_logits, box_regression, labels, regression_targets)

    def masks(mask_logits, proposals, gt_masks, gt_labels, matched):
        size = mask_logits.shape[-1]
        projected = []
        for mask, boxes, indices in zip(gt_masks, proposals, matched, strict=True):
            projected.append(roi_heads.project_masks_on_boxes(mask, boxes, indices, size))
        targets = torch.cat(projected)
        labels = torch.cat([label[i] for label, i in zip(gt_labels, matched, strict=True)])
        own_class = mask_logits[torch.arange(len(labels), device=mask_logits.device), labels]
        metrics.update(compute_mask_metrics(own_class.detach(), targets))
        if not targets.numel():
            return mask_logits.sum() * 0
        # As torchvision's, with the targets made only once.
        return F.binary_cross_entropy_with_logits(own_class, targets)

    roi_heads.fastrcnn_loss = regions
    roi_heads.maskrcnn_loss = masks
    try:
        yield metrics
    finally:
        roi_heads.fastrcnn_loss = region_loss
        roi_heads.maskrcnn_loss = mask_loss
