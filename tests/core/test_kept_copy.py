"""The copy of a run in another folder: kept up to date, brought back, never in the way."""

import os

import pytest

from byol_helpers.core import kept_copy
from byol_helpers.core.errors import UserError
from byol_helpers.core.kept_copy import copy_folder, restore_run
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.stage import Run, run_stage


@pytest.fixture(autouse=True)
def no_copies(monkeypatch):
    monkeypatch.setattr(kept_copy, "_copies", {})


@pytest.fixture
def drive(tmp_path):
    folder = tmp_path / "drive"
    folder.mkdir()
    return folder


def list_files(folder):
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_text()
    return found


def write(folder, name, text="text"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def train(folder):
    write(folder, "last.ckpt", "step 4")
    copy_folder(folder)
    write(folder, "model.pth", "weights")
    (folder / "last.ckpt").unlink()


def test_a_stage_is_copied_at_its_checkpoint_and_at_its_end(tmp_path, drive):
    run = Run(tmp_path / "run", load_profile("smoke"))
    restore_run(run.path, drive)
    write(run.path, "splits.json")
    write(run.path, "data/images/1.png")
    copied = drive / "run"

    def work(folder):
        train(folder)
        at_checkpoint.update(list_files(copied))

    at_checkpoint = {}
    run_stage(run, "finetune/byol-seed0", {}, [], work)
    assert set(at_checkpoint) == {
        "finetune/byol-seed0/last.ckpt",
        "finetune/byol-seed0/started.json",
    }
    assert set(list_files(copied)) == {
        "splits.json",
        "finetune/byol-seed0/model.pth",
        "finetune/byol-seed0/stage.json",
    }


def test_a_new_session_goes_on_where_the_copy_ends(tmp_path, drive, capsys):
    run = Run(tmp_path / "run", load_profile("smoke"))
    restore_run(run.path, drive)

    def interrupted(folder):
        write(folder, "last.ckpt", "step 4")
        copy_folder(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stage(run, "pretrain/byol", {"steps": 8}, [], interrupted)
    other = Run(tmp_path / "elsewhere" / "run", load_profile("smoke"))
    restore_run(other.path, drive)
    found = []
    run_stage(
        other, "pretrain/byol", {"steps": 8}, [], lambda f: found.append((f / "last.ckpt").exists())
    )
    said = capsys.readouterr().out
    assert found == [True]
    assert "2 files restored" in said and "was interrupted, goes on" in said


def test_a_stage_that_is_here_stays_as_it_is(tmp_path, drive):
    write(drive, "run/pretrain/byol/last.ckpt", "old")
    write(drive, "run/pretrain/byol/metrics.csv", "old")
    write(drive, "run/weights/byol.pth", "old")
    run = tmp_path / "run"
    write(run, "pretrain/byol/started.json", "new")
    restore_run(run, drive)
    assert list_files(run) == {"pretrain/byol/started.json": "new", "weights/byol.pth": "old"}


def test_what_is_unchanged_is_not_written_again(tmp_path, drive):
    run = tmp_path / "run"
    write(run, "weights/byol.pth")
    restore_run(run, drive)
    copy_folder(run)
    copied = drive / "run/weights/byol.pth"
    first = copied.stat().st_ino
    copy_folder(run)
    assert copied.stat().st_ino == first
    os.utime(run / "weights/byol.pth", (1, 1))
    copy_folder(run)
    assert copied.stat().st_ino != first


def test_without_a_folder_nothing_is_copied(tmp_path, drive):
    run = tmp_path / "run"
    write(run, "splits.json")
    restore_run(run, drive)
    restore_run(run, "")
    copy_folder(run)
    assert list_files(drive) == {}


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such folder") as told:
        restore_run(tmp_path / "run", tmp_path / "nothing")
    assert "KEEP_IN" in str(told.value) and "\n" not in str(told.value)


def test_a_full_drive_is_one_line(tmp_path, drive, monkeypatch):
    run = tmp_path / "run"
    write(run, "splits.json")
    restore_run(run, drive)

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", refuse)
    with pytest.raises(UserError, match="no space left on device") as told:
        copy_folder(run)
    assert "\n" not in str(told.value)
    assert list_files(drive) == {}
