"""Tensors of small trainings: made once, kept, and made anew when their settings change."""

import pytest
import torch

from byol_helpers.core.errors import UserError
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.stage import Run
from byol_helpers.training import keep_tensors


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, load_profile("smoke"))


class Maker:
    """Counts its calls."""

    def __init__(self, value):
        self.value = value
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"weight": torch.full((2, 3), self.value).T}


def test_what_was_made_is_read_and_not_made_again(run):
    makers = {"one": Maker(1.0), "two": Maker(2.0)}
    first = keep_tensors(run, "kept", {"steps": 3}, makers)
    again = keep_tensors(run, "kept", {"steps": 3}, makers)
    assert [maker.calls for maker in makers.values()] == [1, 1]
    for found in (first, again):
        assert torch.equal(found["two"]["weight"], torch.full((3, 2), 2.0))


def test_other_settings_make_all_of_it_anew(run, capsys):
    makers = {"one": Maker(1.0)}
    keep_tensors(run, "kept", {"steps": 3}, makers)
    keep_tensors(run, "kept", {"steps": 4}, makers)
    assert makers["one"].calls == 2
    assert "steps was 3, is 4" in capsys.readouterr().out


def test_an_interrupted_training_is_made_again_and_those_before_it_are_kept(run):
    def stop():
        raise KeyboardInterrupt

    first = Maker(1.0)
    with pytest.raises(KeyboardInterrupt):
        keep_tensors(run, "kept", {}, {"one": first, "two": stop})
    second = Maker(2.0)
    keep_tensors(run, "kept", {}, {"one": first, "two": second})
    assert [first.calls, second.calls] == [1, 1]


def test_one_that_is_missing_is_made(run):
    makers = {"one": Maker(1.0)}
    keep_tensors(run, "kept", {}, makers)
    both = keep_tensors(run, "kept", {}, makers | {"two": Maker(2.0)})
    assert set(both) == {"one", "two"}


@pytest.mark.parametrize("name", ["a/b", "", "a b"])
def test_a_name_that_names_no_file_is_refused(run, name):
    with pytest.raises(UserError, match="cannot name a file"):
        keep_tensors(run, "kept", {}, {name: Maker(1.0)})
