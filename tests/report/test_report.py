"""Every notebook, executed by the report at smoke scale, and the pages that it leaves."""

import json
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import psutil
import pytest

from byol_helpers.cli import main
from byol_helpers.core.profile_files import load_profile
from byol_helpers.core.stage import Run
from byol_helpers.report import html
from byol_helpers.report.notebooks import (
    NOTEBOOKS,
    ROOT,
    SHARES,
    _collect_inputs,
    count_workers,
    list_parameters,
)

CODE = re.compile(r"<(script|style|pre|code)\b.*?</\1>", re.S)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One smoke run; all of these tests look at it."""
    run = tmp_path_factory.mktemp("runs") / "smoke"
    assert main(["report", "--profile", "smoke", "--run", str(run)]) == 0
    return run


def wait_for_children(pid, kernels):
    """The processes below a report, once so many kernels have begun."""
    while True:
        assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        children = psutil.Process(pid).children(recursive=True)
        lines = [" ".join(child.cmdline()) for child in children if child.is_running()]
        if sum("ipykernel" in line for line in lines) == kernels:
            return children
        time.sleep(0.2)


class Links(HTMLParser):
    """Collects the targets of links and pictures, ids, and alt texts."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.ids, self.alts = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.targets += [found[key] for key in ("href", "src") if found.get(key)]
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        if tag == "img":
            self.alts.append(found.get("alt"))


def test_notebooks_are_told_what_differs_from_their_own_parameters(tmp_path, monkeypatch):
    quick = Run(Path("runs/quick"), load_profile("quick"))
    monkeypatch.chdir(ROOT)
    assert list_parameters(quick, "quick", []) == {}
    mine = Run(Path("runs/mine"), load_profile("quick"), Path("photos"))
    told = {"PROFILE": "mine.yaml", "RUN_FOLDER": "runs/mine", "DATA_FOLDER": "photos"}
    assert list_parameters(mine, "mine.yaml", []) == told
    monkeypatch.chdir(tmp_path)
    told = {name: str(tmp_path / path) for name, path in told.items()}
    assert list_parameters(mine, "mine.yaml", ["seed=1"]) == told | {"OVERRIDES": ["seed=1"]}


def test_a_page_depends_on_the_studies_that_are_there(tmp_path):
    run = Run(tmp_path, load_profile("smoke"))
    (tmp_path / "profile.yaml").write_text("seed: 0")
    before = _collect_inputs(run, "09-scorecard", [])
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "pretraining.csv").write_text("variant,seed,step,loss")
    after = _collect_inputs(run, "09-scorecard", [])
    assert {key for key in after if after[key] != before[key]} == {"studies"}


def test_a_page_depends_on_the_results_of_planned_studies(tmp_path, monkeypatch):
    run = Run(tmp_path, load_profile("smoke"))
    (tmp_path / "profile.yaml").write_text("seed: 0")
    before = _collect_inputs(run, "09-scorecard", [])
    monkeypatch.setattr("byol_helpers.report.notebooks.load_plan", dict)
    after = _collect_inputs(run, "09-scorecard", [])
    assert set(before["results"]) >= {"laptop"} and after["results"] == {}


def test_every_notebook_of_the_repository_is_part_of_the_report():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == list(SHARES)


@pytest.mark.slow
@pytest.mark.parametrize("stem", SHARES)
def test_a_notebook_ran_to_its_end_and_its_pictures_have_words(run, stem):
    cells = json.loads((run / f"notebooks/{stem}.ipynb").read_text())["cells"]
    code = [
        cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
    ]
    assert all(cell["execution_count"] for cell in code)
    page = Links((run / f"notebooks/{stem}.html").read_text())
    assert all(page.alts), "a picture without alt text"


@pytest.mark.parametrize("stem", SHARES)
def test_equations_are_drawn_without_a_connection(stem):
    text = CODE.sub("", html.render_notebook(NOTEBOOKS / f"{stem}.ipynb"))
    source = json.loads((NOTEBOOKS / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    written = any(
        "$" in "".join(cell["source"]) for cell in source if cell["cell_type"] == "markdown"
    )
    assert "$" not in text and ("<math" in text) == written


def test_an_equation_becomes_mathml_and_code_stays():
    drawn = html.convert_tex("<p>$a &lt; b$, <code>$HOME</code> and $$\\tau$$</p>")
    assert drawn.count("<math") == 2 and "<mi>a</mi><mo>&#x0003C;</mo><mi>b</mi>" in drawn
    assert "<code>$HOME</code>" in drawn and 'display="block"' in drawn


@pytest.mark.slow
def test_a_killed_report_leaves_no_process_behind(tmp_path):
    command = [sys.executable, "-m", "byol_helpers", "report", "--profile", "smoke"]
    report = subprocess.Popen([*command, "--run", str(tmp_path / "smoke")])
    children = wait_for_children(report.pid, count_workers())
    report.kill()
    report.wait()
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert gone and not alive


@pytest.mark.slow
def test_index_links_to_what_is_there(run):
    page = Links((run / "index.html").read_text())
    local = [t for t in page.targets if not t.startswith(("http", "data:", "#"))]
    assert len(local) > len(SHARES)
    missing = [target for target in local if not (run / target.split("#")[0]).is_file()]
    assert not missing
    assert all(page.alts)


@pytest.mark.slow
def test_claims_link_to_the_cell_that_measured_them(run):
    card = json.loads((run / "scorecard.json").read_text())
    for row in card["claims"]:
        path, _, anchor = row["link"].partition("#")
        assert anchor in Links((run / path).read_text()).ids, row["link"]


@pytest.mark.slow
def test_the_stand_in_is_never_called_imagenet(run):
    text = re.sub(r"<[^>]+>", " ", (run / "index.html").read_text())
    assert "supervised (stand-in)" in text
    rows = json.loads((run / "evaluate/comparison.json").read_text())["arms"]
    labels = {arm["label"] for arm in rows.values()}
    assert labels == {"BYOL", "BYOL from random", "supervised (stand-in)", "random"}


@pytest.mark.slow
def test_a_second_report_runs_no_stage_and_no_notebook_again(run, capsys):
    kept = [*run.rglob("stage.json"), *run.glob("notebooks/*.ipynb")]
    before = {path: path.stat().st_mtime_ns for path in kept}
    assert main(["report", "--profile", "smoke", "--run", str(run)]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert capsys.readouterr().out.count("up to date") == len(SHARES) + 1  # and the data


@pytest.mark.slow
def test_a_lost_stage_brings_back_what_depends_on_it_and_no_more(run, capsys):
    (run / "background/random-seed0/stage.json").unlink()
    assert main(["report", "--profile", "smoke", "--run", str(run)]) == 0
    said = capsys.readouterr().out
    assert "06-evaluation: up to date" in said
    assert "07-background: done" in said and "09-scorecard: done" in said
