"""Pages of a run: each executed notebook as HTML with its alt texts, index.html above them, the README's tables.

``python -m byol_helpers.report.html RUN README`` writes the tables of a run between the README's scorecard marks.
"""

import html
import json
import re
import sys
from pathlib import Path

from byol_helpers.core.arms import ARM_LABELS
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_text
from byol_helpers.core.progress import duration
from byol_helpers.core.stage import Run

# nbconvert's default template drops the alt text of pictures; this block puts it back.
WITH_ALT = """{% extends 'index.html.j2' %}
{% block data_png scoped %}<div class="jp-RenderedImage jp-OutputArea-output {{ extra_class }}">
<img src="data:image/png;base64,{{ output.data['image/png'] }}"
 alt="{{ (output | get_metadata('alt', 'image/png') or '') | escape_html }}"></div>{% endblock data_png %}"""

MATH = re.compile(
    r"<(?P<code>code|pre)\b.*?</(?P=code)>|\$\$(?P<display>.+?)\$\$|\$(?P<inline>.+?)\$", re.S
)

STYLE = """body{font:16px/1.55 system-ui,sans-serif;color:#222;background:#fff;max-width:70rem;margin:2rem auto;
padding:0 1rem}h1{font-size:1.8rem;margin-bottom:.2rem}h2{margin-top:2.2rem}
table{border-collapse:collapse;font-size:.92rem;margin:1rem 0}
td,th{padding:.35rem .7rem;border-bottom:1px solid #ddd;text-align:left;vertical-align:top}th{background:#f5f5f5}
img{max-width:100%}figure{margin:1.5rem 0}figcaption{color:#555;font-size:.9rem}.quiet{color:#555}
ol{list-style:none;padding-left:0}.anchor-link{display:none}td:nth-child(n+2).n{text-align:right;font-variant-numeric:tabular-nums}.wide{overflow-x:auto}"""

PICTURES = {
    "losses-compared": "Training losses of all arms",
    "average-precision": "Mask AP of each arm, with 95 % intervals over the test images",
    "detections": "Test images: ground truth and what each arm found",
    "cutouts": "Background removal: original, each arm, ground truth",
}


def render_notebook(path: Path) -> str:
    """An executed notebook as one HTML page."""
    from jinja2 import DictLoader, pass_context
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="lab",
        extra_loaders=[DictLoader({"with-alt.html.j2": WITH_ALT})],
        template_file="with-alt.html.j2",
    )
    render = pass_context(
        lambda context, source: convert_tex(exporter.markdown2html(context, source))
    )
    exporter.register_filter("markdown2html", render)
    page, _ = exporter.from_filename(str(path))
    return re.sub(
        r'href="(\d\d-[\w-]+)\.ipynb', r'href="\1.html', page
    )  # between notebooks of the same run


def convert_tex(text: str) -> str:
    """HTML with its $TeX$ as MathML, which browsers draw without a connection or a script; code is left alone."""
    from latex2mathml.converter import convert

    def drawn(found: re.Match) -> str:
        display, inline = found["display"], found["inline"]
        if display is None and inline is None:
            return found[0]
        return convert(
            html.unescape(display or inline).strip(), display="block" if display else "inline"
        )

    return MATH.sub(drawn, text)


def render_index(run: Run, stems: list[str]) -> str:
    """``index.html``: what ran, what came out, and where to read more. Links are relative to the run folder."""
    from nbconvert.filters import markdown2html

    card = (run.path / "scorecard.md").read_text(encoding="utf-8")
    pictures = [
        f'<figure><img src="figures/{name}.png" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
        for name, caption in PICTURES.items()
        if (run.path / f"figures/{name}.png").is_file()
    ]
    links = [
        f'<li><a href="notebooks/{stem}.html">{html.escape(_read_title(run, stem))}</a></li>'
        for stem in stems
    ]
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Run {run.path.name}</title>',
            f"<style>{STYLE}</style>",
            "<h1>BYOL for instance segmentation</h1>",
            f'<p class="quiet">{html.escape(_describe_run(run))}</p>',
            "<h2>Average precision on the test images</h2>",
            _precision(run),
            "<h2>The notebooks of this run</h2>",
            "<ol>",
            *links,
            "</ol>",
            "<h2>In pictures</h2>",
            *pictures,
            '<div class="wide">',
            markdown2html(card),
            "</div>",
            "<h2>What it cost</h2>",
            _costs(run),
            "</html>",
            "",
        ]
    )


def _read_title(run: Run, stem: str) -> str:
    cells = json.loads((run.path / "notebooks" / f"{stem}.ipynb").read_text(encoding="utf-8"))[
        "cells"
    ]
    title = "".join(cells[0]["source"]).splitlines()[0].lstrip("# ")
    return f"{stem[:2]} · " + re.sub(r"^\d\d\W+", "", title)


def _describe_run(run: Run) -> str:
    tune = run.profile.finetune
    data = f"images of {run.data.name}" if run.data else f"{run.profile.data.source} images"
    return (
        f"Profile {run.profile.name} ({run.profile.description}); {data}; engine {tune.engine}; "
        f"seeds {', '.join(map(str, tune.seeds))}; {tune.steps} iterations of {tune.batch_size} images."
    )


def _precision(run: Run) -> str:
    compared = read_json(run.path / "evaluate" / "comparison.json")
    names = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    rows = [
        f"<tr><td>{html.escape(arm['label'])}</td>"
        + "".join(_cell(arm["mask"][name]) for name in names)
        + "</tr>"
        for arm in (compared["arms"][name] for name in run.profile.finetune.arms)
    ]
    small, large = compared["area_limits"]
    said = (
        f"Mask AP in percent on {compared['images']} images, with {compared['bootstrap']['confidence']:.0%} "
        f"bootstrap intervals over the images; small is below {small:g}, large above {large:g} square pixels."
    )
    head = "".join(f"<th>{name}</th>" for name in ("initial weights", *names))
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(rows)}</table></div><p class="quiet">{said}</p>'


def _cell(entry: dict) -> str:
    if entry["value"] is None:
        return '<td class="n">none</td>'
    interval = ""
    if entry["low"] is not None:
        interval = f"<br><small>{100 * entry['low']:.1f} to {100 * entry['high']:.1f}</small>"
    return f'<td class="n">{100 * entry["value"]:.1f}{interval}</td>'


def _costs(run: Run) -> str:
    rows = []
    for path in sorted(run.path.glob("**/stage.json"), key=lambda path: path.stat().st_mtime):
        stage = read_json(path)
        rows.append(
            f"<tr><td>{stage['stage']}</td><td class='n'>{duration(stage['seconds'])}</td>"
            f"<td class='n'>{stage['peak_memory_mb']} MB</td><td>{html.escape(stage['device'])}</td></tr>"
        )
    return (
        "<table><tr><th>stage</th><th>time of its last session</th><th>peak memory of the process</th>"
        "<th>device</th></tr>" + "".join(rows) + "</table>"
    )


def fill_readme(path: Path, text: str) -> str:
    """The README with the tables of the run at ``path`` between ``<!-- scorecard -->`` and ``<!-- end -->``."""
    before, mark, rest = text.partition("<!-- scorecard -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not mark or not end:
        raise UserError(
            "the README has lost its marks <!-- scorecard --> and <!-- end -->; put them back"
        )
    card, compared = (
        read_json(path / "scorecard.json"),
        read_json(path / "evaluate" / "comparison.json"),
    )
    scale = card["scale"]
    lines = [
        f"Profile {scale['profile']}, engine {scale['engine']}, seed {', '.join(map(str, scale['seeds']))}, "
        f"{scale['iterations']} iterations; mask AP in percent on {scale['test_images']} generated test images, "
        f"with {compared['bootstrap']['confidence']:.0%} intervals over those images:",
        "",
        "| initial weights | AP | AP50 | AP75 |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {arm['label']} | "
        + " | ".join(_format_interval(arm["mask"][name]) for name in ("AP", "AP50", "AP75"))
        + " |"
        for arm in (compared["arms"][name] for name in ARM_LABELS if name in compared["arms"])
    ]
    lines += ["", "| claim of the thesis | its place | verdict at this scale |", "|---|---|---|"]
    lines += [
        f"| {row['claim']}: {row['text']} | {row['where']} | {row['verdict']} |"
        for row in card["claims"]
    ]
    return before + mark + "\n".join(lines) + "\n" + end + after


def _format_interval(entry: dict) -> str:
    if entry["value"] is None:
        return "none"
    return f"{100 * entry['value']:.1f} ({100 * entry['low']:.1f} to {100 * entry['high']:.1f})"


if __name__ == "__main__":
    target = Path(sys.argv[2])
    write_text(target, fill_readme(Path(sys.argv[1]), target.read_text(encoding="utf-8")))
