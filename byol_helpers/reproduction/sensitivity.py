"""What becomes of the verdicts with another confidence, margin or number of seeds.

The scorecard page of the book lets its reader move the three; ``docs/static/scorecard.js`` does the
same arithmetic on what ``collect_evidence`` gives, and a test holds both equal. It is read off the
intervals, not drawn anew: an end that lies d from the value at one confidence lies d times the
ratio of the quantiles at another, as in ``read_p_value``.

- Over images: the normal quantiles.
- Over k seeds: Student's quantile over the root of k, for k that the reader chooses.
- Over both: the two distances, whose squares add up.
- Over images, with the reader's k seeds besides: the spread between trainings that the reader
  supposes, in AP points for one arm, hence root two of it for a difference. Nothing was measured of
  it in such a run; this says what the verdict would have to withstand.
"""

import math

from byol_helpers.core.intervals import ENOUGH_SEEDS
from byol_helpers.reproduction.measures import Measure
from byol_helpers.reproduction.verdicts import (
    DECIMALS,
    NOT_TESTED,
    combine_verdicts,
)

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99, 0.999)
MOST_SEEDS = 20
POINTS = "AP points"


def collect_evidence(card: dict, confidence: float) -> dict:
    """What the reader's changes are computed from, ready for JSON.

    Args:
        card: ``scorecard.json`` of a run.
        confidence: of its intervals.

    Returns:
        ``{"scale", "confidence", "levels": [{"confidence", "normal", "student": {seeds: quantile}},
        ...], "claims": [{"claim", "text", "where", "link", "unit", "margin", "verdict", "reason",
        "tests": [{"name", "unit", "measured", "interval", "over_images", "seeds", "claimed",
        "margin", "close", "verdict", "thesis", "digits"}, ...]}, ...]}``.
    """
    claims = []
    for row in card["claims"]:
        kept = {key: row[key] for key in ("claim", "text", "where", "link", "unit", "verdict")}
        margin = row["margin"]["value"] if row["margin"] else None
        tests = [test | {"digits": DECIMALS.get(test["unit"] or "", 3)} for test in row["tests"]]
        claims.append(kept | {"margin": margin, "reason": row["reason"], "tests": tests})
    levels = sorted({*CONFIDENCES, confidence})
    return {
        "scale": card["scale"],
        "confidence": confidence,
        "levels": [_list_quantiles(level) for level in levels],
        "claims": claims,
    }


def reconsider_verdicts(
    evidence: dict,
    confidence: float,
    margin_factor: float = 1.0,
    seeds: int | None = None,
    spread: float = 0.0,
) -> dict[str, str]:
    """The verdict of each claim under other choices, {claim: verdict}.

    Args:
        evidence: of ``collect_evidence``.
        confidence: one of its levels.
        margin_factor: times every smallest effect that matters, at least 0.
        seeds: 3 to 20; None: those of the run.
        spread: standard deviation of the AP of one arm between trainings, in AP points; counts
            where the run's own intervals hold no seeds, and from three seeds on.
    """
    found = {}
    for row in evidence["claims"]:
        measures = []
        for test in row["tests"]:
            bounds = move_bounds(evidence, test, confidence, seeds, spread)
            measures.append(_rebuild_measure(test, bounds, margin_factor))
        found[row["claim"]] = combine_verdicts(measures)[0] if measures else NOT_TESTED
    return found


def move_bounds(
    evidence: dict, test: dict, confidence: float, seeds: int | None, spread: float
) -> tuple[float, float] | None:
    """The interval of a test under other choices; None where it has none."""
    if test["interval"] is None:
        return None
    before = _find_level(evidence, evidence["confidence"])
    after = _find_level(evidence, confidence)
    own = test["seeds"]
    over_seeds = 1.0
    if own:
        wanted = seeds or own
        over_seeds = _width(after, wanted) / _width(before, own)
    over_images = after["normal"] / before["normal"]
    supposed = 0.0
    if not own and seeds and seeds >= ENOUGH_SEEDS and _is_difference_of_ap(test):
        supposed = _width(after, seeds) * math.sqrt(2) * spread
    value = test["measured"]
    distances = []
    for side, end in enumerate(test["interval"]):
        whole = abs(end - value)
        images = 0.0 if own else whole
        if test["over_images"]:
            images = abs(test["over_images"][side] - value)
        trained = whole**2 - images**2
        square = (images * over_images) ** 2 + trained * over_seeds**2 + supposed**2
        distances.append(math.sqrt(max(0.0, square)))
    return value - distances[0], value + distances[1]


def _rebuild_measure(
    test: dict, bounds: tuple[float, float] | None, margin_factor: float
) -> Measure:
    """A test as ``decide_verdict`` takes it; ends of what is claimed that are the margin move
    along."""
    margin = test["margin"]
    low, high = test["claimed"]
    if margin is not None:
        low = -margin * margin_factor if low == -margin else low
        high = margin * margin_factor if high == margin else high
        margin *= margin_factor
    return Measure(
        test["name"],
        test["thesis"],
        test["measured"],
        bounds,
        (-math.inf if low is None else low, math.inf if high is None else high),
        test["unit"],
        margin,
        test["close"],
    )


def _is_difference_of_ap(test: dict) -> bool:
    return test["unit"] == POINTS and test["margin"] is not None


def _width(level: dict, seeds: int) -> float:
    """Half the interval of a mean over seeds, for a standard deviation of 1."""
    return level["student"][str(seeds)] / math.sqrt(seeds)


def _find_level(evidence: dict, confidence: float) -> dict:
    return next(level for level in evidence["levels"] if level["confidence"] == confidence)


def _list_quantiles(confidence: float) -> dict:
    """Two-sided quantiles, the normal one and Student's for 3 to 20 values."""
    from scipy.stats import norm, t  # a second to import

    share = (1 + confidence) / 2
    student = {}
    for seeds in range(ENOUGH_SEEDS, MOST_SEEDS + 1):
        student[str(seeds)] = float(t.ppf(share, seeds - 1))
    return {"confidence": confidence, "normal": float(norm.ppf(share)), "student": student}
