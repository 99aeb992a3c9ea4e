"""Run the benchmarks that are named, or all."""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import (  # noqa: F401  importing a module registers its benchmarks
    REGISTRY,
    annotations,
    cutout,
    download,
    evaluation,
    finetuning,
    pretraining,
    report,
)


def main() -> int:
    """Print a line for each benchmark; ``--json`` also writes what is described in ``benchmarks``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(sorted(REGISTRY))}; default: all"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - REGISTRY.keys())
    if unknown:
        print(
            f"error: no benchmark {', '.join(unknown)}; there are {', '.join(sorted(REGISTRY))}",
            file=sys.stderr,
        )
        return 2
    results = {}
    for name in options.names or sorted(REGISTRY):
        results[name] = found = REGISTRY[name]()
        print(
            f"{name}: ours {found['ours']} {found['unit']}, {found['peer_name']} {found['peer']} {found['unit']}, "
            f"ratio {found['ratio']}\n{json.dumps(found['settings'], indent=1)}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


sys.exit(main())
