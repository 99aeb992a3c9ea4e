"""How every notebook begins: it finds or clones the repository, and has the same parameters."""

import os
from pathlib import Path

import pytest

from tests.helpers.notebook_rules import Notebook, tags, text

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


PARAMETERS = ["PROFILE", "RUN_FOLDER", "DATA_FOLDER", "OVERRIDES", "KEEP_IN", "MINUTES"]
OPEN_RUN = f"run = pipeline.open_run({', '.join(PARAMETERS)})"
FETCH = "fetch_coco(PROFILE, DATA_FOLDER, OVERRIDES)"


@pytest.fixture
def setup_cells():
    return {path.stem: text(Notebook(path, ROOT).code[0][1]["source"]) for path in NOTEBOOKS}


def test_all_notebooks_begin_alike(setup_cells):
    assert len(setup_cells) >= 8
    assert len(set(setup_cells.values())) == 1


def test_all_notebooks_have_the_same_parameters_first():
    """Each may add its own below them."""
    found = {}
    for path in NOTEBOOKS:
        [cell] = [cell for cell in Notebook(path, ROOT).cells if "parameters" in tags(cell)]
        found[path.stem] = text(cell["source"]).splitlines()[: len(PARAMETERS)]
    names = {stem: [line.partition(":")[0] for line in lines] for stem, lines in found.items()}
    assert names == dict.fromkeys(found, PARAMETERS)
    assert len({tuple(lines) for lines in found.values()}) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_opens_its_run_with_all_of_them(path):
    code = [text(cell["source"]) for _, cell in Notebook(path, ROOT).code]
    assert sum(OPEN_RUN in source for source in code) == 1
    assert sum(FETCH in source for source in code) == 1


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
