"""Run the benchmarks that are named, or all."""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

from byol_helpers.core.errors import UserError
from byol_helpers.core.files import expand_path

# The module and the function of each. A module is imported when its benchmark runs, so that a
# library that is missing stops that one alone.
BENCHMARKS = {
    "annotations": ("benchmarks.annotations", "measure_subset"),
    "augment": ("benchmarks.pretraining", "measure_augmentations"),
    "bootstrap": ("benchmarks.evaluation", "measure_bootstrap"),
    "byol-step": ("benchmarks.pretraining", "measure_byol_step"),
    "coverage": ("benchmarks.coverage", "measure_coverage"),
    "cutout": ("benchmarks.cutout", "measure_cutout"),
    "download": ("benchmarks.download", "measure_download"),
    "evaluate": ("benchmarks.evaluation", "measure_evaluation"),
    "finetune-step": ("benchmarks.finetuning", "measure_finetune_step"),
    "input": ("benchmarks.pretraining", "measure_input"),
    "memory": ("benchmarks.pretraining", "measure_memory"),
    "report": ("benchmarks.report", "measure_report"),
    "views": ("benchmarks.pretraining", "measure_views"),
    "world": ("benchmarks.world", "measure_worlds"),
}
LONG = {"world"}  # trains a network; run where it is named alone


def main(arguments: list[str] | None = None) -> int:
    """Print the result of each benchmark; ``--json`` also writes what is described in
    ``benchmarks``.

    Returns 0, 1 where a benchmark could not run (the others did), 2 for a name that does not exist.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(BENCHMARKS)}; default: all but world",
    )
    parser.add_argument(
        "--images",
        type=expand_path,
        metavar="DIR",
        help="photographs to measure on; default: generated",
    )
    parser.add_argument("--json", type=expand_path, metavar="FILE")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - BENCHMARKS.keys())
    if unknown:
        print(
            f"error: no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}",
            file=sys.stderr,
        )
        return 2
    names = options.names or [name for name in BENCHMARKS if name not in LONG]
    results = {}
    for name in names:
        try:
            results[name] = run_benchmark(name, options.images)
        except subprocess.CalledProcessError as error:
            print(f"{name}: left out: {last_line(error)}", file=sys.stderr, flush=True)
        except Exception as error:  # of any kind: the others go on
            print(f"{name}: left out: {first_line(error)}", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0 if len(results) == len(names) else 1


def run_benchmark(name: str, images: Path | None) -> dict:
    """Run one benchmark, print what it found and return it."""
    module, function = BENCHMARKS[name]
    found = getattr(importlib.import_module(module), function)(images)
    unit = found["unit"]
    print(
        f"{name}: ours {found['ours']} {unit}, {found['peer_name']} {found['peer']} {unit}, "
        f"ratio {found['ratio']}\n{json.dumps(found['settings'], indent=1)}",
        flush=True,
    )
    return found


def first_line(error: Exception) -> str:
    """What an error says, without the lines that follow, and its kind where it is unexpected."""
    lines = str(error).splitlines() or [""]
    if isinstance(error, ModuleNotFoundError | OSError | UserError):
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}".removesuffix(": ")


def last_line(error: subprocess.CalledProcessError) -> str:
    """The last thing that a process said before it failed, which is what it failed of."""
    lines = (error.stderr or "").splitlines()
    return lines[-1] if lines else f"a process of its own failed with status {error.returncode}"


if __name__ == "__main__":
    sys.exit(main())
