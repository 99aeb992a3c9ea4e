"""Planned studies: their trainings one after the other, in pieces of as many minutes as there are.

``python -m byol_helpers study NAME`` works off a study of ``reproduction/plan.yaml``. Data are
generated once and shared. Each seed has a run folder of its own below the study's, and in it one
for each condition; they hold links to the data and the weights (``ablations.open_variant``). After
each training its results are written small (``reproduction.study_files``); a training whose results
are there is not done again.
"""

import itertools
import json
import math
from pathlib import Path

from byol_helpers import initial_weights, pipeline, probing
from byol_helpers.ablations import DATA_FILES, open_variant
from byol_helpers.coco.dataset import get_area_limits, list_pretraining_images, load_split
from byol_helpers.coco.photographs import describe_photographs
from byol_helpers.core.arms import ARMS
from byol_helpers.core.deadline import StopRequested, check_deadline, stop_after
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_json, write_text
from byol_helpers.core.profile_files import dump_profile, load_profile
from byol_helpers.core.progress import announce
from byol_helpers.core.stage import Run
from byol_helpers.reproduction import study_files
from byol_helpers.reproduction.packed_detections import pack_detections, unpack_detections
from byol_helpers.reproduction.plan import (
    Condition,
    Study,
    Training,
    count_labelled,
    list_conditions,
    list_rate_trainings,
    list_trainings,
)
from byol_helpers.reproduction.recomputation import write_cards

RESULTS = Path("results")  # of all studies, one folder each
RATE_FILE = "validation.json"  # of the trial of a learning rate


def run_planned_study(
    name: str,
    study: Study,
    minutes: float | None = None,
    results: Path = RESULTS,
    run_path: Path | None = None,
    data: Path | None = None,
    part: tuple[int, int] = (1, 1),
    photographs: Path | None = None,
) -> Path:
    """Work off the trainings of a study that are still to do, in the order of its plan.

    Args:
        name: of its folders.
        study: of ``reproduction.plan.load_plan``.
        minutes: after which it stops at a checkpoint; the same call goes on from there.
        results: where ``<name>/`` is written.
        run_path: the run folder; by default ``runs/<name>``.
        data: a folder in COCO layout, instead of the profile's own source.
        part: (k, n): every n-th seed from the k-th on, so that n processes work side by side. The
            first is called alone until it has prepared the data; it writes the scorecard, over the
            results of all. A call without parts also times the arms, after the first seed whose
            weights are there.
        photographs: a folder of photographs for pretraining, where the study is made on some.

    Returns:
        ``results/<name>``.

    Raises:
        UserError: as the stages, a folder that the study needs is not given, or the test split has
            fewer images than planned.
    """
    given = {"data": data, "photographs": photographs}
    for need, said in study.needs.items():
        if given[need] is None:
            raise UserError(f"study {name} needs --{need} FOLDER: {said}")
    settings = [*study.settings, *_name_photographs(photographs)]
    base = pipeline.open_run(study.profile, run_path or Path("runs") / name, data, settings)
    out = results / name
    own = study.seeds[part[0] - 1 :: part[1]]
    trainings = [training for training in list_trainings(study) if training.seed in own]
    with stop_after(minutes):
        try:
            _prepare(base, study, out)
            for seed, of_seed in itertools.groupby(trainings, lambda training: training.seed):
                for training in of_seed:
                    if not is_done(study, training, out):
                        _check_rate(study, training, out)
                        check_deadline(training.key)
                        _train(base, study, name, training, out)
                        announce(f"{training.key}: done; {describe_progress(study, out)}")
                if part == (1, 1):
                    _time_arms(base, study, out, seed)
        except StopRequested as stopped:
            announce(f"{stopped}; the same command goes on from here")
    announce(f"study {name}: {describe_progress(study, out)}")
    scored = any(is_done(study, training, out) for training in trainings if training.condition)
    if scored and part[0] == 1:
        write_cards(out, name, study)
    return out


def is_done(study: Study, training: Training, out: Path) -> bool:
    """Whether the results of a training are there, made under the settings that the plan has."""
    path = out / training.key / "stage.json"
    return path.is_file() and read_json(path).get("planned") == _describe(study, training, out)


def describe_progress(study: Study, out: Path) -> str:
    """How much of a study is done, in one line."""
    done = {"pretrainings": [0, 0], "trials of learning rates": [0, 0], "fine-tunings": [0, 0]}
    if study.rates is None:
        del done["trials of learning rates"]
    following = None
    for training in list_trainings(study):
        counted = done[_name_kind(training)]
        counted[1] += 1
        if is_done(study, training, out):
            counted[0] += 1
        elif following is None:
            following = training.key
    said = ", ".join(f"{some} of {every} {kind}" for kind, (some, every) in done.items())
    return f"{said} are done" + (f", next {following}" if following else "")


def _name_kind(training: Training) -> str:
    if training.condition is None:
        return "pretrainings"
    return "fine-tunings" if training.condition.rate is None else "trials of learning rates"


def choose_rate(study: Study, training: Training, out: Path) -> float | None:
    """The learning rate of a fine-tuning, by AP on the validation images; None where the profile's
    serves, or where not all values have been tried.
    """
    if study.rates is None or training.condition is None or training.condition.rate is not None:
        return None
    found = {}
    for trial in list_rate_trainings(study, training.condition.protocol, training.arm):
        path = out / trial.key / RATE_FILE
        if not is_done(study, trial, out) or not path.is_file():
            return None
        entry = read_json(path)
        found[entry["learning_rate"]] = entry["AP"] or 0.0
    return max(sorted(found), key=found.__getitem__)


def _check_rate(study: Study, training: Training, out: Path) -> None:
    """Stop before a training whose learning rate another process has not chosen yet."""
    is_trial = training.condition is None or training.condition.rate is not None
    if study.rates is None or is_trial or choose_rate(study, training, out) is not None:
        return
    raise StopRequested(
        f"{training.key}: its learning rate is chosen with seed {study.seeds[0]}, in the part of "
        "that seed"
    )


def _name_photographs(folder: Path | None) -> list[str]:
    """The folder of photographs as a setting."""
    return [] if folder is None else [f"data.photographs={json.dumps(str(folder))}"]


def _list_settings(base: Run, study: Study, seed: int) -> list[str]:
    """Settings of the run of a seed."""
    folder = base.profile.data.photographs
    own = _name_photographs(Path(folder) if folder else None)
    return [*study.settings, *own, *study.list_seed_settings(seed)]


def _describe(study: Study, training: Training, out: Path) -> dict:
    """What of a plan decides a training."""
    described = {
        "profile": study.profile,
        "settings": study.settings + study.list_seed_settings(training.seed),
        "arm": training.arm,
        "seed": training.seed,
    }
    if training.condition:
        described["settings"] += training.condition.settings
        described["settings"] += _name_rate(choose_rate(study, training, out))
        described["finetune_seed"] = training.finetune_seed
    return described


def _name_rate(rate: float | None) -> list[str]:
    """A chosen learning rate as a setting."""
    return [] if rate is None else [f"finetune.learning_rate={rate!r}"]


def _prepare(base: Run, study: Study, out: Path) -> None:
    """Data of all trainings, and the ground truth beside the results."""
    pipeline.prepare(base)
    truth = read_json(load_split(base, "test").file)
    if len(truth["images"]) < study.test_images:
        raise UserError(
            f"the study wants {study.test_images} test images, there are {len(truth['images'])}; "
            "give a larger folder, or write another plan"
        )
    planned = count_labelled(study, 1.0)
    given = len(load_split(base, "train").images)
    if given < planned:
        raise UserError(
            f"the study wants {planned} labelled training images, there are {given}; give a larger "
            "folder, or write another plan"
        )
    study_files.write_compressed(out / study_files.GROUND_TRUTH_FILE, truth)


def _train(base: Run, study: Study, name: str, training: Training, out: Path) -> None:
    """One training, what it needs, and its results."""
    settings = _list_settings(base, study, training.seed)
    folder = f"seed{training.seed}"
    seed_run = open_variant(base, study.profile, folder, settings, DATA_FILES)
    initial_weights.bring_weights(seed_run, training.arm)
    record = {"planned": _describe(study, training, out), "plan": study.fingerprint()}
    if training.condition is None:
        _keep_pretraining(seed_run, training, out / training.key, record)
        return
    condition = training.condition
    arm = training.arm
    seed = training.finetune_seed
    settings = settings + condition.settings
    if condition.rate is not None:
        settings.append(f"finetune.arms=[{arm}]")
        run = open_variant(seed_run, study.profile, condition.name, settings)
        _try_rate(run, training, out / training.key, record)
        return
    settings += _name_models(study, condition) + _name_rate(choose_rate(study, training, out))
    run = open_variant(seed_run, study.profile, condition.name, settings)
    pipeline.finetune(run, arm, seed)
    pipeline.evaluate(run, arm, seed)
    pipeline.validate(run, arm, seed)
    pipeline.remove_background(run, arm, seed)
    pipeline.remove_by_baseline(run, "keep-everything")
    folder = out / condition.name
    _describe_condition(base, study, name, condition, out)
    _keep_finetuning(run, f"{arm}-seed{seed}", folder, training, record)


def _try_rate(run: Run, training: Training, folder: Path, record: dict) -> None:
    """Fine-tune with one learning rate and measure AP on the validation images."""
    stage = pipeline.finetune(run, training.arm, training.finetune_seed)
    ap = pipeline.measure_validation_ap(run, training.arm, training.finetune_seed)
    tried = {"learning_rate": run.profile.finetune.learning_rate}
    tried["images"] = len(load_split(run, "val").images)
    write_json(folder / RATE_FILE, tried | {"AP": None if math.isnan(ap) else ap})
    study_files.write_curve(stage / "metrics.csv", folder / "metrics.csv")
    study_files.write_stage(stage, folder / "stage.json", stage / "model.pth", record)


def _name_models(study: Study, condition: Condition) -> list[str]:
    """Arms and seeds of a condition, as settings; without those trained again."""
    blocks = [block for block in list_conditions(study)[condition] if not block.again]
    arms: dict[str, None] = {}
    seeds: dict[int, None] = {}
    for block in blocks:
        arms |= dict.fromkeys(block.arms)
        seeds |= dict.fromkeys(block.seeds or study.seeds)
    names = ", ".join(arm for arm in ARMS if arm in arms)
    numbers = ", ".join(map(str, sorted(seeds)))
    return [f"finetune.arms=[{names}]", f"finetune.seeds=[{numbers}]"]


def _describe_condition(
    base: Run, study: Study, name: str, condition: Condition, out: Path
) -> None:
    """``profile.yaml`` and ``study.json`` of a condition's results."""
    folder = out / condition.name
    settings = study.settings + condition.settings + _name_models(study, condition)
    write_text(folder / "profile.yaml", dump_profile(load_profile(study.profile, settings)))
    described = {
        "study": name,
        "protocol": condition.protocol,
        "images": condition.images,
        "pretraining_images": len(list_pretraining_images(base)),
        "pretraining_varies": bool(study.per_seed),
    }
    photographs = describe_photographs(base)
    if photographs:
        described["photographs"] = photographs
    if study.rates:
        described["learning_rates"] = list_rates(study, condition, out)
    write_json(folder / "study.json", described)


def list_rates(study: Study, condition: Condition, out: Path) -> dict[str, float]:
    """The learning rates that have been chosen for the arms of a condition."""
    rates = {}
    for block in list_conditions(study)[condition]:
        for arm in block.arms:
            rate = choose_rate(study, Training(arm, study.seeds[0], condition), out)
            if rate is not None:
                rates[arm] = rate
    return rates


def _time_arms(base: Run, study: Study, out: Path, seed: int) -> None:
    """Steps of the arms in interleaved blocks, with a seed's weights, under each condition with all
    labels that has not been timed.

    Nothing is timed where the seed's weights are not in the run folder: it was trained elsewhere.
    """
    settings = _list_settings(base, study, seed)
    for condition in list_conditions(study):
        file = out / condition.name / "timing" / "seconds.csv"
        if condition.images < count_labelled(study, 1.0) or file.is_file():
            continue
        seed_run = open_variant(base, study.profile, f"seed{seed}", settings, DATA_FILES)
        models = settings + condition.settings + _name_models(study, condition)
        run = open_variant(seed_run, study.profile, condition.name, models)
        needed = [initial_weights.find_weights(run, arm) for arm in pipeline.list_timed_arms(run)]
        if all(weights is None or weights.is_file() for weights in needed):
            timed = pipeline.time_arms(run)
            if timed:
                write_text(file, timed.read_text())


def _keep_pretraining(run: Run, training: Training, folder: Path, record: dict) -> None:
    """Curve, probes and cost of a pretraining."""
    supervised = ARMS[training.arm].source == "supervised"
    stage = run.path / ("supervised" if supervised else f"pretrain/{training.arm}")
    study_files.write_curve(stage / "metrics.csv", folder / "metrics.csv")
    write_json(folder / "probes.json", probing.measure_probes(run, training.arm))
    weights = run.path / "weights" / f"{training.arm}.pth"
    study_files.write_stage(stage, folder / "stage.json", weights, record)


def _keep_finetuning(run: Run, key: str, folder: Path, training: Training, record: dict) -> None:
    """Everything of a fine-tuning that is committed; its record last."""
    truth = load_split(run, "test").file
    detections = read_json(run.path / "evaluate" / key / "detections.json")
    packed = pack_detections(detections, truth, get_area_limits(run))
    kept = unpack_detections(packed, truth)
    result = pipeline.score_results(run, kept, training.arm, training.finetune_seed)
    study_files.write_result(folder / "evaluate" / key, packed, result)
    for name in (key, "keep-everything"):
        source = run.path / "background" / name / "metrics.json"
        study_files.write_background(source, folder / "background" / name / "metrics.json")
    losses = read_json(run.path / "validation" / key / "losses.json")
    write_json(folder / "validation" / key / "losses.json", losses)
    stage = run.path / "finetune" / key
    study_files.write_curve(stage / "metrics.csv", folder / "finetune" / key / "metrics.csv")
    weights = stage / "model.pth"
    study_files.write_stage(stage, folder / "finetune" / key / "stage.json", weights, record)
