"""A deadline: nothing is begun after it, and what was there before holds again."""

import pytest

from byol_helpers.core.deadline import StopRequested, get_deadline, is_over, stop_after
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.stage import Run, run_stage


def test_no_deadline_is_never_over():
    assert get_deadline() is None and not is_over(None)


def test_deadlines_nest():
    with stop_after(60):
        first = get_deadline()
        with stop_after(0):
            assert is_over(get_deadline())
        assert get_deadline() == first and not is_over(first)
    assert get_deadline() is None


def test_after_it_no_stage_begins_and_none_is_emptied(tmp_path, capsys):
    run = Run(tmp_path, load_profile("smoke"))
    done = run_stage(run, "done", {"steps": 3}, [], lambda folder: (folder / "kept").touch())
    with stop_after(0):
        assert run_stage(run, "done", {"steps": 3}, [], lambda folder: None) == done
        with pytest.raises(StopRequested, match="done: not begun, the time is over"):
            run_stage(run, "done", {"steps": 4}, [], lambda folder: None)
        with pytest.raises(StopRequested, match="new: not begun"):
            run_stage(run, "new", {}, [], lambda folder: None)
    assert (done / "kept").exists() and not (tmp_path / "new").exists()
    assert run_stage(run, "done", {"steps": 3}, [], lambda folder: None) == done
