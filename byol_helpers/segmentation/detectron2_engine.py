"""Mask R-CNN of detectron2, the thesis's own engine, behind the same three functions as ``torchvision_engine``.

Network, losses, optimiser, schedule and training loop are detectron2's, driven by its config. Pictures, masks, their
order and the weights are ours, the same as for torchvision. detectron2 is installed by hand (see the README).
"""

import logging
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import HookBase, SimpleTrainer, hooks
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import get_event_storage
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional

from byol_helpers.coco.dataset import Split, load_split
from byol_helpers.core.config import Finetune, Profile
from byol_helpers.core.files import replacing, write_text
from byol_helpers.core.progress import Progress
from byol_helpers.core.stage import Run
from byol_helpers.core.weights import load_exactly
from byol_helpers.segmentation.dataset import InstanceDataset, fitted
from byol_helpers.segmentation.shared_settings import (
    DETECTIONS,
    MEAN,
    SCORE_THRESHOLD,
    SIGNALS,
    STD,
    WARMUP_FROM,
    plan_of,
)
from byol_helpers.training.loop import (
    CHECKPOINT,
    Plan,
    loss_is_not_finite,
    measure_time,
    step_seed,
)
from byol_helpers.training.metrics import Medians, write_csv
from byol_helpers.training.sampler import Item, StepBatches

BODY = "backbone.bottom_up."  # where detectron2 keeps the ResNet below a feature pyramid
LOGGED = (
    "total_loss",
    "loss_cls",
    "loss_box_reg",
    "loss_mask",
    "loss_rpn_cls",
    "loss_rpn_loc",
    "lr",
    *SIGNALS,
)


def configuration(depth: int, classes: int, settings: Finetune) -> CfgNode:
    """detectron2's config of ``mask_rcnn_R_50_FPN`` with the settings of a profile, for torchvision's ResNets.

    Those want RGB, torchvision's statistics and the stride in the 3x3 convolution; detectron2's defaults (BGR, std 1,
    stride in 1x1) belong to another family of weights. ``norm_policy`` as in ``torchvision_engine.backbone``.
    """
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = (
        [255 * value for value in MEAN],
        [255 * value for value in STD],
    )
    _set_backbone(cfg, depth, settings)
    _set_heads(cfg, classes, settings)
    cfg.INPUT.FORMAT, cfg.INPUT.MASK_FORMAT = "RGB", "bitmask"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (
        tuple(settings.short_side),
        settings.long_side,
    )
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = settings.short_side[-1], settings.long_side
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER = settings.batch_size, settings.steps
    cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS, cfg.SOLVER.GAMMA = (
        settings.learning_rate,
        tuple(settings.decay_steps),
        0.1,
    )
    cfg.SOLVER.WARMUP_FACTOR, cfg.SOLVER.WARMUP_ITERS = WARMUP_FROM, settings.warmup_steps
    cfg.SOLVER.MOMENTUM, cfg.SOLVER.WEIGHT_DECAY = settings.momentum, settings.weight_decay
    cfg.SOLVER.WEIGHT_DECAY_NORM = 0.0
    cfg.SOLVER.CHECKPOINT_PERIOD = settings.checkpoint_every
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = settings.workers, False
    return cfg


def _set_backbone(cfg: CfgNode, depth: int, settings: Finetune) -> None:
    frozen = settings.norm_policy == "frozen"
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = (
        "build_resnet_fpn_backbone",
        2 if frozen else 0,
    )
    net, stages = cfg.MODEL.RESNETS, ["res2", "res3", "res4", "res5"]
    net.DEPTH, net.NORM, net.STRIDE_IN_1X1 = depth, "FrozenBN" if frozen else "BN", False
    net.RES2_OUT_CHANNELS = 64 if depth == 18 else 256
    net.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = stages
    cfg.MODEL.FPN.OUT_CHANNELS = settings.fpn_channels


def _set_heads(cfg: CfgNode, classes: int, settings: Finetune) -> None:
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[size] for size in settings.anchor_sizes]
    rpn, heads, box, mask = (
        cfg.MODEL[name] for name in ("RPN", "ROI_HEADS", "ROI_BOX_HEAD", "ROI_MASK_HEAD")
    )
    rpn.IN_FEATURES, rpn.BATCH_SIZE_PER_IMAGE = ["p2", "p3", "p4", "p5", "p6"], settings.rpn_samples
    rpn.PRE_NMS_TOPK_TRAIN, rpn.PRE_NMS_TOPK_TEST = 2 * settings.proposals, settings.proposals
    rpn.POST_NMS_TOPK_TRAIN = rpn.POST_NMS_TOPK_TEST = settings.proposals
    heads.NAME, heads.IN_FEATURES, heads.NUM_CLASSES = (
        "StandardROIHeads",
        ["p2", "p3", "p4", "p5"],
        classes,
    )
    heads.BATCH_SIZE_PER_IMAGE, heads.SCORE_THRESH_TEST = settings.roi_samples, SCORE_THRESHOLD
    cfg.TEST.DETECTIONS_PER_IMAGE = DETECTIONS
    box.NAME, box.NUM_FC, box.FC_DIM, box.POOLER_RESOLUTION = (
        "FastRCNNConvFCHead",
        2,
        settings.box_features,
        7,
    )
    mask.NAME, mask.NUM_CONV, mask.POOLER_RESOLUTION = "MaskRCNNConvUpsampleHead", 4, 14
    mask.CONV_DIM = settings.mask_channels


def build(
    depth: int, classes: int, settings: Finetune, seed: int, weights: dict | None = None
) -> nn.Module:
    """detectron2's ``GeneralizedRCNN`` on R18-FPN or R50-FPN.

    Args:
        depth, classes, settings, seed: as in ``torchvision_engine.build``.
        weights: for the backbone, under detectron2's names (``transfer.to_detectron2``); None for random.

    Raises:
        UserError: tensors are missing, unknown or of another shape. detectron2's own loading would only warn.
    """
    torch.manual_seed(seed)
    network = build_model(configuration(depth, classes, settings))
    network.test_size = settings.short_side[-1], settings.long_side  # pixels; for detect
    if weights is not None:
        load_exactly(
            network.backbone.bottom_up,
            {name.removeprefix(BODY): value for name, value in weights.items()},
        )
    return network


class InDetectron2sForm(Dataset):
    """The images and instances of ``InstanceDataset`` as detectron2 takes them: 0..255, labels from 0."""

    def __init__(self, dataset: InstanceDataset):
        self.dataset = dataset

    def __getitem__(self, item: Item) -> dict:
        image, target = self.dataset[item]
        instances = Instances(
            tuple(image.shape[-2:]),
            gt_boxes=Boxes(target["boxes"]),
            gt_classes=target["labels"] - 1,
            gt_masks=BitMasks(target["masks"]),
        )
        return {"image": 255 * image, "instances": instances}


class Recorder(HookBase):
    """Seeds each step, clips the gradient, and keeps metrics.csv, the checkpoint and the progress lines."""

    def __init__(self, plan: Plan):
        self.plan, self.medians, self.progress = plan, Medians(plan.metrics_every, plan.steps), None

    def state_dict(self) -> dict:
        return self.medians.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.medians.load_state_dict(state)

    def before_train(self) -> None:
        self.progress = Progress(self.plan.title, self.plan.steps, done=self.trainer.start_iter)

    def before_step(self) -> None:
        torch.manual_seed(step_seed(self.plan, self.trainer.iter))
        self.started = measure_time()

    def after_backward(self) -> None:
        if self.plan.gradient_clip:
            nn.utils.clip_grad_norm_(self.trainer.model.parameters(), self.plan.gradient_clip)

    def after_step(self) -> None:
        step, latest = self.trainer.iter + 1, get_event_storage().latest()
        values = {
            name: float(latest[name][0])
            for name in LOGGED
            if name in latest and latest[name][1] == self.trainer.iter
        }
        self.medians.add(step, values | {"seconds": measure_time() - self.started})
        self.progress.update()
        if step % self.plan.checkpoint_every == 0 or step == self.plan.steps:
            write_csv(self.plan.folder / "metrics.csv", self.medians.rows)
            kept = {"model": self.trainer.model.state_dict(), "trainer": self.trainer.state_dict()}
            with replacing(self.plan.folder / CHECKPOINT) as part:
                torch.save(kept, part)

    def after_train(self) -> None:
        if self.trainer.iter == self.plan.steps:
            self.progress.close()


def train(
    profile: Profile, split: Split, folder: Path, title: str, seed: int, weights: dict | None
) -> nn.Module:
    """Fine-tune one arm under detectron2's ``SimpleTrainer``; arguments, files and resume as in ``torchvision_engine``.

    ``folder/config.yaml`` is the config, for detectron2's own tools.
    """
    settings = profile.finetune
    plan = plan_of(settings, split, folder, title, seed)
    cfg = configuration(profile.depth, len(split.categories), settings)
    cfg.MODEL.WEIGHTS, cfg.OUTPUT_DIR, cfg.SEED = str(folder / "model.pth"), str(folder), seed
    write_text(folder / "config.yaml", cfg.dump())
    network = build(profile.depth, len(split.categories), settings, seed, weights)
    optimizer = build_optimizer(cfg, network)
    trainer = SimpleTrainer(network, None, optimizer)
    trainer.register_hooks(
        [hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer)), Recorder(plan)]
    )
    first, last = 0, folder / CHECKPOINT
    if last.exists():
        kept = torch.load(last, map_location="cpu", weights_only=True)
        network.load_state_dict(kept["model"])
        trainer.load_state_dict(kept["trainer"])
        first = trainer.iter + 1
    images = InDetectron2sForm(InstanceDataset(split, settings, seed))
    batches = StepBatches(len(split.images), plan.batch_size, seed, first, plan.steps)
    trainer.data_loader = DataLoader(
        images,
        batch_sampler=batches,
        num_workers=plan.workers,
        collate_fn=list,
        generator=torch.Generator(),
    )  # its start takes nothing from the step's draws
    logging.getLogger("detectron2.engine.train_loop").setLevel(
        logging.CRITICAL
    )  # a traceback where one line will do
    try:
        trainer.train(first, plan.steps)
    except FloatingPointError:
        raise loss_is_not_finite(
            plan, "not finite", trainer.iter + 1, optimizer.param_groups[0]["lr"]
        ) from None
    return network.cpu().eval()


@torch.inference_mode()
def detect(network: nn.Module, image: torch.Tensor) -> dict[str, np.ndarray]:
    """What a network in eval mode finds in one image; as in ``torchvision_engine``."""
    height, width = image.shape[-2:]
    resized = functional.resize(
        image, list(fitted(height, width, *network.test_size)), antialias=True
    )
    found = network([{"image": 255 * resized, "height": height, "width": width}])[0][
        "instances"
    ].to("cpu")
    return {
        "boxes": found.pred_boxes.tensor.numpy(),
        "labels": found.pred_classes.numpy(),
        "scores": found.scores.numpy(),
        "masks": found.pred_masks.numpy(),
    }


def register(run: Run) -> list[str]:
    """Make the splits of a prepared run known to detectron2's own tools; their names, ``<run>/train`` and so on."""
    names = []
    for split in (load_split(run, name) for name in ("train", "val", "test")):
        names.append(f"{run.path.name}/{split.name}")
        if names[-1] in DatasetCatalog:
            DatasetCatalog.remove(names[-1])
            MetadataCatalog.remove(names[-1])
        register_coco_instances(names[-1], {}, str(split.file), str(split.root))
    return names
