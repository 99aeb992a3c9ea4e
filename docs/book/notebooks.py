"""A notebook of the course as a chapter of the book.

The committed file stays as it is. The copy that is built from numbers its figures and equations
(06.7: the seventh of notebook 06), folds cells that mostly draw, links mentions of the thesis's
figures, tables and equations to the page that sets both beside each other, and cites the works
whose titles it names. A tag ``hide-input`` or ``show-input`` of a cell decides over the folding.
"""

import ast
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat

CHECKED = "# NBVAL_CHECK_OUTPUT"
BADGE = re.compile(r"\[!\[([^\]]+)\]\([^)]*\)\]\(([^)]*)\)")
SETUP = "REPOSITORY = "  # a line of the setup cell
SHOWN = re.compile(r"\b(?:figures\.show|show_table)\(")
ARMS = ("byol", "supervised", "random")
LONG_DRAWING = 8  # lines of code that end in a figure, from which on they are folded
DISPLAY = re.compile(r"\$\$(.+?)\$\$([.,;]?)", re.DOTALL)
# What of Markdown is no running text: code, formulas, links, tags, headings.
FIXED = re.compile(
    r"```.*?```|`[^`\n]*`|\$\$.+?\$\$|\$[^$\n]+\$|!?\[[^\]]*\]\([^)]*\)|<[^>\n]+>|^#{1,6} [^\n]*",
    re.DOTALL | re.MULTILINE,
)
ITEM = r"\(?\d+(?:\.\d+)?\)?(?![\d.]*\d)"
SAID = re.compile(rf"\b(figure|table|equation)s?[ \n]({ITEM}(?:(?:,? and|,| to)[ \n]{ITEM})*)")
ALSO = re.compile(r"\*([^*\n]+(?:\n[^*\n]+)?)\*")


class Chapter:
    """Counts the figures and equations of one notebook while it is prepared.

    Attributes:
        stem: name of its file, which begins with its number.
        concordance: {``figure 4.7``: names of what stands for it in the course,
            ``06-evaluation/class-ap``} of the page of the thesis.
        figures: {name under which a run keeps it: number}.
    """

    def __init__(self, stem: str, concordance: dict[str, set[str]]) -> None:
        self.stem = stem
        self.concordance = concordance
        self.figures: dict[str, str] = {}
        self.equations = 0

    @property
    def number(self) -> str:
        """The two digits in front."""
        return self.stem[:2]

    def count_figure(self, name: str) -> str:
        """Number of the next figure; one that comes again gets the number it has."""
        return self.figures.setdefault(name, f"{self.number}.{len(self.figures) + 1}")

    def count_equation(self) -> str:
        """Number of the next equation."""
        self.equations += 1
        return f"{self.number}.{self.equations}"


def read_title(notebook: Any) -> str:
    """The first heading of a notebook, without its number."""
    first = notebook["cells"][0]["source"].splitlines()[0]
    return re.sub(r"^#\s*(?:\d\d\W+)?", "", first)


def prepare_notebook(
    path: Path, concordance: dict[str, set[str]], titles: dict[str, str]
) -> tuple[Any, Chapter]:
    """The notebook that the book is built from, and what was counted in it.

    Args:
        path: of the committed notebook.
        concordance: as in ``Chapter``.
        titles: {title in lower case: key} of the works in ``references.bib``.
    """
    notebook = deepcopy(nbformat.read(path, as_version=4))
    chapter = Chapter(path.stem, concordance)
    cells = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = prepare_text(cell["source"], chapter, titles)
            cells.append(cell)
        elif cell["cell_type"] == "code" and cell["source"].strip():
            cells += prepare_code(cell, chapter)
    cells[0]["source"] = add_number(cells[0]["source"], path.stem)
    notebook["cells"] = cells
    return notebook, chapter


def add_number(text: str, stem: str) -> str:
    """The first cell with the notebook's number in its title, with the link to its file, and with
    badges as links: their pictures would be fetched from elsewhere."""
    title, _, rest = BADGE.sub(r'<a class="download" href="\2">\1</a>', text).partition("\n")
    words = re.sub(r"^#\s*(?:\d\d\W+)?", "", title)
    link = f'<a class="download" href="notebooks/{stem}.ipynb" download>Download this notebook</a>'
    return f"# {stem[:2]} · {words}\n\n{link}\n{rest}"


def prepare_text(text: str, chapter: Chapter, titles: dict[str, str]) -> str:
    """Markdown of a cell with its numbers, links and citations."""
    text = cite_works(text, titles)
    text = link_to_thesis(text, set(chapter.concordance))
    text = text.replace("](../docs/", "](")  # the pages lie beside the notebooks
    return DISPLAY.sub(lambda found: _number_equation(found, chapter), text)


def _number_equation(found: re.Match, chapter: Chapter) -> str:
    number = chapter.count_equation()
    label = f"eq-{number.replace('.', '-')}"
    tex = found[1].strip()
    point = f" \\text{{{found[2]}}}" if found[2] else ""
    return f"\n\n```{{math}}\n:label: {label}\n\n{tex}{point}\n```\n\n"


def link_to_thesis(text: str, concordance: set[str]) -> str:
    """Mentions of the thesis's figures, tables and equations as links to their rows."""

    def link(found: re.Match) -> str:
        kind = found[1]
        single = re.fullmatch(ITEM, found[2]) is not None

        def link_item(item: re.Match) -> str:
            key = f"{kind} {item[0].strip('()')}"
            if key not in concordance:
                return item[0]
            said = found[0] if single else item[0]
            return f"[{said}](thesis.md#{anchor(key)})"

        if single:
            linked = link_item(re.match(r".*", found[2]))
            return linked if linked.startswith("[") else found[0]
        start = found.start(2) - found.start()
        return found[0][:start] + re.sub(ITEM, link_item, found[2])

    return replace_in_text(text, SAID, link)


def anchor(key: str) -> str:
    """The id of a row of the page of the thesis."""
    return key.replace(" ", "-").replace(".", "-")


def cite_works(text: str, titles: dict[str, str]) -> str:
    """Titles in italics, each followed by its citation where ``references.bib`` has the work."""

    def cite(found: re.Match) -> str:
        key = titles.get(re.sub(r"\s+", " ", found[1]).lower())
        return f"{found[0]} {{cite:p}}`{key}`" if key else found[0]

    return replace_in_text(text, ALSO, cite)


def replace_in_text(text: str, pattern: re.Pattern, replace: Any) -> str:
    """A substitution in running text only."""
    parts = []
    end = 0
    for fixed in FIXED.finditer(text):
        parts.append(pattern.sub(replace, text[end : fixed.start()]))
        parts.append(fixed[0])
        end = fixed.end()
    parts.append(pattern.sub(replace, text[end:]))
    return "".join(parts)


def prepare_code(cell: Any, chapter: Chapter) -> Iterator[Any]:
    """A code cell as the book shows it: each of its pictures in a cell of its own."""
    source = cell["source"].removeprefix(CHECKED).lstrip("\n")
    tags = [*cell["metadata"].get("tags", [])]
    if is_drawing(source) and not {"hide-input", "show-input"} & set(tags):
        tags.append("hide-input")
    metadata = {"tags": tags}
    outputs = [*merge_lines(cell["outputs"])]
    names = name_figures(source, sum(map(is_picture, outputs)))
    groups = [[]]
    for output in outputs:
        if groups[-1] and (is_picture(output) or is_picture(groups[-1][-1])):
            groups.append([])
        groups[-1].append(output)
    for k, group in enumerate(groups):
        shown = deepcopy(cell)
        shown["source"] = source if k == 0 else "# continued"  # MyST-NB leaves out empty cells
        shown["outputs"] = group
        shown["metadata"] = deepcopy(metadata)
        if k:
            shown["id"] = f"{cell['id']}-{k}"
            shown["metadata"]["tags"] = ["remove-input"]
        if group and is_picture(group[0]):
            shown["metadata"]["mystnb"] = _describe_figure(group[0], names.pop(0), chapter)
        yield shown


def name_figures(source: str, pictures: int) -> list[str]:
    """The names under which a run keeps the pictures of a cell, one for each.

    A name that a loop puts together from an arm, ``losses-{arm}``, stands for those of the arms.
    """
    found = []
    tree = ast.parse(source if "figures.show(" in source else "")
    for node in ast.walk(tree):
        is_show = isinstance(node, ast.Call) and ast.unparse(node.func) == "figures.show"
        if not is_show or len(node.args) < 2:
            continue
        name = ast.unparse(node.args[1]).removeprefix("f").strip("'\"")
        if "{" in name:
            found += [name[: name.index("{")] + arm for arm in ARMS]
        else:
            found.append(name)
    unnamed = [f"unnamed-{k}" for k in range(len(found), pictures)]
    return [*found, *unnamed][:pictures]


def is_drawing(source: str) -> bool:
    """Whether a cell is the setup, or long and ends in a figure or table: its code is folded."""
    if SETUP in source:
        return True
    lines = [line for line in source.splitlines() if line.strip()]
    return len(lines) >= LONG_DRAWING and SHOWN.search(source) is not None


def merge_lines(outputs: list[Any]) -> Iterator[Any]:
    """Outputs with neighbouring lines of text in one, and without blank lines between them."""
    last = None
    for output in outputs:
        is_stream = output["output_type"] == "stream"
        if is_stream and last is not None and last["name"] == output["name"]:
            last["text"] += output["text"].lstrip("\n")
            continue
        last = output if is_stream else None
        yield output


def is_picture(output: Any) -> bool:
    """Whether an output of a cell is a picture."""
    return "image/png" in output.get("data", {})


def _describe_figure(output: Any, name: str, chapter: Chapter) -> dict:
    """What MyST-NB is to make of a picture: alt text, number, and a place to link to."""
    alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    number = chapter.count_figure(name)
    return {
        "image": {"alt": re.sub(r"\s+", " ", alt).strip()},
        "figure": {
            "caption": compose_caption(name, number, chapter),
            "name": f"fig-{number.replace('.', '-')}",
        },
    }


def compose_caption(name: str, number: str, chapter: Chapter) -> str:
    """The number of a figure, and what of the thesis it stands beside."""
    of_thesis = []
    for key, names in chapter.concordance.items():
        if f"{chapter.stem}/{name}" in names:
            of_thesis.append(f"[{key}](thesis.md#{anchor(key)})")
    if not of_thesis:
        return f"Figure {number}"
    return f"Figure {number}, beside the thesis's {', '.join(of_thesis)}"
