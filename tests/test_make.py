"""make.py does what the Makefile does."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CALL = re.compile(r"\.venv(?:-site)?/bin/python -m (?!pip|venv)([^\n;]+)")
GIVEN = ["PROFILE=smoke", "SEEDS=0,1", "SET=finetune.steps=100 evaluate.bootstrap=50"]


@pytest.fixture
def make(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.delitem(sys.modules, "make", raising=False)
    import make

    return make


def read_makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


def test_both_have_the_same_targets(make):
    [phony] = re.findall(r"^\.PHONY: (.+)$", read_makefile(), re.MULTILINE)
    assert set(phony.split()) - {"help"} == set(make.TARGETS)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_both_call_the_same(make):
    for target in make.TARGETS:
        if target in ("setup", "clean"):
            continue
        done = subprocess.run(
            ["make", "--dry-run", "--no-print-directory", target, *GIVEN],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        _, given = make.read_arguments([target, *GIVEN])
        theirs = [shlex.split(call) for call in CALL.findall(done.stdout)]
        assert theirs == make.list_commands(target, given), target


def test_an_unknown_target_or_option_is_one_line(make):
    for words in (["reports"], ["report", "PROFIL=smoke"], ["report", "smoke"]):
        with pytest.raises(SystemExit) as told:
            make.read_arguments(words)
        assert words[-1] in str(told.value) and "\n" not in str(told.value)


def test_the_interpreter_of_an_environment_is_found_on_windows_too(make, monkeypatch):
    assert make.find_python(Path("env")) == Path("env/bin/python")
    monkeypatch.setattr(sys, "platform", "win32")
    assert make.find_python(Path("env")) == Path("env/Scripts/python.exe")


def test_a_failed_command_ends_with_its_status(make):
    with pytest.raises(SystemExit) as ended:
        make.run_command([sys.executable, "-c", "import sys; sys.exit(3)"])
    assert ended.value.code == 3
