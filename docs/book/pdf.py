"""The book as one PDF: notebooks and pages as Markdown, by Pandoc to Typst, by Typst to pages.

Folded code is left out here; figures and equations have the numbers that they have on the site.
"""

import base64
import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

from docs.book.build import (
    DOCS,
    ROOT,
    list_notebooks,
    list_pages,
    read_concordance,
    read_title,
    read_titles,
)
from docs.book.notebooks import (
    ALSO,
    DISPLAY,
    Chapter,
    compose_caption,
    is_drawing,
    is_picture,
    merge_lines,
    name_figures,
    replace_in_text,
)

PLACE = r"`#metadata(none) <\1>`{=typst}" + "\n\n"  # an empty place to link to
# Stays on the page of what it introduces.
SUMMARY = r"`#block(sticky: true)[*\1*]`{=typst}" + "\n\n"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
WIDEST = 96  # characters of a line of code or of printed text
PREAMBLE = """
#set document(title: "BYOL for instance segmentation")
#set page(paper: "a4", margin: (x: 2.2cm, y: 2.4cm), numbering: "1")
#set text(size: 10pt, lang: "en", hyphenate: true)
#set par(justify: true)
#show raw.where(block: true): it => block(
  fill: luma(246), inset: 6pt, radius: 2pt, width: 100%, text(size: 7.2pt, it))
#show table: set text(size: 7.5pt, hyphenate: true)
#show table: set par(justify: false)
#set table(inset: 3pt, stroke: 0.3pt + luma(170))
#show figure.where(kind: table): set block(breakable: true)
#show table: set align(left)
#set figure(numbering: none) // the numbers stand in the captions
#show figure.caption: set text(size: 8.5pt, fill: luma(60))
#show link: set text(fill: rgb("#0b4f8a"))
#show heading.where(level: 1): it => { pagebreak(weak: true); it }
#let horizontalrule = line(length: 100%, stroke: 0.4pt)
#let sect = sym.inter // Pandoc writes the name that Typst had before
#align(center)[#v(5cm) #text(size: 26pt)[BYOL for instance segmentation] #v(6mm)
  #text(size: 13pt)[M. Kaviani's thesis as notebooks, with their outputs] #v(1cm)
  #image("figures/pipeline.png", width: 100%,
    alt: "The pipeline from unlabelled images to a scorecard")]
#pagebreak()
#outline(depth: 2)
"""


def build_pdf(out: Path) -> tuple[Path, int]:
    """Write the PDF; returns its path and the number of its pages."""
    import pypandoc
    import typst

    work = out.parent / "pdf-source"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    shutil.copytree(ROOT / "figures", work / "figures")
    text = unlink_missing("\n\n".join(compose_book(work)))
    (work / "book.md").write_text(text, encoding="utf-8")
    body = pypandoc.convert_text(
        text,
        "typst",
        format="markdown-yaml_metadata_block+gfm_auto_identifiers+autolink_bare_uris",
        extra_args=["--citeproc", f"--bibliography={DOCS / 'references.bib'}", "--wrap=none"],
    )
    source = work / "book.typ"
    source.write_text(PREAMBLE + body, encoding="utf-8")
    typst.compile(str(source), output=str(out))
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", out.read_bytes()))
    return out, pages


def unlink_missing(text: str) -> str:
    """Pandoc's Markdown without links to places that it does not have, which Typst refuses."""
    there = set(re.findall(r"\{#([\w-]+)", text))
    there |= set(re.findall(r"<([\w-]+)>`\{=typst\}", text))

    def check(found: re.Match) -> str:
        return found[0] if found[2] in there else found[1]

    return re.sub(r"(?<!!)\[([^\]]+)\]\(#([^)\s]+)\)", check, text)


def compose_book(work: Path) -> Iterator[str]:
    """The book as pieces of Pandoc's Markdown; pictures go into a folder.

    Args:
        work: where the pictures are written.
    """
    concordance = read_concordance((DOCS / "thesis.md").read_text(encoding="utf-8"))
    titles = read_titles(DOCS / "references.bib")
    for path in list_notebooks():
        chapter = Chapter(path.stem, concordance)
        notebook = nbformat.read(path, as_version=4)
        yield f"# {chapter.number} · {read_title(notebook)} {{#chapter-{chapter.number}}}"
        notebook["cells"][0]["source"] = notebook["cells"][0]["source"].partition("\n")[2]
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                yield convert_text(cell["source"], chapter, titles)
            elif cell["cell_type"] == "code" and cell["source"].strip():
                yield from convert_code(cell, chapter, work)
    for name in list_pages():
        chapter = Chapter(name, concordance)
        text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
        title, _, rest = text.partition("\n")
        yield f"{title} {{#page-{name}}}"
        yield convert_text(rest, chapter, titles, numbered=False)
    yield "# Works cited\n\n::: {#refs}\n:::\n"


def convert_text(text: str, chapter: Chapter, titles: dict[str, str], numbered: bool = True) -> str:
    """Markdown of a notebook or page as Pandoc's."""

    def cite(found: re.Match) -> str:
        key = titles.get(re.sub(r"\s+", " ", found[1]).lower())
        return f"{found[0]} [@{key}]" if key else found[0]

    def number(found: re.Match) -> str:
        point = f"\\text{{{found[2]}}}" if found[2] else ""
        return f"$$ {found[1].strip()}{point} \\qquad ({chapter.count_equation()}) $$"

    text = replace_in_text(text, ALSO, cite)
    if numbered:
        text = DISPLAY.sub(number, text)
    text = re.sub(r"<details>\s*<summary>(.*?)</summary>", SUMMARY, text)
    text = text.replace("</details>", "")
    text = re.sub(r'<a id="([\w-]+)"></a>', PLACE, text)
    text = re.sub(r"<!--.*?-->", "", text)
    text = widen_tables(re.sub(r"\]\(\.\./figures/", "](figures/", text))
    text = re.sub(
        r"^(#{2,6}) (.*)$", lambda found: _label_heading(found, chapter), text, flags=re.M
    )
    return LINK.sub(lambda found: _relink(found, chapter), text)


def _label_heading(found: re.Match, chapter: Chapter) -> str:
    return f"{found[1]} {found[2]} {{#{_make_label(found[2], chapter.stem)}}}"


def _make_label(heading: str, stem: str) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "-", html.unescape(heading)).strip("-").lower()
    return f"{stem}-{words}"


def _relink(found: re.Match, chapter: Chapter) -> str:
    """A link within the book, one that leads out of it, or only its words."""
    from urllib.parse import unquote

    label = found[1]
    target = found[2]
    if target.startswith(("http", "mailto")):
        return found[0]
    name, _, fragment = target.removeprefix("../docs/").partition("#")
    fragment = unquote(fragment)
    stem = Path(name).stem if name else chapter.stem
    if re.fullmatch(r"(claim-|fig-|eq-)[\w-]+", fragment):
        return f"[{label}](#{fragment})"
    if fragment:
        return f"[{label}](#{_make_label(fragment, stem)})"
    if name.endswith(".ipynb"):
        return f"[{label}](#chapter-{stem[:2]})"
    if name.endswith(".md") and (DOCS / f"{stem}.md").is_file() and not name.startswith("../"):
        return f"[{label}](#page-{stem})"
    return label


def widen_tables(text: str) -> str:
    """Tables whose columns are as wide as what stands in them asks for."""
    lines = text.splitlines()
    for k, line in enumerate(lines):
        if not re.fullmatch(r"\|(?:\s*:?-+:?\s*\|)+", line.strip()) or k == 0:
            continue
        rows = [LINK.sub(r"\1", lines[k - 1])]
        for row in lines[k + 1 :]:
            if not row.lstrip().startswith("|"):
                break
            rows.append(LINK.sub(r"\1", row))
        columns = line.count("|") - 1
        cells = [re.split(r"(?<!\\)\|", row.strip().strip("|")) for row in rows]
        widths = []
        for c in range(columns):
            longest = max(len(row[c].strip()) if c < len(row) else 0 for row in cells)
            word = max((len(w) for row in cells if c < len(row) for w in row[c].split()), default=1)
            widths.append(max(4, min(word, 16) + 2, round(1.2 * longest**0.55)))
        lines[k] = "|" + "|".join("-" * width for width in widths) + "|"
    return "\n".join(lines)


def convert_code(cell: Any, chapter: Chapter, work: Path) -> Iterator[str]:
    """A code cell and its outputs; the code of cells that mostly draw is left out."""
    source = cell["source"].removeprefix("# NBVAL_CHECK_OUTPUT").strip()
    outputs = [*merge_lines(cell["outputs"])]
    names = name_figures(source, sum(map(is_picture, outputs)))
    if not is_drawing(source):
        yield fence(source, "python")
    for output in outputs:
        data = output.get("data", {})
        if output["output_type"] == "stream":
            yield fence(output["text"], "")
        elif is_picture(output):
            yield convert_picture(output, names.pop(0), chapter, work)
        elif "text/markdown" in data:
            yield convert_text(data["text/markdown"], chapter, {}, numbered=False)
        elif "text/plain" in data:
            yield fence(data["text/plain"], "")


def convert_picture(output: Any, name: str, chapter: Chapter, work: Path) -> str:
    """A picture with its number and its alternative text."""
    number = chapter.count_figure(name)
    path = work / "figures" / f"{chapter.number}-{name}.png"
    path.write_bytes(base64.b64decode(output["data"]["image/png"]))
    alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
    alt = re.sub(r"\s+", " ", alt).replace('"', "'")
    caption = re.sub(
        r"\]\(thesis\.md#[\w-]+\)", "](#page-thesis)", compose_caption(name, number, chapter)
    )
    label = f"fig-{number.replace('.', '-')}"
    return f'![{caption}](figures/{path.name}){{#{label} alt="{alt}" width=100%}}'


def fence(text: str, language: str) -> str:
    """A block of code whose lines fit the page."""
    lines = []
    for line in text.rstrip().splitlines():
        while len(line) > WIDEST:
            space = line.rfind(" ", WIDEST // 2, WIDEST)
            end = WIDEST if space < 0 else space + 1
            lines.append(line[:end])
            line = "    " + line[end:]
        lines.append(line)
    return "\n".join([f"~~~~{{.{language}}}" if language else "~~~~", *lines, "~~~~"])
