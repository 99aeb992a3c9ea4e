"""The scorecard: the thesis's claims beside what a run measured, with verdicts that are computed, never
typed.

A claim is *reproduced* when every one of its intervals lies wholly in the range that the claim names, *not
reproduced* when one lies wholly outside, *undecided* when one straddles the border or cannot be had, and
*not tested at this scale* when the run holds nothing to measure it by.
"""

from collections import Counter
from pathlib import Path

from byol_helpers.core.arms import label_arm
from byol_helpers.evaluation.comparison import nan_to_none
from byol_helpers.reproduction.claims import CLAIMS
from byol_helpers.reproduction.measures import Evidence, Measure, NotTested
from byol_helpers.reproduction.run_results import RunResults, open_results
from byol_helpers.reproduction.thesis import Claim, Thesis

REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"
NOT_TESTED = "not tested at this scale"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_TESTED)
STAND_IN = "supervised (stand-in) takes the place of the thesis's ImageNet weights"
DECIMALS = {"AP points": 2, "per cent": 2, "loss": 4}


def build_scorecard(run_path: Path | str, thesis: Thesis) -> dict:
    """Score all claims on a run folder.

    Returns:
        ``{"run", "scale", "verdicts": {verdict: how many}, "claims": [row, ...], "contradictions":
        [...]}``. A row is ``{"claim", "text", "where", "tested", "unit", "thesis", "measured", "interval":
        [low, high] or None, "verdict", "reason", "tests": [...], "values": [...], "scale", "link"}``; the
        numbers of the row are those of its first test. A test or value is ``{"name", "thesis", "measured",
        "interval"}``, a test with ``"verdict"`` and ``"claimed": [low, high]`` (None: no limit) besides.

    Raises:
        UserError: no run folder, or a damaged file in it.
    """
    run = open_results(run_path)
    rows = [_row(run, thesis, claim) for claim in thesis.claims]
    counted = Counter(row["verdict"] for row in rows)
    return {
        "run": run.path.resolve().name,
        "scale": _scale(run, None),
        "verdicts": {verdict: counted[verdict] for verdict in VERDICTS},
        "claims": rows,
        "contradictions": [entry.model_dump() for entry in thesis.contradictions],
    }


def decide_verdict(quantity: Measure) -> str:
    """Where the interval lies to the open range that the claim names."""
    if quantity.bounds is None or None in map(nan_to_none, quantity.bounds):
        return UNDECIDED
    (low, high), (least, most) = quantity.bounds, quantity.claimed
    if least < low and high < most:
        return REPRODUCED
    return NOT_REPRODUCED if high < least or low > most else UNDECIDED


def write_markdown(card: dict) -> str:
    """The scorecard as text: scale, one line for each claim, the numbers behind them, the contradictions."""
    scale = card["scale"]
    lines = [
        "# Scorecard",
        "",
        f"Profile {scale['profile']}, engine {scale['engine']}, seeds {', '.join(map(str, scale['seeds']))}; "
        f"{_or_dash(scale['test_images'])} test images, {scale['iterations']} iterations of fine-tuning; "
        f"{_or_dash(scale['pretraining_images'])} unlabelled images, {scale['pretraining_iterations']} iterations "
        "of pretraining.",
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
            *_numbers(row, row["unit"]),
            f"**{row['verdict']}**",
            row["reason"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for row in card["claims"]:
        lines += _details(row)
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


def _row(run: RunResults, thesis: Thesis, claim: Claim) -> dict:
    try:
        finding = CLAIMS[claim.id](run, thesis)
        verdict, reason = _judged(finding)
    except NotTested as why:
        finding, verdict, reason = Evidence([]), NOT_TESTED, str(why)
    tests = [
        _plain_quantity(test)
        | {"verdict": decide_verdict(test), "claimed": [_limit(end) for end in test.claimed]}
        for test in finding.tests
    ]
    said = next(iter(claim.values.items()), ("–", None))
    headline = (
        tests[0]
        if tests
        else {"name": said[0], "thesis": said[1], "measured": None, "interval": None}
    )
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
        "values": [_plain_quantity(value) for value in finding.values],
        "scale": _scale(run, finding.images),
        "link": f"notebooks/{claim.notebook}.html#claim-{claim.id.lower()}",
    }


def _judged(finding: Evidence) -> tuple[str, str]:
    """The verdict over all tests and the reason in one line."""
    by_verdict = {
        verdict: [t for t in finding.tests if decide_verdict(t) == verdict] for verdict in VERDICTS
    }
    if against := by_verdict[NOT_REPRODUCED]:
        verdict, said = NOT_REPRODUCED, f"wholly outside what is claimed: {_names(against)}"
    elif open_tests := by_verdict[UNDECIDED]:
        without = [test for test in open_tests if test.bounds is None]
        straddling = [test for test in open_tests if test.bounds is not None]
        parts = [f"the interval straddles: {_names(straddling)}"] if straddling else []
        parts += [f"no interval: {_names(without)}"] if without else []
        verdict, said = UNDECIDED, "; ".join(parts)
    else:
        verdict, said = REPRODUCED, f"wholly within what is claimed: {_names(finding.tests)}"
    stand_in = any(label_arm("supervised") in q.name for q in (*finding.tests, *finding.values))
    return verdict, "; ".join([said, *finding.notes, *([STAND_IN] if stand_in else [])])


def _names(tests: list[Measure]) -> str:
    return ", ".join(test.name for test in tests)


def _scale(run: RunResults, images: int | None) -> dict:
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


def _plain_quantity(quantity: Measure) -> dict:
    bounds = None if quantity.bounds is None else [nan_to_none(end) for end in quantity.bounds]
    return {
        "name": quantity.name,
        "thesis": nan_to_none(quantity.thesis),
        "measured": nan_to_none(quantity.measured),
        "interval": None if bounds is None or None in bounds else bounds,
    }


def _limit(end: float) -> float | None:
    return None if abs(end) == float("inf") else end


def _numbers(quantity: dict, unit: str | None) -> list[str]:
    """Cells: name and unit, the thesis's value, ours, the interval."""
    digits = DECIMALS.get(unit, 3)
    thesis, measured = (_or_dash(quantity[key], digits) for key in ("thesis", "measured"))
    ends = quantity["interval"]
    interval = f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if ends else "–"
    return [
        f"{quantity['name']} ({unit})" if unit else quantity["name"],
        thesis,
        measured,
        interval,
    ]


def _or_dash(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _details(row: dict) -> list[str]:
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
    entries = [(test, test["verdict"]) for test in row["tests"]] + [
        (value, "") for value in row["values"]
    ]
    return [
        *lines,
        *(
            "| " + " | ".join([*_numbers(entry, row["unit"]), verdict]) + " |"
            for entry, verdict in entries
        ),
    ]
