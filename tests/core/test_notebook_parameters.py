"""What papermill writes into a notebook is checked by the call that opens the run."""

import pytest

from byol_helpers.core.errors import UserError
from byol_helpers.core.notebook_parameters import check_parameters, find_unknown_parameters
from byol_helpers.pipeline import open_run

DECLARED = 'PROFILE: str = "quick"  # scale\nMINUTES: float = 0  # budget'


@pytest.mark.parametrize(
    ("given", "unknown"),
    [
        ('PROFILE = "smoke"\nMINUTES = 3', []),
        ('PROFLE = "smoke"', [("PROFLE", "PROFILE")]),
        ('profile = "smoke"', [("profile", "PROFILE")]),
        ("MINUTES = 3\nminute = 4", [("minute", "MINUTES")]),
    ],
)
def test_a_parameter_that_the_notebook_lacks_is_found(given, unknown):
    cells = ["import os", DECLARED, f"# Parameters\n{given}\n", "run = 1"]
    assert find_unknown_parameters(cells) == unknown


def test_cells_that_are_no_plain_python_are_passed_over():
    assert find_unknown_parameters(["%matplotlib inline", "!ls", DECLARED]) == []


@pytest.mark.parametrize("minutes", ["3", -1, float("nan"), True])
def test_minutes_are_a_number(minutes):
    with pytest.raises(UserError, match="MINUTES=") as told:
        check_parameters(minutes)
    assert "\n" not in str(told.value)


def test_outside_of_a_notebook_nothing_is_asked(tmp_path):
    assert open_run("smoke", tmp_path / "run", minutes=None).path == tmp_path / "run"
