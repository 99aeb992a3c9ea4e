"""What a committed notebook must look like before a reader opens it.

A rule takes a notebook and returns one line per problem, an empty list when there is none;
``RULES`` holds all rules by name.
"""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

MAX_BYTES = 1_000_000
MAX_CODE_LINES = 30  # as formatted: at most 88 columns
CELLS = range(25, 91)  # 40 to 80 is the aim; outside of this range a notebook is two, or none
CHECKED = "# NBVAL_CHECK_OUTPUT"
IMAGES = ("image/png", "image/jpeg", "image/svg+xml")
ABSOLUTE = re.compile(
    r"(?<![\w.:/~-])/(?:home|root|tmp|work|Users)(?:/[\w.-]+)+|\b[CD]:\\{1,2}[\w.-]+"
)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:src|href)=[\"']([^\"']+)[\"']")
CELL_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


@dataclass(frozen=True)
class Notebook:
    """A notebook as the rules see it."""

    path: Path
    root: Path

    @cached_property
    def json(self) -> dict:
        return json.loads(self.path.read_text(encoding="utf-8"))

    @property
    def cells(self) -> list[dict]:
        return self.json["cells"]

    @property
    def code(self) -> list[tuple[int, dict]]:
        """(number of the cell, code cell) for every code cell that is not empty."""
        cells = [(n, cell) for n, cell in enumerate(self.cells) if cell["cell_type"] == "code"]
        return [(n, cell) for n, cell in cells if text(cell["source"]).strip()]

    @property
    def outputs(self) -> list[tuple[int, dict]]:
        """(number of the cell, output) for every output."""
        return [(n, output) for n, cell in self.code for output in cell["outputs"]]


def text(value: str | list[str]) -> str:
    """The notebook format stores text as a string or as a list of lines."""
    return value if isinstance(value, str) else "".join(value)


def tags(cell: dict) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def outputs_present(nb: Notebook) -> list[str]:
    return [] if nb.outputs else ["no outputs: commit the notebook as the quick run executed it"]


def executed_in_order(nb: Notebook) -> list[str]:
    counts = [cell["execution_count"] for _, cell in nb.code]
    in_order = counts == list(range(1, len(counts) + 1))
    return [] if in_order else [f"execution counts are {counts}, not 1 to {len(counts)}"]


def kernel(nb: Notebook) -> list[str]:
    name = nb.json["metadata"].get("kernelspec", {}).get("name")
    return [] if name == "python3" else [f"kernel {name!r}, not 'python3'"]


def no_errors(nb: Notebook) -> list[str]:
    return [f"cell {n}: {o.get('ename')}" for n, o in nb.outputs if o["output_type"] == "error"]


def no_widget_state(nb: Notebook) -> list[str]:
    return ["metadata.widgets holds widget state"] if "widgets" in nb.json["metadata"] else []


def size(nb: Notebook) -> list[str]:
    bytes_ = nb.path.stat().st_size
    return (
        [] if bytes_ < MAX_BYTES else [f"{bytes_ / 1e6:.2f} MB, not below {MAX_BYTES / 1e6:.0f} MB"]
    )


def cell_length(nb: Notebook) -> list[str]:
    lengths = [(n, len(text(cell["source"]).strip().splitlines())) for n, cell in nb.code]
    return [
        f"cell {n}: {length} lines, more than {MAX_CODE_LINES}"
        for n, length in lengths
        if length > MAX_CODE_LINES
    ]


def cell_count(nb: Notebook) -> list[str]:
    return (
        []
        if len(nb.cells) in CELLS
        else [f"{len(nb.cells)} cells, not {CELLS.start} to {CELLS.stop - 1}"]
    )


def parameters(nb: Notebook) -> list[str]:
    """One cell tagged ``parameters``; each line is ``name: type = literal  # what it does``."""
    tagged = [(n, cell) for n, cell in nb.code if "parameters" in tags(cell)]
    if len(tagged) != 1:
        return [f"{len(tagged)} cells tagged 'parameters', not one"]
    number, cell = tagged[0]
    source = text(cell["source"])
    lines, problems = source.splitlines(), []
    for statement in ast.parse(source).body:
        where = f"cell {number}: {lines[statement.lineno - 1].strip()!r}"
        if not isinstance(statement, ast.AnnAssign) or statement.value is None:
            problems.append(f"{where} is not 'name: type = value'")
            continue
        try:
            ast.literal_eval(statement.value)
        except ValueError:
            problems.append(f"{where} is not a plain literal")
        if "#" not in lines[statement.end_lineno - 1][statement.end_col_offset :]:
            problems.append(f"{where} has no comment")
    return problems


def alt_text(nb: Notebook) -> list[str]:
    """Every image output has metadata ``{"image/png": {"alt": "..."}}``, every Markdown image its
    text.
    """
    problems = []
    for number, output in nb.outputs:
        for kind in set(IMAGES) & set(output.get("data", {})):
            if not output.get("metadata", {}).get(kind, {}).get("alt", "").strip():
                problems.append(f"cell {number}: {kind} without alt text")
    for number, source in markdown(nb):
        if re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=[\"'][^\"']+[\"'])", source):
            problems.append(f"cell {number}: picture without alt text")
    return problems


def no_absolute_paths(nb: Notebook) -> list[str]:
    found = []
    for number, cell in enumerate(nb.cells):
        found += [(number, match) for match in ABSOLUTE.findall(text(cell["source"]))]
    for number, output in nb.outputs:
        data = [value for kind, value in output.get("data", {}).items() if kind not in IMAGES]
        shown = [
            text(v) if isinstance(v, str | list) else json.dumps(v)
            for v in [output.get("text", ""), *data]
        ]
        found += [(number, match) for match in ABSOLUTE.findall("\n".join(shown))]
    return [f"cell {number}: absolute path {match}" for number, match in found]


def links_alive(nb: Notebook) -> list[str]:
    """Relative links lead to a file in the repository.

    What a run writes to ``runs/`` cannot be checked.
    """
    problems = []
    for number, source in markdown(nb):
        for link in (first or second for first, second in LINK.findall(source)):
            if re.match(r"[a-z][a-z0-9+.-]*:|#|//", link) or link.startswith("attachment:"):
                continue
            target = (nb.path.parent / unquote(link.split("#")[0])).resolve()
            if not target.is_relative_to(nb.root.resolve()):
                problems.append(f"cell {number}: link {link} leaves the repository")
            elif (
                target.relative_to(nb.root.resolve()).parts[:1] != ("runs",) and not target.exists()
            ):
                problems.append(f"cell {number}: link {link} leads nowhere")
    return problems


def anchors_alive(nb: Notebook) -> list[str]:
    """Links to a place in a notebook, this one or another, lead to a heading or an ``<a id>``."""
    problems = []
    for number, source in markdown(nb):
        for link in (first or second for first, second in LINK.findall(source)):
            path, _, anchor = unquote(link).partition("#")
            if not anchor or not (path == "" or path.endswith(".ipynb")) or "://" in path:
                continue
            target = nb if path == "" else Notebook(nb.path.parent / path, nb.root)
            if anchor not in anchors(target):
                problems.append(f"cell {number}: {link} leads to no heading")
    return problems


def anchors(nb: Notebook) -> set[str]:
    """Names of the places that a link can lead to, as nbconvert and Jupyter make them."""
    found = set()
    for cell in nb.cells:
        if cell["cell_type"] == "markdown":
            source = re.sub(r"```.*?```", "", text(cell["source"]), flags=re.DOTALL)
            for heading in re.findall(r"^#{1,6} +(.+?) *$", source, flags=re.MULTILINE):
                found.add(heading.replace(" ", "-"))
            found |= set(re.findall(r'<a id="([^"]+)"', source))
    return found


def checked_cells(nb: Notebook) -> list[str]:
    """At least one cell whose output nbval compares, and each such cell has an output."""
    checked = [(n, cell) for n, cell in nb.code if CHECKED in text(cell["source"])]
    if not checked:
        return [f"no cell with {CHECKED}"]
    return [
        f"cell {n}: {CHECKED} on a cell without output"
        for n, cell in checked
        if not cell["outputs"]
    ]


def imports_from_rooms(nb: Notebook) -> list[str]:
    """Names of the package come from it or from a room, never from a module inside a room."""
    problems = []
    for number, cell in nb.code:
        for module in re.findall(r"from (byol_helpers\.\w+\.[\w.]+) import", text(cell["source"])):
            problems.append(f"cell {number}: import from {module}, not from its room")
    return problems


def title(nb: Notebook) -> list[str]:
    first = nb.cells[0] if nb.cells else {"cell_type": "none", "source": ""}
    ok = first["cell_type"] == "markdown" and text(first["source"]).lstrip().startswith("# ")
    return [] if ok else ["the first cell is not a title ('# ...')"]


def template(nb: Notebook) -> list[str]:
    """A numbered title with a way to the contents, goals with a link to every numbered part, and
    takeaways, exercises and what to read next at the end.
    """
    texts = [text(cell["source"]) for cell in nb.cells if cell["cell_type"] == "markdown"]
    first, second = (*texts, "", "")[:2]
    problems = []
    if not re.match(r"# \d\d · ", first) or "ontents" not in first:
        problems.append("the first cell has no title '# NN · ...' with a way to the contents")
    if not second.startswith("## What you will be able to do\n"):
        problems.append("the second cell does not begin with '## What you will be able to do'")
    linked = {unquote(link) for link in re.findall(r"\]\(#([^\s]+)\)", second)}
    headings = re.findall(r"^## (.+)$", "\n".join(texts), re.MULTILINE)
    for heading in headings:
        if re.match(r"\d+ ", heading) and heading.replace(" ", "-") not in linked:
            problems.append(f"the contents have no link to {heading!r}")
    for heading in ("Takeaways", "Exercises", "What to read next"):
        if heading not in headings:
            problems.append(f"no heading '## {heading}'")
    return problems


def cell_ids(nb: Notebook) -> list[str]:
    ids = [cell.get("id", "") for cell in nb.cells]
    problems = [
        f"cell {n}: id {value!r}" for n, value in enumerate(ids) if not CELL_ID.match(value)
    ]
    return problems + (["cell ids repeat"] if len(set(ids)) < len(ids) else [])


def markdown(nb: Notebook) -> list[tuple[int, str]]:
    """(number of the cell, its text without code) for every Markdown cell."""
    cells = [
        (n, text(cell["source"]))
        for n, cell in enumerate(nb.cells)
        if cell["cell_type"] == "markdown"
    ]
    return [(n, re.sub(r"```.*?```|`[^`\n]*`", "", source, flags=re.DOTALL)) for n, source in cells]


RULES: dict[str, Callable[[Notebook], list[str]]] = {
    rule.__name__: rule
    for rule in (
        outputs_present, executed_in_order, kernel, no_errors, no_widget_state, size, cell_length,
        cell_count, parameters, alt_text, no_absolute_paths, links_alive, checked_cells, title,
        cell_ids, imports_from_rooms, anchors_alive, template,
    )
}  # fmt: skip
