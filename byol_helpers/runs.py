"""The run folder: files that are whole or absent, and stages that are done, resumed or run afresh.

A stage is described by its parameters and by the hashes of the files it reads. While it runs, ``started.json`` holds
that description; once it is over, ``stage.json`` holds it together with what the run cost. Comparing the description of
now with the one on the disk tells what to do:

- ``stage.json`` agrees: the stage is up to date and is not run again;
- ``started.json`` agrees: the stage was interrupted, its folder is kept and its newest checkpoint goes on;
- neither agrees: the folder is emptied, the reason is printed, and the stage runs afresh.
"""

import hashlib
import json
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from byol_helpers.config import Profile
from byol_helpers.errors import UserError

VERSIONS_OF = ("torch", "torchvision", "lightning", "numpy", "pycocotools", "pillow", "opencv-python-headless",
               "scikit-image")


@contextmanager
def replacing(path: Path):
    """Give a temporary path beside ``path``; rename it into place when the block ends, remove it when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file that is either whole under its name or not there at all."""
    with replacing(Path(path)) as part:
        part.write_bytes(content)
    return Path(path)


def write_text(path: Path, text: str) -> Path:
    """``write_bytes`` for text, in UTF-8."""
    return write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> Path:
    """``write_text`` for JSON: sorted keys, and an error instead of NaN, so that equal results are equal bytes."""
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> object:
    """Read a JSON file; a missing or broken one raises a ``UserError`` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the path of an existing JSON file") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); restore or re-export the file") from None


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Run:
    """Where a run keeps its files, the profile it follows, and the user's own data, if any."""

    path: Path
    profile: Profile
    data: Path | None = None


class Progress:
    """Plain lines instead of a bar: readable in a terminal, a log and a committed notebook alike.

    At most one line every ``every`` seconds, with the time left by the mean speed since the first update.
    """

    def __init__(self, title: str, total: int, unit: str = "steps", done: int = 0, every: float = 15.0):
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.done = self.first = done
        self.start = self.last = time.monotonic()
        if done:
            print(f"{title}: goes on from {done} of {total} {unit}", flush=True)

    def update(self, n: int = 1, note: str = "") -> None:
        """Count ``n`` more units; print, with the note, when the last line is old enough."""
        self.done += n
        now = time.monotonic()
        if now - self.last >= self.every and self.done < self.total:
            self.last = now
            left = (now - self.start) / (self.done - self.first) * (self.total - self.done)
            said = f"{self.title}: {self.done} of {self.total} {self.unit}, {note + ', ' if note else ''}"
            print(f"{said}{duration(left)} left", flush=True)

    def close(self) -> None:
        """Print the last line, with the whole time."""
        taken = duration(time.monotonic() - self.start)
        print(f"{self.title}: {self.done} of {self.total} {self.unit} in {taken}", flush=True)


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``8 s``, ``2 min 05 s``, ``3 h 20 min``, ``4 days 6 h``."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 86400} days {seconds % 86400 // 3600} h"


def run_stage(run: Run, name: str, parameters: dict, inputs: Iterable[Path], work: Callable[[Path], object],
              outputs: Iterable[Path] = ()) -> Path:
    """Bring the stage ``runs/<run>/<name>/`` up to date and return its folder.

    Args:
        run: the run folder and its profile.
        name: folder of the stage below the run, for example ``finetune/byol-seed0``.
        parameters: everything that decides the result, as plain JSON values.
        inputs: files read by the stage; their SHA-256 decide whether it runs again.
        work: called with the folder; picks up its own checkpoint there, if it left one.
        outputs: files outside the folder that the stage must have left for it to be up to date.
    """
    folder = run.path / name
    wanted = _description(run, name, parameters, inputs)
    if folder.is_dir():
        done, started = _description_in(folder / "stage.json"), _description_in(folder / "started.json")
        lost = [str(path) for path in outputs if not Path(path).exists()]
        if done == wanted and not lost:
            print(f"{name}: up to date", flush=True)
            return folder
        if started != wanted:
            reason = f"{lost[0]} is gone" if done == wanted else _difference(done or started, wanted)
            print(f"{name}: runs afresh, because {reason}", flush=True)
            shutil.rmtree(folder)
        elif started:
            print(f"{name}: was interrupted, goes on", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stage.json").unlink(missing_ok=True)
    write_json(folder / "started.json", wanted)
    start = time.monotonic()
    work(folder)
    write_json(folder / "stage.json", wanted | _cost(start))
    (folder / "started.json").unlink()
    return folder


def _description(run: Run, name: str, parameters: dict, inputs: Iterable[Path]) -> dict:
    hashes = {}
    for path in sorted(map(Path, inputs)):
        if not path.is_file():
            raise UserError(f"{path}: needed by the stage {name} and not there; run the stage that writes it first")
        hashes[os.path.relpath(path, run.path)] = sha256(path)
    described = {"stage": name, "profile": run.profile.name, "parameters": parameters, "inputs": hashes}
    return json.loads(json.dumps(described))


def _description_in(path: Path) -> dict | None:
    """The description kept in a stage file; None when there is none or when it is damaged."""
    try:
        kept = json.loads(path.read_text())
        return {key: kept[key] for key in ("stage", "profile", "parameters", "inputs")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _difference(kept: dict | None, wanted: dict) -> str:
    """In one line, what changed between two descriptions."""
    if kept is None:
        return "its earlier state is unreadable"
    old, new = _flat(kept), _flat(wanted)
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    first = changed[0]
    if first.startswith("inputs."):
        said = f"{first.removeprefix('inputs.')} changed"
    else:
        said = f"{first.removeprefix('parameters.')} was {old.get(first)!r}, is {new.get(first)!r}"
    return said + (f" (and {len(changed) - 1} more)" if len(changed) > 1 else "")


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}.{key}" if prefix else key).items()}


def _cost(start: float) -> dict:
    """Seconds of this session, peak memory of the process so far, device, versions."""
    return {
        "seconds": round(time.monotonic() - start, 3),
        "peak_memory_mb": peak_memory_mb(),
        "device": device_name(),
        "versions": {"python": platform.python_version()} | installed_versions(),
    }


def peak_memory_mb() -> int:
    """Most memory that this process has held so far; on a GPU that of the GPU."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / (1 << 20))
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def device_name() -> str:
    """The accelerator in use, or the number of CPU cores. Asks torch only where it is loaded already."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {os.cpu_count()} cores"


def installed_versions() -> dict[str, str]:
    """Versions of the packages that decide numbers, read from their metadata: nothing is imported."""
    found = {}
    for name in VERSIONS_OF:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
