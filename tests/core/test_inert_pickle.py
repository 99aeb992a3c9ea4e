"""Checkpoints of others: their tensors are read, and nothing in them is run."""

import argparse
import builtins
import collections
import io
import os
import pickle
import random
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from byol_helpers.core.errors import UserError
from byol_helpers.core.inert_pickle import read_inert
from byol_helpers.core.weights import read_tensors


def make_tensors() -> dict[str, torch.Tensor]:
    """Tensors of many types and layouts, two of them views of the same numbers."""
    torch.manual_seed(0)
    numbers = torch.randn(4, 6)
    tensors = {
        "float": numbers,
        "transposed": numbers.T,
        "part": numbers[1:3, ::2],
        "half": numbers.half(),
        "bfloat16": numbers.bfloat16(),
        "double": numbers.double(),
        "long": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }
    tagged = torch.nn.Parameter(torch.full((2,), 7.0))
    tagged.name_of_its_own = "attributes make another form of tensor"
    return tensors | {"tagged": tagged}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_tensors_are_torchs_own(zipped, tmp_path):
    wanted = make_tensors()
    content = {"state_dict": collections.OrderedDict(wanted), "epoch": 3}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found, unknown = read_inert(tmp_path / "a.pth")
    assert found.keys() == {f"state_dict.{name}" for name in wanted}
    for name, value in wanted.items():
        other = found[f"state_dict.{name}"]
        assert other.dtype == value.dtype and torch.equal(other, value), name
    assert not unknown


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_in_plain_pickles_are_numpys_own(protocol, tmp_path):
    arrays = {
        "c": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big endian": np.arange(4, dtype=">f4"),
        "half": np.ones(3, np.float16),
        "integers": np.arange(5),
        "nothing": np.zeros((0, 2), np.float32),
    }
    left_out = {"objects": np.array([1, "a"], object), "text": np.array(["a"]), "n": np.float32(1)}
    content = pickle.dumps({"model": arrays | left_out, "__author__": "somebody"}, protocol)
    (tmp_path / "a.pkl").write_bytes(content)
    found, _ = read_inert(tmp_path / "a.pkl")
    assert found.keys() == {f"model.{name}" for name in arrays}
    for name, array in arrays.items():
        assert np.array_equal(found[f"model.{name}"].numpy(), array), name


def test_tensors_in_a_plain_pickle(tmp_path):
    wanted = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(wanted))
    found, _ = read_inert(tmp_path / "a.pkl")
    assert torch.equal(found["a"], wanted["a"]) and torch.equal(found["b"], wanted["b"])


class Unknown:
    """An object with a state, a list and a dictionary of its own, as frameworks have them."""

    def __init__(self):
        self.history = [1, 2]

    def __reduce_ex__(self, protocol):
        return Unknown, (), {"history": [1]}, iter([1, 2]), iter([("a", 1)])

    def append(self, item): ...

    def extend(self, items): ...

    def __setitem__(self, key, value): ...


def test_what_is_unknown_is_left_out_and_counted(tmp_path):
    content = {
        "args": argparse.Namespace(arch="resnet50", lr=0.1),
        "path": [Path("a"), Path("b")],
        "best": np.float64(71.5),
        "hooks": collections.defaultdict(list, a=[1]),
        "names": {"a", "b"},
        "own": Unknown(),
        "nested": {"state_dict": {"w": torch.ones(2)}},
    }
    torch.save(content, tmp_path / "a.pth")
    found, unknown = read_inert(tmp_path / "a.pth")
    assert list(found) == ["nested.state_dict.w"]
    assert unknown["argparse.Namespace"] == 1
    assert unknown["numpy._core.multiarray.scalar"] == 1
    assert any(name.endswith(".Unknown") for name in unknown)
    assert "collections.defaultdict" not in unknown


def call(function, *arguments) -> bytes:
    """A pickle that calls a function when it is loaded, as ``__reduce__`` of an object would."""

    class Caller:
        def __reduce__(self):
            return function, arguments

    return pickle.dumps({"state_dict": Caller(), "w": np.ones(2, np.float32)})


def make_bombs(marker: Path) -> dict[str, bytes]:
    """Pickles each of which makes the file ``marker`` when Python or torch loads it."""
    code = f"open({str(marker)!r}, 'w').close()"
    inner = pickle.dumps(RunsCode(code))
    bombs = {
        "os.system": call(os.system, f"touch '{marker}'"),
        "eval": call(builtins.eval, code),
        "exec": call(builtins.exec, code),
        "nested in torch's own": call(torch.storage._load_from_bytes, inner),
        "at the top": inner,
        "loads": call(pickle.loads, inner),
        "torch.load": call(torch.load, io.BytesIO(inner)),
    }
    text = f"cposix\nsystem\n(S'touch {marker}'\ntR."
    bombs["protocol 0"] = text.encode()
    bombs["old instance"] = f"(S'touch {marker}'\niposix\nsystem\n.".encode()
    bombs["state of a class"] = (
        b"\x80\x02ccollections\nOrderedDict\n}X\x05\x00\x00\x00itemscposix\nsystem\nsb."
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("archive/data.pkl", bombs["os.system"])
        files.writestr("archive/version", "3")
    bombs["zip"] = archive.getvalue()
    old = io.BytesIO()
    torch.save(RunsCode(code), old, _use_new_zipfile_serialization=False)
    bombs["before torch 1.6"] = old.getvalue()
    return bombs


class RunsCode:
    def __init__(self, code):
        self.code = code

    def __reduce__(self):
        return exec, (self.code,)


BOMBS = list(make_bombs(Path("marker")))


@pytest.mark.parametrize("bomb", BOMBS)
def test_nothing_in_a_file_is_run(bomb, tmp_path):
    marker = tmp_path / "marker"
    path = tmp_path / "theirs.pth"
    path.write_bytes(make_bombs(marker)[bomb])
    items = collections.OrderedDict.items
    try:
        found, _ = read_tensors(path)
        assert found.keys() <= {"w"}
    except UserError as refused:
        assert "\n" not in str(refused)
    assert not marker.exists()
    assert collections.OrderedDict.items is items


@pytest.mark.parametrize("bomb", ["eval", "exec", "os.system", "protocol 0", "at the top"])
def test_the_same_files_are_live(bomb, tmp_path):
    """Or the test above would prove nothing."""
    marker = tmp_path / "marker"
    try:
        pickle.loads(make_bombs(marker)[bomb])
    except Exception as error:
        raise AssertionError(bomb) from error
    assert marker.exists()


def test_no_module_is_imported(tmp_path):
    name = "antigravity"  # opens a web browser when it is imported
    assert name not in sys.modules
    (tmp_path / "a.pkl").write_bytes(f"c{name}\nfly\n.".encode())
    _, unknown = read_inert(tmp_path / "a.pkl")
    assert name not in sys.modules and unknown == {f"{name}.fly": 1}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_damaged_files_are_one_line(zipped, tmp_path):
    """Bytes changed at random places of a file: tensors come out, or one line."""
    path = tmp_path / "a.pth"
    torch.save({"args": argparse.Namespace(a=1)} | make_tensors(), path)
    if not zipped:
        torch.save(make_tensors(), path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(bytes(data[: draw.choice([len(data), draw.randrange(len(data))])]))
        try:
            read_tensors(path)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 100
