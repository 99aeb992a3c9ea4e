"""The sources of the site, prepared from the repository, and the site made of them."""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from docs.book.notebooks import Chapter, anchor, cite_works, prepare_notebook, read_title

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BUILD = ROOT / "build"
# The order of the pages beside the notebooks; one that is not named comes after them.
PAGES = (
    "results",
    "running",
    "anywhere",
    "your-images",
    "command-line",
    "engines",
    "thesis",
    "code",
)
LAST = ("sources",)
ROW = re.compile(r"^\| ((?:figure|table|equation) [\d.]+) \|", re.MULTILINE)


def build_site(out: Path = BUILD / "site", work: Path = BUILD / "site-source") -> Path:
    """The whole site; returns its first page.

    Args:
        out: folder of the pages. What lies in it is replaced.
        work: folder for the prepared sources.

    Raises:
        SystemExit: with Sphinx's status, where it fails; a warning is a failure.
    """
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    prepare_sources(work)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "-j", "2"]
    ended = subprocess.run([*command, str(work), str(out)], cwd=ROOT)
    if ended.returncode:
        raise SystemExit(ended.returncode)
    shutil.rmtree(out / ".doctrees", ignore_errors=True)
    # Docutils calls the works a list, and its entries no items of one: neither is what reads well.
    works = out / "sources.html"
    text = works.read_text(encoding="utf-8")
    works.write_text(text.replace('<div role="list" class="cit', '<div class="cit'), "utf-8")
    (out / ".nojekyll").touch()  # GitHub Pages would leave out the folders that begin with _
    return out / "index.html"


def prepare_sources(work: Path) -> None:
    """Every source that Sphinx reads, in one folder."""
    (work / "extra").mkdir(parents=True)
    shutil.copy(DOCS / "conf.py", work)
    shutil.copy(DOCS / "references.bib", work)
    shutil.copytree(DOCS / "static", work / "_static")
    shutil.copytree(ROOT / "figures", work / "figures")
    shutil.copytree(
        ROOT / "notebooks", work / "extra" / "notebooks", ignore=shutil.ignore_patterns("*.toml")
    )
    titles = read_titles(DOCS / "references.bib")
    concordance = read_concordance((DOCS / "thesis.md").read_text(encoding="utf-8"))
    chapters = {}
    names = {}
    for path in list_notebooks():
        notebook, chapter = prepare_notebook(path, concordance, titles)
        nbformat.write(notebook, work / path.name)
        chapters[path.stem] = chapter
        names[path.stem] = read_title(nbformat.read(path, as_version=4))
    for path in sorted(DOCS.glob("*.md")):
        text = cite_works(path.read_text(encoding="utf-8"), titles)
        if path.stem == "thesis":
            text = number_concordance(text, chapters)
        if path.stem == "results":
            evidence = json.loads((DOCS / "scorecard.json").read_text(encoding="utf-8"))
            text += render_scorecard(evidence)
        if path.stem == "sources":
            text += "\n## Works cited\n\n```{bibliography}\n```\n"
        write_page(work / path.name, text)
    (work / "lessons").mkdir()
    for path in list_lessons():
        write_page(work / "lessons" / path.name, path.read_text(encoding="utf-8"), path.parent)
    write_page(work / "index.md", compose_index(names))


def read_concordance(text: str) -> dict[str, set[str]]:
    """{``figure 4.7``: names of what stands for it here, ``06-evaluation/class-ap``} of the page of
    the thesis."""
    found = {}
    for line in text.splitlines():
        row = ROW.match(line)
        stem = re.search(r"notebooks/([\w-]+)\.ipynb", line)
        if row and stem:
            names = re.findall(r"`([a-z0-9-]+)`", line)
            found[row[1]] = {f"{stem[1]}/{name}" for name in names}
    return found


def list_notebooks() -> list[Path]:
    """The notebooks of the course, in their order."""
    return sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))


def list_pages() -> list[str]:
    """Names of the pages beside the notebooks, in their order."""
    there = {path.stem for path in DOCS.glob("*.md")}
    others = sorted(there - {*PAGES, *LAST})
    return [name for name in (*PAGES, *others, *LAST) if name in there]


def list_lessons() -> list[Path]:
    """The pages for teachers: what the lessons share first."""
    return sorted((DOCS / "lessons").glob("*.md"))


def slug_heading(text: str) -> str:
    """The anchor of a heading, as Jupyter makes it: the notebooks' contents link to these."""
    return re.sub(r"\s", "-", text)


def read_titles(path: Path) -> dict[str, str]:
    """{title in lower case: key} of a BibTeX file; a title also counts without its
    subtitle, or as ``aka`` says."""
    found = {}
    text = path.read_text(encoding="utf-8")
    for entry in re.finditer(r"@\w+\{(\w+),(.*?)\n\}", text, re.DOTALL):
        title = re.search(r"^\s*title\s*=\s*\{(.*)\}", entry[2], re.MULTILINE)
        assert title is not None, entry[1]
        plain = re.sub(r"[{}]", "", title[1])  # braces keep capitals in a bibliography
        short = re.search(r"^\s*aka\s*=\s*\{(.*)\}", entry[2], re.MULTILINE)
        for said in (plain, short[1] if short else plain.partition(":")[0]):
            found[said.lower()] = entry[1]
    return found


def write_page(path: Path, text: str, folder: Path = DOCS) -> None:
    """A page of ``docs`` as a source of the site: links to the repository's files become links
    within the site, or the names of the files.

    Args:
        path: of the source.
        text: of the page.
        folder: that links begin at; the notebooks lie beside the pages of ``docs``.
    """
    top = "../" * len(folder.relative_to(DOCS).parts)

    def relink(found: re.Match) -> str:
        label = found[1]
        target = found[2]
        name, _, fragment = target.partition("#")
        place = (folder / name).resolve()
        if place.parent == ROOT / "notebooks" and place.suffix == ".ipynb":
            return f"[{label}]({top}{place.name}{'#' + fragment if fragment else ''})"
        is_page = place.is_relative_to(DOCS) and place.suffix == ".md"
        if is_page or name.startswith(("http", "mailto")) or not name:
            return found[0]
        return label

    text = re.sub(r"!\[([^\]]*)\]\(\.\./(figures/[^)]+)\)", r"![\1](\2)", text)
    text = re.sub(r"(?<!!)\[([^\]]+)\]\(((?!http)[^)\s]+)\)", relink, text)
    path.write_text(text, encoding="utf-8")


def number_concordance(text: str, chapters: dict[str, Chapter]) -> str:
    """The page of the thesis with a place to link to in each row, and with the numbers that the
    figures have in the book."""
    lines = []
    for line in text.splitlines():
        row = ROW.match(line)
        stem = re.search(r"notebooks/([\w-]+)\.ipynb", line)
        if row and stem and stem[1] in chapters:
            chapter = chapters[stem[1]]
            line = line.replace(row[1], f'<span id="{anchor(row[1])}"></span>{row[1]}', 1)
            for name in re.findall(r"`([a-z0-9-]+)`", line):
                if name in chapter.figures:
                    number = chapter.figures[name]
                    place = f"{stem[1]}.ipynb#fig-{number.replace('.', '-')}"
                    line = line.replace(f"`{name}`", f"[figure {number}]({place}) (`{name}`)")
        lines.append(line)
    return "\n".join(lines) + "\n"


def compose_index(names: dict[str, str]) -> str:
    """The first page: the README's opening, the doors, and the contents."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    opening = readme.partition("\n## ")[0]
    opening = re.sub(r"^\[!\[.*\n", "", opening, flags=re.MULTILINE)  # badges: each chapter has its
    strongest = re.search(r"^## The strongest result.*?(?=^## )", readme, re.MULTILINE | re.DOTALL)
    text = opening + "\n" + (strongest[0] if strongest else "")
    text = re.sub(r"\]\((figures|notebooks)/", r"](../\1/", text)
    text = re.sub(r"\]\(docs/", "](", text)
    chapters = [f"{stem[:2]} · {title} <{stem}>" for stem, title in names.items()]
    lines = ["## The notebooks", "", "| | notebook |", "|---|---|"]
    lines += [f"| {stem[:2]} | [{title}]({stem}.ipynb) |" for stem, title in names.items()]
    lessons = [f"lessons/{path.stem}" for path in list_lessons()]
    trees = [("The course", chapters), ("Results and tools", list_pages()), ("Teach", lessons)]
    for caption, entries in trees:
        lines += ["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```"]
    return text + "\n" + "\n".join(lines) + "\n"


def render_scorecard(evidence: dict) -> str:
    """Every test with its interval as tables, and the form whose script moves the verdicts."""
    scale = evidence["scale"]
    seeds = ", ".join(map(str, scale["seeds"]))
    levels = [level["confidence"] for level in evidence["levels"]]
    own = levels.index(evidence["confidence"])
    parts = [
        "\n## Move the verdicts\n",
        f"Every test behind the verdicts above (profile {scale['profile']}, seed {seeds}), with "
        f"its {evidence['confidence']:.0%} interval. Where scripts run, a form changes the "
        "confidence, the smallest effect that matters and the number of seeds, and the verdicts "
        "follow. They are computed from these intervals, as you could by hand; a run with other "
        "settings draws its own. Holm's correction is not applied. Seeds: intervals over trainings "
        "become narrower with more of them; intervals over images alone become wider by the spread "
        "between trainings that you suppose (0.3 AP points is what trainings on COCO differ by).\n",
        _render_form(levels, own),
        '<p id="scorecard-counts" role="status"></p>\n',
        _render_claims(evidence),
        f'<script type="application/json" id="scorecard-data">{_embed(evidence)}</script>\n',
    ]
    return "\n".join(parts)


def _embed(evidence: dict) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(evidence, separators=(",", ":")).replace("<", "\\u003c")


def _render_form(levels: list[float], own: int) -> str:
    sliders = (
        (
            "confidence",
            "Confidence of the intervals",
            f'min="0" max="{len(levels) - 1}" value="{own}"',
        ),
        ("factor", "Smallest effect that matters", 'min="0" max="5" step="0.25" value="1"'),
        ("seeds", "Seeds of each arm", 'min="2" max="20" value="2"'),
        ("spread", "Supposed spread between trainings", 'min="0" max="3" step="0.1" value="0.3"'),
    )
    lines = ['<form id="scorecard-choices" hidden>']
    for name, label, limits in sliders:
        lines.append(
            f'<label>{label}: <output data-shows="{name}"></output>'
            f'<input type="range" name="{name}" {limits}></label>'
        )
    return "\n".join([*lines, '<button type="reset">As measured</button>', "</form>\n"])


def _render_claims(evidence: dict) -> str:
    lines = ['<div class="pst-scrollable-table-container" tabindex="0"><table class="table">']
    heads = ("claim, test", "thesis", "here", "interval", "verdict")
    lines.append("<thead><tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr></thead>")
    lines.append("<tbody>")
    for row in evidence["claims"]:
        link = row["link"].removeprefix("notebooks/")
        lines.append(
            f'<tr><th scope="row" colspan="4"><a href="{link}">{row["claim"]}</a> '
            f"{html.escape(row['text'])}</th>"
            f'<td data-claim="{row["claim"]}">{row["verdict"]}</td></tr>'
        )
        for k, test in enumerate(row["tests"]):
            cells = [_format(test["thesis"], test), _format(test["measured"], test)]
            interval = "–"
            if test["interval"]:
                interval = "[" + ", ".join(_format(end, test) for end in test["interval"]) + "]"
            unit = f" ({test['unit']})" if test["unit"] else ""
            lines.append(
                f'<tr data-test="{row["claim"]}-{k}"><td>{html.escape(test["name"] + unit)}</td>'
                f'<td>{cells[0]}</td><td>{cells[1]}</td><td data-shows="interval">{interval}</td>'
                f'<td data-shows="verdict">{test["verdict"]}</td></tr>'
            )
    return "\n".join([*lines, "</tbody></table></div>\n"])


def _format(value: float | None, test: dict) -> str:
    return "–" if value is None else f"{value:.{test['digits']}f}"
