"""Released backbones: files of the folder ``weights`` of the package, each with its card.

A card says how the weights were made, what they are worth beside the controls, and the hash of the
file. Files are in half precision and are read as float32; beside each lies the metrics.csv of its
training. ``releasing`` writes them and trains them again.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load_file

from byol_helpers.core.arms import ARMS, label_arm
from byol_helpers.core.config import Profile
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing, sha256

FOLDER = Path(__file__).parent / "weights"
CARDS = "cards.yaml"
ANOTHER_WAY = "set pretrain.released=false (--set pretrain.released=false) to train it here"


class Card(BaseModel):
    """What is known about one released file.

    Attributes:
        name: of ``<name>.safetensors`` and ``<name>.csv``.
        arm: whose weights it holds, a key of ``ARMS``.
        depth: of the ResNet.
        width: channels of its first stage.
        seed: of the training.
        world: of the generated images; of photographs, ``name_world``.
        recipe: name of the profile, and every setting of it that decides the training.
        probe: accuracy of a linear probe on held-out crops, all labels, last stage: rows with
            ``encoder``, ``value``, ``low``, ``high`` (0..1), and ``gain`` over the measured start.
        commit: of the code that trained it.
        made_on: device and version of torch.
        sha256: of the file.
        tensors: how many it holds.
        licence: of the weights; of those from photographs, the terms of the photographs.
        first_row: the first row of metrics.csv without its clock, digit by digit.
        photographs: that it was trained on: ``name`` of their folder, ``images``, ``classes``; None
            for generated images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    arm: str
    depth: int
    width: int
    seed: int
    world: str
    recipe: dict[str, Any]
    probe: list[dict[str, Any]]
    commit: str
    made_on: dict[str, str]
    sha256: str
    tensors: int
    licence: str
    first_row: dict[str, str]
    photographs: dict[str, Any] | None = None

    @property
    def file(self) -> Path:
        """The tensors."""
        return FOLDER / f"{self.name}.safetensors"

    @property
    def metrics(self) -> Path:
        """The metrics.csv of the training."""
        return FOLDER / f"{self.name}.csv"


def read_cards() -> list[Card]:
    """The cards of all released backbones, in the order of ``ARMS``.

    Raises:
        UserError: the file of the cards is missing or damaged.
    """
    path = FOLDER / CARDS
    try:
        cards = [Card(**card) for card in yaml.safe_load(path.read_text(encoding="utf-8"))]
    except (OSError, TypeError, ValidationError, yaml.YAMLError):
        raise UserError(f"{path}: missing or damaged; install the package again") from None
    places = list(ARMS)
    return sorted(cards, key=lambda card: (places.index(card.arm), card.name))


def find_card(profile: Profile, arm: str) -> Card:
    """The released backbone that takes the place of a profile's training of an arm.

    Arm, depth, width, seed of the training and world, or folder of photographs, must be the same.

    Raises:
        UserError: there is none.
    """
    world = name_world(profile)
    wanted = (arm, profile.depth, profile.width, profile.pretraining_seed, world)
    for card in read_cards():
        if (card.arm, card.depth, card.width, card.seed, card.world) == wanted:
            return card
    raise UserError(
        f"pretrain.released=true: no released backbone is {label_arm(arm)}, {profile.backbone}, "
        f"seed {profile.pretraining_seed}, world {world}; those there are: "
        f"`python -m byol_helpers weights`; {ANOTHER_WAY}"
    )


def name_world(profile: Profile) -> str:
    """What a backbone was trained on: a world of generated images, or a folder of photographs."""
    folder = profile.data.photographs
    return profile.data.world if folder is None else f"photographs {Path(folder).resolve().name}"


def load_released(card: Card) -> dict[str, torch.Tensor]:
    """The tensors of a released backbone as float32, under torchvision's names.

    Raises:
        UserError: the file is not there, or is another one than the card's.
    """
    if not card.file.is_file():
        raise UserError(f"{card.file}: not there; install the package again, or {ANOTHER_WAY}")
    found = sha256(card.file)
    if found != card.sha256:
        raise UserError(
            f"{card.file}: another file than the released one (its SHA-256 begins with "
            f"{found[:8]}, not {card.sha256[:8]}); install the package again, or {ANOTHER_WAY}"
        )
    tensors = load_file(card.file)
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def leave_released(card: Card, folder: Path) -> None:
    """What a training would leave in its folder: ``last.ckpt`` with the encoder, ``metrics.csv``.

    The metrics are those of the training that made the file.
    """
    network = {f"encoder.{name}": value for name, value in load_released(card).items()}
    rows = card.metrics.read_text(encoding="utf-8").splitlines()
    with replacing(folder / "last.ckpt") as part:
        torch.save({"step": int(rows[-1].split(",")[0]), "network": network}, part)
    shutil.copyfile(card.metrics, folder / "metrics.csv")


def describe_cards() -> str:
    """All released backbones as lines of a Markdown table."""
    lines = [
        "| file | arm | backbone | seed | linear probe, % | untrained | start, measured | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for card in read_cards():
        accuracy = {}
        for row in card.probe:
            low, high = (f"{100 * row[end]:.1f}" for end in ("low", "high"))
            accuracy[row["encoder"]] = f"{100 * row['value']:.1f} ({low} to {high})"
        cells = [
            f"{card.name}.safetensors",
            label_arm(card.arm),
            f"ResNet-{card.depth}, width {card.width}",
            str(card.seed),
            accuracy.get(label_arm(card.arm), "not asked"),
            accuracy.get("untrained", "not asked"),
            accuracy.get("start, measured", "not asked"),
            card.commit,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
