"""The command line: every command has its help, and asking for it loads nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest

from byol_helpers import pipeline
from byol_helpers.cli import main
from byol_helpers.cli_options import STAGE_HELP, make_parser

COMMANDS = [
    "report",
    *STAGE_HELP,
    "study",
    "verdicts",
    "download",
    "cutout",
    "publish",
    "lessons",
    "forecast",
    "weights",
    "release",
    "doctor",
]


def test_there_is_a_command_for_every_stage():
    assert list(STAGE_HELP) == list(pipeline.STAGES)
    assert f"{{{','.join(COMMANDS)}}}" in make_parser().format_usage().replace("\n", "").replace(
        " ", ""
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command, capsys):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    assert f"python -m byol_helpers {command}" in capsys.readouterr().out


def test_help_loads_neither_the_stages_nor_what_they_need():
    script = (
        "import sys\n"
        "from byol_helpers.cli_options import make_parser\n"
        "make_parser().format_help()\n"
        "heavy = {'torch', 'numpy', 'matplotlib', 'cv2', 'byol_helpers.pipeline'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_doctor_names_the_machine(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for line in ("device", "engines", "memory free", "disk free here", "python", "torch"):
        assert f"\n{line} " in f"\n{said}"


def test_a_profile_may_be_a_path(tmp_path, capsys):
    profile = tmp_path / "mine.yaml"
    counts = "{unlabelled: 2, train: 2, val: 1, test: 1, crops: 16}"
    profile.write_text(f"extends: smoke\ndata: {counts}\n", encoding="utf-8")
    run = tmp_path / "run"
    assert main(["prepare", "--profile", str(profile), "--run", str(run)]) == 0
    assert "prepare: 22 of 22 images" in capsys.readouterr().out
    again = ["prepare", "--profile", str(run / "profile.yaml"), "--run", str(run)]
    assert main(again) == 0
    assert "data: up to date" in capsys.readouterr().out


def test_hints_name_the_profile_that_was_typed(tmp_path, capsys):
    profile = tmp_path / "mine.yaml"
    profile.write_text("extends: colab\n", encoding="utf-8")
    assert main(["prepare", "--profile", str(profile), "--run", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: the profile {profile} reads COCO from a folder")
    assert f"download --profile {profile} --data" in said and said.count("\n") == 1


def test_without_a_run_folder_a_file_gives_the_run_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("extends: smoke\n", encoding="utf-8")
    run = pipeline.open_run("mine.yaml", overrides="seed=4")
    assert run.path == Path("runs/mine") and run.profile.seed == 4
    assert run.given_profile == "mine.yaml"
    assert pipeline.open_run("smoke", overrides=None).path == Path("runs/smoke")


def test_the_home_folder_is_found_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    options = make_parser().parse_args(["prepare", "--data=~/x", "--run=~/y"])
    assert (options.data, options.run) == (tmp_path / "x", tmp_path / "y")
    (tmp_path / "x").mkdir()
    run = pipeline.open_run("smoke", "~/runs/a", "~/x")
    assert (run.path, run.data) == (tmp_path / "runs" / "a", tmp_path / "x")
