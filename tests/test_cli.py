"""The command line: every command has its help, and asking for it loads nothing heavy."""

import subprocess
import sys

import pytest

from byol_helpers import pipeline
from byol_helpers.cli import STAGE_HELP, main, make_parser

COMMANDS = ["report", *STAGE_HELP, "study", "download", "cutout", "publish-outputs", "doctor"]


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
        "from byol_helpers.cli import make_parser\n"
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


def test_a_profile_may_be_a_path(tmp_path):
    profile = tmp_path / "mine.yaml"
    options = make_parser().parse_args(["report", "--profile", str(profile)])
    assert options.profile == str(profile)
