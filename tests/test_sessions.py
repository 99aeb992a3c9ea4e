"""Sessions that end: a run done in pieces, each on a new machine, ends as one done at once."""

import shutil
from pathlib import Path

import pytest
import torch

from byol_helpers import pipeline
from byol_helpers.core import deadline, kept_copy
from byol_helpers.core.deadline import StopRequested
from byol_helpers.core.files import read_json

TINY = [
    "data.unlabelled=32",
    "data.train=8",
    "data.val=2",
    "data.test=4",
    "data.crops=32",
    "supervised.steps=6",
    "pretrain.steps=6",
    "finetune.arms=[byol,random]",
    "finetune.steps=40",
    "evaluate.bootstrap=20",
    "background.images=2",
]
# Seconds of the machine, not results.
CLOCK = ("seconds", "seconds_per_iteration", "peak_memory_mb")


@pytest.fixture(autouse=True)
def no_session_left(monkeypatch):
    monkeypatch.setattr(kept_copy, "_copies", {})
    yield
    deadline.set_deadline(None)


def drop_clock(value):
    """A result without the times in it."""
    if isinstance(value, dict):
        return {key: drop_clock(item) for key, item in value.items() if key not in CLOCK}
    if isinstance(value, list):
        return [drop_clock(item) for item in value]
    return value


def read_results(run: Path) -> dict:
    """Weights and numbers that a run leaves, by their names."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.suffix == ".pth":
            found[name] = torch.load(path, weights_only=True)
        elif path.name in ("detections.json", "metrics.json", "comparison.json"):
            found[name] = drop_clock(read_json(path))
        elif path.name in ("metrics.csv", "bootstrap.csv"):
            rows = [line.split(",") for line in path.read_text().splitlines()]
            kept = [n for n, column in enumerate(rows[0]) if column not in CLOCK]
            found[name] = [[row[n] for n in kept] for row in rows]
    return found


class Clock:
    """A clock that goes on by a minute whenever it is looked at: after each step and stage."""

    def __init__(self):
        self.minutes = 0

    def time(self) -> float:
        self.minutes += 1
        return 60.0 * self.minutes


def do_sessions(folder: Path, drive: Path, minutes: float) -> list[str]:
    """Where each session stopped; every one begins with nothing but the copy."""
    stops = []
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        run = pipeline.open_run("smoke", folder, None, TINY, drive, 0)
        pipeline.prepare(run)  # images are not copied
        deadline.set_deadline(minutes)
        try:
            pipeline.run_up_to(run, "remove-background")
            return stops
        except StopRequested as stopped:
            stops.append(str(stopped))
            assert len(stops) < 100


@pytest.mark.slow
def test_a_run_in_sessions_on_new_machines_ends_as_one_done_at_once(tmp_path, monkeypatch):
    whole = pipeline.open_run("smoke", tmp_path / "whole", None, TINY)
    pipeline.run_up_to(whole, "remove-background")
    drive = tmp_path / "drive"
    drive.mkdir()
    monkeypatch.setattr(deadline, "time", Clock())
    stops = do_sessions(tmp_path / "session", drive, 6)
    pieces = ["supervised", "pretrain", "finetune byol", "finetune random", "evaluate byol"]
    pieces.append("background/")
    assert [said for said in stops if "stopped after" in said] != []
    for name in pieces:
        assert any(said.startswith(name) and "stopped after" in said for said in stops), stops
    expected = read_results(whole.path)
    found = read_results(tmp_path / "session")
    assert set(found) == set(expected) and len(expected) > 10
    for name, value in expected.items():
        if name.endswith(".pth"):
            assert set(found[name]) == set(value)
            assert all(torch.equal(found[name][key], tensor) for key, tensor in value.items()), name
        else:
            assert found[name] == value, name


def read_files(folder: Path) -> dict[str, bytes]:
    """The bytes of each file below a folder, without the records of what the stage took."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "stage.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_images_are_generated_in_pieces(tmp_path, monkeypatch):
    whole = pipeline.open_run("smoke", tmp_path / "whole", None, TINY)
    pipeline.prepare(whole)
    pieces = pipeline.open_run("smoke", tmp_path / "pieces", None, TINY)
    monkeypatch.setattr(deadline, "time", Clock())
    stops = []
    while not (pieces.path / "data" / "stage.json").is_file():
        try:
            with deadline.stop_after(20):
                pipeline.prepare(pieces)
        except StopRequested as stopped:
            stops.append(str(stopped))
            assert len(stops) < 20
    assert len(stops) > 2 and all("images" in said for said in stops)
    expected = read_files(whole.path)
    assert read_files(pieces.path) == expected and len(expected) > 78
