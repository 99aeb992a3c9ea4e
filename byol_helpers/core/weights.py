"""Files of named tensors: read without running code, loaded whole or not at all."""

import pickle
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from byol_helpers.core.errors import UserError
from byol_helpers.core.inert_pickle import read_inert

# How files begin that are taken for weights, and what to do about them.
BEGINNINGS = {
    b"version https://git-lfs": "a Git LFS pointer, not the file; fetch it with git lfs pull",
    b"<": "a web page, not weights: the server wants a log-in or a click; download the file in a "
    "browser",
    b"\x89HDF": "an HDF5 file (Keras); convert it to torch's state_dict first",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
}
SAVE_STATE = "torch.save(model.state_dict(), file)"


def read_plain(path: Path) -> object:
    """What ``torch.save`` wrote, if it is tensors and plain values.

    Code that the file may hold is not run.
    """
    _refuse_other_files(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the pickle of what is refused anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
        raise UserError(
            f"{path}: damaged, or more than plain tensors; save it again with {SAVE_STATE}"
        ) from None


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], Counter[str]]:
    """All tensors of a file that others wrote: ``torch.save``, pickled arrays, or safetensors.

    Code that the file may hold is not run.

    Returns:
        Tensors by their keys in nested dictionaries, joined by dots; and how often the file asked
        for each kind of object that is left out.

    Raises:
        UserError: it is damaged, or another kind of file.
    """
    _refuse_other_files(path)
    if _is_safetensors(path):
        try:
            return load_file(path), Counter()
        except (SafetensorError, OSError, ValueError):
            raise UserError(f"{path}: a damaged safetensors file; copy it again") from None
    try:
        if _is_torchscript(path):
            raise UserError(
                f"{path}: a TorchScript archive, which is code; save its tensors alone with "
                "torch.save(torch.jit.load(file).state_dict(), new_file)"
            )
        return read_inert(path)
    except UserError:
        raise
    except Exception as error:  # a damaged pickle fails in any way
        raise UserError(
            f"{path}: damaged, or not written by torch.save ({type(error).__name__}); copy it "
            f"again, or save it again with {SAVE_STATE}"
        ) from None


def _refuse_other_files(path: Path) -> None:
    """Raise a ``UserError`` for what is not there, empty, or known to be no file of weights."""
    if path.is_dir():
        raise UserError(f"{path}: a folder; give the path of the file of weights in it")
    if not path.is_file():
        raise UserError(
            f"{path}: no such weights file; run the stage that writes it, or give the path of a "
            ".pth file"
        )
    with open(path, "rb") as file:
        head = file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        raise UserError(f"{path}: damaged, it is empty; copy it again")
    for beginning, what in BEGINNINGS.items():
        if head.startswith(beginning):
            raise UserError(f"{path}: {what}")
    if head.isascii() and head.decode().replace("\n", " ").isprintable():
        said = head.decode().splitlines()[0][:60]
        raise UserError(f"{path}: text, not weights ({said!r}); download the file again")


def _is_safetensors(path: Path) -> bool:
    """A length of 8 bytes, then JSON."""
    with open(path, "rb") as file:
        head = file.read(9)
    return path.suffix == ".safetensors" or (head[8:] == b"{" and head[4:8] == bytes(4))


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[-1] == "constants.pkl" for name in archive.namelist())


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
    network.load_state_dict(drop_counters(weights), strict=False)


def fit_exactly(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Compare names and shapes of weights with those of a network.

    A ``UserError`` lists what differs.
    """
    wanted = drop_counters(network.state_dict())
    given = drop_counters(weights)
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


def drop_statistics(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors without batch norm's statistics and counters: what other norms can take over."""
    return {k: v for k, v in drop_counters(tensors).items() if ".running_" not in k}


def drop_counters(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors without batch norm's counters of batches, which decide nothing here."""
    return {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
