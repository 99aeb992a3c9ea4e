"""Files of ``torch.save`` and ``pickle`` that others wrote, read without running anything in them.

``torch.load(weights_only=True)`` refuses a whole checkpoint for one harmless object beside the
tensors: the ``argparse.Namespace`` of a training script, a numpy scalar, a path, a class that is
not installed here. Here each name that a pickle asks for is answered from the fixed tables at the
end of this file: tensors, arrays of numbers and plain containers are built, by the functions here
alone; every other name becomes ``Standin``, which takes all arguments and keeps none. Nothing is
imported, and no function of the file's choice is called.
"""

import io
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

MAGIC = 0x1950A86A20F9469CFC6C  # the first object of a file that torch before 1.6 wrote
DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Standin:
    """What an unknown object becomes: it accepts all that a pickle does to it and keeps nothing."""

    def __init__(self, *args: object, **kwargs: object):
        pass

    def __new__(cls, *args: object, **kwargs: object) -> "Standin":
        return super().__new__(cls)

    def __call__(self, *args: object, **kwargs: object) -> "Standin":
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Items of an unknown list are dropped."""

    def add(self, item: object) -> None:
        """Items of an unknown set are dropped."""


class _Function:
    """A function of this file, in a form that a pickle can call and cannot change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable):
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: object) -> None:
        pass


class _Dict(dict):
    """``OrderedDict`` and its kin. Their attributes, such as ``_metadata``, are dropped."""

    def __init__(self, *args: Any):
        pairs = args[-1] if args else ()
        super().__init__(pairs if isinstance(pairs, list | tuple | dict) else ())

    def __setstate__(self, state: object) -> None:
        pass


class _StorageType:
    """The type of a tensor's numbers."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype

    def __setstate__(self, state: object) -> None:
        pass


class _Storage:
    """The numbers of one or several tensors, in a row."""

    def __init__(self, values: torch.Tensor):
        self.values = values

    def __setstate__(self, state: object) -> None:
        pass


class _Tensor:
    """A tensor as a pickle describes it. Made by ``build`` once the pickle has been read."""

    def __init__(self, storage: object, offset: int, size: tuple, stride: tuple, *_: object):
        self.storage = storage
        self.offset = offset
        self.size = size
        self.stride = stride

    def __setstate__(self, state: object) -> None:
        pass

    def build(self) -> torch.Tensor | None:
        """None where the numbers are of a type that is not read."""
        if not isinstance(self.storage, _Storage):
            return None
        return torch.as_strided(self.storage.values, self.size, self.stride, self.offset)


class _NumpyType:
    """``numpy.dtype``."""

    def __init__(self, code: str = "", *rest: object):
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def build(self) -> np.dtype | None:
        """The type, if it is one of plain numbers."""
        if self.code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1"):
            return None
        dtype = np.dtype(self.code)
        return dtype.newbyteorder(">") if self.order == ">" else dtype


class _Array:
    """A numpy array as a pickle describes it."""

    def __init__(self, *state: Any):
        self.state = state  # shape, type, whether its columns come first, bytes

    def __setstate__(self, state: tuple) -> None:
        self.state = tuple(state)[-4:]

    def build(self) -> torch.Tensor | None:
        """As a tensor; None for what is no array of numbers."""
        if len(self.state) != 4:
            return None
        shape, kind, columns_first, data = self.state
        dtype = kind.build() if isinstance(kind, _NumpyType) else None
        if isinstance(data, str):  # Python 2 had no bytes
            data = data.encode("latin1")
        if dtype is None or not isinstance(data, bytes | bytearray):
            return None
        values = np.frombuffer(data, dtype).reshape(shape, order="F" if columns_first else "C")
        return torch.from_numpy(values.astype(dtype.newbyteorder("="), order="C"))


def read_inert(path: Path) -> tuple[dict[str, torch.Tensor], Counter[str]]:
    """The tensors in what ``torch.save`` or ``pickle.dump`` wrote.

    Returns:
        Tensors by their keys in nested dictionaries, joined by dots; and how often the file asked
        for each name that is not known here.

    Raises:
        Exception: of many kinds, where the file is damaged.
    """
    unknown = Counter()
    with open(path, "rb") as file:
        content = _read(file, unknown)
    return _flatten(content), unknown


def _flatten(content: object, prefix: str = "") -> dict[str, torch.Tensor]:
    if isinstance(content, _Tensor | _Array):
        tensor = content.build()
        return {} if tensor is None else {prefix: tensor}
    found = {}
    if isinstance(content, dict):
        for key, item in content.items():
            found |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return found


def _read(file: BinaryIO, unknown: Counter[str]) -> object:
    if zipfile.is_zipfile(file):
        return _read_zip(file, unknown)
    file.seek(0)
    first = _Unpickler(file, unknown).load()
    return _read_old(file, unknown) if first == MAGIC else first


def _read_zip(file: BinaryIO, unknown: Counter[str]) -> object:
    """The format of torch since 1.6: a zip of one pickle and a file for each storage."""
    with zipfile.ZipFile(file) as archive:
        (name,) = [n for n in archive.namelist() if n.split("/")[-1] == "data.pkl"]
        root = name.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist():
            if archive.read(f"{root}byteorder") != b"little":
                raise ValueError("written on a machine of another byte order")
        storages = {}

        def find_storage(kind: _StorageType, key: str, count: int) -> _Storage:
            if key not in storages:
                values = _to_values(archive.read(f"{root}data/{key}"), kind.dtype)
                storages[key] = _Storage(values)
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(name)), unknown, find_storage).load()


def _read_old(file: BinaryIO, unknown: Counter[str]) -> object:
    """The format of torch before 1.6, after its magic number: pickles, then the storages."""
    _Unpickler(file, unknown).load()  # version of the format
    system = _Unpickler(file, unknown).load()
    if not isinstance(system, dict) or not system["little_endian"]:
        raise ValueError("written on a machine of another byte order")
    storages = {}

    def find_storage(kind: _StorageType, key: str, count: int) -> _Storage:
        if key not in storages:
            storages[key] = _Storage(torch.empty(count, dtype=kind.dtype))
        return storages[key]

    content = _Unpickler(file, unknown, find_storage).load()
    for key in _Unpickler(file, unknown).load():
        values = storages[key].values
        count = int.from_bytes(file.read(8), "little")
        data = file.read(count * values.element_size())
        values.copy_(_to_values(data, values.dtype))
    return content


def _to_values(data: bytes, dtype: torch.dtype) -> torch.Tensor:
    if not data:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype)


class _Unpickler(pickle.Unpickler):
    """Answers every name from a table of this file.

    Attributes:
        unknown: counts the names that are not in the table.
        find_storage: from type, key and number of elements to a storage; None where there is none.
    """

    def __init__(
        self,
        file: BinaryIO,
        unknown: Counter[str],
        find_storage: Callable[[_StorageType, str, int], _Storage] | None = None,
    ):
        super().__init__(file, encoding="latin1")
        self.unknown = unknown
        self.find_storage = find_storage

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage", "torch.cuda") and name in DTYPES:
            return _StorageType(DTYPES[name])
        full_name = f"{module}.{name}"
        if full_name == "torch.storage._load_from_bytes":
            return _Function(lambda data: _read(io.BytesIO(data), self.unknown))
        if full_name in CLASSES:
            return CLASSES[full_name]
        if full_name in FUNCTIONS:
            return _Function(FUNCTIONS[full_name])
        self.unknown[full_name] += 1
        return Standin

    def persistent_load(self, pid: Any) -> Any:
        what, kind, key, _, count, *view = pid
        if self.find_storage is None or what != "storage" or view not in ([], [None]):
            raise pickle.UnpicklingError("refers to what is not in the file")
        if not isinstance(kind, _StorageType):
            return Standin()
        return self.find_storage(kind, key, count)


def _rebuild_from_type(function: object, kind: object, args: tuple, *_: object) -> object:
    """A tensor that has attributes, or a parameter; the attributes are dropped."""
    return _Tensor(*args) if function is _Tensor else Standin()


def _make_array(data: object, kind: object, shape: object, order: object) -> _Array:
    return _Array(shape, kind, order == "F", data)


CLASSES: dict[str, type] = {
    "collections.OrderedDict": _Dict,
    "collections.defaultdict": _Dict,
    "collections.Counter": _Dict,
    "numpy.dtype": _NumpyType,
    "numpy.ndarray": Standin,  # only named by what makes an array
    "torch._utils._rebuild_tensor": _Tensor,
    "torch._utils._rebuild_tensor_v2": _Tensor,
    "torch.nn.parameter.Parameter": Standin,  # only named by what makes a tensor
}
FUNCTIONS: dict[str, Callable] = {
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "numpy.core.multiarray._reconstruct": lambda *_: _Array(),
    "numpy._core.multiarray._reconstruct": lambda *_: _Array(),
    "numpy._core.numeric._frombuffer": _make_array,
    "_codecs.encode": lambda text, *_: text.encode("latin1"),
    "builtins.set": lambda items=(): set(items),
    "__builtin__.set": lambda items=(): set(items),
    "__builtin__.bytes": lambda *_: b"",  # Python 3 writes empty bytes so in its old formats
}
