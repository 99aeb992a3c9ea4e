"""What a lecturer takes into the room: slides of the notebooks, and notebooks without solutions.

The plans of the lessons are pages in ``docs/lessons``. Nothing here runs a notebook: slides show
the outputs that the notebooks hold.
"""

import copy
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_text
from byol_helpers.report.html import convert_tex
from byol_helpers.report.notebooks import NOTEBOOKS, ROOT, SHARES

SLIDE_TAG = "slide"
SLIDES = ROOT / "docs" / "lessons" / "slides.yaml"  # of notebooks whose cells have no such tag
SOLUTION_TAG = "solution"  # of a cell that is nothing but a solution
DETAILS = re.compile(r"<details>\s*<summary>(?P<summary>.*?)</summary>.*?</details>", re.S | re.I)
WORDS_ON_A_SLIDE = 90
HIDE_TAG = "hide-code"  # of a cell that is shown by its output alone
CHECKED = "# NBVAL_CHECK_OUTPUT"  # a mark for the tests, not for a reader
REVEAL = "https://cdn.jsdelivr.net/npm/reveal.js@4"
SLIDE_STYLE = """
<style>
.reveal { font-size: 22px; }
.reveal h1 { font-size: 40px; } .reveal h2 { font-size: 32px; } .reveal h3 { font-size: 26px; }
.reveal .slides { text-align: left; }
.reveal img { max-height: 560px; width: auto; margin: 0 auto; display: block; }
.reveal pre { font-size: 15px; box-shadow: none; }
.reveal table { font-size: 17px; }
</style>
"""
# nbconvert's own scripts come from three more addresses; formulas are MathML, which needs none.
SCRIPTS = re.compile(
    r"<script[^>]*\bsrc=\"https://[^>]*></script>|<script>\s*require\(.*?</script>", re.S
)
START_SLIDES = """
<script src="{reveal}/dist/reveal.js"></script>
<script>
Reveal.initialize({{hash: true, width: 1100, height: 700, margin: 0.04, center: false}});
</script>
"""


def write_lessons(out: Path, reveal: str = REVEAL) -> list[Path]:
    """Write ``slides/<notebook>.html`` and ``student/<notebook>.ipynb`` for all notebooks.

    Args:
        out: a folder; its files of these names are replaced.
        reveal: where the slides find reveal.js: an address, or a folder beside the slides, for a
            room without a connection.

    Raises:
        UserError: a notebook is missing, a cell that ``SLIDES`` names is in no notebook, or a
            solution would remain in a student version.
    """
    listed = read_slides()
    written = []
    for stem in SHARES:
        path = NOTEBOOKS / f"{stem}.ipynb"
        if not path.is_file():
            raise UserError(f"{path}: missing; make lessons from a copy of the repository")
        notebook = json.loads(path.read_text(encoding="utf-8"))
        chosen = listed.get(stem, [])
        lost = sorted(set(chosen) - {cell["id"] for cell in notebook["cells"]})
        if lost:
            raise UserError(f"{SLIDES}: {stem} has no cell {lost[0]!r}; take it out of the list")
        page = render_slides(notebook, reveal, chosen)
        written.append(write_text(out / f"slides/{stem}.html", page))
        student = remove_solutions(notebook)
        left = find_solutions(student)
        if left:
            raise UserError(
                f"{path}: a solution remains in cell {left[0]}; tag it {SOLUTION_TAG!r}"
            )
        text = json.dumps(student, indent=1, ensure_ascii=False) + "\n"
        written.append(write_text(out / f"student/{stem}.ipynb", text))
    return written


def remove_solutions(notebook: dict[str, Any]) -> dict[str, Any]:
    """A copy of a notebook without solutions and without outputs.

    Folded blocks whose summary speaks of a solution are cut out of the texts, and cells tagged
    ``solution`` are left out, as are texts of which nothing remains.
    """
    made = copy.deepcopy(notebook)
    kept = []
    for cell in made["cells"]:
        if SOLUTION_TAG in _get_tags(cell):
            continue
        if cell["cell_type"] == "code":
            cell["outputs"] = []
            cell["execution_count"] = None
        else:
            text = DETAILS.sub(_drop_if_solution, _get_text(cell)).strip()
            cell["source"] = text.splitlines(keepends=True)
            if not text:
                continue
        kept.append(cell)
    made["cells"] = kept
    return made


def find_solutions(notebook: dict[str, Any]) -> list[int]:
    """Numbers of cells that hold a solution: tagged, folded, or under a heading that says so."""
    found = []
    for number, cell in enumerate(notebook["cells"]):
        text = _get_text(cell)
        folded = any(_is_solution(match["summary"]) for match in DETAILS.finditer(text))
        headed = re.search(r"^#+ .*\bsolutions?\b", text, re.M | re.I)
        is_text = cell["cell_type"] == "markdown"
        if SOLUTION_TAG in _get_tags(cell) or (is_text and (folded or headed)):
            found.append(number)
    return found


def read_slides() -> dict[str, list[str]]:
    """Ids of the cells that become slides, by notebook; empty where the list is missing."""
    if not SLIDES.is_file():
        return {}
    return yaml.safe_load(SLIDES.read_text(encoding="utf-8"))


def choose_slides(notebook: dict[str, Any], chosen: Collection[str] = ()) -> list[dict[str, Any]]:
    """The cells of a notebook that become slides: those tagged ``slide`` and those with an id that
    is ``chosen``.

    Where there is none: the title, the headings of sections, and the cells that draw a picture.
    """
    cells = notebook["cells"]
    named = [cell for cell in cells if SLIDE_TAG in _get_tags(cell) or cell["id"] in chosen]
    return named or [cell for cell in cells if _is_heading(cell) or _has_picture(cell)]


def render_slides(
    notebook: dict[str, Any], reveal: str = REVEAL, chosen: Collection[str] = ()
) -> str:
    """The chosen cells of a notebook as one page of slides, each cell a slide.

    A text is cut after the paragraph in which it reaches ``WORDS_ON_A_SLIDE`` words. Of a cell that
    draws a picture or makes a table only these are shown, without the code.
    """
    import nbformat
    from jinja2 import pass_context
    from nbconvert import SlidesExporter
    from traitlets.config import Config

    shown = copy.deepcopy(notebook)
    shown["cells"] = choose_slides(shown, chosen)
    for cell in shown["cells"]:
        cell["metadata"]["slideshow"] = {"slide_type": "slide"}
        if cell["cell_type"] == "markdown":
            cell["source"] = _shorten(_get_text(cell))
            continue
        cell["source"] = _get_text(cell).removeprefix(f"{CHECKED}\n")
        if _has_picture(cell) or _has_table(cell):
            cell["metadata"]["tags"] = [*_get_tags(cell), HIDE_TAG]
    config = Config()
    config.SlidesExporter.reveal_url_prefix = reveal
    config.SlidesExporter.reveal_scroll = True
    config.SlidesExporter.exclude_input_prompt = True
    config.SlidesExporter.exclude_output_prompt = True
    config.TagRemovePreprocessor.enabled = True
    config.TagRemovePreprocessor.remove_input_tags = {HIDE_TAG}
    exporter = SlidesExporter(config=config)

    @pass_context
    def render_markdown(context: Any, source: str) -> str:
        return convert_tex(exporter.markdown2html(context, source))

    exporter.register_filter("markdown2html", render_markdown)
    page, _ = exporter.from_notebook_node(nbformat.reads(json.dumps(shown), 4))
    page = SCRIPTS.sub("", page)
    return page.replace("</head>", f"{SLIDE_STYLE}</head>", 1) + START_SLIDES.format(reveal=reveal)


def _get_text(cell: dict[str, Any]) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _get_tags(cell: dict[str, Any]) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def _is_solution(summary: str) -> bool:
    return "solution" in summary.lower()


def _drop_if_solution(match: re.Match) -> str:
    return "" if _is_solution(match["summary"]) else match[0]


def _is_heading(cell: dict[str, Any]) -> bool:
    """A text that begins with the title or with a section's heading."""
    return cell["cell_type"] == "markdown" and bool(re.match(r"##? ", _get_text(cell)))


def _has_picture(cell: dict[str, Any]) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def _has_table(cell: dict[str, Any]) -> bool:
    return any("text/markdown" in output.get("data", {}) for output in cell.get("outputs", []))


def _shorten(text: str) -> str:
    """The first paragraphs of a text, to the one in which it has enough words for a slide."""
    kept = []
    words = 0
    for paragraph in DETAILS.sub("", text).strip().split("\n\n"):
        kept.append(paragraph)
        words += len(paragraph.split())
        if words >= WORDS_ON_A_SLIDE:
            break
    return "\n\n".join(kept)
