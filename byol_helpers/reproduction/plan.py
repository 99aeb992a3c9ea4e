"""Studies that are planned before they are run: what is trained, in which order, and what counts.

``plan.yaml`` holds them, one entry each; this module gives it types and lists the trainings. The
margins are those of ``thesis.yaml``. A study's scorecard names its plan by ``fingerprint`` and
lists every deviation from it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from byol_helpers.core.arms import ARMS
from byol_helpers.core.config import ArmName, Count, Index, Positive, Profile
from byol_helpers.core.errors import UserError
from byol_helpers.core.profile_files import load_profile
from byol_helpers.reproduction.thesis import FrozenModel, load_thesis

Protocol = Literal["trainable", "frozen", "group"]
Share = Annotated[float, Field(gt=0, le=1)]
REPEAT_SEED = 100  # what is added to a fine-tuning's seed where an arm is trained again
RATE_SEED = 200  # the same for the trainings that learning rates are chosen by
LATER_FIELDS = ("rates", "needs")  # of a study; without them the fingerprint is as it was before


class Block(FrozenModel):
    """Trainings that differ in arm and seed only.

    Attributes:
        protocol: of batch norm in fine-tuning (``finetune.norm_policy``).
        labels: share of the labelled images that is used.
        arms: initial weights, in this order for each seed.
        seeds: those of the study, where none are given.
        again: the same initial weights once more; ``REPEAT_SEED`` is added to the fine-tuning seed.
        settings: of these trainings alone, ``key=value``; the same for all blocks of a condition.
    """

    protocol: Protocol
    labels: Share = 1.0
    arms: Annotated[list[ArmName], Field(min_length=1)]
    seeds: list[Index] | None = None
    again: bool = False
    settings: list[str] = []


class Controls(FrozenModel):
    """What must come out if the instrument works.

    Attributes:
        same: an arm of a block with ``again``: it must not differ from itself.
        positive: an arm with all labels and with a share of them: it must differ.
    """

    protocol: Protocol
    same: ArmName
    positive: ArmName
    positive_labels: Share


class Rates(FrozenModel):
    """How the learning rate of each arm is chosen, under each protocol of batch norm once.

    Every value is tried in a training of its own, with all labels and the first seed of the study,
    on other draws of the fine-tuning than any that counts (``RATE_SEED``). The value with the
    highest AP on the validation images is that of all the arm's trainings under the protocol; of
    equal ones the smallest. Test images are not looked at.

    Attributes:
        values: of ``finetune.learning_rate``.
        settings: of these trainings alone, ``key=value``.
    """

    values: Annotated[list[Positive], Field(min_length=2)]
    settings: list[str] = []


class Study(FrozenModel):
    """One study.

    Attributes:
        profile: a built-in profile, or the path of a file.
        overrides: settings of every training, ``key=value``.
        per_seed: settings that make a pretraining's seed, with ``{seed}`` in them; a seed is that
            of pretraining and fine-tuning together.
        test_images: of the test split, at least so many.
        trainings: in this order for each seed, the most telling first; the seeds one after the
            other, so that every seed that is begun is whole as soon as it can be.
        margins: where the smallest effects that matter stand.
        stopping: when no more is trained.
        primary: claims over which Holm's correction is made.
        rates: how learning rates are chosen; without it that of the profile serves all arms.
        needs: what has to be brought, and from where: ``data``, the labelled images, and
            ``photographs``, those for pretraining.
    """

    question: str
    profile: str
    overrides: list[str] = []
    per_seed: list[str] = []
    test_images: Count
    seeds: Annotated[list[Index], Field(min_length=1)]
    trainings: Annotated[list[Block], Field(min_length=1)]
    controls: Controls | None = None
    margins: Literal["thesis.yaml"] = "thesis.yaml"
    stopping: str
    primary: list[str]
    rates: Rates | None = None
    needs: dict[Literal["data", "photographs"], str] = {}

    @model_validator(mode="after")
    def _check_claims(self) -> "Study":
        known = [claim.id for claim in load_thesis().claims]
        wrong = [name for name in self.primary if name not in known]
        if wrong:
            raise ValueError(f"primary names {wrong[0]!r}: use {', '.join(known)}")
        if any(setting.startswith("seed=") for setting in self.per_seed):
            raise ValueError("per_seed sets seed, which draws the images too: use pretrain.seed")
        return self

    @property
    def settings(self) -> list[str]:
        """What every training of the study is set to, beside its arm and seed."""
        return [f"data.test={self.test_images}", *self.overrides]

    def list_seed_settings(self, seed: int) -> list[str]:
        """``per_seed`` for one seed."""
        return [setting.format(seed=seed) for setting in self.per_seed]

    def load_settings(self) -> Profile:
        """The profile with the study's settings; ``UserError`` as ``load_profile``."""
        return load_profile(self.profile, self.settings)

    def fingerprint(self) -> str:
        """Twelve hex digits that change with the plan."""
        content = self.model_dump()
        for name in LATER_FIELDS:
            if not content[name]:
                del content[name]
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Condition:
    """What a block's trainings have in common: protocol, number of labelled images, settings.

    ``rate``: the learning rate that is tried, where one is.
    """

    protocol: str
    images: int
    own_settings: tuple[str, ...] = ()
    rate: float | None = None

    @property
    def name(self) -> str:
        """Of the folder."""
        name = f"{self.protocol}-{self.images}"
        return name if self.rate is None else f"rates/{name}-{self.rate:g}"

    @property
    def settings(self) -> list[str]:
        """``key=value`` of its trainings."""
        common = [f"finetune.norm_policy={self.protocol}", f"finetune.images={self.images}"]
        tried = [] if self.rate is None else [f"finetune.learning_rate={self.rate!r}"]
        return [*common, *self.own_settings, *tried]


@dataclass(frozen=True)
class Training:
    """One training of a study: a pretraining (``condition`` is None) or a fine-tuning.

    ``seed`` is that of the pretraining, ``finetune_seed`` that of the fine-tuning.
    """

    arm: str
    seed: int
    condition: Condition | None = None
    finetune_seed: int = 0

    @property
    def key(self) -> str:
        """Its folder in the results, below that of the study."""
        if self.condition is None:
            return f"pretrain/{self.arm}-seed{self.seed}"
        return f"{self.condition.name}/finetune/{self.arm}-seed{self.finetune_seed}"


def load_plan(path: Path | None = None) -> dict[str, Study]:
    """The studies of a plan, the packaged one by default, by name.

    Raises:
        UserError: no such file, not valid YAML, an unknown key or a value of the wrong kind.
    """
    source = path or resources.files("byol_helpers.reproduction") / "plan.yaml"
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
        studies = content["studies"]
        return {str(name): Study.model_validate(entry) for name, entry in studies.items()}
    except OSError:
        raise UserError(f"{path}: no such plan; give the path of a YAML file") from None
    except (yaml.YAMLError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path}: not a plan; write `studies:` and one entry for each") from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ")
        raise UserError(f"{source}: {where}: {said}; correct it there") from None


def find_study(name: str, path: Path | None = None, others: Sequence[str] = ()) -> Study:
    """A study of a plan by its name.

    Raises:
        UserError: an unknown one; the message names those of the plan after ``others``.
    """
    studies = load_plan(path)
    if name not in studies:
        raise UserError(f"no study {name!r}; there are {', '.join([*others, *studies])}")
    return studies[name]


def count_labelled(study: Study, share: float) -> int:
    """How many labelled images a share is: rounded, and one at least."""
    return max(1, round(share * study.load_settings().data.train))


def make_condition(study: Study, block: Block) -> Condition:
    """The condition of a block's trainings."""
    images = count_labelled(study, block.labels)
    return Condition(block.protocol, images, tuple(block.settings))


def list_conditions(study: Study) -> dict[Condition, list[Block]]:
    """The conditions of a study in the order of the plan, with their blocks."""
    found: dict[Condition, list[Block]] = {}
    for block in study.trainings:
        found.setdefault(make_condition(study, block), []).append(block)
    return found


def list_trainings(study: Study) -> list[Training]:
    """Every training: seed after seed, in the plan's order, a pretraining before it is needed.

    The learning rate of an arm under a protocol is chosen before its first training there.
    """
    listed: dict[Training, None] = {}
    for seed in study.seeds:
        for block in study.trainings:
            if seed in (block.seeds or study.seeds):
                _list_block(study, block, seed, listed)
    return list(listed)


def list_rate_trainings(study: Study, protocol: str, arm: str) -> list[Training]:
    """The trainings that an arm's learning rate under a protocol is chosen by, one for each."""
    rates = study.rates
    if rates is None:
        return []
    images = count_labelled(study, 1.0)
    seed = study.seeds[0]
    listed = []
    for value in rates.values:
        condition = Condition(protocol, images, tuple(rates.settings), value)
        listed.append(Training(arm, seed, condition, seed + RATE_SEED))
    return listed


def _list_block(study: Study, block: Block, seed: int, listed: dict[Training, None]) -> None:
    """Add the trainings of a block with one seed."""
    condition = make_condition(study, block)
    for arm in block.arms:
        if ARMS[arm].source in ("pretrain", "supervised"):
            listed[Training(arm, seed)] = None
        if seed == study.seeds[0]:
            listed |= dict.fromkeys(list_rate_trainings(study, block.protocol, arm))
        finetune_seed = seed + REPEAT_SEED if block.again else seed
        listed[Training(arm, seed, condition, finetune_seed)] = None
