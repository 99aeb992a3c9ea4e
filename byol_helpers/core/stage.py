"""The run folder: files that are whole or absent, and stages that are done, resumed or run afresh.

A stage is described by its parameters and by the hashes of the files it reads. While it runs,
``started.json`` holds that description; once it is over, ``stage.json`` holds it together with what
the run cost. Comparing the description of now with the one on the disk tells what to do:

- ``stage.json`` agrees: the stage is up to date and is not run again;
- ``started.json`` agrees: the stage was interrupted, its folder is kept and its newest checkpoint
goes on;
- neither agrees: the folder is emptied, the reason is printed, and the stage runs afresh.

Of two processes that want one stage at a time, say two open notebooks, the second waits for the
first.
"""

import json
import os
import platform
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from byol_helpers.core.config import Profile
from byol_helpers.core.deadline import StopRequested, check_deadline
from byol_helpers.core.environment import device_name, installed_versions, peak_memory_mb
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import sha256, write_json
from byol_helpers.core.kept_copy import copy_folder
from byol_helpers.core.locks import hold_lock, is_held
from byol_helpers.core.profile_files import update_words
from byol_helpers.core.progress import announce

# Settings that earlier profiles had to make up where no stage reads them: {section: settings}.
MADE_UP = {"data": ("image_size", "crops", "crop_size")}

LOCKS = "locks"  # folder of a run: of two processes that want one stage, the second waits

# Names the file that ``run_stage`` adds the names of its stages to, where another process wants to
# know what the work rests on.
STAGES_FILE = "BYOL_HELPERS_STAGES"

_counted: list[str] | None = None  # names of stages up to date, within ``name_together``


@dataclass(frozen=True)
class Run:
    """Where a run keeps its files, the profile it follows, and the user's own data, if any.

    ``given_profile``: what the user called the profile, a built-in name or the path of a file.
    """

    path: Path
    profile: Profile
    data: Path | None = None
    given_profile: str = ""


@contextmanager
def name_together() -> Iterator[None]:
    """Name the stages of the block that are up to date in one line at its end."""
    global _counted
    if _counted is not None:  # within another block, which names them all
        yield
        return
    _counted = []
    try:
        yield
        if _counted:
            announce(f"{_name_stages(_counted)}: up to date")
    finally:
        _counted = None


def _name_stages(names: list[str]) -> str:
    """``data, transfer (4), finetune (4)`` from the folders of stages."""
    counts = Counter(name.partition("/")[0] for name in dict.fromkeys(names))
    return ", ".join(f"{kind} ({n})" if n > 1 else kind for kind, n in counts.items())


def _note_up_to_date(name: str) -> None:
    if _counted is None:
        announce(f"{name}: up to date")
    else:
        _counted.append(name)


def run_stage(
    run: Run,
    name: str,
    parameters: dict,
    inputs: Iterable[Path],
    work: Callable[[Path], object],
    outputs: Iterable[Path] = (),
) -> Path:
    """Bring the stage ``runs/<run>/<name>/`` up to date and return its folder.

    Args:
        run: the run folder and its profile.
        name: folder of the stage below the run, for example ``finetune/byol-seed0``.
        parameters: everything that decides the result, as plain JSON values.
        inputs: files read by the stage; their SHA-256 decide whether it runs again.
        work: called with the folder; picks up its own checkpoint there, if it left one.
        outputs: files outside the folder that the stage must have left for it to be up to date.

    Raises:
        StopRequested: the time of ``core.deadline`` is over. A stage that was not begun is as it
            was; the work of one that was begun goes on where it stopped.
    """
    folder = run.path / name
    _note_use(name)
    wanted = _describe_stage(run, name, parameters, inputs)
    needed = [Path(path) for path in outputs]
    if _is_up_to_date(folder, wanted, needed):
        _note_up_to_date(name)
        return folder
    check_deadline(name)
    lock = _place_lock(run, name)
    with hold_lock(lock, when_busy=lambda: announce(f"{name}: waits, another process makes it")):
        if _is_up_to_date(folder, wanted, needed):  # the other process has made it
            _note_up_to_date(name)
        else:
            _make_stage(run, folder, wanted, work, needed)
    return folder


def take_free_first(run: Run, names: Iterable[str]) -> Iterator[str]:
    """Names of stages, always one next that no other process makes, as long as there is one.

    So two processes that want the same stages share them instead of waiting for each other.
    """
    left = list(names)
    while left:
        free = [name for name in left if not _is_made_elsewhere(run, name)]
        chosen = (free or left)[0]
        left.remove(chosen)
        yield chosen


def _is_made_elsewhere(run: Run, name: str) -> bool:
    lock = _place_lock(run, name)
    return lock.is_file() and is_held(lock)


def _place_lock(run: Run, name: str) -> Path:
    return run.path / LOCKS / f"{name.replace('/', '-')}.lock"


def _note_use(name: str) -> None:
    used = os.environ.get(STAGES_FILE)
    if used:
        with open(used, "a", encoding="utf-8") as file:
            file.write(f"{name}\n")


def _is_up_to_date(folder: Path, wanted: dict, outputs: Sequence[Path]) -> bool:
    done = _read_description(folder / "stage.json", wanted)
    return done == wanted and all(path.exists() for path in outputs)


def _make_stage(
    run: Run,
    folder: Path,
    wanted: dict,
    work: Callable[[Path], object],
    outputs: Sequence[Path],
) -> None:
    """Run the stage: go on where it was interrupted, or empty its folder and say why."""
    name = wanted["stage"]
    done = _read_description(folder / "stage.json", wanted)
    started = _read_description(folder / "started.json", wanted)
    lost = [str(path) for path in outputs if not path.exists()]
    if folder.is_dir() and started != wanted:
        if done == wanted:
            reason = f"{lost[0]} is gone"
        else:
            reason = _describe_difference(done or started, wanted)
        announce(f"{name}: runs afresh, because {reason}")
        shutil.rmtree(folder)
    elif started:
        announce(f"{name}: was interrupted, goes on")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stage.json").unlink(missing_ok=True)
    write_json(folder / "started.json", wanted)
    start = time.monotonic()
    try:
        work(folder)
    except StopRequested:
        copy_folder(folder)
        raise
    write_json(folder / "stage.json", wanted | _measure_cost(start))
    (folder / "started.json").unlink(missing_ok=True)  # without locks another may have done it
    copy_folder(run.path)


def _describe_stage(run: Run, name: str, parameters: dict, inputs: Iterable[Path]) -> dict:
    hashes = {}
    for path in sorted(map(Path, inputs)):
        if not path.is_file():
            raise UserError(
                f"{path}: needed by the stage {name} and not there; run the stage that writes it "
                "first"
            )
        hashes[os.path.relpath(path, run.path)] = sha256(path)
    described = {
        "stage": name,
        "profile": run.profile.name,
        "parameters": parameters,
        "inputs": hashes,
    }
    return json.loads(json.dumps(described))


def _read_description(path: Path, wanted: dict) -> dict | None:
    """The description kept in a stage file; None when there is none or when it is damaged.

    It is given in today's words, and without what was made up: a setting that ``wanted`` leaves out
    because the stage does not read it.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        described = {key: kept[key] for key in ("stage", "profile", "parameters", "inputs")}
        parameters = update_words(described["parameters"])
        for section, names in MADE_UP.items():
            if section in parameters:
                today = wanted["parameters"].get(section, {})
                left_out = [name for name in names if name not in today]
                for name in left_out:
                    parameters[section].pop(name, None)
        return described | {"parameters": parameters}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _describe_difference(kept: dict | None, wanted: dict) -> str:
    """In one line, what changed between two descriptions."""
    if kept is None:
        return "its earlier state is unreadable"
    old = _flatten(kept)
    new = _flatten(wanted)
    changed = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    first = changed[0]
    if first.startswith("inputs."):
        said = f"{first.removeprefix('inputs.')} changed"
    else:
        said = f"{first.removeprefix('parameters.')} was {old.get(first)!r}, is {new.get(first)!r}"
    return said + (f" (and {len(changed) - 1} more)" if len(changed) > 1 else "")


def _flatten(value: object, prefix: str = "") -> dict[str, object]:
    """Nested dictionaries as one, with dotted keys."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat = {}
    for key, item in value.items():
        flat |= _flatten(item, f"{prefix}.{key}" if prefix else key)
    return flat


def _measure_cost(start: float) -> dict:
    """Seconds of this session, peak memory of the process so far, device, versions."""
    return {
        "seconds": round(time.monotonic() - start, 3),
        "peak_memory_mb": peak_memory_mb(),
        "device": device_name(),
        "versions": {"python": platform.python_version()} | installed_versions(),
    }
