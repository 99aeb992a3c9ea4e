"""Two programs at one run: the second waits, and a dead one keeps nobody waiting."""

import errno
import subprocess
import sys

import pytest
from filelock import FileLock

from byol_helpers.core.errors import UserError
from byol_helpers.core.locks import hold_lock
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.stage import Run, take_free_first
from byol_helpers.download.disk import lock_folder

MAKE = """
import sys, time
from pathlib import Path
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.stage import Run, run_stage

def work(folder):
    with open(folder / "made.txt", "a") as file:
        file.write("once\\n")
    (folder.parents[1] / "begun").touch()
    time.sleep(float(sys.argv[2]))

run_stage(Run(Path(sys.argv[1]), load_profile("smoke")), "finetune/byol-seed0", {}, [], work)
"""


def begin(run, seconds):
    """A process that makes a stage of some seconds, once it has begun."""
    process = subprocess.Popen([sys.executable, "-c", MAKE, str(run), str(seconds)])
    while not (run / "begun").exists():
        assert process.poll() is None
    return process


def make_again(run):
    return subprocess.run(
        [sys.executable, "-c", MAKE, str(run), "0"], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_stages_that_another_process_makes_come_last(tmp_path):
    run = Run(tmp_path, load_profile("smoke"))
    names = ["finetune/byol-seed0", "finetune/random-seed0", "finetune/supervised-seed0"]
    assert list(take_free_first(run, names)) == names
    first = begin(tmp_path, 3)
    asked = take_free_first(run, names)
    assert [next(asked), next(asked)] == names[1:]
    assert first.wait() == 0
    assert list(asked) == names[:1]


def test_of_two_processes_that_want_a_stage_the_second_waits_and_makes_nothing(tmp_path):
    first = begin(tmp_path, 3)
    said = make_again(tmp_path)
    assert first.wait() == 0
    name = "finetune/byol-seed0"
    assert said == [f"{name}: waits, another process makes it", f"{name}: up to date"]
    assert (tmp_path / name / "made.txt").read_text() == "once\n"


def test_a_killed_process_keeps_nobody_waiting(tmp_path):
    first = begin(tmp_path, 60)
    first.kill()
    first.wait()
    assert make_again(tmp_path) == ["finetune/byol-seed0: was interrupted, goes on"]


def test_a_second_download_into_a_folder_is_refused(tmp_path):
    with lock_folder(tmp_path), pytest.raises(UserError, match="another download is writing"):
        with lock_folder(tmp_path):
            pass


@pytest.mark.parametrize("answer", [NotImplementedError(), OSError(errno.ENOLCK, "no locks")])
def test_a_file_system_without_locks_keeps_nothing(tmp_path, monkeypatch, answer):
    def refuse(self, **_):
        raise answer

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with hold_lock(tmp_path / "lock", when_busy=pytest.fail):
        pass


def test_what_else_the_disk_answers_is_said(tmp_path, monkeypatch):
    def refuse(self, **_):
        raise OSError(errno.EACCES, "permission denied")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(OSError, match="permission"), hold_lock(tmp_path / "lock", pytest.fail):
        pass
