"""The stages, in the order of the thesis, from ``prepare`` to ``scorecard``.

Each is an ordinary function of a run that a notebook cell, the command line and a test call alike.
A stage that is up to date returns at once; an interrupted one goes on (see
``byol_helpers.core.stage``). torch is loaded by the stages that train or predict, and by no other.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from byol_helpers.coco import resized_cache
from byol_helpers.coco.dataset import (
    get_area_limits,
    list_pretraining_images,
    load_split,
    load_splits,
    take_images,
)
from byol_helpers.coco.preparation import prepare
from byol_helpers.core.arms import ARMS, BASELINE_LABELS, label_arm
from byol_helpers.core.config import FULL_WIDTH, dump_profile, load_profile
from byol_helpers.core.deadline import set_deadline
from byol_helpers.core.engines import require_engine
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import expand_path, read_json, sha256, write_json, write_text
from byol_helpers.core.kept_copy import copy_folder, restore_run
from byol_helpers.core.notebook_parameters import check_parameters
from byol_helpers.core.stage import Run, run_stage

if TYPE_CHECKING:
    from byol_helpers.evaluation.comparison import ModelResult

# Raised when the code, not a setting, changes a fine-tuning: 2, the heads' start.
FINETUNE_REVISION = 2


def open_run(
    profile: str | Path = "quick",
    run: str | Path | None = None,
    data: str | Path | None = None,
    overrides: Sequence[str] | str | None = (),
    keep_in: str | Path | None = None,
    minutes: float | None = None,
) -> Run:
    """Make or reopen a run folder.

    Args:
        profile: smoke, quick, study, colab or thesis, or the path of a YAML file, which may extend
            one.
        run: a name, for a folder in ``runs``, or a path; by default ``runs/<profile>``, with a data
            folder ``runs/<profile>-<its name>``.
        data: a folder in COCO layout, instead of the profile's own source.
        overrides: ``["finetune.learning_rate=0.01", ...]``, or the same as one text with spaces
            between them.
        keep_in: a folder that outlives the session, for a copy of the run that is restored from
            there and kept up to date (``core.kept_copy``); empty: none; None: as it was.
        minutes: trainings and stages stop after so many from now (``core.deadline``); 0: never;
            None: as it was.

    Raises:
        UserError: the profile, a folder or a parameter of papermill is not what it can be.
    """
    check_parameters(minutes)
    settings = load_profile(profile, overrides)
    require_engine(settings.finetune.engine)
    folder = expand_path(data) if data else None
    if folder is not None and not folder.is_dir():
        raise UserError(f"{folder}: no such data folder; give a folder in COCO layout")
    name = f"{settings.name}-{folder.resolve().name}" if folder else settings.name
    path = expand_path(run or name)
    path = path if path.parent != Path() else Path("runs") / path
    write_text(path / "profile.yaml", dump_profile(settings))
    if keep_in is not None:
        restore_run(path, keep_in)
    if minutes is not None:
        set_deadline(minutes or None)
    return Run(path, settings, folder, str(profile))


def supervised(run: Run) -> Path:
    """Train the supervised stand-in on generated crops.

    With ImageNet weights there is nothing to train.
    """
    if run.profile.supervised.source == "imagenet":
        print("supervised: ImageNet weights are used, nothing to train", flush=True)
        return run.path
    if run.profile.pretrain.released:
        return _take_released(run, "supervised", "supervised", {})
    from byol_helpers.pretraining.classifier import train_classifier

    run.profile.supervised.get_training()  # refuses where a number is not set
    settings = run.profile.supervised.model_dump()
    return run_stage(
        run,
        "supervised",
        settings | _base(run) | _random_weights(run),
        [run.path / "data/crops.csv"],
        lambda folder: train_classifier(run.profile, run.path / "data", folder),
    )


def pretrain(run: Run, arm: str = "byol") -> Path:
    """Pretrain on the unlabelled images by the arm's method, from the arm's initial weights."""
    method = ARMS[arm].method
    start = _initial_weights(run, arm)
    random = _begins_at_random(run, arm)
    settings = run.profile.pretrain
    without = {
        "workers",
        "checkpoint_every",
        "probe_crops",
        "probe_on",
        "zero_init_residual",
        "shared_init",
        "released",
    }
    parameters = settings.model_dump(exclude=without, exclude_defaults=True)
    parameters |= _base(run) | {"init": "random" if random else "supervised"}
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
    if not _begins_at_random(run, arm):
        supervise_all(run)
    elif _initial_weights(run, arm):
        transfer(run, "random")
    _train_method(run, arm, folder, steps)
    return folder


def _train_method(run: Run, arm: str, folder: Path, steps: int | None = None) -> None:
    """Pretrain an arm, or its first steps alone."""
    from byol_helpers.backbones import load_backbone
    from byol_helpers.pretraining.methods import train_method

    start = _initial_weights(run, arm)
    weights = load_backbone(start) if start else None
    images = _usable_images(run)
    cache = _cache(run, f"decoded-{run.profile.pretrain.cache_side or 'whole'}")
    method = ARMS[arm].method
    title = f"pretrain {arm}"
    train_method(run.profile, method, images, folder, title, weights, cache, steps)


def _take_released(run: Run, stage: str, arm: str, parameters: dict) -> Path:
    """A stage that takes a released backbone instead of training one."""
    from byol_helpers import released

    card = released.find_card(run.profile, arm)
    theirs = card.recipe["pretrain"]
    taken = {key: theirs.get(key, value) for key, value in parameters.items() if key != "init"}
    taken |= _architecture(run) | {"released": card.sha256, "init": parameters.get("init")}
    return run_stage(run, stage, taken, [], lambda folder: released.leave_released(card, folder))


def measure_knn(run: Run, arm: str = "byol") -> list[float] | None:
    """kNN accuracy on the generated crops; None where there are none.

    Of a pretraining's initial weights, of the same with measured statistics, and of its end.
    """
    from byol_helpers.backbones import extract_encoder, load_backbone
    from byol_helpers.pretraining import probes

    if run.profile.supervised.source != "crops":
        return None
    start = _initial_weights(run, arm)
    weights = load_backbone(start) if start else None
    tensors = extract_encoder(run.path / "pretrain" / arm / "last.ckpt")
    images = _usable_images(run)
    return probes.compare_knn(run.profile, weights, tensors, run.path / "data", images)


def measure_probes(run: Run, arm: str = "byol", detector: Path | None = None) -> dict | None:
    """``probe/<arm>/probe.json``: what the arm's weights know of held-out crops, beside controls.

    Measured once for the weights as they are. None where there are no generated crops.

    Args:
        run: its stages up to the arm's transfer must be done.
        arm: one whose weights are a file; of a pretraining, gains are counted from its start.
        detector: ``model.pth`` of a fine-tuning on other labelled scenes, whose backbone then
            stands in the table as an upper bound.
    """
    from byol_helpers import backbones
    from byol_helpers.pretraining.probe_results import probe_training

    profile = run.profile
    if profile.supervised.source != "crops":
        return None
    start = _initial_weights(run, arm) if ARMS[arm].source == "pretrain" else None
    weights = _weights(run, arm)
    files = {label_arm(arm): weights}
    inputs = [run.path / "splits.json", weights]
    if start:
        inputs.append(start)
    if detector:
        files["body of a detector"] = detector
        inputs.append(detector)

    def work(folder: Path) -> None:
        trained = {name: backbones.load_body(file) for name, file in files.items()}
        begun = backbones.load_backbone(start) if start else None
        found = probe_training(profile, begun, trained, _usable_images(run))
        about = {"arm": arm, "profile": profile.name, "seed": profile.pretraining_seed}
        write_json(folder / "probe.json", about | found)

    settings = profile.pretrain.model_dump(include={"view_size", "batch_size", "crop_scale"})
    asked = profile.data.model_dump(include={"crop_size", "image_size", "world", "crop_objects"})
    parameters = (
        _base(run)
        | _random_weights(run)
        | settings
        | asked
        | {"crops": profile.pretrain.probe_crops}
        | profile.pretrain.model_dump(include={"probe_on"}, exclude_defaults=True)
    )
    return read_json(run_stage(run, f"probe/{arm}", parameters, inputs, work) / "probe.json")


def load_probed_networks(run: Run, arm: str = "byol") -> dict:
    """The networks that ``measure_probes`` asks, by their names in its table, in eval mode."""
    from byol_helpers.backbones import load_backbone
    from byol_helpers.pretraining.probe_results import prepare_networks

    start = _initial_weights(run, arm) if ARMS[arm].source == "pretrain" else None
    begun = load_backbone(start) if start else None
    trained = {label_arm(arm): load_backbone(_weights(run, arm))}
    return prepare_networks(run.profile, begun, trained, _usable_images(run))


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
    path = _weights(run, arm)

    def work(folder: Path) -> None:
        if origin == "imagenet":
            file = inputs[0] if inputs else None
            tensors, source = backbones.read_imagenet(profile.depth, file, profile.width)
        elif origin == "file":
            tensors, source = adopt_checkpoint(inputs[0], profile.depth, profile.width)
            source = {"kind": label_arm(arm)} | source
        else:
            tensors = backbones.extract_encoder(inputs[0])
            source = _describe_training(run, arm)
        shape = {"depth": profile.depth, "width": profile.width}
        backbones.save_backbone(tensors, path, source | shape)

    outputs = [path, path.with_suffix(".json")]
    run_stage(run, f"transfer/{arm}", _architecture(run), inputs, work, outputs)
    return path


def bring_weights(run: Run, arm: str) -> None:
    """``weights/<arm>.pth`` and all that it is made from."""
    source = ARMS[arm].source
    if source in ("supervised", "imagenet"):
        supervised(run)
    elif source in ("pretrain", "measured"):
        is_random = ARMS[arm].initial_weights == "random"
        is_random |= source == "pretrain" and _begins_at_random(run, arm)
        bring_weights(run, "random" if is_random else run.profile.reference_arm)
    if source == "pretrain":
        pretrain(run, arm)
    transfer(run, arm)


def finetune(run: Run, arm: str, seed: int) -> Path:
    """Fine-tune Mask R-CNN from the arm's weights.

    It leaves ``model.pth``, ``model.json`` and ``metrics.csv``.
    """
    from byol_helpers.backbones import load_backbone, open_residual_branches
    from byol_helpers.segmentation.engine import load_engine, save_model

    weights = find_weights(run, arm)
    opened = _opens_branches(run, arm)
    engine = run.profile.finetune.engine
    images = run.profile.finetune.images
    split = load_split(run, "train")
    if images:
        split = take_images(split, images, run.profile.seed)
    parameters = _engine_settings(run) | {"arm": arm, "seed": seed} | opened

    def work(folder: Path) -> None:
        tensors = load_backbone(weights) if weights else None
        if tensors and opened:
            tensors = open_residual_branches(tensors)
        title = f"finetune {arm} seed {seed}"
        network = load_engine(engine).train(run.profile, split, folder, title, seed, tensors)
        save_model(network, folder, run.profile, split.categories, arm, seed)
        (folder / "last.ckpt").unlink(missing_ok=True)  # model.pth holds what later stages need

    inputs = [split.file]
    if weights:
        inputs.append(weights)
    return run_stage(run, f"finetune/{arm}-seed{seed}", parameters, inputs, work)


def time_arms(run: Run) -> Path | None:
    """``timing/seconds.csv``: a step of fine-tuning of BYOL, supervised and random weights, in
    interleaved blocks.

    None where one of the three is missing, or the engine is not torchvision.
    """
    from byol_helpers.backbones import load_backbone
    from byol_helpers.segmentation.timing import time_steps

    arms = ("byol", run.profile.reference_arm, "random")
    found = set(arms) <= set(run.profile.finetune.arms)
    if not found or run.profile.finetune.engine != "torchvision":
        return None
    files = {arm: find_weights(run, arm) for arm in arms}
    split = load_split(run, "train")

    def work(folder: Path) -> None:
        weights = {arm: load_backbone(file) if file else None for arm, file in files.items()}
        lines = ["block,arm,seconds"]
        for row in time_steps(run.profile, split, weights):
            lines.append(f"{row['block']},{row['arm']},{row['seconds']:.6g}")
        write_text(folder / "seconds.csv", "\n".join(lines) + "\n")

    inputs = [split.file, *filter(None, files.values())]
    return run_stage(run, "timing", _engine_settings(run), inputs, work) / "seconds.csv"


def evaluate(run: Run, arm: str, seed: int) -> Path:
    """Detections of one model on the test split (COCO results), and their average precision."""
    from byol_helpers.segmentation.engine import predict_split

    key = f"{arm}-seed{seed}"
    model = run.path / "finetune" / key / "model.pth"
    split = load_split(run, "test")
    parameters = _engine_settings(run) | {
        "limits": list(get_area_limits(run)),
        "evaluate": run.profile.evaluate.model_dump(),
    }

    def work(folder: Path) -> None:
        write_json(folder / "detections.json", predict_split(model, split, f"evaluate {key}"))
        score_detections(run, folder, arm, seed)

    return run_stage(run, f"evaluate/{key}", parameters, [model, split.file], work)


def validate(run: Run, arm: str, seed: int) -> Path:
    """Losses and mask rates of one model on the validation split, as training logs them."""
    from byol_helpers.segmentation.validation import measure_losses

    key = f"{arm}-seed{seed}"
    model = run.path / "finetune" / key / "model.pth"
    split = load_split(run, "val")
    tune = run.profile.finetune

    def work(folder: Path) -> None:
        losses = measure_losses(model, split, tune, run.profile.seed)
        write_json(folder / "losses.json", {"images": len(split.images), "losses": losses})

    parameters = _engine_settings(run) | {"run_seed": run.profile.seed}
    return run_stage(run, f"validation/{key}", parameters, [model, split.file], work)


def score_detections(run: Run, folder: Path, arm: str, seed: int) -> None:
    """``metrics.json`` and ``bootstrap.csv`` from ``detections.json``: no model, no torch."""
    from byol_helpers.evaluation import comparison

    comparison.save_result(score_results(run, folder / "detections.json", arm, seed), folder)


def score_results(run: Run, detections: Path | list[dict], arm: str, seed: int) -> "ModelResult":
    """Average precision and draws of COCO results on the test split, under the run's settings."""
    from byol_helpers.evaluation import comparison

    settings = run.profile.evaluate
    tune = run.profile.finetune
    return comparison.evaluate_model(
        load_split(run, "test").file,
        detections,
        arm=arm,
        seed=seed,
        engine=tune.engine,
        profile=run.profile.name,
        iterations=tune.steps,
        area_limits=get_area_limits(run),
        replicates=settings.bootstrap,
        confidence=settings.confidence,
        draw_seed=run.profile.seed,
    )


def compare(run: Run) -> Path:
    """``evaluate/comparison.json``: paired differences between the arms evaluated so far."""
    from byol_helpers.reproduction.run_results import open_results

    path = write_json(run.path / "evaluate" / "comparison.json", open_results(run.path).comparison)
    copy_folder(run.path)
    return path


def remove_background(run: Run, arm: str, seed: int) -> Path:
    """Cut-outs of the test images by the thesis's rule, scored against the ground truth.

    It works from ``detections.json``: the masks are those of the evaluation, and no model is needed
    a second time.
    """
    from byol_helpers.background import experiment

    key = f"{arm}-seed{seed}"
    settings = run.profile.background
    tune = run.profile.finetune
    detections = run.path / "evaluate" / key / "detections.json"
    task, parameters = _removal(run)
    about = {
        "arm": arm,
        "label": label_arm(arm),
        "seed": seed,
        "profile": run.profile.name,
        "engine": tune.engine,
        "iterations": tune.steps,
    }

    def work(folder: Path) -> None:
        scored = experiment.score_removals(
            task, detections, settings.score_threshold, settings.rule, folder
        )
        write_json(folder / "metrics.json", scored | about)

    return run_stage(run, f"background/{key}", parameters, [detections, task.ground_truth], work)


def remove_by_baseline(run: Run, method: str) -> Path:
    """The same images and scores for a method without learning: a key of ``BASELINE_LABELS``."""
    from byol_helpers.background import experiment

    task, parameters = _removal(run)
    about = {"arm": method, "label": BASELINE_LABELS[method], "profile": run.profile.name}

    def work(folder: Path) -> None:
        write_json(folder / "metrics.json", experiment.score_baseline(task, method) | about)

    return run_stage(run, f"background/{method}", parameters, [task.ground_truth], work)


def scorecard(run: Run) -> Path:
    """``scorecard.json`` and ``.md``: every claim of the thesis beside what this run measured."""
    from byol_helpers.reproduction import verdicts as card
    from byol_helpers.reproduction.thesis import load_thesis

    built = card.build_scorecard(run.path, load_thesis())
    write_text(run.path / "scorecard.md", card.write_markdown(built))
    path = write_json(run.path / "scorecard.json", built)
    copy_folder(run.path)
    return path


def list_models(run: Run) -> list[tuple[str, int]]:
    """Every (arm, seed) of the profile."""
    return [(arm, seed) for seed in run.profile.finetune.seeds for arm in run.profile.finetune.arms]


def list_pretrained_arms(run: Run) -> list[str]:
    """Arms of the profile whose weights come from the stage pretrain."""
    return [arm for arm in run.profile.finetune.arms if ARMS[arm].source == "pretrain"]


def supervise_all(run: Run) -> None:
    """The weights that stand for supervised pretraining, as a file."""
    supervised(run)
    transfer(run, run.profile.reference_arm)


def pretrain_all(run: Run) -> None:
    """Every arm that is pretrained."""
    for arm in list_pretrained_arms(run):
        pretrain(run, arm)


def transfer_all(run: Run) -> None:
    """Every arm, and the weights that a pretraining of the profile begins with."""
    begun_with = []
    for arm in list_pretrained_arms(run):
        if not _begins_at_random(run, arm):
            begun_with.append(run.profile.reference_arm)
    for arm in dict.fromkeys([*begun_with, *run.profile.finetune.arms]):
        transfer(run, arm)


def finetune_all(run: Run) -> None:
    """Every arm with every seed, and how long a step of each takes."""
    for arm, seed in list_models(run):
        finetune(run, arm, seed)
    time_arms(run)


def evaluate_all(run: Run) -> None:
    """Every model on test and validation images, and the differences between the arms."""
    has_validation = "val" in load_splits(run) and load_split(run, "val").images
    for arm, seed in list_models(run):
        evaluate(run, arm, seed)
        if has_validation:
            validate(run, arm, seed)
    compare(run)


def remove_all_backgrounds(run: Run) -> None:
    """Every model, and every method without learning."""
    for arm, seed in list_models(run):
        remove_background(run, arm, seed)
    for method in BASELINE_LABELS:
        remove_by_baseline(run, method)


STAGES: dict[str, Callable[[Run], object]] = {
    "prepare": prepare,
    "supervised": supervise_all,
    "pretrain": pretrain_all,
    "transfer": transfer_all,
    "finetune": finetune_all,
    "evaluate": evaluate_all,
    "remove-background": remove_all_backgrounds,
    "scorecard": scorecard,
}


def run_stage_by_name(run: Run, name: str) -> None:
    """One stage for everything that the profile names: all arms, all seeds."""
    STAGES[name](run)


def run_up_to(run: Run, last: str) -> None:
    """Bring every stage up to and including ``last`` up to date.

    Those that are done return at once.
    """
    for name in STAGES:
        run_stage_by_name(run, name)
        if name == last:
            return


def _measure_statistics(run: Run, arm: str) -> Path:
    """Write ``weights/<arm>.pth``: random or supervised weights with measured statistics."""
    from byol_helpers import backbones
    from byol_helpers.pretraining.probes import measure_backbone

    start = find_weights(run, "random" if ARMS[arm].is_random else run.profile.reference_arm)
    if start and ARMS[arm].is_random:
        transfer(run, "random")
    path = _weights(run, arm)
    opened = _opens_branches(run, arm)

    def work(folder: Path) -> None:
        weights = backbones.load_backbone(start) if start else None
        if weights and opened:
            weights = backbones.open_residual_branches(weights)
        tensors = measure_backbone(run.profile, weights, _usable_images(run))
        shape = {"depth": run.profile.depth, "width": run.profile.width}
        backbones.save_backbone(tensors, path, _describe_training(run, arm) | shape)

    settings = run.profile.pretrain
    parameters = _base(run) | {"view_size": settings.view_size, "batch_size": settings.batch_size}
    parameters |= opened
    if settings.seed is not None:
        parameters["seed"] = settings.seed
    inputs = [run.path / "splits.json", *([start] if start else [])]
    outputs = [path, path.with_suffix(".json")]
    run_stage(run, f"transfer/{arm}", parameters, inputs, work, outputs)
    return path


def _opens_branches(run: Run, arm: str) -> dict:
    """A parameter of the stages where random residual branches that begin at 0 must be opened."""
    pretrain = run.profile.pretrain
    frozen = run.profile.finetune.norm_policy == "frozen"
    closed = pretrain.shared_init and pretrain.zero_init_residual
    return {"residual_gamma": 1} if frozen and closed and ARMS[arm].is_random else {}


def _weights(run: Run, arm: str) -> Path:
    return run.path / "weights" / f"{arm}.pth"


def find_weights(run: Run, arm: str) -> Path | None:
    """Where the stage transfer leaves an arm's weights; None where Mask R-CNN draws its own."""
    from_no_file = ARMS[arm].source == "random" and not run.profile.pretrain.shared_init
    return None if from_no_file else _weights(run, arm)


def _begins_at_random(run: Run, arm: str) -> bool:
    """Whether a pretraining begins with random weights."""
    return ARMS[arm].initial_weights == "random" or run.profile.pretrain.init == "random"


def _initial_weights(run: Run, arm: str) -> Path | None:
    """What a pretraining begins with; None for random weights that it draws itself."""
    begun_with = "random" if _begins_at_random(run, arm) else run.profile.reference_arm
    return find_weights(run, begun_with)


def _draw_random(run: Run, arm: str) -> Path:
    """Write ``weights/<arm>.pth``: the random weights that are the same for all who want some."""
    from byol_helpers import backbones
    from byol_helpers.pretraining.encoder import copy_tensors, draw_encoder

    path = _weights(run, arm)
    profile = run.profile

    def work(folder: Path) -> None:
        shape = {"depth": profile.depth, "width": profile.width}
        tensors = copy_tensors(draw_encoder(profile))
        backbones.save_backbone(tensors, path, _describe_training(run, arm) | shape)

    parameters = _architecture(run) | _random_weights(run) | {"seed": profile.pretraining_seed}
    outputs = [path, path.with_suffix(".json")]
    run_stage(run, f"transfer/{arm}", parameters, [], work, outputs)
    return path


def _describe_training(run: Run, arm: str) -> dict:
    """What the JSON file beside weights says of where they come from."""
    profile = run.profile
    source = {"kind": label_arm(arm), "profile": profile.name, "seed": profile.pretraining_seed}
    from_crops = ARMS[arm].source != "pretrain" and profile.supervised.source == "crops"
    if profile.pretrain.released and not ARMS[arm].is_random:
        if from_crops or ARMS[arm].source == "pretrain":
            source["released"] = True
    return source


def _random_weights(run: Run) -> dict:
    """What decides the random weights of a training, as far as it is not the default."""
    names = {"seed", "shared_init", "zero_init_residual"}
    return run.profile.pretrain.model_dump(include=names, exclude_defaults=True)


def _usable_images(run: Run) -> list[Path]:
    """The pretraining images that decode, or their shrunk copies, kept in ``runs/<run>/cache``."""
    side = run.profile.pretrain.cache_side
    files = list_pretraining_images(run)
    if side is None:
        return resized_cache.keep_readable(files, "check images")
    folder = _cache(run, str(side))
    return resized_cache.resize_images(files, folder, side, f"shrink images to {side} pixels")


def _cache(run: Run, kind: str) -> Path:
    """A folder for what is made once of the pretraining images; another list has another one."""
    listed = sha256(run.path / "splits.json")[:8]
    return run.path / "cache" / f"{kind}-{listed}"


def _architecture(run: Run) -> dict:
    """The backbone in a stage's parameters: the width only where it is not 64, since earlier run
    folders do not say it.
    """
    described = {"depth": run.profile.depth, "width": run.profile.width}
    if run.profile.width == FULL_WIDTH:
        described.pop("width")
    return described


def _base(run: Run) -> dict:
    return _architecture(run) | {"run_seed": run.profile.seed}


def _removal(run: Run) -> tuple:
    """The task of scoring background removal, and the parameters of its stages."""
    from byol_helpers.background.experiment import RemovalTask

    settings = run.profile.background
    draws = run.profile.evaluate
    split = load_split(run, "test")
    task = RemovalTask(
        split.file, split.root, settings.images, run.profile.seed, draws.bootstrap, draws.confidence
    )
    parameters = settings.model_dump() | _base(run)
    parameters |= {"bootstrap": draws.bootstrap, "confidence": draws.confidence}
    return task, parameters


def _engine_settings(run: Run) -> dict:
    """What decides a fine-tuned model, without what only decides how it is reached."""
    without = {"arms", "seeds", "workers", "checkpoint_every", "weights_file"}
    settings = run.profile.finetune.model_dump(exclude=without, exclude_defaults=True)
    return _architecture(run) | {"revision": FINETUNE_REVISION} | settings
