"""The repository's address stands in one place, and everything that shows it is held equal."""

import json
import shutil
from pathlib import Path

import pytest

from byol_helpers.cli import main
from byol_helpers.core.errors import UserError
from byol_helpers.report.address import TAG, list_badges, publish_address, read_address

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "https://github.com/somebody/course"
OTHER = "https://github.com/another/fork-of-it"


@pytest.fixture
def copied(tmp_path):
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "notebooks").mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, tmp_path / "notebooks" / path.name)
    return tmp_path


def read_all(folder):
    files = [folder / "pyproject.toml", folder / "README.md", *folder.glob("notebooks/*.ipynb")]
    return {path.name: path.read_text(encoding="utf-8") for path in files}


def test_badges_and_setup_cells_hold_the_address_of_pyproject(copied):
    before = read_all(copied)
    assert publish_address(read_address(ROOT), copied) == []
    assert read_all(copied) == before


def test_an_address_goes_everywhere_and_comes_out_again(copied):
    publish_address("", copied)
    without = read_all(copied)
    notebooks = len(list(copied.glob("notebooks/*.ipynb")))
    assert len(publish_address(f"{ADDRESS}.git", copied)) == notebooks + 2
    assert read_address(copied) == ADDRESS
    for path in copied.glob("notebooks/*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        title = "".join(notebook["cells"][0]["source"]).splitlines()
        [setup, *_] = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        lines = "".join(setup["source"]).splitlines()
        assert title[2] == list_badges(ADDRESS, path.stem) and title[0].startswith("# ")
        assert [line.split("  #")[0] for line in lines if line.startswith(("REPOS", "TAG"))] == [
            f'REPOSITORY = "{ADDRESS}"',
            f'TAG = "{TAG}"',
        ]
    assert publish_address(ADDRESS, copied) == []
    publish_address(OTHER, copied)
    for name, text in read_all(copied).items():
        assert "somebody" not in text, name
        assert "another/fork-of-it" in text, name
    publish_address("", copied)
    assert read_all(copied) == without


def test_a_badge_opens_the_notebook_at_the_tag():
    colab, kaggle = list_badges(ADDRESS, "03-byol").split(" [![")
    assert f"/github/somebody/course/blob/{TAG}/notebooks/03-byol.ipynb)" in colab
    assert f"src={ADDRESS}/blob/{TAG}/notebooks/03-byol.ipynb)" in kaggle


@pytest.mark.parametrize("address", ["", "file:///srv/course", "https://example.org/course"])
def test_where_a_badge_would_be_dead_there_is_none(address):
    assert list_badges(address, "03-byol") == ""


@pytest.mark.parametrize(
    "address", ["git@github.com:somebody/course", "course", 'https://a.b/"', "https://a b"]
)
def test_what_nobody_can_clone_is_refused(copied, address):
    before = read_all(copied)
    with pytest.raises(UserError, match="strangers can clone") as told:
        publish_address(address, copied)
    assert "\n" not in str(told.value) and read_all(copied) == before


def test_a_notebook_without_the_setup_cell_is_named(copied):
    path = copied / "notebooks" / "99-mine.ipynb"
    cells = [{"cell_type": "markdown", "source": ["# Mine"]}]
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    with pytest.raises(UserError, match="99-mine") as told:
        publish_address(ADDRESS, copied)
    assert "\n" not in str(told.value) and read_address(copied) == read_address(ROOT)


def test_publish_wants_to_know_what(capsys):
    assert main(["publish"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
