"""Pages of a run: each executed notebook as HTML with its alt texts, and index.html above them.

The pages' templates lie in the folder ``templates``.
"""

import html
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from byol_helpers.core.files import read_json
from byol_helpers.core.progress import duration
from byol_helpers.core.stage import Run
from byol_helpers.report.intervals import format_percent, is_defined
from byol_helpers.reproduction.run_results import describe_origin

TEMPLATES = Path(__file__).parent / "templates"
MATH = re.compile(
    r"<(?P<code>code|pre)\b.*?</(?P=code)>|\$\$(?P<display>.+?)\$\$|\$(?P<inline>.+?)\$", re.S
)
PICTURES = {
    "losses-compared": "Training losses of all arms",
    "average-precision": "Mask AP of each arm, with 95 % intervals over the test images",
    "detections": "Test images: ground truth and what each arm found",
    "cutouts": "Background removal: original, each arm, ground truth",
}
INDEX_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def render_notebook(path: Path) -> str:
    """An executed notebook as one HTML page."""
    from jinja2 import DictLoader, pass_context
    from nbconvert import HTMLExporter

    template = (TEMPLATES / "notebook.html").read_text(encoding="utf-8")
    exporter = HTMLExporter(
        template_name="lab",
        extra_loaders=[DictLoader({"with-alt.html.j2": template})],
        template_file="with-alt.html.j2",
    )

    @pass_context
    def render_markdown(context: Any, source: str) -> str:
        return convert_tex(exporter.markdown2html(context, source))

    exporter.register_filter("markdown2html", render_markdown)
    page, _ = exporter.from_filename(str(path))
    return _lead_within_the_report(page)


def _lead_within_the_report(page: str) -> str:
    """Links that lead somewhere in the pages of a report.

    Other notebooks are pages beside this one. Places have plain names, which nbconvert writes in
    some versions with per cent signs. A file of the repository, which does not travel with the
    pages, is named.
    """
    page = re.sub(r'href="(\d\d-[\w-]+)\.ipynb', r'href="\1.html', page)
    page = re.sub(r'<a href="\.\./([^"]+)">(.*?)</a>', r"\2 (<code>\1</code>)", page)
    page = re.sub(r'(<h[1-6] id=)"([^"]+)"', _write_plain_name, page)
    return re.sub(r'(href=)"(#[^"]+)"', _write_plain_name, page)


def _write_plain_name(found: re.Match[str]) -> str:
    """An attribute, its value without per cent signs."""
    return f'{found[1]}"{html.escape(unquote(html.unescape(found[2])))}"'


def convert_tex(text: str) -> str:
    """HTML with its $TeX$ as MathML, which browsers draw without a connection or a script.

    Code is left alone.
    """
    from latex2mathml.converter import convert

    def replace(found: re.Match) -> str:
        display = found["display"]
        inline = found["inline"]
        if display is None and inline is None:
            return found[0]
        tex = html.unescape(display or inline).strip()
        return convert(tex, display="block" if display else "inline")

    return MATH.sub(replace, text)


def render_index(run: Run, stems: list[str]) -> str:
    """``index.html``: what ran, what came out, and where to read more.

    Args:
        run: its scorecard, comparison and stages are read.
        stems: names of its notebooks. Links are relative to the run folder.
    """
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup
    from nbconvert.filters import markdown2html

    pages = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters |= {"percent": format_percent, "duration": duration}
    pages.tests["defined_number"] = is_defined
    compared = read_json(run.path / "evaluate" / "comparison.json")
    scorecard = (run.path / "scorecard.md").read_text(encoding="utf-8")
    return pages.get_template("index.html").render(
        name=run.path.name,
        provenance=_describe_run(run),
        metrics=INDEX_METRICS,
        arms=[
            compared["arms"][name] | {"weights": describe_origin(run.path, name)}
            for name in run.profile.finetune.arms
        ],
        precision_note=_describe_precision(compared),
        notebooks=[{"stem": stem, "title": _read_title(run, stem)} for stem in stems],
        pictures=_find_pictures(run),
        scorecard=Markup(markdown2html(scorecard)),
        stages=_read_stages(run),
    )


def _find_pictures(run: Run) -> dict[str, str]:
    """Name and caption of the pictures of ``PICTURES`` that the run has."""
    found = {}
    for name, caption in PICTURES.items():
        if (run.path / "figures" / f"{name}.png").is_file():
            found[name] = caption
    return found


def _read_title(run: Run, stem: str) -> str:
    """Number and title of a notebook, from its first line."""
    path = run.path / "notebooks" / f"{stem}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title = "".join(cells[0]["source"]).splitlines()[0].lstrip("# ")
    return f"{stem[:2]} · " + re.sub(r"^\d\d\W+", "", title)


def _describe_run(run: Run) -> str:
    tune = run.profile.finetune
    data = f"images of {run.data.name}" if run.data else f"{run.profile.data.source} images"
    return (
        f"Profile {run.profile.name} ({run.profile.description}); {data}; engine {tune.engine}; "
        f"seeds {', '.join(map(str, tune.seeds))}; {tune.steps} iterations of "
        f"{tune.batch_size} images."
    )


def _describe_precision(compared: dict) -> str:
    small, large = compared["area_limits"]
    return (
        f"Mask AP in percent on {compared['images']} images, with "
        f"{compared['bootstrap']['confidence']:.0%} bootstrap intervals over the images; "
        f"small is below {small:g}, large above {large:g} square pixels."
    )


def _read_stages(run: Run) -> list[dict]:
    """The records of all stages, the one that ended first at the head."""
    paths = sorted(run.path.glob("**/stage.json"), key=lambda path: path.stat().st_mtime)
    return [read_json(path) for path in paths]
