"""What the repository shows of a run: figures, tables of the README, outputs of the notebooks.

Nothing else writes into ``figures``, ``README.md`` and ``notebooks`` of the repository.
"""

import json
from pathlib import Path

from byol_helpers.core.arms import ARMS
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_bytes, write_text
from byol_helpers.evaluation.comparison import compare_arms, load_results
from byol_helpers.figures.diagrams import DRAWN_ARMS, draw_byol, draw_pipeline
from byol_helpers.figures.style import encode_png
from byol_helpers.report.intervals import format_interval
from byol_helpers.report.notebooks import ROOT, SHARES

# Figures that the notebooks keep with a run (names given to ``show``) and the README may show.
COURSE_FIGURES = (
    "training-pictures",
    "losses-compared",
    "average-precision",
    "detections",
    "cutouts",
    "norm-policy",
)
PIPELINE_ALT = (
    "The pipeline, left to right: unlabelled images train a network with BYOL; its weights, "
    "supervised ones and random ones go into Mask R-CNN, are fine-tuned on the same labelled "
    "scenes, evaluated with AP50 and used to cut objects out; a scorecard gives each claim of the "
    "thesis a verdict."
)
BYOL_ALT = (
    "BYOL: two views of a picture; the online network of encoder, projector and predictor predicts "
    "the target network's projection of the other view; the target is a moving average of the "
    "online network and gets no gradient."
)
README_METRICS = ("AP", "AP50", "AP75")


def publish_outputs(run: Path, repository: Path = ROOT) -> list[Path]:
    """Bring figures, tables and executed notebooks of a run into a copy of the repository.

    Args:
        run: folder of a run whose report is finished.
        repository: where ``figures``, ``README.md`` and ``notebooks`` lie.

    Returns:
        The files that were written.

    Raises:
        UserError: the run lacks figures or notebooks, or the README its marks; nothing is written.
    """
    readme = repository / "README.md"
    _check_is_finished(run)
    filled = fill_readme(run, readme.read_text(encoding="utf-8"))
    figures = publish_figures(run, repository / "figures")
    write_text(readme, filled)
    return [*figures, readme, *publish_notebooks(run, repository / "notebooks")]


def publish_figures(run: Path, out: Path) -> list[Path]:
    """Write the two diagrams, with the run's AP50 in the pipeline's, and ``COURSE_FIGURES``.

    Returns:
        The files that were written.

    Raises:
        UserError: no such run, or it lacks figures; nothing is written then.
    """
    copies = {}
    for name in COURSE_FIGURES:
        path = run / "figures" / f"{name}.png"
        if not path.is_file():
            raise UserError(
                f"{run}: no figures/{name}.png; make the figures first with: make report"
            )
        copies[name] = path.read_bytes()
    arms = compare_arms(load_results(run))["arms"]
    metrics = arms if set(DRAWN_ARMS) <= set(arms) else None
    drawn = {
        "pipeline": encode_png(draw_pipeline(metrics), PIPELINE_ALT),
        "byol": encode_png(draw_byol(), BYOL_ALT),
    }
    return [write_bytes(out / f"{name}.png", data) for name, data in (drawn | copies).items()]


def publish_notebooks(run: Path, out: Path) -> list[Path]:
    """Write the executed notebooks of a run, without papermill's clock; returns their paths."""
    written = []
    for stem in SHARES:
        executed = run / "notebooks" / f"{stem}.ipynb"
        notebook = json.loads(executed.read_text(encoding="utf-8"))
        notebook["metadata"].pop("papermill", None)
        for cell in notebook["cells"]:
            for key in ("papermill", "execution"):
                cell["metadata"].pop(key, None)
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        written.append(write_text(out / f"{stem}.ipynb", text))
    return written


def fill_readme(run: Path, text: str) -> str:
    """The README with the tables of a run between ``<!-- scorecard -->`` and ``<!-- end -->``."""
    before, mark, rest = text.partition("<!-- scorecard -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not mark or not end:
        raise UserError(
            "the README has lost its marks <!-- scorecard --> and <!-- end -->; put them back"
        )
    card = read_json(run / "scorecard.json")
    compared = read_json(run / "evaluate" / "comparison.json")
    lines = [*_list_precision(card["scale"], compared), "", *_list_claims(card["claims"])]
    return before + mark + "\n".join(lines) + "\n" + end + after


def _list_precision(scale: dict, compared: dict) -> list[str]:
    """Lines of Markdown: what the numbers rest on, and a table of AP by initial weights."""
    seeds = ", ".join(map(str, scale["seeds"]))
    lines = [
        f"Profile {scale['profile']}, engine {scale['engine']}, seed {seeds}, "
        f"{scale['iterations']} iterations; mask AP in percent on {scale['test_images']} generated "
        f"test images, with {compared['bootstrap']['confidence']:.0%} intervals over those images:",
        "",
        "| initial weights | " + " | ".join(README_METRICS) + " |",
        "|---" * (1 + len(README_METRICS)) + "|",
    ]
    for name in ARMS:
        if name in compared["arms"]:
            arm = compared["arms"][name]
            cells = [format_interval(arm["mask"][metric]) for metric in README_METRICS]
            lines.append(f"| {arm['label']} | " + " | ".join(cells) + " |")
    return lines


def _list_claims(claims: list[dict]) -> list[str]:
    """Lines of Markdown: a table of the thesis's claims and their verdicts."""
    lines = ["| claim of the thesis | its place | verdict at this scale |", "|---|---|---|"]
    for row in claims:
        lines.append(f"| {row['claim']}: {row['text']} | {row['where']} | {row['verdict']} |")
    return lines


def _check_is_finished(run: Path) -> None:
    """Refuse a run without the notebooks that would be published."""
    for stem in SHARES:
        if not (run / "notebooks" / f"{stem}.ipynb").is_file():
            raise UserError(
                f"{run}: no notebooks/{stem}.ipynb; make the notebooks first with: make report"
            )
