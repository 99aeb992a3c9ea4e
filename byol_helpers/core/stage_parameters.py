"""What decides the results of several stages, as parameters of their ``stage.json``."""

from byol_helpers.core.config import FULL_WIDTH
from byol_helpers.core.stage import Run


def describe_backbone(run: Run) -> dict:
    """The backbone in a stage's parameters: the width only where it is not 64, since earlier run
    folders do not say it.
    """
    described = {"depth": run.profile.depth, "width": run.profile.width}
    if run.profile.width == FULL_WIDTH:
        described.pop("width")
    return described


def describe_run(run: Run) -> dict:
    """The backbone and the seed of the run."""
    return describe_backbone(run) | {"run_seed": run.profile.seed}


def describe_random_weights(run: Run) -> dict:
    """What decides the random weights of a training, as far as it is not the default."""
    names = {"seed", "shared_init", "zero_init_residual"}
    return run.profile.pretrain.model_dump(include=names, exclude_defaults=True)
