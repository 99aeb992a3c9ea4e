"""The first code cell of every notebook finds the repository, or says what to do."""

import os
from pathlib import Path

import pytest

from tests.helpers.notebook_rules import Notebook, text

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def setup_cells():
    return {path.stem: text(Notebook(path, ROOT).code[0][1]["source"]) for path in NOTEBOOKS}


def test_all_notebooks_begin_alike(setup_cells):
    assert len(setup_cells) == 8
    assert len(set(setup_cells.values())) == 1


def test_outside_of_the_repository_one_line_says_what_to_do(setup_cells, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as told:
        exec(setup_cells["00-overview"], {})
    said = str(told.value)
    assert str(tmp_path) in said and "repository" in said
    assert "\n" not in said and len(said) < 300


def test_it_finds_the_repository_from_a_folder_below(setup_cells, monkeypatch, capsys):
    monkeypatch.chdir(ROOT / "notebooks")
    exec(setup_cells["00-overview"], {})
    assert os.getcwd() == str(ROOT)
    assert capsys.readouterr().out.startswith("Device: ")
