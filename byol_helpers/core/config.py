"""Profiles: the numbers that turn one code path into a smoke test, a lesson, a Colab session or the thesis.

A profile is a YAML file in ``byol_helpers/profiles``, checked when it is read: an unknown key, a value of the wrong
kind or a combination that cannot work is one clear line, not a traceback hours later. A profile extends another one
by ``extends: NAME`` and then holds only what differs.
"""

from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from byol_helpers.core.arms import ARMS
from byol_helpers.core.engines import ENGINES
from byol_helpers.core.errors import UserError

Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]

PROFILES = ("smoke", "quick", "colab", "thesis")


def _check_arm(name: str) -> str:
    if name not in ARMS:
        raise ValueError(f"use {', '.join(ARMS)}")
    return name


def _check_engine(name: str) -> str:
    if name not in ENGINES:
        raise ValueError(f"use {', '.join(ENGINES)}")
    return name


ArmName = Annotated[str, AfterValidator(_check_arm)]
EngineName = Annotated[str, AfterValidator(_check_engine)]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]  # Lightning's names


class Section(BaseModel):
    """Common to all parts of a profile: frozen, and no key that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Where images come from and how many are used. Counts are upper limits when a folder of one's own is given."""

    source: Literal["generated", "coco"]
    image_size: Count  # side in pixels of the generated scenes
    unlabelled: Count  # images for pretraining
    train: Count
    val: Count
    test: Count
    crops: Index  # generated single-object crops, for the supervised stand-in
    crop_size: Count
    # of the generated images: categories with colours of their own, or told apart by shape alone
    world: Literal["colours", "shapes"] = "colours"
    pretrain_folder: (
        str | None
    )  # folder with the pretraining images of a COCO copy; null: those of the train split
    exclude_pretraining: (
        bool  # leave the images of the test split, and near-duplicates of them, out of pretraining
    )
    fraction: Annotated[float, Field(gt=0, le=1)] = (
        1.0  # of each split; a smaller one lies inside a larger one
    )
    stratified: bool = False  # keep the categories' shares in every part of a split
    licenses: list[int] | None = (
        None  # use only images with these licence ids, for those who publish pictures
    )


class Supervised(Section):
    """The weights that BYOL starts from, and that it is compared with."""

    source: Literal[
        "crops", "imagenet"
    ]  # crops: train the stand-in; imagenet: torchvision's IMAGENET1K_V1
    weights_file: str | None  # a file instead of the download, for source imagenet
    steps: Count
    batch_size: Count
    learning_rate: Positive
    checkpoint_every: Count


class Pretrain(Section):
    """BYOL (Grill et al. 2020), with the thesis's head."""

    init: Literal["supervised", "random"]  # the thesis starts from supervised (ImageNet) weights
    view_size: Count
    batch_size: Annotated[int, Field(ge=2)]
    steps: Count
    hidden: Count  # width of the projector's and the predictor's hidden layer: 4096 in BYOL, 2048 in the thesis
    output: Count
    learning_rate: Positive
    warmup_steps: Index
    momentum: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_clip: Annotated[float, Field(ge=0)]  # norm; 0 switches clipping off
    tau_start: Fraction
    checkpoint_every: Count
    workers: Index
    head_norm: bool = True  # batch norm in projector and predictor
    optimizer: Literal["sgd", "lars"] = (
        "sgd"  # lars: the paper's, with learning_rate 0.2 x batch / 256 or so
    )
    accumulate: Count = 1  # batches whose gradients make one step; batch norm still sees one batch
    cache_side: Count | None = (
        None  # short side in pixels of copies that are decoded faster; null: the originals
    )
    views: Literal["pillow", "torch"] = (
        "pillow"  # who renders the views; torch is faster, the draws are the same
    )
    channels_last: bool = False  # memory format of images and weights: faster convolutions
    compile: bool = (
        False  # torch.compile: minutes at the start, for faster steps in a long training
    )
    devices: Count = 1  # GPUs that share each batch
    precision: Precision = "32-true"


class Finetune(Section):
    """Mask R-CNN: the same for every arm but for the initial weights."""

    arms: Annotated[list[ArmName], Field(min_length=1)]
    seeds: Annotated[list[Index], Field(min_length=1)]
    engine: EngineName
    # trainable: batch norm learns, nothing frozen; frozen: FrozenBN, freeze_at 2
    norm_policy: Literal["trainable", "frozen"]
    batch_size: Count
    steps: Count
    learning_rate: Positive
    warmup_steps: Index
    decay_steps: list[Count]
    momentum: Fraction
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_clip: Annotated[float, Field(ge=0)]
    short_side: Annotated[
        list[Count], Field(min_length=1)
    ]  # pixels; drawn for each training image; the last one tests
    long_side: Count
    anchor_sizes: Annotated[
        list[Count], Field(min_length=5, max_length=5)
    ]  # pixels, one for each of P2 to P6
    fpn_channels: Count
    box_features: Count
    mask_channels: Count
    rpn_samples: Count
    roi_samples: Count
    proposals: Count  # kept after NMS, and twice as many before it on each level
    checkpoint_every: Count
    workers: Index
    devices: Count = 1  # GPUs that share each batch
    precision: Precision = "32-true"
    weights_file: str | None = (
        None  # somebody else's checkpoint of the backbone, for the arm ``file``
    )


class Evaluate(Section):
    """COCO average precision with paired bootstrap intervals."""

    area_limits: (
        Annotated[list[Positive], Field(min_length=2, max_length=2)] | None
    )  # pixels^2; null: COCO's, scaled
    bootstrap: Count  # replicates
    confidence: Annotated[float, Field(gt=0, lt=1)]


class Background(Section):
    """Background removal (thesis 3.3.3)."""

    images: Count
    score_threshold: Fraction
    rule: Literal["confident", "largest", "all"]


class Profile(Section):
    """Everything that decides the numbers of a run."""

    name: str
    description: str
    seed: Index
    depth: Literal[18, 50]  # of the ResNet
    data: Data
    supervised: Supervised
    pretrain: Pretrain
    finetune: Finetune
    evaluate: Evaluate
    background: Background

    @property
    def reference_arm(self) -> str:
        """The arm that stands for supervised pretraining: ``imagenet``, or ``supervised`` for the stand-in."""
        return "imagenet" if self.supervised.source == "imagenet" else "supervised"

    @model_validator(mode="after")
    def _possible(self) -> "Profile":
        tune, other = (
            self.finetune,
            {"imagenet": "supervised", "supervised": "imagenet"}[self.reference_arm],
        )
        checks = {
            f"finetune.arms names {other!r}, but supervised.source is {self.supervised.source!r}: use "
            f"{self.reference_arm!r}": other in tune.arms,
            "finetune.arms names an arm twice": len(set(tune.arms)) < len(tune.arms),
            "finetune.seeds names a seed twice": len(set(tune.seeds)) < len(tune.seeds),
            "finetune.decay_steps must increase and stay below finetune.steps: set both": sorted(
                set(tune.decay_steps)
            )
            != tune.decay_steps
            or max(tune.decay_steps, default=0) >= tune.steps,
            "finetune.warmup_steps must be below finetune.steps": tune.warmup_steps >= tune.steps,
            "pretrain.warmup_steps must be below pretrain.steps": self.pretrain.warmup_steps
            >= self.pretrain.steps,
            "finetune.long_side must not be below finetune.short_side": tune.long_side
            < max(tune.short_side),
            "finetune.checkpoint_every must be a multiple of 20, the rhythm of metrics.csv": tune.checkpoint_every
            % 20
            != 0,
            "finetune.arms names 'file' and finetune.weights_file is not set, or the other way round: set both": (
                "file" in tune.arms
            )
            != (tune.weights_file is not None),
            "pretrain.batch_size must be a multiple of pretrain.devices": self.pretrain.batch_size
            % self.pretrain.devices
            != 0,
            "finetune.batch_size must be a multiple of finetune.devices": tune.batch_size
            % tune.devices
            != 0,
            f"finetune.engine={tune.engine} trains here on one device in 32-true: set finetune.devices=1 "
            "and finetune.precision=32-true, or use torchvision": not ENGINES[tune.engine].scales
            and (tune.devices, tune.precision) != (1, "32-true"),
            "supervised.weights_file needs supervised.source=imagenet": self.supervised.weights_file
            is not None
            and self.supervised.source != "imagenet",
            "data.crops must hold at least one supervised.batch_size": self.supervised.source
            == "crops"
            and self.data.crops < self.supervised.batch_size,
        }
        for message, wrong in checks.items():
            if wrong:
                raise ValueError(message)
        return self


def load_profile(name: str = "quick", overrides: tuple[str, ...] | list[str] = ()) -> Profile:
    """Read a profile and apply ``key=value`` overrides.

    Args:
        name: one of ``PROFILES``.
        overrides: for example ``["finetune.learning_rate=0.01", "finetune.arms=[byol, random]"]``; values are YAML.

    Raises:
        UserError: unknown profile or key, wrong type, impossible combination.
    """
    values = _merged(_defaults(), _read(name))
    for override in overrides:
        _set(values, override)
    try:
        return Profile(**values)
    except ValidationError as error:
        raise UserError(f"profile {name}: {_first(error)}") from None


def dump_profile(profile: Profile) -> str:
    """The resolved profile as YAML, every value spelled out."""
    return yaml.safe_dump(profile.model_dump(), sort_keys=False)


def _read(name: str) -> dict:
    if name not in PROFILES:
        raise UserError(f"unknown profile {name!r}; choose one of {', '.join(PROFILES)}")
    own = yaml.safe_load(
        (resources.files("byol_helpers") / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    )
    base = _read(own.pop("extends")) if "extends" in own else {}
    return _merged(base, own)


def _defaults() -> dict:
    """Settings that the files leave out because hardly anybody changes them."""
    return {
        name: {
            key: field.default
            for key, field in section.annotation.model_fields.items()
            if not field.is_required()
        }
        for name, section in Profile.model_fields.items()
        if isinstance(section.annotation, type) and issubclass(section.annotation, Section)
    }


def _merged(base: dict, own: dict) -> dict:
    both = {
        key: _merged(base[key], own[key])
        for key in own
        if isinstance(own[key], dict) and key in base
    }
    return base | own | both


def _set(values: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(
            f"--set {override}: write it as key=value, for example finetune.learning_rate=0.01"
        )
    *parents, last = key.strip().split(".")
    here = values
    for part in parents:
        here = here.get(part) if isinstance(here, dict) else None
    if not isinstance(here, dict) or last not in here or isinstance(here[last], dict):
        known = sorted(here) if isinstance(here, dict) else sorted(values)
        raise UserError(f"--set {key}: unknown key; known here: {', '.join(known)}")
    try:
        here[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: the value is not valid YAML; quote it") from None


def _first(error: ValidationError) -> str:
    """The first problem that pydantic found, in one line with its key."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if problem["type"] == "missing":
        return f"{key}: missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message}, not {problem['input']!r}" if key else message
