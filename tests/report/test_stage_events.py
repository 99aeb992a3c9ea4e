"""What a stage announces in a notebook's process reaches the report's terminal, and no more."""

import subprocess
import sys

from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.progress import Progress
from byol_helpers.core.stage import Run, run_stage
from byol_helpers.report.notebooks import follow_stages

SCRIPT = """
from byol_helpers.core.progress import Progress
progress = Progress("check", 2, "images", done=1)
print("finetune byol seed 0: 3 of 3 steps in 4 s")
progress.update()
progress.close()
"""


def test_events_of_another_process_are_printed_and_its_other_lines_are_not(capsys):
    with follow_stages() as terminal:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
        )
        terminal.write(done.stdout)
    said = capsys.readouterr().out.splitlines()
    assert said == ["    check: goes on from 1 of 2 images", "    check: 2 of 2 images in 0 s"]
    assert "finetune byol seed 0" in done.stdout and "check: 2 of 2" in done.stdout


def test_the_last_events_come_without_further_output(capsys):
    with follow_stages():
        Progress("work", 1).close()
    assert capsys.readouterr().out.splitlines() == [
        "work: 0 of 1 steps in 0 s",
        "    work: 0 of 1 steps in 0 s",
    ]
    Progress("work", 1).close()
    assert capsys.readouterr().out.splitlines() == ["work: 0 of 1 steps in 0 s"]


def test_stages_that_were_made_and_stages_that_were_there_are_named(tmp_path):
    run = Run(tmp_path, load_profile("smoke"))
    run_stage(run, "evaluate/random", {}, [], lambda folder: None)
    with follow_stages() as events:
        run_stage(run, "evaluate/random", {}, [], lambda folder: None)
        run_stage(run, "data", {}, [], lambda folder: None)
    run_stage(run, "background", {}, [], lambda folder: None)
    assert events.stages == ["data", "evaluate/random"]
