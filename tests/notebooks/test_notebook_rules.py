"""The committed notebooks keep the rules of ``notebook_rules``, and each rule catches what it is
there for.
"""

import copy
import json
import re
from pathlib import Path

import pytest

from byol_helpers import load_thesis
from byol_helpers.reproduction.verdicts import name_anchor
from tests.helpers.notebook_rules import (
    CELLS,
    MAX_BYTES,
    MAX_CODE_LINES,
    RULES,
    Notebook,
    anchors,
)

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS, "notebooks/ holds no notebook"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, rule):
    problems = RULES[rule](Notebook(path, ROOT))
    assert not problems, "\n" + "\n".join(f"{path.name}: {problem}" for problem in problems)


def test_every_claim_has_its_place_in_a_notebook():
    lost = []
    for claim in load_thesis().claims:
        notebook = Notebook(ROOT / "notebooks" / f"{claim.notebook}.ipynb", ROOT)
        if name_anchor(claim.id) not in anchors(notebook):
            lost.append(claim.id)
    assert lost == []


def test_each_named_place_stands_once_in_the_book():
    named = []
    for path in NOTEBOOKS:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                named += re.findall(r'<a id="([\w-]+)">', "".join(cell["source"]))
    assert sorted(set(named)) == sorted(named)


def good() -> dict:
    """The smallest notebook without a problem, as JSON."""
    picture = {
        "output_type": "display_data",
        "data": {"image/png": "iVBORw0KGgo="},
        "metadata": {"image/png": {"alt": "A curve that falls."}},
    }
    printed = {"output_type": "stream", "name": "stdout", "text": "45\n"}
    cells = [
        markdown("# 00 · Title\n[Contents](next.ipynb#part), ![a curve](next.ipynb)."),
        code(
            'PROFILE: str = "quick"  # scale of the run\nSEEDS: list = [0, 1]  # one run each',
            [],
            tags=["parameters"],
        ),
        code("# NBVAL_CHECK_OUTPUT\nprint(sum(range(10)))", [printed]),
        code("plot()", [picture]),
    ]
    cells.append(markdown("## What you will be able to do\n[1](#1-A-part)"))
    cells.append(markdown("## 1 A part\n## Takeaways\n## Exercises\n## What to read next"))
    cells += [markdown(f"Paragraph {n}, a share of 3/4.") for n in range(CELLS.start - len(cells))]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    for count, cell in enumerate((c for c in cells if c["cell_type"] == "code"), 1):
        cell["execution_count"] = count
    return {
        "cells": cells,
        "metadata": {"kernelspec": {"name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def markdown(source: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def code(source: str, outputs: list, tags: list[str] = ()) -> dict:
    return {
        "cell_type": "code",
        "metadata": {"tags": list(tags)},
        "source": source,
        "outputs": outputs,
    }


def write(folder: Path, notebook: dict) -> Notebook:
    (folder / "next.ipynb").write_text(json.dumps({"cells": [markdown("## part")]}))
    path = folder / "lesson.ipynb"
    path.write_text(json.dumps(notebook))
    return Notebook(path, folder)


def test_a_good_notebook_has_no_problem(tmp_path):
    notebook = write(tmp_path, good())
    assert {name: rule(notebook) for name, rule in RULES.items()} == {name: [] for name in RULES}


def _set(number: int, **values):
    return lambda nb: nb["cells"][number].update(values)


def _printed(text: str):
    return _set(2, outputs=[{"output_type": "stream", "name": "stdout", "text": text}])


BAD = [  # rule, what is spoilt, a word of the problem
    ("outputs_present", lambda nb: [c.update(outputs=[]) for c in nb["cells"]], "no outputs"),
    ("executed_in_order", _set(2, execution_count=7), "[1, 7, 3]"),
    ("executed_in_order", _set(2, execution_count=None), "None"),
    ("kernel", lambda nb: nb["metadata"]["kernelspec"].update(name="my-env"), "my-env"),
    ("no_errors", _set(3, outputs=[{"output_type": "error", "ename": "KeyError"}]), "KeyError"),
    ("no_widget_state", lambda nb: nb["metadata"].update(widgets={}), "widget"),
    ("size", _printed("x" * MAX_BYTES), "MB"),
    ("cell_length", _set(3, source="x = 1\n" * (MAX_CODE_LINES + 1)), "31 lines"),
    ("cell_count", lambda nb: nb["cells"].pop(), f"{CELLS.start - 1} cells"),
    ("cell_count", lambda nb: nb["cells"].extend([markdown("more")] * 70), "95 cells"),
    ("parameters", _set(1, metadata={}), "0 cells"),
    ("parameters", _set(2, metadata={"tags": ["parameters"]}), "2 cells"),
    ("parameters", _set(1, source="SEED: int = 3"), "no comment"),
    ("parameters", _set(1, source='NAME: str = "#"'), "no comment"),
    ("parameters", _set(1, source="SEED = 3  # drawn"), "name: type"),
    ("parameters", _set(1, source="import os  # tools"), "name: type"),
    ("parameters", _set(1, source="STEPS: int = 2 * EPOCHS  # derived"), "literal"),
    ("alt_text", lambda nb: nb["cells"][3]["outputs"][0].update(metadata={}), "image/png without"),
    ("alt_text", _set(5, source="![](next.ipynb)"), "picture"),
    ("alt_text", _set(5, source='<img src="next.ipynb">'), "picture"),
    ("no_absolute_paths", _set(3, source='open("/home/ada/x.csv")'), "/home/ada"),
    ("no_absolute_paths", _printed("saved to /tmp/run/model.pth"), "/tmp/run"),
    ("no_absolute_paths", _printed("saved to C:\\Users\\ada"), "C:"),
    ("links_alive", _set(5, source="[next](missing.ipynb)"), "nowhere"),
    ("links_alive", _set(5, source="[out](../../other)"), "leaves"),
    ("checked_cells", _set(2, source="print(45)"), "no cell"),
    ("checked_cells", _set(2, outputs=[]), "without output"),
    ("title", _set(0, source="No title"), "title"),
    ("cell_ids", lambda nb: nb["cells"][4].pop("id"), "''"),
    ("cell_ids", _set(4, id="cell-5"), "repeat"),
    ("template", _set(0, source="# Title, [contents](next.ipynb)"), "title"),
    ("template", _set(4, source="## Goals"), "second cell"),
    ("template", _set(5, source="## 2 Lost"), "'2 Lost'"),
    ("template", _set(5, source="## Takeaways"), "'## Exercises'"),
    ("anchors_alive", _set(6, source="# A title\n[up](#a-title)"), "#a-title"),
    ("anchors_alive", _set(6, source="[there](next.ipynb#whole)"), "next.ipynb#whole"),
    ("imports_from_rooms", _set(3, source="from byol_helpers.coco.masks import x"), "coco.masks"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "spoil", "word"), BAD, ids=[f"{rule}-{word}" for rule, _, word in BAD]
)
def test_each_rule_catches_what_it_is_there_for(tmp_path, rule, spoil, word):
    notebook = copy.deepcopy(good())
    spoil(notebook)
    problems = RULES[rule](write(tmp_path, notebook))
    assert problems and word in problems[0]


def test_every_rule_is_seen_to_fail():
    assert {rule for rule, _, _ in BAD} == set(RULES)


@pytest.mark.parametrize(
    "source",
    [
        "[run](../runs/quick/index.html)",
        "[web](https://example.org/tmp/a)",
        "`[code](x)`",
        "[here](#top)",
    ],
)
def test_links_that_are_no_files_are_left_alone(tmp_path, source):
    notebook = good()
    notebook["cells"][5]["source"] = source
    (tmp_path / "notebooks").mkdir()
    written = write(tmp_path / "notebooks", notebook)
    assert RULES["links_alive"](Notebook(written.path, tmp_path)) == []
    assert RULES["no_absolute_paths"](written) == []
