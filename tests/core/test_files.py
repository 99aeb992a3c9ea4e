"""Files that several processes write, and what a killed one leaves."""

import os
import subprocess
import sys
import time
from pathlib import Path

from byol_helpers.core import files
from byol_helpers.core.files import MACHINE, replacing, write_text

# Writes a file, says so, and puts it into place when a line comes.
WRITER = (
    "import sys; from pathlib import Path; from byol_helpers.core.files import replacing\n"
    "with replacing(Path(sys.argv[1])) as part:\n"
    "    part.write_text(sys.argv[2]); print('written', flush=True); sys.stdin.readline()"
)


def start_writer(path: Path, text: str) -> subprocess.Popen:
    """A process that has written its part of ``path`` and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), text],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout.readline() == "written\n"
    return process


def test_two_processes_write_one_file_at_once(tmp_path):
    path = tmp_path / "cache" / "pixels"
    first = start_writer(path, "first")
    second = start_writer(path, "second")
    first.communicate("\n")
    assert first.returncode == 0 and path.read_text() == "first"
    second.communicate("\n")
    assert second.returncode == 0 and path.read_text() == "second"
    assert os.listdir(path.parent) == ["pixels"]


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    killed = start_writer(tmp_path / "a", "half")
    killed.kill()
    killed.communicate()
    assert len(os.listdir(tmp_path)) == 1
    living = start_writer(tmp_path / "b", "whole")
    write_text(tmp_path / "c", "another")
    assert len(os.listdir(tmp_path)) == 2
    living.communicate("\n")
    assert living.returncode == 0 and sorted(os.listdir(tmp_path)) == ["b", "c"]


def test_a_part_of_another_machine_goes_after_a_day(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MACHINE", "0" * 6)
    with replacing(tmp_path / "new") as part:
        part.write_text("")
        assert MACHINE not in part.name
        recent = tmp_path / f".recent.{MACHINE}-1.part"
        recent.write_text("")
        old = tmp_path / f".old.{MACHINE}-1.part"
        old.write_text("")
        yesterday = time.time() - 2 * files.FORGOTTEN
        os.utime(old, (yesterday, yesterday))
        files._remove_abandoned_parts.cache_clear()
        write_text(tmp_path / "other", "")
        assert recent.is_file() and part.is_file() and not old.exists()


def test_a_download_on_its_way_is_not_a_part_of_a_process(tmp_path):
    (tmp_path / ".val2017.zip.part").write_text("")
    write_text(tmp_path / "a", "")
    assert sorted(os.listdir(tmp_path)) == [".val2017.zip.part", "a"]
