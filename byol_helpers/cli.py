"""The command line: ``python -m byol_helpers report|<stage>|study|verdicts|cutout|doctor``.

Exit status 0 when all is done, or what fits into the minutes given; 1 when some files of a folder
failed; 2 with one line for what the user can put right. Nothing heavy is imported before a command
needs it.
"""

import argparse
import errno
import importlib.util
import re
import shutil
import sys
from pathlib import Path

import psutil

from byol_helpers.core.config import PROFILES
from byol_helpers.core.deadline import StopRequested
from byol_helpers.core.engines import list_installed_engines
from byol_helpers.core.environment import device_name, installed_versions
from byol_helpers.core.errors import UserError
from byol_helpers.core.extras import find_extra, how_to_install
from byol_helpers.core.files import expand_path
from byol_helpers.cutout import options as cutout_options

# Errors of the system that the user can put right.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)

DEFAULT_PROFILE = "quick"
BUILT_IN_STUDIES = ("norm-policy", "engines", "pretraining")
STAGE_HELP = {
    "prepare": "images, labels, splits and statistics",
    "supervised": "the supervised stand-in, or ImageNet weights",
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
            stage.add_argument(
                "--check", action="store_true", help="only say what is wrong with the --data folder"
            )
            _add_strict_option(stage)
        if name == "evaluate":
            _add_results_options(stage)
    study = commands.add_parser(
        "study", parents=[common], help="the arms again with one setting changed"
    )
    _add_study_options(study)
    verdicts = commands.add_parser(
        "verdicts", help="every committed number again, from detections, draws and curves"
    )
    verdicts.add_argument(
        "--results",
        type=expand_path,
        default=Path("results"),
        metavar="FOLDER",
        help="of the studies and runs (default: %(default)s)",
    )
    verdicts.add_argument("--plan", type=expand_path, metavar="FILE", help="as of study")
    download = commands.add_parser(
        "download", parents=[common], help="bring the part of COCO that a profile needs"
    )
    _add_download_options(download)
    cutout_options.add_options(
        commands.add_parser("cutout", help="cut objects out of pictures and videos")
    )
    publish = commands.add_parser(
        "publish", help="for maintainers: what this repository shows of a run, or where it lies"
    )
    publish.add_argument(
        "--run",
        type=expand_path,
        help="figures, tables and executed notebooks of a run whose report is finished",
    )
    publish.add_argument(
        "--repository",
        metavar="URL",
        help="the repository's address into badges and setup cells; an empty one takes it out",
    )
    lessons = commands.add_parser(
        "lessons", help="for lecturers: slides of the notebooks, and notebooks without solutions"
    )
    lessons.add_argument(
        "--out",
        type=expand_path,
        default=Path("build/lessons"),
        help="a folder for slides/ and student/ (default: %(default)s)",
    )
    lessons.add_argument(
        "--reveal", help="a copy of reveal.js beside the slides, for a room without a connection"
    )
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


def _read_part(text: str) -> tuple[int, int]:
    """``2/3`` as (2, 3)."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a part; write 1/2 for the first of two")
    return int(found[1]), int(found[2])


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        help="norm-policy: trainable against frozen batch norm; engines: both engines; "
        "pretraining: width of the hidden layer, and BYOL from random weights; or a study of the "
        "plan, such as laptop",
    )
    planned = parser.add_argument_group("a study of the plan")
    planned.add_argument(
        "--plan",
        type=expand_path,
        metavar="FILE",
        help="a plan of one's own, instead of byol_helpers/reproduction/plan.yaml",
    )
    planned.add_argument(
        "--minutes", type=float, help="stop at a checkpoint; the same command goes on from there"
    )
    planned.add_argument(
        "--part",
        type=_read_part,
        metavar="K/N",
        help="every N-th seed from the K-th on: N processes work side by side, one a core",
    )
    planned.add_argument(
        "--results",
        type=expand_path,
        default=Path("results"),
        metavar="FOLDER",
        help="where the small files of the trainings go (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=expand_path,
        metavar="FILE",
        help="a copy of the CSV from the run's folder studies",
    )


def _add_download_options(parser: argparse.ArgumentParser) -> None:
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


def collect_overrides(options: argparse.Namespace) -> list[str]:
    """``--engine`` and ``--seeds`` as settings, before the ``--set`` of the user."""
    named = [f"finetune.engine={options.engine}"] if options.engine else []
    if options.seeds:
        named.append(f"finetune.seeds=[{options.seeds}]")
    return named + options.set


def run_command(options: argparse.Namespace) -> int:
    """Do what the command says and return the exit status."""
    if options.command == "doctor":
        return print_machine()
    if options.command == "cutout":
        return _cut_out(options)
    if options.command == "verdicts":
        return _check_verdicts(options.results, options.plan)
    if options.command == "evaluate" and (options.ground_truth or options.detections):
        return _evaluate_files(options)
    if options.command == "prepare" and options.check:
        return _check_data(options, collect_overrides(options))
    if getattr(options, "strict", False):
        raise UserError("--strict: goes with prepare --check, or with evaluate --ground-truth")
    if options.command == "publish":
        return _publish(options.run, options.repository)
    if options.command == "study" and options.name not in BUILT_IN_STUDIES:
        return _run_planned_study(options)
    if options.command == "lessons":
        return _write_lessons(options.out, options.reveal)
    if options.command == "weights":
        return _show_weights(options.again)
    if options.command == "release":
        return _release(options.run)
    settings = collect_overrides(options)
    if options.command == "download":
        return _download(options, settings)
    from byol_helpers import pipeline

    run = pipeline.open_run(options.profile, options.run, options.data, settings)
    if options.command == "report":
        from byol_helpers.report.notebooks import write_report

        print(f"Done. Open {write_report(run, options.profile, settings)}")
    elif options.command == "study":
        from byol_helpers.ablations import run_study

        path = run_study(run, options.name, options.profile, settings, options.out)
        print(f"Done. {path}")
    elif options.command == "forecast":
        from byol_helpers.forecasts import forecast_run

        print(forecast_run(run))
    else:
        pipeline.run_stage_by_name(run, options.command)
    return 0


def _check_data(options: argparse.Namespace, settings: list[str]) -> int:
    """The command ``prepare --check``: a line for each kind of problem, the worst first."""
    from byol_helpers.coco.preparation import check_data
    from byol_helpers.core.config import load_profile

    data = options.data
    if data is None:
        raise UserError("prepare --check needs --data FOLDER, the folder to check")
    errors = check_data(data, load_profile(options.profile, settings), options.strict)
    for line in errors:
        print(f"error: {line}", file=sys.stderr)
    if not errors:
        print(f"{data}: nothing is wrong with it")
    return 2 if errors else 0


def _download(options: argparse.Namespace, settings: list[str]) -> int:
    """The command ``download``."""
    from byol_helpers.core.config import load_profile
    from byol_helpers.download.coco import ANNOTATIONS_URL, IMAGES_URL, download_coco

    if options.data is None:
        raise UserError("download needs --data FOLDER, the folder that COCO goes to")
    if not 1 <= options.connections <= 64:
        raise UserError(f"--connections {options.connections}: give a number from 1 to 64")
    profile = load_profile(options.profile, settings)
    if profile.data.source != "coco":
        raise UserError(
            f"the profile {profile.name} generates its images; download for --profile colab or "
            "thesis"
        )
    download_coco(
        options.data,
        profile,
        options.images_url or IMAGES_URL,
        options.annotations_url or ANNOTATIONS_URL,
        options.dry_run,
        options.connections,
    )
    return 0


def _evaluate_files(options: argparse.Namespace) -> int:
    """The command ``evaluate`` on results files."""
    from byol_helpers.evaluation import external_results

    if not options.ground_truth or not options.detections:
        raise UserError(
            "evaluate needs both --ground-truth FILE and --detections FILE, or neither to evaluate "
            "a run"
        )
    table = external_results.evaluate_results_files(
        options.ground_truth, options.detections, options.out, strict=options.strict
    )
    print(table)
    return 0


def _check_verdicts(results: Path, plan: Path | None) -> int:
    """The command ``verdicts``: status 1 where a committed number is not the recomputed one."""
    from byol_helpers.reproduction.plan import load_plan
    from byol_helpers.reproduction.recomputation import find_differences

    studies = load_plan(plan)
    folders = sorted(path.parent for path in results.glob("*/scorecard.json"))
    if not folders:
        raise UserError(f"{results}: no results with a scorecard; give the folder that holds them")
    differences = []
    for folder in folders:
        study = studies.get(folder.name)
        for line in find_differences(folder, folder.name, study):
            print(f"differs: {line}", file=sys.stderr)
            differences.append(line)
    if not differences:
        names = ", ".join(folder.name for folder in folders)
        print(f"{names}: every number is what its detections, draws and curves give")
    return 1 if differences else 0


def _run_planned_study(options: argparse.Namespace) -> int:
    """The command ``study`` with a name of the plan."""
    from byol_helpers.reproduction.plan import find_study
    from byol_helpers.studies import run_planned_study

    study = find_study(options.name, options.plan, BUILT_IN_STUDIES)
    if options.profile != DEFAULT_PROFILE or collect_overrides(options) or options.out:
        raise UserError(
            "the plan decides the settings of a study: leave out --profile, --engine, --seeds, "
            "--set and --out, or write a plan and name it with --plan"
        )
    out = run_planned_study(
        options.name,
        study,
        options.minutes,
        options.results,
        options.run,
        options.data,
        options.part or (1, 1),
    )
    print(f"Results: {out}")
    return 0


def _write_lessons(out: Path, reveal: str | None) -> int:
    """The command ``lessons``: slides and student versions from the committed notebooks."""
    from byol_helpers.report.lessons import REVEAL, write_lessons

    written = write_lessons(out, reveal or REVEAL)
    print(f"{len(written)} files in {out}: slides/*.html, student/*.ipynb")
    return 0


def _publish(run: Path | None, address: str | None) -> int:
    """The command ``publish``: prints the files of this repository that it wrote."""
    if run is None and address is None:
        raise UserError("publish needs --run FOLDER, --repository URL, or both")
    written = []
    if run is not None:
        from byol_helpers.report.publish import publish_outputs, publish_results

        written += [*publish_outputs(run), publish_results(run)]
    if address is not None:
        from byol_helpers.report.address import TAG, publish_address

        written += publish_address(address)
        if address:
            print(f"Setup cells clone the tag {TAG}: give it to the commit that holds this.")
    for path in written:
        print(path)
    return 0


def _show_weights(again: bool) -> int:
    """The command ``weights``: status 1 where one trained again differs."""
    if again:
        from byol_helpers.releasing import compare_all

        return 0 if compare_all() else 1
    from byol_helpers.released import describe_cards

    print(describe_cards())
    return 0


def _release(run: Path) -> int:
    """The command ``release``: prints the files that it wrote."""
    from byol_helpers import pipeline
    from byol_helpers.releasing import release_run

    described = run / "profile.yaml"
    if not described.is_file():
        raise UserError(f"{described}: no such file; give the folder of a run")
    for path in release_run(pipeline.open_run(described, run)):
        print(path)
    return 0


def _cut_out(options: argparse.Namespace) -> int:
    """The command ``cutout``: status 1 when some files failed and the others are done."""
    import torch

    from byol_helpers.segmentation.engine import make_predictor, read_categories

    # A core for reading and writing: where threads outnumber cores, those of a prediction wait for
    # each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        known = read_categories(options.weights)
        summary = cutout_options.run_cutout(
            options, known, lambda: make_predictor(options.weights, options.score)
        )
    finally:
        # Other thread counts sum in another order: whoever trains next would notice.
        torch.set_num_threads(threads)
    print(summary)
    return 1 if summary.failed else 0


def print_machine() -> int:
    """What this machine has, and what a run needs."""
    if importlib.util.find_spec("torch"):
        import torch  # noqa: F401  loaded so that device_name() can ask it

    disk = shutil.disk_usage(Path.cwd())
    free = psutil.virtual_memory().available
    lines = {
        "device": device_name(),
        "engines": ", ".join(list_installed_engines()),
        "memory free": f"{free / 2**30:.1f} GB (a quick run used 2.6 GB)",
        "disk free here": f"{disk.free / 2**30:.0f} GB (a quick run leaves 0.6 GB)",
    }
    lines |= {"python": sys.version.split()[0]} | installed_versions()
    for key, value in lines.items():
        print(f"{key:22} {value}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and turn what the user can put right into one line and status 2."""
    options = make_parser().parse_args(arguments)
    try:
        return run_command(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        extra = find_extra(error.name)
        if extra is None:
            raise
        print(
            f"error: {options.command} needs {error.name}, which is not installed: "
            f"{how_to_install(extra)}",
            file=sys.stderr,
        )
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        where = error.filename or "the run folder"
        said = (error.strerror or str(error)).lower()
        print(
            f"error: {where}: {said}; make room or choose another --run folder, then call the same "
            "command again: finished stages are kept",
            file=sys.stderr,
        )
    except StopRequested as stopped:
        print(f"{stopped}; the same command goes on from here")
        return 0
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
