"""The arms of the comparison: one entry each, read by profiles, stages, tables and figures alike.

An arm is a set of initial weights for Mask R-CNN's backbone. A new one is one entry in ``ARMS``;
where its weights come from a new method of pretraining, that is one entry more in
``pretraining.methods``.
"""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Arm:
    """One arm.

    Attributes:
        label: what a reader calls it.
        colour: in every figure.
        line: style and marker of its curves, as matplotlib's keyword arguments.
        source: where its weights come from: the stage ``pretrain``, the stage ``supervised``,
            torchvision's ImageNet weights, a file of the user's, or nowhere (``random``);
            ``measured``: another arm's weights, with batch-norm statistics measured on the
            unlabelled images and no weight trained.
        method: of pretraining; a key of ``pretraining.methods.METHODS``.
        initial_weights: of pretraining or measuring: those that the profile says, or random ones.
    """

    label: str
    colour: str
    line: dict[str, Any] = field(hash=False)
    source: Literal["pretrain", "supervised", "imagenet", "file", "random", "measured"]
    method: str = ""
    initial_weights: Literal["profile", "random"] = "profile"

    @property
    def is_random(self) -> bool:
        """Whether none of its weights was ever trained; their statistics may be measured."""
        measured = self.source == "measured" and self.initial_weights == "random"
        return self.source == "random" or measured


ARMS = {  # in the order of tables and figures
    "byol": Arm("BYOL", "#0072B2", {"linestyle": "-", "marker": "o"}, "pretrain", "byol"),
    "byol-random": Arm(
        "BYOL from random",
        "#56B4E9",
        {"linestyle": (0, (4, 1.2, 1, 1.2, 1, 1.2)), "marker": "v"},
        "pretrain",
        "byol",
        "random",
    ),
    "simclr-random": Arm(
        "SimCLR from random",
        "#661100",
        {"linestyle": (0, (8, 1.4)), "marker": "*"},
        "pretrain",
        "simclr",
        "random",
    ),
    "file": Arm(
        "weights file", "#332288", {"linestyle": (0, (3, 1.2, 1, 1.2)), "marker": "P"}, "file"
    ),
    "supervised": Arm(
        "supervised (stand-in)",
        "#E69F00",
        {"linestyle": (0, (5, 1.4)), "marker": "s"},
        "supervised",
    ),
    "photographs": Arm(
        "supervised (photographs)",
        "#8B2FC9",
        {"linestyle": (0, (6, 1.2, 2, 1.2)), "marker": "p"},
        "supervised",
    ),
    "imagenet": Arm(
        "ImageNet", "#D55E00", {"linestyle": (0, (5, 1.4, 1, 1.4)), "marker": "D"}, "imagenet"
    ),
    "random": Arm("random", "#009E73", {"linestyle": (0, (1.6, 1.1)), "marker": "^"}, "random"),
    "supervised-measured": Arm(
        "supervised, statistics measured",
        "#CC79A7",
        {"linestyle": (0, (5, 1.2, 1, 1.2)), "marker": "X"},
        "measured",
    ),
    "random-measured": Arm(
        "random, statistics measured",
        "#117733",
        {"linestyle": (0, (1, 1.2)), "marker": "<"},
        "measured",
        initial_weights="random",
    ),
}
# The arm of each ``supervised.source`` of a profile: generated crops, class folders, ImageNet.
REFERENCE_ARMS = {"crops": "supervised", "classes": "photographs", "imagenet": "imagenet"}
CONTROLS = {  # of a lead under frozen batch norm: the arm with measured statistics
    "random": "random-measured",
    "supervised": "supervised-measured",
    "photographs": "supervised-measured",
    "imagenet": "supervised-measured",
}
BASELINE_LABELS = {  # background removal without learning; the last one removes nothing
    "otsu": "Otsu's threshold",
    "k-means": "k-means",
    "watershed": "watershed",
    "active-contours": "active contours",
    "grabcut": "GrabCut",
    "keep-everything": "keep everything",
}


def label_arm(key: str) -> str:
    """What a reader calls an arm or a baseline; any other key is its own label."""
    if key in ARMS:
        return ARMS[key].label
    return BASELINE_LABELS.get(key, key)


def find_control(key: str) -> str:
    """The arm with the same weights and measured statistics; ``KeyError`` where there is none."""
    return CONTROLS[key]
