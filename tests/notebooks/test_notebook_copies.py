"""The copies that nbval runs differ from the committed notebooks in their profile, and in nothing
else.
"""

import json

import pytest

from tests.helpers.notebook_copies import copy_notebook, with_profile
from tests.helpers.notebook_rules import text


def test_only_the_profile_changes():
    source = (
        'RUN: str = "profile"  # é\n'
        'PROFILE: str = "quick"  # "quick" or another\n'
        "SEEDS: list = [0]  # runs"
    )
    assert with_profile(source, "smoke") == source.replace('= "quick"', '= "smoke"')


def test_the_value_is_found_behind_letters_of_several_bytes():
    assert (
        with_profile('é: int = 1; profile: str = "quick"  # ü', "smoke")
        == 'é: int = 1; profile: str = "smoke"  # ü'
    )


@pytest.mark.parametrize("source", ["SEED: int = 0  # start", "profile: str", ""])
def test_a_missing_profile_is_named(source):
    with pytest.raises(ValueError, match="profile"):
        with_profile(source, "smoke")


def test_outputs_survive(tmp_path):
    cell = {
        "cell_type": "code",
        "metadata": {"tags": ["parameters"]},
        "source": ['PROFILE: str = "quick"\n', "# end"],
    }
    shown = {
        "cell_type": "code",
        "metadata": {},
        "source": "1",
        "outputs": [{"output_type": "stream", "text": "1"}],
    }
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": [cell, shown]}))
    (tmp_path / "out").mkdir()
    copied = json.loads(copy_notebook(path, "smoke", tmp_path / "out").read_text())["cells"]
    assert text(copied[0]["source"]) == 'PROFILE: str = "smoke"\n# end' and copied[1] == shown
