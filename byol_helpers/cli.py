"""The command line: ``python -m byol_helpers report|<stage>|study|verdicts|cutout|doctor``.

Exit status 0 when all is done, or what fits into the minutes given; 1 when some files of a folder
failed; 2 with one line for what the user can put right. Nothing heavy is imported before a command
needs it.
"""

import argparse
import errno
import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from byol_helpers.cli_options import BUILT_IN_STUDIES, DEFAULT_PROFILE, make_parser
from byol_helpers.core.deadline import StopRequested
from byol_helpers.core.engines import list_installed_engines
from byol_helpers.core.environment import device_name, installed_versions
from byol_helpers.core.errors import UserError
from byol_helpers.core.extras import find_extra, how_to_install

if TYPE_CHECKING:
    from byol_helpers.core.stage import Run

# Errors of the system that the user can put right.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def collect_overrides(options: argparse.Namespace) -> list[str]:
    """``--engine`` and ``--seeds`` as settings, before the ``--set`` of the user."""
    named = [f"finetune.engine={options.engine}"] if options.engine else []
    if options.seeds:
        named.append(f"finetune.seeds=[{options.seeds}]")
    return named + options.set


def run_command(options: argparse.Namespace) -> int:
    """Do what the command says and return the exit status."""
    work = COMMANDS.get(options.command, _run_stage)
    return work(options)


def _write_report(options: argparse.Namespace) -> int:
    """The command ``report``."""
    run = _open_run(options)
    from byol_helpers.report.notebooks import write_report

    print(f"Done. Open {write_report(run, options.profile, collect_overrides(options))}")
    return 0


def _run_stage(options: argparse.Namespace) -> int:
    """A command that is named like its stage."""
    if options.command == "evaluate" and (options.ground_truth or options.detections):
        return _evaluate_files(options)
    if options.command == "prepare" and options.check:
        return _check_data(options)
    if getattr(options, "strict", False):
        raise UserError("--strict: goes with prepare --check, or with evaluate --ground-truth")
    from byol_helpers import pipeline

    pipeline.run_stage_by_name(_open_run(options), options.command)
    return 0


def _run_study(options: argparse.Namespace) -> int:
    """The command ``study``: one of the built-in studies, or one of the plan."""
    if options.name not in BUILT_IN_STUDIES:
        return _run_planned_study(options)
    run = _open_run(options)
    from byol_helpers.ablations import run_study

    settings = collect_overrides(options)
    print(f"Done. {run_study(run, options.name, options.profile, settings, options.out)}")
    return 0


def _forecast(options: argparse.Namespace) -> int:
    """The command ``forecast``."""
    run = _open_run(options)
    from byol_helpers.forecasts import forecast_run

    print(forecast_run(run))
    return 0


def _open_run(options: argparse.Namespace) -> "Run":
    """The run that the common options name."""
    from byol_helpers import pipeline

    settings = collect_overrides(options)
    return pipeline.open_run(options.profile, options.run, options.data, settings)


def _check_data(options: argparse.Namespace) -> int:
    """The command ``prepare --check``: a line for each kind of problem, the worst first."""
    from byol_helpers.coco.preparation import check_data
    from byol_helpers.core.profile_files import load_profile

    data = options.data
    if data is None:
        raise UserError("prepare --check needs --data FOLDER, the folder to check")
    profile = load_profile(options.profile, collect_overrides(options))
    errors = check_data(data, profile, options.strict)
    for line in errors:
        print(f"error: {line}", file=sys.stderr)
    if not errors:
        print(f"{data}: nothing is wrong with it")
    return 2 if errors else 0


def _download(options: argparse.Namespace) -> int:
    """The command ``download``."""
    from byol_helpers.core.profile_files import load_profile
    from byol_helpers.download.coco import ANNOTATIONS_URL, IMAGES_URL, download_coco

    if options.data is None:
        raise UserError("download needs --data FOLDER, the folder that COCO goes to")
    if not 1 <= options.connections <= 64:
        raise UserError(f"--connections {options.connections}: give a number from 1 to 64")
    profile = load_profile(options.profile, collect_overrides(options))
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


def _check_verdicts(options: argparse.Namespace) -> int:
    """The command ``verdicts``: status 1 where a committed number is not the recomputed one."""
    from byol_helpers.reproduction.plan import load_plan
    from byol_helpers.reproduction.recomputation import find_differences

    results = options.results
    studies = load_plan(options.plan)
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
        options.photographs,
    )
    print(f"Results: {out}")
    return 0


def _write_lessons(options: argparse.Namespace) -> int:
    """The command ``lessons``: slides and student versions from the committed notebooks."""
    from byol_helpers.report.lessons import REVEAL, write_lessons

    written = write_lessons(options.out, options.reveal or REVEAL)
    print(f"{len(written)} files in {options.out}: slides/*.html, student/*.ipynb")
    return 0


def _publish(options: argparse.Namespace) -> int:
    """The command ``publish``: prints the files of this repository that it wrote."""
    run = options.run
    address = options.repository
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


def _show_weights(options: argparse.Namespace) -> int:
    """The command ``weights``: status 1 where one trained again differs."""
    if options.again:
        from byol_helpers.releasing import compare_all

        return 0 if compare_all() else 1
    from byol_helpers.released import describe_cards

    print(describe_cards())
    return 0


def _release(options: argparse.Namespace) -> int:
    """The command ``release``: prints the files that it wrote."""
    from byol_helpers import pipeline
    from byol_helpers.releasing import release_run

    run = options.run
    described = run / "profile.yaml"
    if not described.is_file():
        raise UserError(f"{described}: no such file; give the folder of a run")
    for path in release_run(pipeline.open_run(described, run), options.terms):
        print(path)
    return 0


def _cut_out(options: argparse.Namespace) -> int:
    """The command ``cutout``: status 1 when some files failed and the others are done."""
    import torch

    from byol_helpers.cutout.options import run_cutout
    from byol_helpers.segmentation.engine import make_predictor, read_categories

    # A core for reading and writing: where threads outnumber cores, those of a prediction wait for
    # each other.
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        known = read_categories(options.weights)
        summary = run_cutout(options, known, lambda: make_predictor(options.weights, options.score))
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
        "disk free here": f"{disk.free / 2**30:.0f} GB (a quick run leaves 0.8 GB)",
    }
    lines |= {"python": sys.version.split()[0]} | installed_versions()
    for key, value in lines.items():
        print(f"{key:22} {value}")
    return 0


# Every other command is a stage.
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "report": _write_report,
    "study": _run_study,
    "verdicts": _check_verdicts,
    "download": _download,
    "cutout": _cut_out,
    "publish": _publish,
    "lessons": _write_lessons,
    "forecast": _forecast,
    "weights": _show_weights,
    "release": _release,
    "doctor": lambda _: print_machine(),
}


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
