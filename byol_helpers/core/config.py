"""Profiles: the numbers that turn one code path into a smoke test, a lesson, a Colab session or the
thesis.

Each setting has a type and a range, and combinations that cannot work are named: ``profile_files``
reads profiles through these models. A setting that may be null is needed by some stages alone; the
one that needs it refuses to go on without it.
"""

import os
import re
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from byol_helpers.core.arms import ARMS, REFERENCE_ARMS
from byol_helpers.core.engines import ENGINES
from byol_helpers.core.errors import UserError

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
_Value = TypeVar("_Value")

PROFILES = ("smoke", "quick", "study", "photographs", "colab", "thesis")
FULL_WIDTH = 64  # channels of the first stage of a ResNet as published


def _check_arm(name: str) -> str:
    if name not in ARMS:
        raise ValueError(f"use {', '.join(ARMS)}")
    return name


def _check_engine(name: str) -> str:
    if name not in ENGINES:
        raise ValueError(f"use {', '.join(ENGINES)}")
    return name


def _check_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w .-]*", name):
        raise ValueError("use letters, digits, '-' and '_', since a folder is called so")
    return name


ArmName = Annotated[str, AfterValidator(_check_arm)]
EngineName = Annotated[str, AfterValidator(_check_engine)]
FileName = Annotated[str, AfterValidator(os.path.expanduser)]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]  # Lightning's names


@dataclass(frozen=True)
class StandInTraining:
    """The numbers of the training of the supervised arm: stand-in, or real photographs."""

    steps: int
    batch_size: int
    learning_rate: float
    checkpoint_every: int


class Section(BaseModel):
    """Common to all parts of a profile: frozen, and no key that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Where images come from and how many are used.

    Counts are upper limits when a folder of one's own is given.
    """

    # Of the labelled images, where no folder is given; folder: there are none without one.
    source: Literal["generated", "coco", "folder"]
    # Side in pixels of the generated scenes.
    image_size: Count | None = None
    # Images for pretraining.
    unlabelled: Count
    train: Count
    val: Count
    test: Count
    # Generated single-object crops, for the supervised stand-in, and their side in pixels.
    crops: Index | None = None
    crop_size: Count | None = None
    # Of the generated images: categories with colours of their own, or told apart by shape alone.
    world: Literal["colours", "shapes"] = "colours"
    # Folder of photographs for pretraining, beside the labelled images; its class folders teach the
    # supervised arm and ask the probes (``coco.class_folders``). null: there is none.
    photographs: FileName | None = None
    # Folder with the pretraining images of a COCO copy; null: those of the train split.
    pretrain_folder: FileName | None
    # Leave the images of the test split, and near-duplicates of them, out of pretraining.
    exclude_pretraining: bool
    # Of each split; a smaller one lies inside a larger one.
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    # Keep the categories' shares in every part of a split.
    stratified: bool = False
    # Use only images with these licence ids, for those who publish pictures.
    licenses: list[int] | None = None
    # auto: found in a folder of one's own; none: its images are used without labels.
    labels: Literal["auto", "none"] = "auto"
    # Leave out objects and images that cannot be used; left_out.json of the run lists them.
    skip_invalid: bool = False
    # Of the generated crops: large, 35 to 68 % of the side; scenes: as large, in pixels, as the
    # objects of scenes of image_size.
    crop_objects: Literal["large", "scenes"] = "large"


class Supervised(Section):
    """The weights that BYOL starts from, and that it is compared with.

    The numbers are those of a training here; with ImageNet's weights there is none.
    """

    # crops: train the stand-in; classes: train on the class folders of data.photographs; imagenet:
    # torchvision's IMAGENET1K_V1.
    source: Literal["crops", "classes", "imagenet"]
    # A file instead of the download, for source imagenet.
    weights_file: FileName | None = None
    steps: Count | None = None
    batch_size: Count | None = None
    learning_rate: Positive | None = None
    checkpoint_every: Count | None = None

    def get_training(self) -> StandInTraining:
        """The numbers of the training; ``UserError`` where one is not set."""
        stage = "supervised"
        return StandInTraining(
            require(self.steps, "supervised.steps", stage),
            require(self.batch_size, "supervised.batch_size", stage),
            require(self.learning_rate, "supervised.learning_rate", stage),
            require(self.checkpoint_every, "supervised.checkpoint_every", stage),
        )


class Pretrain(Section):
    """BYOL (Grill et al. 2020), with the thesis's head."""

    # The thesis starts from supervised (ImageNet) weights.
    init: Literal["supervised", "random"]
    view_size: Count
    batch_size: Annotated[int, Field(ge=2)]
    steps: Count
    # Width of the projector's and the predictor's hidden layer: 4096 in BYOL, 2048 in the thesis.
    hidden: Count
    output: Count
    learning_rate: Positive
    warmup_steps: Index
    momentum: Fraction
    weight_decay: NotNegative
    # Norm; 0 switches clipping off.
    gradient_clip: NotNegative
    # The target's tau at the first step; null: by the number of steps (``choose_tau``).
    tau_start: Fraction | None
    checkpoint_every: Count
    workers: Index
    # Batch norm in projector and predictor.
    head_norm: bool = True
    # lars: the paper's, with learning_rate 0.2 x batch / 256 or so; adamw: learning_rate 0.002 or
    # so, and ``momentum`` is that of its mean gradient.
    optimizer: Literal["sgd", "lars", "adamw"] = "sgd"
    # Batches whose gradients make one step; batch norm still sees one batch.
    accumulate: Count = 1
    # Short side in pixels of copies that are decoded faster; null: the originals.
    cache_side: Count | None = None
    # Who renders the views; the draws are the same. torch is faster; batch is the fastest for small
    # images: all decoded once into one file, and the views of a batch rendered together. memory:
    # the same with draws of its own, made for a batch at once, and on a GPU rendered there.
    views: Literal["pillow", "torch", "batch", "memory"] = "pillow"
    # Memory format of images and weights: faster convolutions.
    channels_last: bool = False
    # torch.compile: minutes at the start, for faster steps in a long training.
    compile: bool = False
    # GPUs that share each batch.
    devices: Count = 1
    precision: Precision = "32-true"
    # Smallest share of an image's area that a view shows; BYOL's is 0.08.
    crop_scale: Annotated[float, Field(gt=0, le=1)] = 0.08
    # Of SimCLR's loss: 0.1 in the paper's trainings on ImageNet, 0.5 on CIFAR-10.
    temperature: Positive = 0.2
    # Generated crops that the probes learn from, and as many that they are asked; multiples of ten
    # hold each category alike. No training sees them. Of photographs: so many of those for training
    # with their labels, and so many held-out ones.
    probe_crops: Annotated[int, Field(ge=20)] = 1000
    # Of the stand-in's training, pretraining and random weights, not of data; null: the profile's.
    seed: Index | None = None
    # The residual branches of random weights begin at 0, as in BYOL's published code.
    zero_init_residual: bool = True
    # Every training and arm that begins with random weights begins with weights/random.pth; else
    # Mask R-CNN draws its own by the seed of the fine-tuning, with residual branches that act.
    shared_init: bool = False
    # What the probes ask: generated crops, or windows around the objects of validation scenes.
    probe_on: Literal["crops", "windows"] = "crops"
    # Labelled images that the dense probe draws from, and as many test images that it is asked; of
    # each at most those there are.
    dense_images: Count = 200
    # Take the released backbones of the package where stand-in and pretraining would be trained.
    released: bool = False


class Finetune(Section):
    """Mask R-CNN: the same for every arm but for the initial weights."""

    arms: Annotated[list[ArmName], Field(min_length=1)]
    seeds: Annotated[list[Index], Field(min_length=1)]
    engine: EngineName
    # trainable: batch norm learns, nothing frozen; frozen: FrozenBN, freeze_at 2; group: group norm
    # in its place, with its gamma and beta, nothing frozen.
    norm_policy: Literal["trainable", "frozen", "group"]
    batch_size: Count
    steps: Count
    learning_rate: Positive
    warmup_steps: Index
    decay_steps: list[Count]
    momentum: Fraction
    weight_decay: NotNegative
    gradient_clip: NotNegative
    # Pixels; drawn for each training image; the last one tests.
    short_side: Annotated[list[Count], Field(min_length=1)]
    long_side: Count
    # Pixels, one for each of P2 to P6.
    anchor_sizes: Annotated[list[Count], Field(min_length=5, max_length=5)]
    fpn_channels: Count
    box_features: Count
    mask_channels: Count
    rpn_samples: Count
    roi_samples: Count
    # Kept after NMS, and twice as many before it on each level.
    proposals: Count
    checkpoint_every: Count
    workers: Index
    # GPUs that share each batch.
    devices: Count = 1
    precision: Precision = "32-true"
    # Somebody else's checkpoint of the backbone, for the arm ``file``.
    weights_file: FileName | None = None
    # Labelled images that are used, drawn by the run's seed; a smaller number lies inside a larger
    # one. null: all of the train split.
    images: Count | None = None


class Evaluate(Section):
    """COCO average precision with paired bootstrap intervals."""

    # Square pixels; null: COCO's, scaled.
    area_limits: Annotated[list[Positive], Field(min_length=2, max_length=2)] | None = None
    # Replicates.
    bootstrap: Count
    confidence: Annotated[float, Field(gt=0, lt=1)]


class Background(Section):
    """Background removal (thesis 3.3.3)."""

    images: Count
    score_threshold: Fraction
    rule: Literal["confident", "largest", "all"]


class Profile(Section):
    """Everything that decides the numbers of a run."""

    # Also that of the run's folder.
    name: Annotated[str, AfterValidator(_check_name)]
    description: str
    seed: Index
    # Of the ResNet.
    depth: Literal[18, 50]
    # Channels of its first stage.
    width: Count = FULL_WIDTH
    data: Data
    supervised: Supervised
    pretrain: Pretrain
    finetune: Finetune
    evaluate: Evaluate
    background: Background

    @property
    def backbone(self) -> str:
        """What a reader calls it: ``ResNet-18``, or ``ResNet-18 of width 16``."""
        name = f"ResNet-{self.depth}"
        return name if self.width == FULL_WIDTH else f"{name} of width {self.width}"

    @property
    def pretraining_seed(self) -> int:
        """Seed of the trainings before the fine-tuning, and of the random weights of the arms."""
        return self.seed if self.pretrain.seed is None else self.pretrain.seed

    @property
    def reference_arm(self) -> str:
        """The arm of supervised pretraining."""
        return REFERENCE_ARMS[self.supervised.source]

    def train_here(self) -> "Profile":
        """The same settings without released backbones."""
        pretrain = self.pretrain.model_copy(update={"released": False})
        return self.model_copy(update={"pretrain": pretrain})

    def fit_own_images(self) -> "Profile":
        """The same settings for a folder of images: backbones are trained on them.

        Photographs that are decoded once (``views: batch``) are shrunk first, to what the
        fine-tuning sees; as they are, they would fill the disk.
        """
        profile = self.train_here()
        if self.pretrain.views != "batch" or self.pretrain.cache_side is not None:
            return profile
        side = {"cache_side": max(self.finetune.short_side)}
        pretrain = profile.pretrain.model_copy(update=side)
        return profile.model_copy(update={"pretrain": pretrain})

    @model_validator(mode="after")
    def _check_combinations(self) -> "Profile":
        for message, is_wrong in _list_combinations(self):
            if is_wrong:
                raise ValueError(message)
        return self


def _list_combinations(profile: Profile) -> list[tuple[str, bool]]:
    """What cannot work together, each with whether this profile has it."""
    data = profile.data
    supervised = profile.supervised
    pretrain = profile.pretrain
    tune = profile.finetune
    reference = profile.reference_arm
    others = [arm for arm in REFERENCE_ARMS.values() if arm != reference and arm in tune.arms]
    last_decay = max(tune.decay_steps, default=0)
    in_order = sorted(set(tune.decay_steps)) == tune.decay_steps and last_decay < tune.steps
    file_arm = "file" in tune.arms
    on_one_device = (tune.devices, tune.precision) == (1, "32-true")
    of_crops = supervised.source == "crops"
    of_imagenet = supervised.source == "imagenet"
    return [
        (
            f"finetune.arms names {', '.join(map(repr, others))}, but supervised.source is "
            f"{supervised.source!r}: use {reference!r}",
            bool(others),
        ),
        ("finetune.arms names an arm twice", len(set(tune.arms)) < len(tune.arms)),
        ("finetune.seeds names a seed twice", len(set(tune.seeds)) < len(tune.seeds)),
        (
            "finetune.decay_steps must increase and stay below finetune.steps: set both",
            not in_order,
        ),
        (
            "finetune.warmup_steps must be below finetune.steps",
            tune.warmup_steps >= tune.steps,
        ),
        (
            "pretrain.warmup_steps must be below pretrain.steps",
            pretrain.warmup_steps >= pretrain.steps,
        ),
        (
            "finetune.long_side must not be below finetune.short_side",
            tune.long_side < max(tune.short_side),
        ),
        (
            "finetune.checkpoint_every must be a multiple of 20, the rhythm of metrics.csv",
            tune.checkpoint_every % 20 != 0,
        ),
        (
            "finetune.arms names 'file' and finetune.weights_file is not set, or the other way "
            "round: set both",
            file_arm != (tune.weights_file is not None),
        ),
        (
            "pretrain.batch_size must be a multiple of pretrain.devices",
            pretrain.batch_size % pretrain.devices != 0,
        ),
        (
            "finetune.batch_size must be a multiple of finetune.devices",
            tune.batch_size % tune.devices != 0,
        ),
        (
            f"finetune.engine={tune.engine} trains here on one device in 32-true: set "
            "finetune.devices=1 and finetune.precision=32-true, or use torchvision",
            not ENGINES[tune.engine].scales and not on_one_device,
        ),
        (
            "supervised.weights_file needs supervised.source=imagenet",
            supervised.weights_file is not None and not of_imagenet,
        ),
        (
            f"supervised.source=imagenet needs width={FULL_WIDTH}, that of the published weights, "
            f"and the profile has width={profile.width}: set width={FULL_WIDTH}, or "
            "supervised.source=crops",
            of_imagenet and profile.width != FULL_WIDTH,
        ),
        (
            "data.photographs needs pretrain.views=memory or batch: they are decoded once",
            data.photographs is not None and pretrain.views not in ("memory", "batch"),
        ),
        (
            "finetune.norm_policy=group with engine=detectron2 and depth=50 needs width=64: its "
            "norm there has 32 groups; use torchvision",
            tune.norm_policy == "group"
            and tune.engine == "detectron2"
            and profile.depth == 50
            and profile.width != FULL_WIDTH,
        ),
        (
            "data.crops must hold at least one supervised.batch_size",
            of_crops
            and data.crops is not None
            and supervised.batch_size is not None
            and data.crops < supervised.batch_size,
        ),
    ]


def require(value: _Value | None, key: str, stage: str) -> _Value:
    """The value of a setting that a stage cannot do without.

    Raises:
        UserError: the profile leaves it out.
    """
    if value is None:
        raise UserError(
            f"{key} is not set, and the stage {stage} needs it; set it in the profile, or by "
            f"--set {key}=NUMBER"
        )
    return value
