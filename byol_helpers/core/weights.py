"""Files of named tensors: read without running code, loaded whole or not at all."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch

from byol_helpers.core.errors import UserError


def read_plain(path: Path) -> object:
    """What ``torch.save`` wrote, if it is tensors and plain values.

    Code that the file may hold is not run.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such weights file; run the stage that writes it, or give the path of a "
            ".pth file"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or ["empty"])[0]
        raise UserError(
            f"{path}: damaged, or more than plain tensors ({reason[:90]}); save it again with "
            "torch.save(model.state_dict(), file)"
        ) from None


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of named tensors without running any code that it may hold."""
    tensors = read_plain(path)
    named = isinstance(tensors, dict)
    if not named or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise UserError(f"{path}: not a dictionary of tensors; save model.state_dict()")
    return tensors


def load_exactly(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Load weights into a network and accept no difference in names or shapes.

    Counters of batches are left as they are.
    """
    fit_exactly(network, weights)
    network.load_state_dict(_drop_counters(weights), strict=False)


def fit_exactly(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Compare names and shapes of weights with those of a network.

    A ``UserError`` lists what differs.
    """
    wanted = _drop_counters(network.state_dict())
    given = _drop_counters(weights)
    wrong = [k for k in wanted.keys() & given.keys() if wanted[k].shape != given[k].shape]
    problems = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unknown": sorted(given.keys() - wanted.keys()),
        "of another shape": sorted(wrong),
    }
    said = []
    for kind, names in problems.items():
        if names:
            said.append(f"{len(names)} {kind} ({', '.join(names[:3])} ...)")
    if said:
        raise UserError(
            f"the weights do not fit this ResNet: {'; '.join(said)}; use weights of the same "
            "architecture"
        )


def _drop_counters(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors without batch norm's counters of batches, which decide nothing here."""
    return {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
