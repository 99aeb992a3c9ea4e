"""``python -m byol_helpers.figures --run runs/quick --out figures``: the pictures that the README shows."""

import argparse
import sys
from pathlib import Path

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_bytes
from byol_helpers.evaluation.comparison import compare_arms, load_results
from byol_helpers.figures.diagrams import ARMS, draw_byol, draw_pipeline
from byol_helpers.figures.style import encode_png

# Figures that the notebooks keep with a run (names given to ``show``) and that the README may show.
COURSE_FIGURES = (
    "training-pictures",
    "losses-compared",
    "average-precision",
    "detections",
    "cutouts",
    "norm-policy",
)
PIPELINE = (
    "The pipeline, left to right: unlabelled images train a network with BYOL; its weights, supervised "
    "ones and random ones go into Mask R-CNN, are fine-tuned on the same labelled scenes, evaluated with AP50 "
    "and used to cut objects out; a scorecard gives each claim of the thesis a verdict."
)
BYOL = (
    "BYOL: two views of a picture; the online network of encoder, projector and predictor predicts the target "
    "network's projection of the other view; the target is a moving average of the online network and gets no "
    "gradient."
)


def main(arguments: list[str] | None = None) -> int:
    """Draw the two diagrams and copy the run's figures; 2 and one line where the run lacks one."""
    parser = argparse.ArgumentParser(prog="python -m byol_helpers.figures", description=__doc__)
    parser.add_argument(
        "--run", type=Path, default=Path("runs/quick"), help="run folder (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("figures"), help="where to write (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        for path in course_figures(options.run, options.out):
            print(path)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def course_figures(run: Path, out: Path) -> list[Path]:
    """Write the diagrams, with the run's AP50 in the pipeline's, and copies of ``COURSE_FIGURES``; returns their paths.

    Raises:
        UserError: no such run, or it lacks figures; nothing is written then.
    """
    missing = [name for name in COURSE_FIGURES if not (run / "figures" / f"{name}.png").is_file()]
    if missing:
        raise UserError(
            f"{run}: no figures/{missing[0]}.png; make the figures first with: make report"
        )
    arms = compare_arms(load_results(run))["arms"]
    metrics = arms if set(ARMS) <= set(arms) else None
    drawn = {
        "pipeline": encode_png(draw_pipeline(metrics), PIPELINE),
        "byol": encode_png(draw_byol(), BYOL),
    }
    copied = {name: (run / "figures" / f"{name}.png").read_bytes() for name in COURSE_FIGURES}
    return [write_bytes(out / f"{name}.png", content) for name, content in (drawn | copied).items()]


if __name__ == "__main__":
    sys.exit(main())
