"""The stages, in the order of the thesis, from ``prepare`` to ``scorecard``.

Each is an ordinary function of a run that a notebook cell, the command line and a test call alike.
A stage that is up to date returns at once; an interrupted one goes on (see
``byol_helpers.core.stage``). torch is loaded by the stages that train or predict, and by no other.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from byol_helpers.coco.dataset import (
    get_area_limits,
    load_split,
    load_splits,
    take_images,
)
from byol_helpers.coco.preparation import prepare
from byol_helpers.core.arms import ARMS, BASELINE_LABELS, label_arm
from byol_helpers.core.deadline import set_deadline
from byol_helpers.core.engines import require_engine
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import expand_path, write_json, write_text
from byol_helpers.core.kept_copy import copy_folder, restore_run
from byol_helpers.core.notebook_parameters import check_parameters
from byol_helpers.core.profile_files import dump_profile, load_profile
from byol_helpers.core.progress import UNFINISHED
from byol_helpers.core.stage import Run, name_together, run_stage, take_free_first
from byol_helpers.core.stage_parameters import describe_backbone, describe_run
from byol_helpers.initial_weights import (
    begins_at_random,
    describe_branches,
    find_weights,
    pretrain,
    supervised,
    transfer,
)

# Notebooks call these here.
from byol_helpers.probing import (  # noqa: F401
    load_probed_networks,
    measure_dense_probe,
    measure_probes,
)

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
        profile: smoke, quick, study, photographs, colab or thesis, or the path of a YAML file,
            which may extend one.
        run: a name, for a folder in ``runs``, or a path; by default ``runs/<profile>``, with a data
            folder ``runs/<profile>-<its name>``.
        data: a folder in COCO layout, instead of the profile's own source; backbones are then
            trained on its images, never taken from the released ones.
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
    if folder is not None:  # released backbones are of generated images
        settings = settings.fit_own_images()
    name = f"{settings.name}-{folder.resolve().name}" if folder else settings.name
    path = expand_path(run or name)
    path = path if path.parent != Path() else Path("runs") / path
    write_text(path / "profile.yaml", dump_profile(settings))
    if keep_in is not None:
        restore_run(path, keep_in)
    if minutes is not None:
        set_deadline(minutes or None)
    return Run(path, settings, folder, str(profile))


def finetune(run: Run, arm: str, seed: int) -> Path:
    """Fine-tune Mask R-CNN from the arm's weights.

    It leaves ``model.pth``, ``model.json`` and ``metrics.csv``.
    """
    from byol_helpers.backbones import load_backbone, open_residual_branches
    from byol_helpers.segmentation.engine import load_engine, save_model

    weights = find_weights(run, arm)
    opened = describe_branches(run, arm)
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


def list_timed_arms(run: Run) -> list[str]:
    """The arms whose steps ``time_arms`` compares."""
    return ["byol", run.profile.reference_arm, "random"]


def time_arms(run: Run) -> Path | None:
    """``timing/seconds.csv``: a step of fine-tuning of BYOL, supervised and random weights, in
    interleaved blocks.

    None where one of the three is missing, or the engine is not torchvision.
    """
    from byol_helpers.backbones import load_backbone
    from byol_helpers.segmentation.timing import time_steps

    arms = list_timed_arms(run)
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
        unfinished = folder / UNFINISHED
        detections = predict_split(model, split, f"evaluate {key}", unfinished)
        write_json(folder / "detections.json", detections)
        unfinished.unlink(missing_ok=True)
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


def measure_validation_ap(run: Run, arm: str, seed: int) -> float:
    """AP of the masks of one model on the validation split, 0..1; nan where it shows no object."""
    from byol_helpers.evaluation.average_precision import evaluate_detections
    from byol_helpers.segmentation.engine import predict_split

    key = f"{arm}-seed{seed}"
    split = load_split(run, "val")
    model = run.path / "finetune" / key / "model.pth"
    detections = predict_split(model, split, f"validate {key}")
    return evaluate_detections(split.file, detections, "segm", get_area_limits(run)).metrics["AP"]


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
        unfinished = folder / UNFINISHED
        scored = experiment.score_baseline(task, method, unfinished)
        write_json(folder / "metrics.json", scored | about)
        unfinished.unlink(missing_ok=True)

    return run_stage(run, f"background/{method}", parameters, [task.ground_truth], work)


def scorecard(run: Run) -> Path:
    """``scorecard.json`` and ``.md``: every claim of the thesis beside what this run measured.

    Raises:
        UserError: nothing that a claim is measured on is there yet.
    """
    from byol_helpers.reproduction import verdicts as card
    from byol_helpers.reproduction.thesis import load_thesis

    stages = ("finetune", "evaluate", "background", "pretrain")
    if not any(any(run.path.glob(f"{stage}/*/*")) for stage in stages):
        raise UserError(
            f"{run.path}: no stage of this run is done, so there is nothing to score; "
            "run finetune and evaluate first, or report"
        )
    built = card.build_scorecard(run.path, load_thesis())
    write_text(run.path / "scorecard.md", card.write_markdown(built))
    path = write_json(run.path / "scorecard.json", built)
    copy_folder(run.path)
    return path


def list_models(run: Run) -> list[tuple[str, int]]:
    """Every (arm, seed) of the profile."""
    return [(arm, seed) for seed in run.profile.finetune.seeds for arm in run.profile.finetune.arms]


def _take_models(run: Run, stage: str) -> Iterator[tuple[str, int]]:
    """Every (arm, seed), those last whose ``stage`` another process makes."""
    models = {f"{stage}/{arm}-seed{seed}": (arm, seed) for arm, seed in list_models(run)}
    for name in take_free_first(run, models):
        yield models[name]


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
        if not begins_at_random(run, arm):
            begun_with.append(run.profile.reference_arm)
    for arm in dict.fromkeys([*begun_with, *run.profile.finetune.arms]):
        transfer(run, arm)


def finetune_all(run: Run) -> None:
    """Every arm with every seed, and how long a step of each takes.

    Two processes at it, say two notebooks, share the trainings.
    """
    for arm, seed in _take_models(run, "finetune"):
        finetune(run, arm, seed)
    time_arms(run)


def evaluate_all(run: Run) -> None:
    """Every model on test and validation images, and the differences between the arms."""
    has_validation = "val" in load_splits(run) and load_split(run, "val").images
    for arm, seed in _take_models(run, "evaluate"):
        evaluate(run, arm, seed)
        if has_validation:
            validate(run, arm, seed)
    compare(run)


def remove_all_backgrounds(run: Run) -> None:
    """Every model, and every method without learning."""
    for arm, seed in list_models(run):
        remove_background(run, arm, seed)
    baselines = {f"background/{method}": method for method in BASELINE_LABELS}
    for name in take_free_first(run, baselines):
        remove_by_baseline(run, baselines[name])


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

    Those that are done return at once, and are named in one line.
    """
    names = list(STAGES)
    with name_together():
        for name in names[: names.index(last) + 1]:
            run_stage_by_name(run, name)


def _removal(run: Run) -> tuple:
    """The task of scoring background removal, and the parameters of its stages."""
    from byol_helpers.background.experiment import RemovalTask

    settings = run.profile.background
    draws = run.profile.evaluate
    split = load_split(run, "test")
    task = RemovalTask(
        split.file, split.root, settings.images, run.profile.seed, draws.bootstrap, draws.confidence
    )
    parameters = settings.model_dump() | describe_run(run)
    parameters |= {"bootstrap": draws.bootstrap, "confidence": draws.confidence}
    return task, parameters


def _engine_settings(run: Run) -> dict:
    """What decides a fine-tuned model, without what only decides how it is reached."""
    without = {"arms", "seeds", "workers", "checkpoint_every", "weights_file"}
    settings = run.profile.finetune.model_dump(exclude=without, exclude_defaults=True)
    return describe_backbone(run) | {"revision": FINETUNE_REVISION} | settings
