"""The book: what is made of a notebook for it, and the finished site where its tools are there."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

from byol_helpers.report.html import render_notebook
from docs.book.build import (
    list_notebooks,
    list_pages,
    number_concordance,
    read_concordance,
    read_titles,
    slug_heading,
)
from docs.book.checks import Page, check_files, follow_link
from docs.book.notebooks import (
    Chapter,
    add_number,
    cite_works,
    is_drawing,
    link_to_thesis,
    merge_lines,
    name_figures,
    prepare_code,
    prepare_text,
)

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
KNOWN = {"figure 4.7", "figure 4.8", "figure 4.10", "equation 10", "table 4.3"}


def test_the_thesis_is_linked_where_it_is_mentioned():
    text = link_to_thesis("see figure 4.7, equation (10) and figures 4.8 to 4.10", KNOWN)
    assert text == (
        "see [figure 4.7](thesis.md#figure-4-7), [equation (10)](thesis.md#equation-10) and "
        "figures [4.8](thesis.md#figure-4-8) to [4.10](thesis.md#figure-4-10)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "figure 9.9",
        "## Table 4.3 and figure 4.7",
        "`figure 4.7`",
        "[figure 4.7](a.md)",
        "$table 4.3$",
    ],
)
def test_what_is_no_running_text_or_unknown_stays(text):
    assert link_to_thesis(text, KNOWN) == text


def test_works_are_cited_by_their_titles():
    titles = read_titles(DOCS / "references.bib")
    assert titles["mask r-cnn"] == "he2017mask"
    said = "K. He et al., *Mask R-CNN*, and D. Bolya et al., *TIDE*; *no such work*"
    assert cite_works(said, titles) == (
        "K. He et al., *Mask R-CNN* {cite:p}`he2017mask`, and D. Bolya et al., *TIDE* "
        "{cite:p}`bolya2020tide`; *no such work*"
    )


def test_equations_and_figures_carry_the_number_of_their_notebook():
    chapter = Chapter("06-evaluation", {"figure 4.7": {"06-evaluation/class-ap"}})
    text = prepare_text("first $$a$$ then\n\n$$b$$,\n\nlast", chapter, {})
    assert ":label: eq-06-1\n\na\n" in text and ":label: eq-06-2\n\nb \\text{,}\n" in text
    picture = nbformat.v4.new_output(
        "display_data", {"image/png": "AAAA"}, metadata={"image/png": {"alt": "so\nmuch"}}
    )
    table = nbformat.v4.new_output("display_data", {"text/markdown": "| |"})
    source = 'figures.show(fig, "iou", "alt", run)\nfigures.show(other, "class-ap", "alt", run)'
    cell = nbformat.v4.new_code_cell(source, outputs=[picture, table, picture])
    parts = list(prepare_code(cell, chapter))
    assert [len(part["outputs"]) for part in parts] == [1, 1, 1]
    figures = [part["metadata"].get("mystnb", {}).get("figure", {}) for part in parts]
    assert figures[0] == {"caption": "Figure 06.1", "name": "fig-06-1"}
    assert figures[1] == {}
    assert figures[2]["caption"].endswith("the thesis's [figure 4.7](thesis.md#figure-4-7)")
    assert parts[0]["metadata"]["mystnb"]["image"]["alt"] == "so much"
    assert [part["source"] == source for part in parts] == [True, False, False]


def test_names_of_figures_are_read_from_their_cells():
    assert name_figures('figures.show(draw(["a", "b"]), "own", "alt")', 1) == ["own"]
    loop = 'for arm in arms:\n    figures.show(fig, f"losses-{arm}", "alt")'
    assert name_figures(loop, 3) == ["losses-byol", "losses-supervised", "losses-random"]
    assert name_figures("%matplotlib inline\nplot()", 1) == ["unnamed-0"]


def test_only_long_cells_that_draw_are_folded():
    drawing = "\n".join([*["a = 1"] * 8, 'figures.show(a, "b", "c")'])
    assert is_drawing(drawing)
    assert not is_drawing('figures.show(a, "b", "c")') and not is_drawing("a = 1\n" * 30)
    shown = nbformat.v4.new_code_cell(drawing, metadata={"tags": ["show-input"]})
    [part] = prepare_code(shown, Chapter("06-evaluation", {}))
    assert part["metadata"]["tags"] == ["show-input"]


def test_a_chapter_begins_with_its_number_its_file_and_its_badges():
    text = add_number("# Evaluation: how good?\n\n[![Open](p.svg)](https://a.b/c)\nText", "06-x")
    assert text.startswith("# 06 · Evaluation: how good?\n")
    assert 'href="notebooks/06-x.ipynb" download>' in text
    assert '<a class="download" href="https://a.b/c">Open</a>' in text and "svg" not in text
    assert add_number("# 06 · Evaluation", "06-x").startswith("# 06 · Evaluation\n")


def test_lines_of_text_come_in_one_block():
    lines = [nbformat.v4.new_output("stream", text=f"\n{k}\n") for k in range(3)]
    [merged] = merge_lines(lines)
    assert merged["text"] == "\n0\n1\n2\n"


def test_anchors_are_those_of_jupyter():
    assert slug_heading("5 · Table 4.1, again?") == "5-·-Table-4.1,-again?"


def test_every_row_of_the_thesis_has_its_figure():
    text = (DOCS / "thesis.md").read_text(encoding="utf-8")
    concordance = read_concordance(text)
    assert len(concordance) > 30
    there = set()
    for path in list_notebooks():
        for cell in nbformat.read(path, as_version=4)["cells"]:
            if cell["cell_type"] == "code":
                names = name_figures(cell["source"], cell["source"].count("figures.show(") + 2)
                there |= {f"{path.stem}/{name}" for name in names}
    assert set().union(*concordance.values()) - there == set()


def test_every_mention_of_a_rebuilt_figure_or_table_has_its_row():
    numbered = number_concordance("| figure 4.7 | a | [06](../notebooks/06-x.ipynb) | `b` |\n", {})
    assert numbered == "| figure 4.7 | a | [06](../notebooks/06-x.ipynb) | `b` |\n"
    chapter = Chapter("06-x", {})
    chapter.count_figure("b")
    row = "| figure 4.7 | a | [06](../notebooks/06-x.ipynb) | `b` |\n"
    numbered = number_concordance(row, {"06-x": chapter})
    assert '<span id="figure-4-7"></span>' in numbered
    assert "[figure 06.1](06-x.ipynb#fig-06-1) (`b`)" in numbered


def test_all_pages_are_in_the_contents():
    assert set(list_pages()) == {path.stem for path in DOCS.glob("*.md")}
    assert list_pages()[-1] == "sources"


def test_dead_links_and_speechless_pictures_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#there">ok</a><a href="b.html#gone">no</a>'
        '<a href="c.html">no</a><a href="#top">ok</a><a href="https://example.org/x">out</a>'
        '<img src="p.png" alt=" ">'
    )
    (tmp_path / "b.html").write_text('<p id="there"></p>')
    assert list(check_files(tmp_path)) == [
        "a.html: no alternative text: p.png",
        "a.html: dead anchor: b.html#gone",
        "a.html: dead link: c.html",
        "a.html: dead link: p.png",
    ]
    page = Page("<p id='x'></p>")
    here = tmp_path / "b.html"
    assert follow_link(here, "#x", {here: page}) is None
    assert follow_link(here, "#y", {here: page}) == "dead anchor"


@pytest.fixture(scope="session")
def book_python():
    """A Python that has what the book is made with: this one, or that of ``make site``."""
    if find_spec("sphinx") and find_spec("myst_nb") and find_spec("sphinx_book_theme"):
        return sys.executable
    own = ROOT / ".venv-site" / "bin" / "python"
    if not own.is_file():
        pytest.skip("the tools of the book are not installed: make site")
    return str(own)


@pytest.mark.slow
def test_the_site_builds_without_a_dead_link_or_a_speechless_picture(tmp_path, book_python):
    out = tmp_path / "site"
    command = [book_python, "-m", "docs.book", "site", "--out", str(out)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert list(check_files(out)) == []
    pages = {path.stem for path in out.glob("*.html")}
    assert {path.stem for path in list_notebooks()} | set(list_pages()) <= pages
    text = (out / "06-evaluation.html").read_text(encoding="utf-8")
    assert "<math" in text and "Figure 06.1" in text and "$$" not in text
    assert "http://" not in text.replace("http://www.w3.org/", "")
    for source in ("src=", "<link"):
        assert f'{source}"https://' not in text  # nothing is loaded from elsewhere


@pytest.mark.slow
def test_no_link_of_the_reports_pages_is_dead(tmp_path):
    """The contents of each notebook, and the links between them."""
    pages = {}
    for path in list_notebooks():
        place = (tmp_path / f"{path.stem}.html").resolve()
        place.write_text(render_notebook(path), encoding="utf-8")
        pages[place] = Page(place.read_text(encoding="utf-8"))
    dead = []
    for place, page in pages.items():
        dead += [f"{place.name} {link}" for link in page.targets if follow_link(place, link, pages)]
        assert any(link.startswith("#1-") for link in page.targets), place.name
    assert dead == []
