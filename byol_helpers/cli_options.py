"""Every command and option of the command line; ``cli`` does what they say."""

import argparse
import re
from pathlib import Path

from byol_helpers.core.config import PROFILES
from byol_helpers.core.files import expand_path
from byol_helpers.cutout.options import add_options

DEFAULT_PROFILE = "quick"
BUILT_IN_STUDIES = ("norm-policy", "engines", "pretraining")
STAGE_HELP = {
    "prepare": "images, labels, splits and statistics",
    "supervised": "the supervised stand-in, weights from class folders, or ImageNet weights",
    "pretrain": "BYOL on the unlabelled images",
    "transfer": "weights/<arm>.pth from the checkpoints",
    "finetune": "Mask R-CNN from each arm's weights",
    "evaluate": "detections, AP and intervals on the test split",
    "remove-background": "cut-outs and their scores",
    "scorecard": "the thesis's claims beside this run",
}


def make_parser() -> argparse.ArgumentParser:
    """All commands and options; the tests read it too."""
    top = argparse.ArgumentParser(
        prog="python -m byol_helpers", description="BYOL for instance segmentation"
    )
    commands = top.add_subparsers(dest="command", required=True)
    common = _make_common_options()
    commands.add_parser(
        "report", parents=[common], help="the whole thesis: all notebooks, figures, index.html"
    )
    for name, text in STAGE_HELP.items():
        stage = commands.add_parser(name, parents=[common], help=text)
        if name == "prepare":
            _add_check_options(stage)
        if name == "evaluate":
            _add_results_options(stage)
    study = commands.add_parser(
        "study", parents=[common], help="the arms again with one setting changed"
    )
    _add_study_options(study)
    verdicts = commands.add_parser(
        "verdicts", help="every committed number again, from detections, draws and curves"
    )
    _add_plan_options(verdicts, "of the studies and runs")
    download = commands.add_parser(
        "download", parents=[common], help="bring the part of COCO that a profile needs"
    )
    _add_download_options(download)
    add_options(commands.add_parser("cutout", help="cut objects out of pictures and videos"))
    publish = commands.add_parser(
        "publish", help="for maintainers: what this repository shows of a run, or where it lies"
    )
    _add_publish_options(publish)
    lessons = commands.add_parser(
        "lessons", help="for lecturers: slides of the notebooks, and notebooks without solutions"
    )
    _add_lessons_options(lessons)
    commands.add_parser(
        "forecast",
        parents=[common],
        help="how long a whole run takes here, after 20 steps of each training",
    )
    weights = commands.add_parser("weights", help="the released backbones, with their probes")
    weights.add_argument(
        "--again", action="store_true", help="train them again by their recipes, and compare"
    )
    release = commands.add_parser(
        "release", help="for maintainers: a run's backbones into the released ones"
    )
    release.add_argument(
        "--run", type=expand_path, required=True, help="a run whose stage transfer is done"
    )
    release.add_argument(
        "--terms", metavar="TEXT", help="of the photographs, where it was trained on some"
    )
    commands.add_parser("doctor", help="device, versions, engines, free memory and disk")
    return top


def _make_common_options() -> argparse.ArgumentParser:
    """Options of every command that works on a run."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--profile",
        default=DEFAULT_PROFILE,
        help=f"{', '.join(PROFILES)}, or the path of your own YAML file (default: quick)",
    )
    common.add_argument(
        "--data",
        type=expand_path,
        help="a folder in COCO layout, instead of the profile's own images",
    )
    common.add_argument("--engine", help="torchvision (default) or detectron2")
    common.add_argument("--seeds", help="seeds of the fine-tuning, for example 0,1,2")
    common.add_argument("--run", type=expand_path, help="the run folder (default: runs/<profile>)")
    common.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting"
    )
    return common


def _add_check_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``prepare``."""
    parser.add_argument(
        "--check", action="store_true", help="only say what is wrong with the --data folder"
    )
    _add_strict_option(parser)


def _add_results_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``evaluate`` for results files that no run made."""
    files = parser.add_argument_group("results files from anywhere, instead of a run")
    files.add_argument(
        "--ground-truth", type=expand_path, metavar="FILE", help="annotations in COCO's format"
    )
    files.add_argument(
        "--detections",
        type=expand_path,
        metavar="FILE",
        action="append",
        default=[],
        help="COCO results; once for each model",
    )
    files.add_argument(
        "--out",
        type=expand_path,
        metavar="FOLDER",
        help="keep metrics.json, bootstrap.csv, comparison.json",
    )
    _add_strict_option(files)


def _add_strict_option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--strict",
        action="store_true",
        help="with --check or --ground-truth: refuse annotations that have to be mended",
    )


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``study``: those of the plan's studies in a group of their own."""
    parser.add_argument(
        "name",
        help="norm-policy: trainable against frozen batch norm; engines: both engines; "
        "pretraining: width of the hidden layer, and BYOL from random weights; or a study of the "
        "plan, such as laptop",
    )
    planned = parser.add_argument_group("a study of the plan")
    _add_plan_options(planned, "where the small files of the trainings go")
    planned.add_argument(
        "--minutes", type=float, help="stop at a checkpoint; the same command goes on from there"
    )
    planned.add_argument(
        "--photographs",
        type=expand_path,
        metavar="FOLDER",
        help="photographs for pretraining, in class folders, where the study is made on some",
    )
    planned.add_argument(
        "--part",
        type=_read_part,
        metavar="K/N",
        help="every N-th seed from the K-th on: N processes work side by side, one a core",
    )
    parser.add_argument(
        "--out",
        type=expand_path,
        metavar="FILE",
        help="a copy of the CSV from the run's folder studies",
    )


def _add_plan_options(parser: argparse._ActionsContainer, results: str) -> None:
    """Options of ``study`` and ``verdicts``; ``results`` says what the folder of results is."""
    parser.add_argument(
        "--plan",
        type=expand_path,
        metavar="FILE",
        help="a plan of one's own, instead of byol_helpers/reproduction/plan.yaml",
    )
    parser.add_argument(
        "--results",
        type=expand_path,
        default=Path("results"),
        metavar="FOLDER",
        help=f"{results} (default: %(default)s)",
    )


def _read_part(text: str) -> tuple[int, int]:
    """``2/3`` as (2, 3)."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a part; write 1/2 for the first of two")
    return int(found[1]), int(found[2])


def _add_download_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``download``."""
    parser.add_argument(
        "--images-url", metavar="URL", help="a mirror or folder with train2017/, val2017/, ..."
    )
    parser.add_argument(
        "--annotations-url", metavar="URL", help="annotations_trainval2017.zip, or a folder"
    )
    parser.add_argument(
        "--connections", type=int, default=24, help="images on their way at once (default: 24)"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only say how many files and bytes that is"
    )


def _add_publish_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``publish``."""
    parser.add_argument(
        "--run",
        type=expand_path,
        help="figures, tables and executed notebooks of a run whose report is finished",
    )
    parser.add_argument(
        "--repository",
        metavar="URL",
        help="the repository's address into badges and setup cells; an empty one takes it out",
    )


def _add_lessons_options(parser: argparse.ArgumentParser) -> None:
    """Options of ``lessons``."""
    parser.add_argument(
        "--out",
        type=expand_path,
        default=Path("build/lessons"),
        help="a folder for slides/ and student/ (default: %(default)s)",
    )
    parser.add_argument(
        "--reveal", help="a copy of reveal.js beside the slides, for a room without a connection"
    )
