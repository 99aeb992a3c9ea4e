"""What the repository shows of a run: figures, tables of README and results, the numbers of the
scorecard page, outputs of the notebooks.

Nothing else writes into ``figures`` and ``notebooks`` of the repository, a run's numbers into
``results``, into ``docs/scorecard.json`` and between the marks of ``README.md`` and
``docs/results.md``.
"""

import csv
import json
from pathlib import Path

from byol_helpers.core.arms import ARMS
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import read_json, write_bytes, write_json, write_text
from byol_helpers.evaluation.comparison import compare_arms, load_results
from byol_helpers.figures.diagrams import DRAWN_ARMS, draw_byol, draw_pipeline
from byol_helpers.figures.style import encode_png
from byol_helpers.report.intervals import format_interval
from byol_helpers.report.notebooks import ROOT, SHARES
from byol_helpers.reproduction.recomputation import write_cards
from byol_helpers.reproduction.sensitivity import collect_evidence
from byol_helpers.reproduction.study_files import keep_run
from byol_helpers.reproduction.verdicts import describe_verdict

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
    "scenes, evaluated with mask AP and used to cut objects out; a scorecard gives each claim of "
    "the thesis a verdict."
)
BYOL_ALT = (
    "BYOL: two views of a picture; the online network of encoder, projector and predictor predicts "
    "the target network's projection of the other view; the target is a moving average of the "
    "online network and gets no gradient."
)
TABLE_METRICS = ("AP", "AP50", "AP75")
NORM_POLICY = Path("notebooks") / "05-norm-policy.csv"  # of ``make studies``
END = "<!-- end -->"


def publish_outputs(run: Path, repository: Path = ROOT) -> list[Path]:
    """Bring figures, tables and executed notebooks of a run into a copy of the repository.

    Args:
        run: folder of a run whose report is finished.
        repository: where ``figures``, ``README.md``, ``docs`` and ``notebooks`` lie.

    Returns:
        The files that were written.

    Raises:
        UserError: the run lacks figures or notebooks, a page its marks, or the study of norm
            policies is missing; nothing is written.
    """
    readme = repository / "README.md"
    results = repository / "docs" / "results.md"
    _check_is_finished(run)
    filled = {
        readme: fill_readme(repository / NORM_POLICY, readme.read_text(encoding="utf-8")),
        results: fill_results(run, results.read_text(encoding="utf-8")),
    }
    figures = publish_figures(run, repository / "figures")
    for page, text in filled.items():
        write_text(page, text)
    card = read_json(run / "scorecard.json")
    confidence = read_json(run / "evaluate" / "comparison.json")["bootstrap"]["confidence"]
    evidence = repository / "docs" / "scorecard.json"
    write_json(evidence, collect_evidence(card, confidence))
    notebooks = publish_notebooks(run, repository / "notebooks")
    return [*figures, *filled, evidence, *notebooks]


def publish_results(run: Path, repository: Path = ROOT) -> Path:
    """Keep what a run's scorecard is computed from in ``results/<run>``, with that scorecard."""
    folder = keep_run(run, repository / "results" / run.resolve().name)
    return write_cards(folder, folder.name, None)


def publish_figures(run: Path, out: Path) -> list[Path]:
    """Write the two diagrams, with the run's mask AP in the pipeline's, and ``COURSE_FIGURES``.

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


def fill_results(run: Path, text: str) -> str:
    """The page of results with the tables of a run between ``<!-- scorecard -->`` and
    ``<!-- end -->``."""
    card = read_json(run / "scorecard.json")
    compared = read_json(run / "evaluate" / "comparison.json")
    lines = [*_list_precision(card["scale"], compared), "", *_list_claims(card["claims"])]
    return _fill_marks("docs/results.md", text, "scorecard", lines)


def fill_readme(study: Path, text: str) -> str:
    """The README with the AP of a study of norm policies between ``<!-- norm-policy -->`` and
    ``<!-- end -->``.

    Args:
        study: a table of ``python -m byol_helpers study norm-policy``.
        text: of the README.
    """
    if not study.is_file():
        raise UserError(f"{study}: no such study; make it first with: make studies")
    with study.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    cells = {(row["value"], row["what"]): _format_points(row) for row in rows}
    lines = ["| mask AP | trainable norm | frozen norm |", "|---|---|---|"]
    for what in ("BYOL", "random", "BYOL - random"):
        lines.append(f"| {what} | {cells['trainable', what]} | {cells['frozen', what]} |")
    first = rows[0]
    lines += [
        "",
        f"Profile {first['profile']}, {first['backbone']}, data.world={first['world']}, engine "
        f"{first['engine']}, seed {first['seeds']}, {first['iterations']} iterations; "
        f"{float(first['confidence']):.0%} intervals over {first['test_images']} {first['data']} "
        "test images.",
    ]
    return _fill_marks("README.md", text, "norm-policy", lines)


def _format_points(row: dict[str, str]) -> str:
    """AP points of a row of a study; a difference with its sign and its interval."""
    value, low, high = (float(row[key]) for key in ("AP", "AP_low", "AP_high"))
    if " - " not in row["what"]:
        return f"{value:.1f}"
    return f"**{value:+.1f}** ({low:+.1f} to {high:+.1f})"


def _fill_marks(page: str, text: str, name: str, lines: list[str]) -> str:
    """A page with lines between ``<!-- name -->`` and ``<!-- end -->``."""
    before, mark, rest = text.partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise UserError(f"{page} has lost its marks <!-- {name} --> and {END}; put them back")
    return before + mark + "\n".join(lines) + "\n" + end + after


def _list_precision(scale: dict, compared: dict) -> list[str]:
    """Lines of Markdown: what the numbers rest on, and a table of AP by initial weights."""
    seeds = ", ".join(map(str, scale["seeds"]))
    lines = [
        f"Profile {scale['profile']}, engine {scale['engine']}, seed {seeds}, "
        f"{scale['iterations']} iterations; mask AP in percent on {scale['test_images']} generated "
        f"test images, with {compared['bootstrap']['confidence']:.0%} intervals over those images:",
        "",
        "| initial weights | " + " | ".join(TABLE_METRICS) + " |",
        "|---" * (1 + len(TABLE_METRICS)) + "|",
    ]
    for name in ARMS:
        if name in compared["arms"]:
            arm = compared["arms"][name]
            cells = [format_interval(arm["mask"][metric]) for metric in TABLE_METRICS]
            lines.append(f"| {arm['label']} | " + " | ".join(cells) + " |")
    return lines


def _list_claims(claims: list[dict]) -> list[str]:
    """Lines of Markdown: a table of the thesis's claims and their verdicts."""
    lines = ["| claim of the thesis | its place | verdict at this scale |", "|---|---|---|"]
    for row in claims:
        verdict = describe_verdict(row)
        lines.append(f"| {row['claim']}: {row['text']} | {row['where']} | {verdict} |")
    return lines


def _check_is_finished(run: Path) -> None:
    """Refuse a run without the notebooks that would be published."""
    for stem in SHARES:
        if not (run / "notebooks" / f"{stem}.ipynb").is_file():
            raise UserError(
                f"{run}: no notebooks/{stem}.ipynb; make the notebooks first with: make report"
            )
