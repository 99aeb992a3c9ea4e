"""How long a whole run takes on this machine, before it is begun."""

from pathlib import Path

from byol_helpers import pipeline
from byol_helpers.core.deadline import StopRequested, stop_after_steps
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json
from byol_helpers.core.progress import duration
from byol_helpers.core.stage import Run
from byol_helpers.training.loop import FORECAST_AFTER, SPEED


def forecast_run(run: Run) -> str:
    """Do the first steps of each training of a run, and say how long all of it would take.

    Nothing is thrown away: the trainings stop at a checkpoint, and the stages go on from there.
    What a fine-tuning takes does not depend on its initial weights, so random ones, which are there
    at once, are measured for all arms.

    Args:
        run: its data are prepared and its supervised weights brought up to date first.

    Returns:
        A line for each kind of training, and one for their sum. Evaluation is not in it.

    Raises:
        UserError: the profile has an engine other than torchvision or no arm of random weights, or
            as the stages.
    """
    tune = run.profile.finetune
    if tune.engine != "torchvision" or "random" not in tune.arms:
        raise UserError(
            "a forecast needs finetune.engine=torchvision, and the arm random in finetune.arms"
        )
    pipeline.prepare(run)
    pipeline.supervise_all(run)
    pipeline.transfer(run, "random")
    seed = tune.seeds[0]
    trainings = []
    for arm in pipeline.list_pretrained_arms(run):
        steps = run.profile.pretrain.steps
        trainings.append((f"pretrain {arm}", _time_pretraining(run, arm), 1, steps))
    models = len(pipeline.list_models(run))
    trainings.append(("finetune", _time_finetuning(run, "random", seed), models, tune.steps))
    lines = []
    whole = 0.0
    for name, seconds, times, steps in trainings:
        if seconds is None:
            lines.append(f"{name}: done already, so not measured")
            continue
        taken = seconds * steps * times
        whole += taken
        many = f"{times} x " if times > 1 else ""
        lines.append(f"{name}: {many}{steps:,} steps of {seconds:.3g} s take {duration(taken)}")
    lines.append(f"all trainings of {run.profile.name} together: {duration(whole)} on this machine")
    return "\n".join(lines)


def _time_pretraining(run: Run, arm: str) -> float | None:
    """Seconds of a step; None where nothing is left to train."""
    try:
        with stop_after_steps(FORECAST_AFTER):
            pipeline.pretrain(run, arm)
    except StopRequested:
        return _read_speed(run.path / "pretrain" / arm)
    return None


def _time_finetuning(run: Run, arm: str, seed: int) -> float | None:
    """Seconds of a step; None where nothing is left to train."""
    try:
        with stop_after_steps(FORECAST_AFTER):
            pipeline.finetune(run, arm, seed)
    except StopRequested:
        return _read_speed(run.path / "finetune" / f"{arm}-seed{seed}")
    return None


def _read_speed(folder: Path) -> float:
    """Seconds from one step to the next; the file is not kept."""
    file = folder / SPEED
    speed = read_json(file)
    file.unlink()
    return speed["step"] + speed["wait"]
