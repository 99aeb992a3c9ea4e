"""What the Makefile does, for machines without make: python make.py report PROFILE=smoke

    python make.py                lists the targets
    python make.py setup          .venv with everything
    python make.py report         the whole thesis on generated images
    python make.py test           all tests

Options stand behind the target as they do behind make's: PROFILE, DATA, ENGINE, SEEDS, RUN, SET.
The interpreter that runs this file makes the environment. Standard library only.
"""

import os
import shutil
import subprocess
import sys
from glob import glob
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(".venv")
SITE = Path(".venv-site")
COPIES = ".nbval"
PYTEST = ["pytest", "-n", "auto", "--dist", "loadfile"]  # a file's tests on one core
OPTIONS = {"PROFILE": "quick", "DATA": "", "ENGINE": "", "SEEDS": "", "RUN": "", "SET": ""}
QUIET = {"TQDM_DISABLE": "1"}
FAST = QUIET | {"OMP_NUM_THREADS": "1"}
Command = list[str]


def list_options(given: dict[str, str]) -> Command:
    """Options of the package's command line."""
    options = ["--profile", given["PROFILE"]]
    for name in ("DATA", "ENGINE", "SEEDS", "RUN"):
        if given[name]:
            options += [f"--{name.lower()}", given[name]]
    for pair in given["SET"].split():
        options += ["--set", pair]
    return options


def list_commands(target: str, given: dict[str, str]) -> list[Command]:
    """What a target calls, each behind ``python -m``."""
    package = ["byol_helpers"]
    options = list_options(given)
    commands: dict[str, list[Command]] = {
        "setup": [],
        "report": [[*package, "report", *options]],
        "test": [
            PYTEST,
            ["tests.helpers.notebook_copies", "--profile", "smoke", "--out", COPIES],
            [*PYTEST, "--nbval-lax", "--nbval-current-env", f"{COPIES}/*.ipynb"],
        ],
        "test-fast": [[*PYTEST, "-m", "not slow and not detectron2"]],
        "lint": [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["pyright"]],
        "figures": [[*package, "publish", "--run", "runs/quick"]],
        "studies": [
            [*package, "study", "pretraining", *options, "--out", "notebooks/03-pretraining.csv"],
            [*package, "study", "norm-policy", *options, "--out", "notebooks/05-norm-policy.csv"],
            [*package, "study", "engines", *options, "--out", "notebooks/05-engines.csv"],
        ],
        "verdicts": [[*package, "verdicts"]],
        "weights": [[*package, "weights", "--again"]],
        "colab-test": [["tests.helpers.colab"]],
        "lessons": [[*package, "lessons", "--out", "build/lessons"]],
        "site": [["docs.book", "site"]],
        "check-site": [["docs.book", "site"], ["docs.book", "check"]],
        "pdf": [["docs.book", "pdf"]],
    }
    return commands[target]


def find_python(environment: Path) -> Path:
    """The interpreter of an environment, which lies elsewhere on Windows."""
    windows = sys.platform == "win32"
    return environment / ("Scripts/python.exe" if windows else "bin/python")


def install(environment: Path, stamp: str, sources: list[str], arguments: Command) -> None:
    """Make an environment and install into it, unless that is done and ``sources`` are older."""
    done = environment / stamp
    newest = max(Path(source).stat().st_mtime for source in sources)
    if done.is_file() and done.stat().st_mtime >= newest:
        return
    print(f"Installing into {environment}, several gigabytes the first time", flush=True)
    if not find_python(environment).exists():
        run_command([sys.executable, "-m", "venv", str(environment)])
    pip = [str(find_python(environment)), "-m", "pip", "install", "--disable-pip-version-check"]
    run_command([*pip, *arguments])
    done.touch()


def install_package(extras: str, stamp: str) -> None:
    """The package into ``VENV``, in the versions that are tested."""
    sources = ["pyproject.toml", "constraints.txt"]
    install(VENV, stamp, sources, ["-c", "constraints.txt", "-e", f".[{extras}]"])


def run_command(command: Command, **variables: str) -> None:
    """Run a command; where it fails, end with its status."""
    status = subprocess.run(command, env=os.environ | variables, check=False).returncode
    if status:
        sys.exit(status)


def clean() -> None:
    """Remove environments, copies and caches; runs/ is kept."""
    for name in (VENV, SITE, COPIES, "build", "dist", ".pytest_cache", ".ruff_cache"):
        shutil.rmtree(name, ignore_errors=True)
    for path in list(Path().rglob("__pycache__")):
        if path.parts[0] != "runs":
            shutil.rmtree(path, ignore_errors=True)


def make(target: str, given: dict[str, str]) -> None:
    """Install what a target needs, then call its commands one after the other."""
    if target == "clean":
        clean()
        return
    if target in ("site", "check-site", "pdf"):
        environment = SITE
        requirements = "docs/requirements.txt"
        install(SITE, ".installed", [requirements], ["--quiet", "-r", requirements])
    else:
        environment = VENV
        if target in ("test", "test-fast", "lint", "colab-test"):
            install_package("dev", ".installed-dev")
        else:
            install_package("video,notebooks", ".installed")
    variables = {"test": FAST, "test-fast": FAST}.get(target, {})
    python = str(find_python(environment))
    for command in list_commands(target, given):
        if "engines" in command and not list(VENV.rglob("site-packages/detectron2")):
            print("study engines: left out, detectron2 is not installed (see docs/engines.md)")
            continue
        found = [sorted(glob(word)) if "*" in word else [word] for word in command]
        run_command([python, "-m", *sum(found, [])], **variables)


def read_arguments(words: list[str]) -> tuple[str, dict[str, str]]:
    """The target, and the options with their values.

    Raises:
        SystemExit: an unknown target or option; the message is one line.
    """
    given = dict(OPTIONS)
    target, *pairs = words
    if target not in TARGETS:
        sys.exit(f"{target}: no such target; use one of {', '.join(TARGETS)}")
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name not in OPTIONS or not equals:
            known = ", ".join(OPTIONS)
            sys.exit(f"{pair}: write an option as NAME=VALUE, with one of {known}")
        given[name] = value
    return target, given


TARGETS = (
    "setup",
    "report",
    "test",
    "test-fast",
    "lint",
    "figures",
    "studies",
    "verdicts",
    "weights",
    "colab-test",
    "site",
    "check-site",
    "pdf",
    "lessons",
    "clean",
)


def main() -> None:
    """Do what the command line says; without a target, list them."""
    if len(sys.argv) < 2:
        print(__doc__)
        print("Targets:", ", ".join(TARGETS))
        return
    target, given = read_arguments(sys.argv[1:])
    os.chdir(ROOT)
    make(target, given)


if __name__ == "__main__":
    main()
