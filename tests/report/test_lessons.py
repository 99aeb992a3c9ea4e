"""The lesson kit: plans that fill their time, slides, and notebooks without solutions."""

import copy
import json
import re
from pathlib import Path

import pytest

from byol_helpers.cli import main
from byol_helpers.core.errors import UserError
from byol_helpers.report import lessons
from byol_helpers.report.notebooks import SHARES
from tests.helpers.notebook_rules import LINK, Notebook, anchors, tags

ROOT = Path(__file__).resolve().parents[2]
PLANS = sorted((ROOT / "docs/lessons").glob("lesson-*.md"))
PICTURE = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}, "metadata": {}}
SOLVED = "<details><summary>Solution of 1</summary>\n\nIt is 42.\n\n</details>"
HINT = "<details><summary>A hint</summary>\n\nCount.\n\n</details>"


def markdown(text: str, *tags: str) -> dict:
    return {"cell_type": "markdown", "id": "m", "metadata": {"tags": [*tags]}, "source": text}


def code(text: str, outputs: list, *tags: str) -> dict:
    cell = {"cell_type": "code", "id": "c", "metadata": {"tags": [*tags]}, "source": text}
    return cell | {"outputs": outputs, "execution_count": 1}


def make_notebook(*cells: dict) -> dict:
    named = [cell | {"id": f"cell-{k}"} for k, cell in enumerate(cells)]
    return {"cells": named, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


EXAMPLE = make_notebook(
    markdown("# Title\n\nA question."),
    code("x = 1", []),
    code("draw()", [PICTURE]),
    markdown("## 1 A part\n\n" + "word " * 100 + "\n\nnever on a slide"),
    markdown(f"1. What is it?\n\n{HINT}\n\n{SOLVED}"),
    code("answer = 42", [], "solution"),
    markdown(SOLVED),
)


def test_there_are_six_lessons():
    assert [path.stem for path in PLANS] == [f"lesson-{k}" for k in range(1, 7)]


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_a_plan_fills_ninety_minutes_without_a_gap(path):
    times = re.findall(r"^\| (\d+)–(\d+) \|", path.read_text(encoding="utf-8"), re.M)
    assert len(times) >= 5
    ends = [0, *(int(end) for _, end in times)]
    assert [int(start) for start, _ in times] == ends[:-1] and ends[-1] == 90


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_a_plan_has_all_its_parts_and_every_question_its_answer(path):
    text = path.read_text(encoding="utf-8")
    for part in ("Plan", "Run and skip", "Questions for the board", "What goes wrong"):
        assert f"\n## {part}\n" in text
    questions = text.partition("## Questions for the board")[2].partition("\n## ")[0]
    asked = re.findall(r"^\d\. (.*)$", questions, re.M)
    assert len(asked) >= 4
    for line in asked:
        assert re.fullmatch(r"\*\*.+[?.:]\*\* \*.+\*", line), line


@pytest.mark.parametrize("path", [*PLANS, ROOT / "docs/lessons/index.md"], ids=lambda p: p.stem)
def test_links_lead_somewhere(path):
    for first, second in LINK.findall(path.read_text(encoding="utf-8")):
        name, _, anchor = (first or second).partition("#")
        target = (path.parent / name).resolve()
        assert target.is_file(), name
        if anchor:
            assert anchor in anchors(Notebook(target, ROOT)), first


def test_parts_that_a_plan_names_by_number_are_in_the_notebook():
    """Notebooks are named '06, parts 1 and 2'; every such part has a heading."""
    for path in PLANS:
        for stem, said in re.findall(
            r"\b(0\d),? parts? ([1-9]\d*(?:(?:, | and | to )[1-9]\d*)*)", path.read_text()
        ):
            [notebook] = (ROOT / "notebooks").glob(f"{stem}-*.ipynb")
            headings = " ".join(anchors(Notebook(notebook, ROOT)))
            for number in re.findall(r"\d+", said):
                assert re.search(rf"(?:^| ){number}-", headings), (
                    f"{path.name}: {stem} part {number}"
                )


def test_solutions_are_taken_out_and_hints_stay():
    before = copy.deepcopy(EXAMPLE)
    student = lessons.remove_solutions(EXAMPLE)
    assert EXAMPLE == before
    text = json.dumps(student)
    assert "42" not in text and "Count." in text and "What is it?" in text
    assert [cell["cell_type"] for cell in student["cells"]] == ["markdown"] + ["code"] * 2 + [
        "markdown"
    ] * 2
    assert all(not cell["outputs"] for cell in student["cells"] if cell["cell_type"] == "code")


def test_what_remains_of_a_solution_is_found():
    assert lessons.find_solutions(EXAMPLE) == [4, 5, 6]
    assert lessons.find_solutions(lessons.remove_solutions(EXAMPLE)) == []
    headed = make_notebook(markdown("## Exercises\n\n1. Why?"), markdown("### Solution\n\n42"))
    assert lessons.find_solutions(lessons.remove_solutions(headed)) == [1]


def test_a_solution_that_remains_stops_the_command(tmp_path, monkeypatch, capsys):
    headed = make_notebook(markdown("# Title"), markdown("### Solution\n\n42"))
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for stem in SHARES:
        (folder / f"{stem}.ipynb").write_text(json.dumps(headed))
    monkeypatch.setattr(lessons, "NOTEBOOKS", folder)
    monkeypatch.setattr(lessons, "SLIDES", tmp_path / "slides.yaml")
    assert main(["lessons", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "a solution remains in cell 1" in said and said.count("\n") == 1
    assert not (tmp_path / "out/student").exists()
    (folder / "00-overview.ipynb").unlink()
    with pytest.raises(UserError, match="00-overview.ipynb: missing"):
        lessons.write_lessons(tmp_path / "out")
    (folder / "00-overview.ipynb").write_text(json.dumps(headed))
    (tmp_path / "slides.yaml").write_text("00-overview: [gone]\n")
    with pytest.raises(UserError, match="00-overview has no cell 'gone'"):
        lessons.write_lessons(tmp_path / "out")


def test_every_notebook_says_which_cells_are_slides():
    """By the tag or by the list, and the list names no cell that is gone."""
    listed = lessons.read_slides()
    assert listed.keys() <= SHARES.keys()
    for stem in SHARES:
        cells = Notebook(ROOT / f"notebooks/{stem}.ipynb", ROOT).cells
        chosen = set(listed.get(stem, []))
        assert chosen <= {cell["id"] for cell in cells}, stem
        tagged = [cell for cell in cells if lessons.SLIDE_TAG in tags(cell)]
        assert len(chosen) + len(tagged) >= 5, stem


def test_slides_are_the_tagged_cells_or_headings_and_pictures():
    assert [cell["id"] for cell in lessons.choose_slides(EXAMPLE)] == ["cell-0", "cell-2", "cell-3"]
    tagged = copy.deepcopy(EXAMPLE)
    tagged["cells"][1]["metadata"]["tags"] = ["slide"]
    assert [cell["id"] for cell in lessons.choose_slides(tagged)] == ["cell-1"]
    chosen = lessons.choose_slides(tagged, ["cell-0"])
    assert [cell["id"] for cell in chosen] == ["cell-0", "cell-1"]


def test_a_page_of_slides_shows_pictures_without_code_and_no_long_text():
    page = lessons.render_slides(EXAMPLE, "reveal-here")
    assert page.count("<section>") >= 3 and "reveal-here/" in page
    assert "iVBORw0KGgo" in page and "draw" not in page
    assert "A question." in page and "never on a slide" not in page


@pytest.mark.slow
def test_the_kit_of_all_notebooks(tmp_path):
    written = lessons.write_lessons(tmp_path)
    assert len(written) == 2 * len(SHARES)
    for stem in SHARES:
        page = (tmp_path / f"slides/{stem}.html").read_text(encoding="utf-8")
        assert page.count("<section>") >= 10, stem
        student = json.loads((tmp_path / f"student/{stem}.ipynb").read_text(encoding="utf-8"))
        assert lessons.find_solutions(student) == []
        given = json.loads((ROOT / f"notebooks/{stem}.ipynb").read_text(encoding="utf-8"))
        assert lessons.find_solutions(given), f"{stem} has exercises with solutions"
