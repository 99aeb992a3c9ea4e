"""Released backbones are written from a finished run, and trained again to be compared."""

import csv
import subprocess
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

from byol_helpers import initial_weights, pipeline, probing, released
from byol_helpers.backbones import load_backbone
from byol_helpers.coco.photographs import describe_photographs
from byol_helpers.core.arms import ARMS
from byol_helpers.core.config import PROFILES
from byol_helpers.core.environment import device_name
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing, sha256, write_text
from byol_helpers.core.stage import Run
from byol_helpers.released import CARDS, Card

LICENCE = "MIT"
# Sections of a profile that decide a backbone, besides seed, depth and width.
SECTIONS = ("data", "supervised", "pretrain")
README = """# Released backbones

Weights of trainings on generated images, or on the photographs that a card names, for those who do
not want to wait for them:
`--set pretrain.released=true` takes them where the stages `supervised` and `pretrain` would train.
`python -m byol_helpers weights` lists them; `make weights` trains them again and compares.

A file holds the tensors of a ResNet under torchvision's names, without `fc`, in half precision.
What made it, its probes with their intervals and its hash stand in `cards.yaml`; beside it lies the
`metrics.csv` of its training. Images go in as RGB in 0..1, normalised by ImageNet's mean and
deviation. The licence is that of the repository; weights from photographs are under the terms of
the photographs, which the card says.

```python
from safetensors.torch import load_file
from byol_helpers.core.resnet import build_resnet

network = build_resnet(18, width=16)  # torchvision's ResNet, a quarter of its channels
del network.fc
network.load_state_dict(load_file("FILE.safetensors"))
```

In the full width (64) the same tensors fit `torchvision.models.resnet18` and timm's `resnet18` as
they are. Lightly takes the network as its backbone; detectron2 has its own names, which
`byol_helpers.backbones.rename_for_detectron2` gives.

The probe is linear, on the last stage's pooled features, with all labels, on crops that no training
saw; in brackets 95 % intervals.

"""


def release_run(run: Run, terms: str | None = None) -> list[Path]:
    """Write a released backbone and its card for each trained arm of a finished run.

    Arms are the supervised one, where it was trained here, and those of ``finetune.arms`` that were
    pretrained. What was released under the same name before is replaced.

    Args:
        run: its stages up to the transfer must be done.
        terms: under which its photographs may be used; needed where it was trained on some.

    Raises:
        UserError: the weights come from a data folder of the user's, or from photographs without
            terms, the run took released backbones itself, or its stages are not done.
    """
    profile = run.profile
    if profile.data.photographs and not terms:
        raise UserError(
            f"{run.path}: trained on photographs; say under which terms these may be used: "
            "--terms TEXT"
        )
    if run.data is not None and not profile.data.photographs:
        raise UserError(f"{run.path}: made from a folder of one's own, which others do not have")
    if profile.pretrain.released:
        raise UserError(f"{run.path}: took released backbones itself; {released.ANOTHER_WAY}")
    arms = pipeline.list_pretrained_arms(run)
    if profile.supervised.source != "imagenet":
        arms = [profile.reference_arm, *arms]
    cards = {card.name: card for card in released.read_cards()}
    written = []
    for arm in arms:
        card = _release_arm(run, arm, terms or LICENCE)
        cards[card.name] = card
        written.append(card.file)
    _write_cards(list(cards.values()))
    return written


def _release_arm(run: Run, arm: str, licence: str) -> Card:
    """Write the files of one arm; its card."""
    profile = run.profile
    weights = run.path / "weights" / f"{arm}.pth"
    metrics = _find_folder(run, arm) / "metrics.csv"
    for needed in (weights, metrics):
        if not needed.is_file():
            raise UserError(f"{needed}: not there; run the stages up to transfer first")
    shape = f"resnet{profile.depth}-width{profile.width}-seed{profile.pretraining_seed}"
    photographs = describe_photographs(run)
    name = f"{arm}-{photographs['name']}-{shape}" if photographs else f"{arm}-{shape}"
    halves = halve_tensors(load_backbone(weights), weights)
    with replacing(released.FOLDER / f"{name}.safetensors") as part:
        save_file(halves, part)
    write_text(released.FOLDER / f"{name}.csv", metrics.read_text(encoding="utf-8"))
    return Card(
        name=name,
        arm=arm,
        depth=profile.depth,
        width=profile.width,
        seed=profile.pretraining_seed,
        world=released.name_world(profile),
        recipe=_describe_recipe(run),
        probe=_probe_arm(run, arm),
        commit=_find_commit(),
        made_on={"device": device_name(), "torch": torch.__version__},
        sha256=sha256(released.FOLDER / f"{name}.safetensors"),
        tensors=len(halves),
        licence=licence,
        first_row=read_first_row(metrics),
        photographs=photographs,
    )


def halve_tensors(tensors: dict[str, torch.Tensor], file: Path) -> dict[str, torch.Tensor]:
    """Floats in half precision.

    Raises:
        UserError: a number is too large for it, or not finite.
    """
    halves = {}
    for name, value in tensors.items():
        half = value.half() if value.is_floating_point() else value
        if half.is_floating_point() and not bool(half.isfinite().all()):
            raise UserError(f"{file}: {name} does not fit half precision; release another training")
        halves[name] = half.contiguous()
    return halves


def read_first_row(metrics: Path) -> dict[str, str]:
    """The first row of a metrics.csv without its clock."""
    with open(metrics, newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    return {name: value for name, value in row.items() if name != "seconds"}


def open_recipe(card: Card, folder: Path) -> Run:
    """The run of a card's recipe in a folder, with that arm alone and nothing released.

    Raises:
        UserError: it needs photographs, which the package does not have.
    """
    if card.photographs:
        raise UserError(
            f"{card.name}: trained on the photographs {card.photographs['name']}, which are not "
            "part of the package; its card has the settings of the run that trains it again"
        )
    recipe = card.recipe
    settings = {key: recipe[key] for key in ("seed", "depth", "width")}
    for section in SECTIONS:
        for key, value in recipe[section].items():
            settings[f"{section}.{key}"] = value
    arm = [card.arm] if ARMS[card.arm].source == "pretrain" else ["supervised"]
    settings |= {"pretrain.released": False, "finetune.arms": arm}
    overrides = [f"{key}={_write_value(value)}" for key, value in settings.items()]
    return pipeline.open_run(recipe["profile"], folder, None, overrides)


def repeat_first_row(card: Card, folder: Path) -> dict[str, str]:
    """Train a card's arm again for the steps of its ``first_row``; the row that comes out.

    On the machine that made it, it is the same, digit by digit.
    """
    run = open_recipe(card, folder)
    pipeline.prepare(run)
    steps = int(card.first_row["step"])
    return read_first_row(initial_weights.train_first_steps(run, card.arm, steps) / "metrics.csv")


def train_again(card: Card, folder: Path) -> dict[str, float]:
    """Train a released backbone again from its recipe, and compare.

    Returns:
        ``differing``, tensors that are not equal to the last bit of half precision, and
        ``distance``, the length of the difference over that of the released weights.
    """
    run = open_recipe(card, folder)
    for stage in ("prepare", "supervised", "pretrain", "transfer"):
        if stage != "supervised" or _needs_stand_in(run, card.arm):
            pipeline.run_stage_by_name(run, stage)
    weights = run.path / "weights" / f"{card.arm}.pth"
    ours = halve_tensors(load_backbone(weights), weights)
    theirs = released.load_released(card)
    differing = 0
    moved = 0.0
    length = 0.0
    for name, value in theirs.items():
        difference = (value - ours[name]).double()
        differing += bool(difference.any())
        if value.is_floating_point():
            moved += float(difference.square().sum())
            length += float(value.double().square().sum())
    return {"differing": differing, "distance": (moved / length) ** 0.5}


def compare_all(folder: Path | None = None) -> bool:
    """``make weights``: train every released backbone again, and print how near it came.

    Args:
        folder: for the runs, which go on where they stopped; None for ``runs/weights``.

    Returns:
        Whether all that were trained again are equal, to the last bit.
    """
    equal = True
    for card in released.read_cards():
        if card.photographs:
            name = card.photographs["name"]
            print(
                f"{card.name}: not trained again, the photographs {name} are not here", flush=True
            )
            continue
        found = train_again(card, (folder or Path("runs") / "weights") / card.name)
        equal = equal and not found["differing"]
        said = f"{found['differing']} of {card.tensors} tensors differ"
        print(f"{card.name}: {said}, by {found['distance']:.3%} of their length", flush=True)
    return equal


def _find_folder(run: Run, arm: str) -> Path:
    """The stage folder of the training of an arm's weights."""
    of_labels = ARMS[arm].source == "supervised"
    return run.path / ("supervised" if of_labels else f"pretrain/{arm}")


def _needs_stand_in(run: Run, arm: str) -> bool:
    """Whether the training of an arm is the stand-in's, or begins with it."""
    at_random = ARMS[arm].initial_weights == "random" or run.profile.pretrain.init == "random"
    return arm == "supervised" or not at_random


def _describe_recipe(run: Run) -> dict[str, Any]:
    """Every setting that decides a backbone, spelled out: a profile may change later."""
    profile = run.profile
    name = profile.name if profile.name in PROFILES else "quick"
    recipe: dict[str, Any] = {"profile": name, "seed": profile.seed}
    recipe |= {"depth": profile.depth, "width": profile.width}
    for section in SECTIONS:
        recipe[section] = getattr(profile, section).model_dump()
    recipe["data"]["photographs"] = None  # a folder of this machine; the card has its name
    return recipe


def _probe_arm(run: Run, arm: str) -> list[dict[str, Any]]:
    """Accuracies of the linear probe, last stage, all labels; of the arm and its controls."""
    found = probing.measure_probes(run, arm)
    rows = []
    for row in (found or {"rows": []})["rows"]:
        if (row["stage"], row["probe"], row["per_class"]) == ("layer4", "linear", None):
            names = ("value", "low", "high", "gain", "gain_low", "gain_high")
            numbers = {name: round(row[name], 4) for name in names}
            rows.append({"encoder": row["encoder"]} | numbers)
    return rows


def _write_cards(cards: list[Card]) -> None:
    """``cards.yaml``, and the table of the README."""
    text = yaml.safe_dump([card.model_dump() for card in cards], sort_keys=False)
    write_text(released.FOLDER / CARDS, text)
    write_text(released.FOLDER / "README.md", README + released.describe_cards() + "\n")


def _write_value(value: object) -> str:
    """A value as YAML in one line."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    )


def _find_commit() -> str:
    """The commit of the code, short; ``unknown`` outside a repository."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
