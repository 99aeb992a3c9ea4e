"""The scorecard: the thesis's claims beside what a run measured, with verdicts that are computed,
never typed.

A claim is *reproduced* when every one of its intervals lies wholly in the range that the claim
names, *not reproduced* when one lies wholly outside, *undecided* when one straddles the border or
cannot be had, and *not tested at this scale* when the run holds nothing to measure it by.
"""

import math
from collections import Counter
from pathlib import Path

from byol_helpers.core.arms import label_arm
from byol_helpers.evaluation.comparison import nan_to_none
from byol_helpers.reproduction.claims import CLAIMS
from byol_helpers.reproduction.measures import Evidence, Measure, NotTested
from byol_helpers.reproduction.run_results import RunResults, open_results
from byol_helpers.reproduction.thesis import Claim, Thesis

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
UNDECIDED = "undecided"
NOT_TESTED = "not tested at this scale"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)
STAND_IN = "supervised (stand-in) takes the place of the thesis's ImageNet weights"
DECIMALS = {"AP points": 2, "per cent": 2, "loss": 4}


def build_scorecard(run_path: Path | str, thesis: Thesis) -> dict:
    """Score all claims on a run folder.

    Returns:
        ``{"run", "scale", "verdicts": {verdict: how many}, "claims": [row, ...], "contradictions":
        [...]}``. A row is ``{"claim", "text", "where", "tested", "unit", "thesis", "measured",
        "interval": [low, high] or None, "verdict", "reason", "tests": [...], "values": [...],
        "scale", "link"}``; the numbers of the row are those of its first test. A test or value is
        ``{"name", "thesis", "measured", "interval"}``, a test with ``"verdict"`` and ``"claimed":
        [low, high]`` (None: no limit) besides.

    Raises:
        UserError: no run folder, or a damaged file in it.
    """
    run = open_results(run_path)
    rows = [_score_claim(run, thesis, claim) for claim in thesis.claims]
    counted = Counter(row["verdict"] for row in rows)
    return {
        "run": run.path.resolve().name,
        "scale": _read_scale(run, None),
        "verdicts": {verdict: counted[verdict] for verdict in VERDICTS},
        "claims": rows,
        "contradictions": [entry.model_dump() for entry in thesis.contradictions],
    }


def decide_verdict(measure: Measure) -> str:
    """Where the interval lies to the open range that the claim names."""
    if measure.bounds is None or measure.claimed is None:
        return UNDECIDED
    low, high = measure.bounds
    least, most = measure.claimed
    if math.isnan(low) or math.isnan(high):
        return UNDECIDED
    if least < low and high < most:
        return REPRODUCED
    return NOT_REPRODUCED if high < least or low > most else UNDECIDED


def write_markdown(card: dict) -> str:
    """The scorecard as text: scale, one line for each claim, the numbers behind them, the
    contradictions."""
    scale = card["scale"]
    lines = [
        "# Scorecard",
        "",
        _describe_scale(scale),
        "",
        "; ".join(f"{verdict}: {card['verdicts'][verdict]}" for verdict in VERDICTS) + ".",
        "",
        "| | claim | where | measured quantity | thesis | here | interval | verdict | why |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in card["claims"]:
        cells = [
            f"[{row['claim']}]({row['link']})",
            row["text"],
            row["where"],
            *_format_numbers(row, row["unit"]),
            f"**{row['verdict']}**",
            row["reason"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for row in card["claims"]:
        lines += _describe_evidence(row)
    lines += [
        "",
        "## Where the thesis contradicts itself or leaves a choice",
        "",
        "| | subject | the thesis | here | parameter |",
        "|---|---|---|---|---|",
    ]
    for entry in card["contradictions"]:
        says = "; ".join(f"{said['where']}: {said['text']}" for said in entry["says"])
        parameter = f"`{entry['parameter']}`" if entry["parameter"] else "–"
        lines.append(
            f"| {entry['number']} | {entry['title']} | {says} | {entry['default']} | {parameter} |"
        )
    return "\n".join(lines) + "\n"


def _describe_scale(scale: dict) -> str:
    """One line on what the numbers rest on."""
    seeds = ", ".join(map(str, scale["seeds"]))
    return (
        f"Profile {scale['profile']}, engine {scale['engine']}, seeds {seeds}; "
        f"{_or_dash(scale['test_images'])} test images, "
        f"{scale['iterations']} iterations of fine-tuning; "
        f"{_or_dash(scale['pretraining_images'])} unlabelled images, "
        f"{scale['pretraining_iterations']} iterations of pretraining."
    )


def _score_claim(run: RunResults, thesis: Thesis, claim: Claim) -> dict:
    try:
        evidence = CLAIMS[claim.id](run, thesis)
        verdict, reason = _judge(evidence)
    except NotTested as why:
        evidence = Evidence([])
        verdict = NOT_TESTED
        reason = str(why)
    tests = [_describe_test(test) for test in evidence.tests]
    said = next(iter(claim.values.items()), ("–", None))
    headline = {"name": said[0], "thesis": said[1], "measured": None, "interval": None}
    if tests:
        headline = tests[0]
    return {
        "claim": claim.id,
        "text": claim.text,
        "where": claim.where,
        "tested": claim.tested,
        "unit": claim.unit,
        **{key: headline[key] for key in ("name", "thesis", "measured", "interval")},
        "verdict": verdict,
        "reason": reason,
        "tests": tests,
        "values": [_describe_measure(value) for value in evidence.values],
        "scale": _read_scale(run, evidence.images),
        "link": f"notebooks/{claim.notebook}.html#claim-{claim.id.lower()}",
    }


def _judge(evidence: Evidence) -> tuple[str, str]:
    """The verdict over all tests and the reason in one line."""
    by_verdict = {verdict: [] for verdict in VERDICTS}
    for test in evidence.tests:
        by_verdict[decide_verdict(test)].append(test)
    if by_verdict[NOT_REPRODUCED]:
        verdict = NOT_REPRODUCED
        said = f"wholly outside what is claimed: {_join_names(by_verdict[NOT_REPRODUCED])}"
    elif by_verdict[UNDECIDED]:
        verdict = UNDECIDED
        without = [test for test in by_verdict[UNDECIDED] if test.bounds is None]
        straddling = [test for test in by_verdict[UNDECIDED] if test.bounds is not None]
        parts = [f"the interval straddles: {_join_names(straddling)}"] if straddling else []
        parts += [f"no interval: {_join_names(without)}"] if without else []
        said = "; ".join(parts)
    else:
        verdict = REPRODUCED
        said = f"wholly within what is claimed: {_join_names(evidence.tests)}"
    names = _join_names([*evidence.tests, *evidence.values])
    stand_in = [STAND_IN] if label_arm("supervised") in names else []
    return verdict, "; ".join([said, *evidence.notes, *stand_in])


def _join_names(tests: list[Measure]) -> str:
    return ", ".join(test.name for test in tests)


def _read_scale(run: RunResults, images: int | None) -> dict:
    """What the numbers of a row rest on."""
    tested = {model["images"] for model in run.models.values()}
    return {
        "profile": run.profile["name"],
        "engine": run.profile["finetune"]["engine"],
        "seeds": run.seeds,
        "test_images": images or next(iter(tested), None),
        "iterations": run.profile["finetune"]["steps"],
        "pretraining_images": run.pretraining_images,
        "pretraining_iterations": run.profile["pretrain"]["steps"],
    }


def _describe_measure(measure: Measure) -> dict:
    interval = None
    if measure.bounds is not None and not any(math.isnan(end) for end in measure.bounds):
        interval = [float(end) for end in measure.bounds]
    return {
        "name": measure.name,
        "thesis": nan_to_none(measure.thesis),
        "measured": nan_to_none(measure.measured),
        "interval": interval,
    }


def _describe_test(test: Measure) -> dict:
    claimed = test.claimed or (-math.inf, math.inf)
    return _describe_measure(test) | {
        "verdict": decide_verdict(test),
        "claimed": [None if math.isinf(end) else end for end in claimed],
    }


def _format_numbers(quantity: dict, unit: str | None) -> list[str]:
    """Cells: name and unit, the thesis's value, ours, the interval."""
    digits = DECIMALS.get(unit or "", 3)
    ends = quantity["interval"]
    return [
        f"{quantity['name']} ({unit})" if unit else quantity["name"],
        _or_dash(quantity["thesis"], digits),
        _or_dash(quantity["measured"], digits),
        f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if ends else "–",
    ]


def _or_dash(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _describe_evidence(row: dict) -> list[str]:
    """All numbers behind one claim; nothing for one that was not tested."""
    if not row["tests"]:
        return []
    lines = [
        "",
        f"## {row['claim']}: {row['text']}",
        "",
        f"Tested: {row['tested']}.",
        "",
        "| quantity | thesis | here | interval | verdict |",
        "|---|---|---|---|---|",
    ]
    for test in row["tests"]:
        cells = [*_format_numbers(test, row["unit"]), test["verdict"]]
        lines.append("| " + " | ".join(cells) + " |")
    for value in row["values"]:
        cells = [*_format_numbers(value, row["unit"]), ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines
