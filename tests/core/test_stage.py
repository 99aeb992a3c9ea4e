"""The run folder: whole files, and stages that are done, go on, or run afresh and say why."""

import json
import os

import pytest

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, replacing, write_json, write_text
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.progress import Progress, duration
from byol_helpers.core.stage import Run, name_together, run_stage


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, load_profile("smoke"))


class Work:
    """Counts its calls and may be cut off after leaving a checkpoint."""

    def __init__(self):
        self.calls, self.seen, self.fail = 0, [], False

    def __call__(self, folder):
        self.calls += 1
        self.seen.append((folder / "checkpoint").exists())
        write_text(folder / "checkpoint", "half-way")
        if self.fail:
            raise KeyboardInterrupt


def test_a_stage_described_in_an_earlier_versions_words_is_up_to_date(run, capsys):
    work = Work()
    folder = run_stage(run, "stage", {"norm_policy": "trainable"}, [], work)
    kept = read_json(folder / "stage.json")
    write_json(folder / "stage.json", kept | {"parameters": {"norm_policy": "fair"}})
    run_stage(run, "stage", {"norm_policy": "trainable"}, [], work)
    assert work.calls == 1 and "stage: up to date" in capsys.readouterr().out
    run_stage(run, "stage", {"norm_policy": "frozen"}, [], work)
    assert work.calls == 2


def test_a_finished_stage_is_not_run_again(run, capsys):
    work = Work()
    folder = run_stage(run, "stage", {"steps": 3}, [], work)
    assert run_stage(run, "stage", {"steps": 3}, [], work) == folder
    assert work.calls == 1 and "stage: up to date" in capsys.readouterr().out
    kept = read_json(folder / "stage.json")
    assert (
        kept["parameters"] == {"steps": 3} and kept["seconds"] >= 0 and kept["peak_memory_mb"] > 0
    )
    assert {"torch", "numpy", "python"} <= kept["versions"].keys() and "CPU" in kept["device"]


def test_an_interrupted_stage_finds_its_checkpoint(run):
    work = Work()
    work.fail = True
    with pytest.raises(KeyboardInterrupt):
        run_stage(run, "stage", {"steps": 3}, [], work)
    assert not (run.path / "stage/stage.json").exists()
    work.fail = False
    run_stage(run, "stage", {"steps": 3}, [], work)
    assert work.seen == [False, True]


@pytest.mark.parametrize("interrupted", [True, False])
def test_changed_parameters_start_afresh_and_say_why(run, capsys, interrupted):
    work = Work()
    work.fail = interrupted
    try:
        run_stage(run, "stage", {"steps": 3}, [], work)
    except KeyboardInterrupt:
        work.fail = False
    run_stage(run, "stage", {"steps": 4}, [], work)
    assert work.seen == [False, False]
    assert "runs afresh, because steps was 3, is 4" in capsys.readouterr().out


def test_a_changed_input_starts_afresh_and_is_named(run, capsys):
    work, file = Work(), write_text(run.path / "weights.pth", "1")
    run_stage(run, "stage", {}, [file], work)
    write_text(file, "2")
    run_stage(run, "stage", {}, [file], work)
    assert work.calls == 2 and "because weights.pth changed" in capsys.readouterr().out


def test_a_lost_output_starts_afresh(run, capsys):
    work, output = Work(), run.path / "splits.json"
    write_text(output, "{}")
    run_stage(run, "stage", {}, [], work, outputs=[output])
    output.unlink()
    run_stage(run, "stage", {}, [], work, outputs=[output])
    assert work.calls == 2 and "splits.json is gone" in capsys.readouterr().out


def test_a_damaged_stage_file_counts_as_not_done(run):
    work = Work()
    folder = run_stage(run, "stage", {}, [], work)
    (folder / "stage.json").write_text("{")
    run_stage(run, "stage", {}, [], work)
    assert work.calls == 2


def test_what_an_earlier_profile_had_to_make_up_does_not_count(run):
    work = Work()
    earlier = {"data": {"train": 8, "image_size": 640, "crops": 0, "crop_size": 64}}
    run_stage(run, "data", earlier, [], work)
    run_stage(run, "data", {"data": {"train": 8}}, [], work)
    assert work.calls == 1
    run_stage(run, "data", {"data": {"train": 8, "crops": 5}}, [], work)
    run_stage(run, "data", {"data": {"train": 9, "crops": 5}}, [], work)
    assert work.calls == 3


def test_a_missing_input_names_file_and_stage(run):
    with pytest.raises(UserError, match=r"model\.pth: needed by the stage evaluate"):
        run_stage(run, "evaluate", {}, [run.path / "model.pth"], Work())


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path):
    path = write_text(tmp_path / "a.txt", "old")
    with pytest.raises(OSError), replacing(path) as part:
        part.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_json_refuses_nan_and_broken_json_is_named(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    (tmp_path / "b.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"b\.json: not valid JSON"):
        read_json(tmp_path / "b.json")
    assert json.loads(write_json(tmp_path / "c.json", {"b": 1, "a": 2}).read_text()) == {
        "a": 2,
        "b": 1,
    }


def test_progress_says_where_it_goes_on_and_how_long_it_takes(capsys):
    progress = Progress("train", 4, done=2, every=0)
    progress.update()
    progress.update()
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "train: goes on from 2 of 4 steps"
    assert lines[1].startswith("train: 3 of 4 steps,") and lines[1].endswith("left")
    assert lines[2].startswith("train: 4 of 4 steps in") and len(lines) == 3


@pytest.mark.parametrize(
    ("seconds", "said"), [(7.6, "8 s"), (125, "2 min 05 s"), (12_000, "3 h 20 min")]
)
def test_durations_read_as_spoken(seconds, said):
    assert duration(seconds) == said


def test_stages_that_are_up_to_date_are_named_in_one_line(run, capsys):
    for name in ("data", "transfer/byol", "transfer/random"):
        run_stage(run, name, {}, [], Work())
    capsys.readouterr()
    with name_together(), name_together():
        for name in ("data", "transfer/byol", "transfer/random", "transfer/byol"):
            run_stage(run, name, {}, [], Work())
    assert capsys.readouterr().out == "data, transfer (2): up to date\n"
    run_stage(run, "data", {}, [], Work())
    assert capsys.readouterr().out == "data: up to date\n"
