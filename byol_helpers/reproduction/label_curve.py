"""The label curve of a committed study: AP by arm and number of labels, what BYOL gains, and what
the probes say about it.

Everything is computed in seconds from ``results/<study>`` (``study_files``), with as many seeds as
are there. Of fewer than three seeds an interval covers the test images only.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from byol_helpers.core.arms import ARMS, label_arm
from byol_helpers.core.files import read_json
from byol_helpers.core.intervals import ENOUGH_SEEDS, percentile_interval, t_interval
from byol_helpers.evaluation.comparison import ModelResult
from byol_helpers.reproduction.plan import REPEAT_SEED, Condition, Study, list_conditions
from byol_helpers.reproduction.run_results import RunResults, open_results
from byol_helpers.reproduction.study_scorecard import subtract_models

ARM_KEY = "mask/AP"
COMPARED = ("byol", "byol-random", "supervised")
MEASURED_START = "start, measured"
HELPS = "helps"
HURTS = "hurts"
UNTOLD = "cannot be told from zero"
SAID = {HELPS: "it helps", HURTS: "it hurts", UNTOLD: "the lead cannot be told from zero"}
COMPARED_WITH = {"trainable": "random", "frozen": "random-measured"}  # what BYOL has to be ahead of


def _open_conditions(results: Path, study: Study) -> Iterator[tuple[Condition, RunResults]]:
    """The conditions of a study that have results."""
    for condition in list_conditions(study):
        folder = results / condition.name
        if (folder / "study.json").is_file():
            yield condition, open_results(folder)


def list_points(results: Path, study: Study) -> list[dict]:
    """AP of every arm under every condition that has results.

    Args:
        results: folder of the study, ``results/<name>``, which may be missing.
        study: its plan.

    Returns:
        Rows ``protocol``, ``images`` (labelled), ``arm``, ``AP`` in points, its ``interval`` over
        the test images or None, and ``seeds``, the AP of each.
    """
    rows = []
    for condition, run in _open_conditions(results, study):
        for arm, found in run.comparison["arms"].items():
            entry = found["mask"]["AP"]
            if entry["value"] is None:
                continue
            models = run.results_of(arm)
            rows.append(
                {
                    "protocol": condition.protocol,
                    "images": condition.images,
                    "arm": arm,
                    "AP": 100 * entry["value"],
                    "interval": None
                    if entry["low"] is None
                    else [100 * entry["low"], 100 * entry["high"]],
                    "seeds": {seed: 100 * model.value(ARM_KEY) for seed, model in models.items()},
                }
            )
    return rows


def list_leads(results: Path, study: Study) -> list[dict]:
    """How much further every pretrained arm comes than the arms it has to be compared with.

    Under trainable batch norm that is ``random``; under frozen batch norm ``random-measured`` too.

    Returns:
        Rows ``protocol``, ``images``, ``arm``, ``other``, ``seeds`` (how many both have), ``lead``
        and ``interval`` in AP points, ``covers`` (what the interval covers) and ``verdict``.
    """
    rows = []
    for condition, run in _open_conditions(results, study):
        for arm in COMPARED:
            for other in ("random", "random-measured"):
                lead = measure_lead(run.results_of(arm), run.results_of(other))
                if lead:
                    about = {"protocol": condition.protocol, "images": condition.images}
                    rows.append(about | {"arm": arm, "other": other} | lead)
    return rows


def measure_lead(ours: dict[int, ModelResult], theirs: dict[int, ModelResult]) -> dict | None:
    """The mean difference of AP over the common seeds, in points; None where none is common."""
    common = sorted(seed for seed in ours.keys() & theirs.keys() if seed < REPEAT_SEED)
    if not common:
        return None
    both = subtract_models(ours, theirs)
    if both is not None:
        lead = both["value"]
        ends = (both["low"], both["high"])
    else:
        pairs = [(ours[seed], theirs[seed]) for seed in common]
        lead = float(np.mean([a.value(ARM_KEY) - b.value(ARM_KEY) for a, b in pairs]))
        draws = np.mean([a.columns[ARM_KEY] - b.columns[ARM_KEY] for a, b in pairs], axis=0)
        confidence = pairs[0][0].metrics["bootstrap"]["confidence"]
        ends = percentile_interval(draws, confidence)
    return {
        "seeds": len(common),
        "lead": 100 * lead,
        "interval": [100 * end for end in ends],
        "covers": "images and seeds" if both is not None else "images only",
        "verdict": _judge(*ends),
    }


def _judge(low: float, high: float) -> str:
    """What an interval says of a lead."""
    if low > 0:
        return HELPS
    return HURTS if high < 0 else UNTOLD


def list_probes(results: Path) -> list[dict]:
    """What a linear probe reads from the last stage of each pretraining, with all labels.

    Returns:
        Rows ``arm``, ``seeds`` (how many), and in per cent, means over the seeds, ``value``,
        ``start`` (the same weights before the training, statistics measured), ``untrained`` and
        ``gain`` with ``interval``, Student's over seeds or None.
    """
    found: dict[str, list[dict]] = {}
    for path in sorted(results.glob("pretrain/*-seed*/probes.json")):
        arm = path.parent.name.rpartition("-seed")[0]
        probes = read_json(path)
        if probes:
            found.setdefault(arm, []).append(_pick_linear(probes, label_arm(arm)))
    rows = []
    for arm in sorted(found, key=list(ARMS).index):
        of_arm = found[arm]
        row: dict = {"arm": arm, "seeds": len(of_arm)}
        for name in ("value", "start", "untrained", "gain"):
            row[name] = 100 * float(np.mean([entry[name] for entry in of_arm]))
        ends = t_interval([100 * entry["gain"] for entry in of_arm])
        rows.append(row | {"interval": list(ends) if ends else None})
    return rows


def _pick_linear(probes: dict, encoder: str) -> dict:
    """Accuracies of the linear probe on layer4 with all labels, of an encoder and its controls."""
    of = {}
    for row in probes["rows"]:
        if (row["stage"], row["probe"], row["per_class"]) == ("layer4", "linear", None):
            of[row["encoder"]] = row
    return {
        "value": of[encoder]["value"],
        "start": of[MEASURED_START]["value"],
        "untrained": of["untrained"]["value"],
        "gain": of[encoder]["gain"],
    }


def describe_help(leads: list[dict], probes: list[dict]) -> list[str]:
    """In sentences where BYOL from random weights helps, where not, and what the probes say.

    Args:
        leads: of ``list_leads``.
        probes: of ``list_probes``.
    """
    of_byol = _select(leads, "byol-random")
    if not of_byol:
        return ["No pair of BYOL from random and random weights has been trained so far."]
    lines = []
    for row in of_byol:
        low, high = row["interval"]
        seeds = f"{row['seeds']} seed{'s' * (row['seeds'] > 1)}"
        so_far = "" if row["seeds"] >= ENOUGH_SEEDS else "So far: "
        lines.append(
            f"{so_far}BYOL from random, {row['images']:,} labelled images, batch norm "
            f"{row['protocol']}: {row['lead']:+.1f} points over {label_arm(row['other'])} "
            f"({low:+.1f} to {high:+.1f}, {seeds}, the interval covers {row['covers']}): "
            f"{SAID[row['verdict']]}.{_compare_labels(row, leads)}"
        )
    return lines + _explain(leads, of_byol, {row["arm"]: row for row in probes})


def _compare_labels(row: dict, leads: list[dict]) -> str:
    """The lead of supervised weights under the same condition, as a sentence; or nothing."""
    for other in _select(leads, "supervised"):
        if (other["protocol"], other["images"]) == (row["protocol"], row["images"]):
            low, high = other["interval"]
            return f" Supervised weights: {other['lead']:+.1f} ({low:+.1f} to {high:+.1f})."
    return ""


def _select(leads: list[dict], arm: str) -> list[dict]:
    """The leads of an arm over what it has to be ahead of."""
    return [
        row for row in leads if row["arm"] == arm and row["other"] == COMPARED_WITH[row["protocol"]]
    ]


def _explain(leads: list[dict], of_byol: list[dict], probes: dict[str, dict]) -> list[str]:
    """What the probes say of the weights whose leads these are."""
    byol = probes.get("byol-random")
    if byol is None:
        return []
    lines = [
        f"A linear probe reads {byol['value']:.1f} % of the held-out objects from the features of "
        f"BYOL from random, {byol['start']:.1f} % from the weights it started from, "
        f"{byol['untrained']:.1f} % from the untrained network: {byol['gain']:+.1f} points are "
        "BYOL's."
    ]
    labels = probes.get("supervised")
    share = math.nan
    if labels is not None and labels["value"] > byol["start"]:
        share = (byol["value"] - byol["start"]) / (labels["value"] - byol["start"])
        lines.append(
            f"Supervised weights give {labels['value']:.1f} %, so BYOL went {share:.0%} of the way "
            "that labels go."
        )
    without = [row for row in of_byol if row["verdict"] != HELPS]
    if not without:
        return lines
    where = _join([f"{row['images']:,} labelled images ({row['protocol']})" for row in without])
    conditions = {(row["protocol"], row["images"]) for row in without}
    of_labels = []
    for row in _select(leads, "supervised"):
        if (row["protocol"], row["images"]) in conditions:
            of_labels.append(row)
    helped = [row for row in of_labels if row["verdict"] == HELPS]
    if of_labels and not helped:
        lines.append(
            f"With {where} BYOL is not seen to help. Supervised weights, which know more, are not "
            "seen to help there either: so it is not that BYOL's features are poor, but that "
            "fine-tuning needs none."
        )
    elif share < 0.5:
        lines.append(
            f"With {where} BYOL is not seen to help. By the probes it knows too little of the "
            "objects: less than half of what labels teach."
        )
    else:
        lines.append(
            f"With {where} BYOL is not seen to help, though its features name objects well: what "
            "the probe asks, one object in a window, is not what a detector needs most."
        )
    return lines


def _join(parts: list[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
