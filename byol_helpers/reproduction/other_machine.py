"""How far a run lies from the committed one of the same profile, and whether that is training luck.

Another processor adds numbers in another order, and after some hundred steps the weights differ as
those of another seed do. So a difference between machines is compared with the spread between
seeds, which a committed study has measured.
"""

import math
import statistics
from pathlib import Path

from byol_helpers.core.files import read_json
from byol_helpers.core.intervals import ENOUGH_SEEDS
from byol_helpers.reproduction.run_results import RunResults, open_results

SIGMAS = 2.0  # as many deviations of a difference count as luck


def measure_seed_spread(results: Path) -> float | None:
    """Standard deviation of AP between seeds in points, pooled over the arms of the studies.

    Args:
        results: folder of all studies; None is returned where no arm has three seeds.
    """
    variances = []
    for path in sorted(results.glob("*/*/study.json")):
        run = open_results(path.parent)
        for arm in run.comparison["arms"]:
            values = [100 * model.value("mask/AP") for model in run.results_of(arm).values()]
            if len(values) >= ENOUGH_SEEDS:
                variances.append(statistics.variance(values))
    return math.sqrt(statistics.fmean(variances)) if variances else None


def compare_machines(run: RunResults, committed: RunResults, spread: float) -> list[dict]:
    """AP of each arm and seed that both runs have.

    Args:
        run: of the reader.
        committed: of the same profile.
        spread: of ``measure_seed_spread``.

    Returns:
        Rows ``arm``, ``seed``, ``here`` and ``committed`` in AP points, and ``luck``: whether the
        difference lies within ``SIGMAS`` deviations of a difference of two seeds.
    """
    rows = []
    for arm in committed.comparison["arms"]:
        theirs = committed.results_of(arm)
        ours = run.results_of(arm)
        for seed in sorted(theirs.keys() & ours.keys()):
            here = 100 * ours[seed].value("mask/AP")
            there = 100 * theirs[seed].value("mask/AP")
            luck = abs(here - there) <= SIGMAS * math.sqrt(2) * spread
            row = {"arm": arm, "seed": seed, "here": here, "committed": there, "luck": luck}
            rows.append(row)
    return rows


def describe_other_machine(run_path: Path, results: Path) -> str:
    """In one line, how far a run lies from the committed one, and whether that is luck of seeds.

    Args:
        run_path: of the reader's run.
        results: folder of the committed studies and runs.
    """
    run = open_results(run_path)
    name = run.profile["name"]
    kept = results / name
    if not (kept / "profile.yaml").is_file():
        return f"No run of the profile {name} is committed to compare with."
    spread = measure_seed_spread(results)
    if spread is None:
        return "No committed study has three seeds, so the spread between seeds is not known."
    committed = open_results(kept)
    rows = compare_machines(run, committed, spread)
    parts = []
    for row in rows:
        difference = row["here"] - row["committed"]
        parts.append(f"{row['arm']} seed {row['seed']} {difference:+.1f}")
    outside = [f"{row['arm']} seed {row['seed']}" for row in rows if not row["luck"]]
    said = f"outside of it: {', '.join(outside)}" if outside else "all of it within seed noise"
    device = read_json(next(iter(sorted(kept.glob("finetune/*/stage.json")))))["device"]
    return (
        f"AP here minus that of the committed run ({device}): {', '.join(parts)}. Seeds differ by "
        f"{spread:.2f} points (standard deviation), so {SIGMAS * math.sqrt(2) * spread:.1f} may be "
        f"luck: {said}."
    )
