"""What the small trainings of a notebook leave: made once, kept with the run."""

from collections.abc import Callable, Mapping

import torch
from safetensors.torch import load_file, save

from byol_helpers.core.deadline import check_deadline
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_bytes
from byol_helpers.core.kept_copy import copy_folder
from byol_helpers.core.progress import Progress
from byol_helpers.core.stage import Run, run_stage


def keep_tensors(
    run: Run,
    name: str,
    parameters: dict,
    makers: Mapping[str, Callable[[], dict[str, torch.Tensor]]],
) -> dict[str, dict[str, torch.Tensor]]:
    """Tensors of several trainings, each from its file in ``runs/<run>/<name>``, or made now.

    Args:
        run: where they are kept.
        name: of the stage.
        parameters: everything that decides the tensors, as plain JSON values; when it changes, all
            are made anew.
        makers: by the name of the file, what makes its tensors. One that was interrupted is made
            again from its beginning, those before it are kept.

    Returns:
        The tensors by the same names.

    Raises:
        UserError: a name that is no name of a file.
        StopRequested: the time is over; what was made is kept.
    """
    for key in makers:
        if not key.replace("-", "").replace("_", "").isalnum():
            raise UserError(f"{key!r}: cannot name a file; use letters, digits, - and _")
    folder = run.path / name
    files = {key: folder / f"{key}.safetensors" for key in makers}

    def make(_) -> None:
        done = sum(file.is_file() for file in files.values())
        progress = Progress(name, len(makers), "trainings", done)
        for key, maker in makers.items():
            if not files[key].is_file():
                check_deadline(f"{name}/{key}")
                made = {word: tensor.contiguous() for word, tensor in maker().items()}
                write_bytes(files[key], save(made))
                copy_folder(folder)
                progress.update()
        progress.close()

    run_stage(run, name, parameters, [], make, files.values())
    return {key: load_file(file) for key, file in files.items()}
