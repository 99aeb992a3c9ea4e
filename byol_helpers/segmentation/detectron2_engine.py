"""Mask R-CNN of detectron2, the thesis's own engine, as an ``engine.Engine``.

Network, losses, optimiser, schedule and training loop are detectron2's, driven by its config.
Images, masks, their order and the weights are ours, the same as for torchvision. detectron2 is
installed by hand (see docs/engines.md).
"""

# pyright: reportMissingImports=false
# detectron2 is not on every machine that checks the types.

import logging
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.engine import HookBase, SimpleTrainer, hooks
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, build_model
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage, get_event_storage
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional

from byol_helpers.coco.dataset import Split, load_split
from byol_helpers.core.channels import RGB, Channels
from byol_helpers.core.config import FULL_WIDTH, Finetune, Profile
from byol_helpers.core.deadline import get_deadline, is_over
from byol_helpers.core.files import replacing, write_text
from byol_helpers.core.kept_copy import copy_folder
from byol_helpers.core.progress import Progress
from byol_helpers.core.resnet import BLOCKS, count_channels, make_group_norm
from byol_helpers.core.stage import Run
from byol_helpers.core.weights import drop_statistics, load_exactly
from byol_helpers.segmentation.dataset import InstanceDataset, fit_size
from byol_helpers.segmentation.detectron2_names import BODY, rename_for_detectron2
from byol_helpers.segmentation.shared_settings import (
    DETECTIONS,
    SCORE_THRESHOLD,
    TRAINING_METRICS,
    WARMUP_FROM,
    make_plan,
)
from byol_helpers.training.loop import (
    CHECKPOINT,
    Plan,
    loss_is_not_finite,
    measure_time,
    step_seed,
    stopped_early,
)
from byol_helpers.training.metrics import Medians, write_csv
from byol_helpers.training.sampler import Item, StepBatches

LOGGED = (
    "total_loss",
    "loss_cls",
    "loss_box_reg",
    "loss_mask",
    "loss_rpn_cls",
    "loss_rpn_loc",
    "lr",
    *TRAINING_METRICS,
)


def make_config(
    depth: int,
    classes: int,
    settings: Finetune,
    channels: Channels = RGB,
    width: int = FULL_WIDTH,
) -> CfgNode:
    """detectron2's config of ``mask_rcnn_R_50_FPN`` with a profile's settings.

    torchvision's ResNets want RGB, torchvision's statistics and the stride in the 3x3 convolution;
    detectron2's defaults (BGR, std 1, stride in 1x1) belong to another family of weights. The
    length of ``PIXEL_MEAN`` is the number of input channels. ``norm_policy`` as in
    ``torchvision_engine.build_backbone``.
    """
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.PIXEL_MEAN = [255 * value for value in channels.mean]
    cfg.MODEL.PIXEL_STD = [255 * value for value in channels.std]
    _set_backbone(cfg, depth, width, settings)
    _set_heads(cfg, classes, settings)
    cfg.INPUT.FORMAT = "".join(channels.names)
    cfg.INPUT.MASK_FORMAT = "bitmask"
    cfg.INPUT.MIN_SIZE_TRAIN = tuple(settings.short_side)
    cfg.INPUT.MAX_SIZE_TRAIN = settings.long_side
    cfg.INPUT.MIN_SIZE_TEST = settings.short_side[-1]
    cfg.INPUT.MAX_SIZE_TEST = settings.long_side
    cfg.SOLVER.IMS_PER_BATCH = settings.batch_size
    cfg.SOLVER.MAX_ITER = settings.steps
    cfg.SOLVER.BASE_LR = settings.learning_rate
    cfg.SOLVER.STEPS = tuple(settings.decay_steps)
    cfg.SOLVER.GAMMA = 0.1
    cfg.SOLVER.WARMUP_FACTOR = WARMUP_FROM
    cfg.SOLVER.WARMUP_ITERS = settings.warmup_steps
    cfg.SOLVER.MOMENTUM = settings.momentum
    cfg.SOLVER.WEIGHT_DECAY = settings.weight_decay
    cfg.SOLVER.WEIGHT_DECAY_NORM = 0.0
    cfg.SOLVER.CHECKPOINT_PERIOD = settings.checkpoint_every
    cfg.DATALOADER.NUM_WORKERS = settings.workers
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    return cfg


def _set_backbone(cfg: CfgNode, depth: int, width: int, settings: Finetune) -> None:
    frozen = settings.norm_policy == "frozen"
    stages = ["res2", "res3", "res4", "res5"]
    group = settings.norm_policy == "group"
    narrow = depth == 18 and width != FULL_WIDTH
    name = "build_narrow_resnet_fpn_backbone" if narrow else "build_resnet_fpn_backbone"
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.FREEZE_AT = 2 if frozen else 0
    net = cfg.MODEL.RESNETS
    net.DEPTH = depth
    net.NORM = "FrozenBN" if frozen else "GN" if group else "BN"
    net.STRIDE_IN_1X1 = False
    net.STEM_OUT_CHANNELS = net.WIDTH_PER_GROUP = width
    net.RES2_OUT_CHANNELS = count_channels(depth, width)[0]
    net.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = stages
    cfg.MODEL.FPN.OUT_CHANNELS = settings.fpn_channels


@BACKBONE_REGISTRY.register()
def build_narrow_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """detectron2's ``build_resnet_fpn_backbone`` for a ResNet-18 of any width.

    detectron2's own accepts no other ``RES2_OUT_CHANNELS`` than 64 for it.
    """
    net = cfg.MODEL.RESNETS
    norm = make_group_norm if net.NORM == "GN" else net.NORM  # its own has 32 groups always
    _, counts = BLOCKS[net.DEPTH]
    inputs = net.STEM_OUT_CHANNELS
    stages = []
    for stage, count in enumerate(counts):
        outputs = net.RES2_OUT_CHANNELS * 2**stage
        blocks = ResNet.make_stage(
            BasicBlock,
            count,
            stride_per_block=[1 if stage == 0 else 2] + [1] * (count - 1),
            in_channels=inputs,
            out_channels=outputs,
            norm=norm,
        )
        stages.append(blocks)
        inputs = outputs
    stem = BasicStem(cast(int, input_shape.channels), net.STEM_OUT_CHANNELS, norm)
    freeze_at = cfg.MODEL.BACKBONE.FREEZE_AT
    return FPN(
        ResNet(stem, stages, out_features=net.OUT_FEATURES, freeze_at=freeze_at),
        cfg.MODEL.FPN.IN_FEATURES,
        cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=LastLevelMaxPool(),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _set_heads(cfg: CfgNode, classes: int, settings: Finetune) -> None:
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[size] for size in settings.anchor_sizes]
    rpn = cfg.MODEL.RPN
    rpn.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    rpn.BATCH_SIZE_PER_IMAGE = settings.rpn_samples
    rpn.PRE_NMS_TOPK_TRAIN = 2 * settings.proposals
    rpn.PRE_NMS_TOPK_TEST = settings.proposals
    rpn.POST_NMS_TOPK_TRAIN = rpn.POST_NMS_TOPK_TEST = settings.proposals
    heads = cfg.MODEL.ROI_HEADS
    heads.NAME = "StandardROIHeads"
    heads.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    heads.NUM_CLASSES = classes
    heads.BATCH_SIZE_PER_IMAGE = settings.roi_samples
    heads.SCORE_THRESH_TEST = SCORE_THRESHOLD
    cfg.TEST.DETECTIONS_PER_IMAGE = DETECTIONS
    box = cfg.MODEL.ROI_BOX_HEAD
    box.NAME = "FastRCNNConvFCHead"
    box.NUM_FC = 2
    box.FC_DIM = settings.box_features
    box.POOLER_RESOLUTION = 7
    mask = cfg.MODEL.ROI_MASK_HEAD
    mask.NAME = "MaskRCNNConvUpsampleHead"
    mask.NUM_CONV = 4
    mask.POOLER_RESOLUTION = 14
    mask.CONV_DIM = settings.mask_channels


def build(
    depth: int,
    classes: int,
    settings: Finetune,
    seed: int,
    weights: dict | None = None,
    channels: Channels = RGB,
    width: int = FULL_WIDTH,
) -> nn.Module:
    """detectron2's ``GeneralizedRCNN`` on R18-FPN or R50-FPN; see ``engine.Engine``.

    Raises:
        UserError: tensors are missing, unknown or of another shape. detectron2's own loading would
            only warn.
    """
    torch.manual_seed(seed)
    network = build_model(make_config(depth, classes, settings, channels, width))
    network.test_size = settings.short_side[-1], settings.long_side  # pixels; for detect
    if weights is not None:
        if settings.norm_policy == "group":
            weights = drop_statistics(weights)
        renamed = rename_for_detectron2(weights)
        tensors = {name.removeprefix(BODY): value for name, value in renamed.items()}
        load_exactly(network.backbone.bottom_up, tensors)
    return network


class InDetectron2sForm(Dataset):
    """``InstanceDataset``'s items as detectron2 takes them: images in 0..255, labels from 0."""

    def __init__(self, dataset: InstanceDataset):
        self.dataset = dataset

    def __getitem__(self, item: Item) -> dict:
        return convert_item(*self.dataset[item])


def convert_item(image: torch.Tensor, target: dict[str, torch.Tensor]) -> dict:
    """An item of ``InstanceDataset`` as detectron2 takes it."""
    instances = Instances(
        (image.shape[-2], image.shape[-1]),
        gt_boxes=Boxes(target["boxes"]),
        gt_classes=target["labels"] - 1,
        gt_masks=BitMasks(target["masks"]),
    )
    return {"image": 255 * image, "instances": instances}


class Recorder(HookBase):
    """Seeds each step, clips the gradient, keeps metrics.csv, the checkpoint and the progress."""

    trainer: SimpleTrainer

    def __init__(self, plan: Plan):
        self.plan = plan
        self.medians = Medians(plan.metrics_every, plan.steps)
        self.progress = Progress(plan.title, plan.steps)

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
        step = self.trainer.iter + 1
        latest = get_event_storage().latest()
        values = {}
        for name in LOGGED:
            if name in latest and latest[name][1] == self.trainer.iter:
                values[name] = float(latest[name][0])
        self.medians.add(step, values | {"seconds": measure_time() - self.started})
        self.progress.update()
        over = is_over(get_deadline())
        if step % self.plan.checkpoint_every == 0 or step == self.plan.steps or over:
            write_csv(self.plan.folder / "metrics.csv", self.medians.rows)
            kept = {"model": self.trainer.model.state_dict(), "trainer": self.trainer.state_dict()}
            with replacing(self.plan.folder / CHECKPOINT) as part:
                torch.save(kept, part)
            copy_folder(self.plan.folder)
        if over and step < self.plan.steps:
            raise stopped_early(self.plan, step)

    def after_train(self) -> None:
        if self.trainer.iter == self.plan.steps:
            self.progress.close()


def train(
    profile: Profile, split: Split, folder: Path, title: str, seed: int, weights: dict | None
) -> nn.Module:
    """Fine-tune one arm under detectron2's ``SimpleTrainer``; see ``engine.Engine``.

    ``folder/config.yaml`` is the config, for detectron2's own tools.
    """
    settings = profile.finetune
    plan = make_plan(settings, split, folder, title, seed)
    classes = len(split.categories)
    cfg = make_config(profile.depth, classes, settings, width=profile.width)
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    cfg.OUTPUT_DIR = str(folder)
    cfg.SEED = seed
    write_text(folder / "config.yaml", cfg.dump())
    network = build(profile.depth, classes, settings, seed, weights, width=profile.width)
    optimizer = build_optimizer(cfg, network)
    trainer = SimpleTrainer(network, None, optimizer)
    trainer.register_hooks(
        [hooks.LRScheduler(optimizer, build_lr_scheduler(cfg, optimizer)), Recorder(plan)]
    )
    first = 0
    last = folder / CHECKPOINT
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
        generator=torch.Generator(),  # its start takes nothing from the step's draws
    )
    # A traceback where one line will do.
    logging.getLogger("detectron2.engine.train_loop").setLevel(logging.CRITICAL)
    try:
        trainer.train(first, plan.steps)
    except FloatingPointError:
        lr = optimizer.param_groups[0]["lr"]
        raise loss_is_not_finite(plan, "not finite", trainer.iter + 1, lr) from None
    return network.cpu().eval()


@torch.inference_mode()
def detect(network: nn.Module, image: torch.Tensor) -> dict[str, np.ndarray]:
    """What a network in eval mode finds in one image; see ``engine.Engine``."""
    height, width = image.shape[-2:]
    short_side, long_side = cast(tuple[int, int], network.test_size)
    size = fit_size(height, width, short_side, long_side)
    resized = functional.resize(image, list(size), antialias=True)
    answers = network([{"image": 255 * resized, "height": height, "width": width}])
    found = answers[0]["instances"].to("cpu")
    return {
        "boxes": found.pred_boxes.tensor.numpy(),
        "labels": found.pred_classes.numpy(),
        "scores": found.scores.numpy(),
        "masks": found.pred_masks.numpy(),
    }


def compute_losses(network: nn.Module, items: list) -> dict[str, float]:
    """Losses and metrics of one batch; see ``engine.Engine``."""
    with EventStorage() as storage:
        named = network([convert_item(*item) for item in items])
    losses = {name: value.item() for name, value in named.items()}
    latest = storage.latest()
    metrics = {name: float(latest[name][0]) for name in TRAINING_METRICS if name in latest}
    return {"total_loss": sum(losses.values())} | losses | metrics


def raise_threshold(network: nn.Module, score: float) -> None:
    """Find only what is more confident than ``score``; see ``engine.Engine``."""
    predictor: Any = network.get_submodule("roi_heads.box_predictor")
    predictor.test_score_thresh = max(predictor.test_score_thresh, score)


def register(run: Run) -> list[str]:
    """Make the splits of a prepared run known to detectron2's own tools.

    Returns:
        Their names there, ``<run>/train`` and so on.
    """
    names = []
    for split in (load_split(run, name) for name in ("train", "val", "test")):
        names.append(f"{run.path.name}/{split.name}")
        if names[-1] in DatasetCatalog:
            DatasetCatalog.remove(names[-1])
            MetadataCatalog.remove(names[-1])
        register_coco_instances(names[-1], {}, str(split.file), str(split.root))
    return names
