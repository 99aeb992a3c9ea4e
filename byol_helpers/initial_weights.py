"""The initial weights of every arm: the stages that make them, and where they lie.

``supervised`` and ``pretrain`` leave checkpoints, or take a released backbone, and ``transfer``
writes ``weights/<arm>.pth`` from them. Two kinds need no checkpoint: ``weights/random.pth``, which
all share that begin with random weights, and the controls whose batch-norm statistics are measured.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from byol_helpers.coco.dataset import list_usable_images, place_cache
from byol_helpers.coco.photographs import (
    LIST_FILE,
    TRAINING_FOLDER,
    describe_photographs,
    open_photographs,
)
from byol_helpers.core.arms import ARMS, label_arm
from byol_helpers.core.stage import Run, run_stage
from byol_helpers.core.stage_parameters import (
    describe_backbone,
    describe_random_weights,
    describe_run,
)


def supervised(run: Run) -> Path:
    """Train the supervised arm: the stand-in on generated crops, or on photographs.

    With ImageNet weights there is nothing to train.
    """
    if run.profile.supervised.source == "imagenet":
        print("supervised: ImageNet weights are used, nothing to train", flush=True)
        return run.path
    if run.profile.pretrain.released:
        return _take_released(run, "supervised", run.profile.reference_arm, {})
    from byol_helpers.pretraining.classifier import train_classifier

    run.profile.supervised.get_training()  # refuses where a number is not set
    settings = run.profile.supervised.model_dump()
    listed = run.path / "data/crops.csv"
    if run.profile.supervised.source == "classes":
        settings |= run.profile.pretrain.model_dump(include={"view_size", "channels_last"})
        listed = run.path / "data" / TRAINING_FOLDER / LIST_FILE
    return run_stage(
        run,
        "supervised",
        settings | describe_run(run) | describe_random_weights(run),
        [listed],
        lambda folder: train_classifier(run.profile, run.path / "data", folder),
    )


def pretrain(run: Run, arm: str = "byol") -> Path:
    """Pretrain on the unlabelled images by the arm's method, from the arm's initial weights."""
    method = ARMS[arm].method
    start = find_initial_weights(run, arm)
    random = begins_at_random(run, arm)
    settings = run.profile.pretrain
    without = {
        "workers",
        "checkpoint_every",
        "probe_crops",
        "probe_on",
        "dense_images",
        "zero_init_residual",
        "shared_init",
        "released",
    }
    parameters = settings.model_dump(exclude=without, exclude_defaults=True)
    parameters |= describe_run(run) | {"init": "random" if random else "supervised"}
    if random:
        parameters["zero_init_residual"] = settings.zero_init_residual
    if method != "byol":
        parameters["method"] = method

    if start and random:
        transfer(run, "random")
    if settings.released:
        return _take_released(run, f"pretrain/{arm}", arm, parameters)

    def work(folder: Path) -> None:
        _train_method(run, arm, folder)

    inputs = [run.path / "splits.json"]
    if start:
        inputs.append(start)
    return run_stage(run, f"pretrain/{arm}", parameters, inputs, work)


def transfer(run: Run, arm: str) -> Path | None:
    """Write ``weights/<arm>.pth``; None for random weights that Mask R-CNN draws itself."""
    from byol_helpers import backbones
    from byol_helpers.adoption import adopt_checkpoint

    profile = run.profile
    origin = ARMS[arm].source
    files = {
        "pretrain": run.path / "pretrain" / arm / "last.ckpt",
        "supervised": run.path / "supervised" / "last.ckpt",
        "imagenet": profile.supervised.weights_file,
        "file": profile.finetune.weights_file,
    }
    if origin == "random":
        return _draw_random(run, arm) if profile.pretrain.shared_init else None
    if origin == "measured":
        return _measure_statistics(run, arm)
    file = files[origin]
    inputs = [Path(file).expanduser()] if file else []

    def make() -> tuple[dict, dict]:
        if origin == "imagenet":
            file = inputs[0] if inputs else None
            return backbones.read_imagenet(profile.depth, file, profile.width)
        if origin == "file":
            tensors, source = adopt_checkpoint(inputs[0], profile.depth, profile.width)
            return tensors, {"kind": label_arm(arm)} | source
        return backbones.extract_encoder(inputs[0]), _describe_training(run, arm)

    return _write_weights(run, arm, describe_backbone(run), inputs, make)


def bring_weights(run: Run, arm: str) -> None:
    """``weights/<arm>.pth`` and all that it is made from."""
    source = ARMS[arm].source
    if source in ("supervised", "imagenet"):
        supervised(run)
    elif source in ("pretrain", "measured"):
        is_random = ARMS[arm].initial_weights == "random"
        is_random |= source == "pretrain" and begins_at_random(run, arm)
        bring_weights(run, "random" if is_random else run.profile.reference_arm)
    if source == "pretrain":
        pretrain(run, arm)
    transfer(run, arm)


def train_first_steps(run: Run, arm: str, steps: int) -> Path:
    """The first steps of an arm's training in a folder of their own, to compare with those of
    another; returned is that folder.
    """
    from byol_helpers.pretraining.classifier import train_classifier

    folder = run.path / "first-steps" / arm
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if ARMS[arm].source == "supervised":
        train_classifier(run.profile, run.path / "data", folder, steps)
        return folder
    if not begins_at_random(run, arm):
        bring_weights(run, run.profile.reference_arm)
    elif find_initial_weights(run, arm):
        transfer(run, "random")
    _train_method(run, arm, folder, steps)
    return folder


def find_weights(run: Run, arm: str) -> Path | None:
    """Where the stage transfer leaves an arm's weights; None where Mask R-CNN draws its own."""
    from_no_file = ARMS[arm].source == "random" and not run.profile.pretrain.shared_init
    return None if from_no_file else get_weights_file(run, arm)


def begins_at_random(run: Run, arm: str) -> bool:
    """Whether a pretraining begins with random weights."""
    return ARMS[arm].initial_weights == "random" or run.profile.pretrain.init == "random"


def find_initial_weights(run: Run, arm: str) -> Path | None:
    """What a pretraining begins with; None for random weights that it draws itself."""
    begun_with = "random" if begins_at_random(run, arm) else run.profile.reference_arm
    return find_weights(run, begun_with)


def get_weights_file(run: Run, arm: str) -> Path:
    """``weights/<arm>.pth``, whether it is there or not."""
    return run.path / "weights" / f"{arm}.pth"


def describe_branches(run: Run, arm: str) -> dict:
    """A parameter of the stages where random residual branches that begin at 0 must be opened."""
    pretrain = run.profile.pretrain
    frozen = run.profile.finetune.norm_policy == "frozen"
    closed = pretrain.shared_init and pretrain.zero_init_residual
    return {"residual_gamma": 1} if frozen and closed and ARMS[arm].is_random else {}


def _train_method(run: Run, arm: str, folder: Path, steps: int | None = None) -> None:
    """Pretrain an arm, or its first steps alone."""
    from byol_helpers.backbones import load_backbone
    from byol_helpers.pretraining.methods import train_method

    start = find_initial_weights(run, arm)
    weights = load_backbone(start) if start else None
    images = list_usable_images(run)
    cache = place_cache(run, f"decoded-{run.profile.pretrain.cache_side or 'whole'}")
    method = ARMS[arm].method
    title = f"pretrain {arm}"
    decoded = None
    if run.profile.data.photographs:
        decoded = open_photographs(run.path / "data").images
    train_method(run.profile, method, images, folder, title, weights, cache, steps, decoded)


def _take_released(run: Run, stage: str, arm: str, parameters: dict) -> Path:
    """A stage that takes a released backbone instead of training one."""
    from byol_helpers import released

    card = released.find_card(run.profile, arm)
    theirs = card.recipe["pretrain"]
    taken = {key: theirs.get(key, value) for key, value in parameters.items() if key != "init"}
    taken |= describe_backbone(run) | {"released": card.sha256, "init": parameters.get("init")}
    return run_stage(run, stage, taken, [], lambda folder: released.leave_released(card, folder))


def _draw_random(run: Run, arm: str) -> Path:
    """The random weights that are the same for all who want some."""
    from byol_helpers.pretraining.encoder import copy_tensors, draw_encoder

    def make() -> tuple[dict, dict]:
        return copy_tensors(draw_encoder(run.profile)), _describe_training(run, arm)

    parameters = describe_backbone(run) | describe_random_weights(run)
    parameters["seed"] = run.profile.pretraining_seed
    return _write_weights(run, arm, parameters, [], make)


def _measure_statistics(run: Run, arm: str) -> Path:
    """Random or supervised weights with measured statistics."""
    from byol_helpers import backbones
    from byol_helpers.pretraining.probes import measure_backbone

    start = find_weights(run, "random" if ARMS[arm].is_random else run.profile.reference_arm)
    if start and ARMS[arm].is_random:
        transfer(run, "random")
    opened = describe_branches(run, arm)

    def make() -> tuple[dict, dict]:
        weights = backbones.load_backbone(start) if start else None
        if weights and opened:
            weights = backbones.open_residual_branches(weights)
        tensors = measure_backbone(run.profile, weights, list_usable_images(run))
        return tensors, _describe_training(run, arm)

    settings = run.profile.pretrain
    parameters = describe_run(run)
    parameters |= {"view_size": settings.view_size, "batch_size": settings.batch_size} | opened
    if settings.seed is not None:
        parameters["seed"] = settings.seed
    inputs = [run.path / "splits.json", *([start] if start else [])]
    return _write_weights(run, arm, parameters, inputs, make)


def _write_weights(
    run: Run, arm: str, parameters: dict, inputs: list[Path], make: Callable[[], tuple[dict, dict]]
) -> Path:
    """The stage that leaves an arm's weights: ``make`` gives the tensors and says their origin."""
    from byol_helpers.backbones import save_backbone

    path = get_weights_file(run, arm)
    shape = {"depth": run.profile.depth, "width": run.profile.width}

    def work(folder: Path) -> None:
        tensors, source = make()
        save_backbone(tensors, path, source | shape)

    outputs = [path, path.with_suffix(".json")]
    run_stage(run, f"transfer/{arm}", parameters, inputs, work, outputs)
    return path


def _describe_training(run: Run, arm: str) -> dict:
    """What the JSON file beside weights says of where they come from."""
    profile = run.profile
    source: dict = {"kind": label_arm(arm), "profile": profile.name}
    source["seed"] = profile.pretraining_seed
    photographs = describe_photographs(run)
    if photographs and not ARMS[arm].is_random:
        source["photographs"] = photographs
    from_crops = ARMS[arm].source != "pretrain" and profile.supervised.source == "crops"
    if profile.pretrain.released and not ARMS[arm].is_random:
        if from_crops or ARMS[arm].source == "pretrain":
            source["released"] = True
    return source
