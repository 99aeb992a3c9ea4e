"""Install what the notebooks need and this Python lacks; PyTorch stays as it is.

    python notebooks/install.py

The setup cell of every notebook runs it. Colab and Kaggle come with a PyTorch that fits
their GPU: ``torch``, ``torchvision`` and ``numpy`` are never touched, and whatever is
installed beside them has to fit them. It needs the standard library and ``packaging``,
which comes with Jupyter's kernel.
"""

import importlib
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
KEPT = ("torch", "torchvision", "numpy")
EXTRAS = ("train", "video", "notebooks")
# Jupyter runs this cell already; its kernel and its server are not ours to renew.
NOT_NEEDED = (
    "ipykernel",
    "jupyterlab",
    "nbconvert",
    "papermill",
    "jinja2",
    "latex2mathml",
)


def read_requirements(pyproject: Path) -> list[Requirement]:
    """What the package and the extras ask for, without what opens notebooks."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *(line for name in EXTRAS for line in extras[name]),
    ]
    wanted = []
    for line in lines:
        requirement = Requirement(line)
        asked = requirement.marker is None or requirement.marker.evaluate()
        if asked and requirement.name not in (project["name"], *NOT_NEEDED):
            wanted.append(requirement)
    return wanted


def find_version(name: str) -> str | None:
    """The installed version of a package; None where it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def list_missing(wanted: list[Requirement]) -> list[Requirement]:
    """What is not installed, or in too old a version.

    Raises:
        RuntimeError: one of ``KEPT`` is among it.
    """
    missing = []
    for requirement in wanted:
        version = find_version(requirement.name)
        if version is None or not requirement.specifier.contains(
            version, prereleases=True
        ):
            missing.append(requirement)
    for requirement in missing:
        if requirement.name in KEPT:
            version = find_version(requirement.name) or "missing"
            raise RuntimeError(
                f"{requirement.name} is {version} here and {requirement} is needed; a "
                "notebook does not install it: take a machine that has it, or an "
                "environment of the repository's own (make setup, python make.py setup)"
            )
    return missing


def install(missing: list[Requirement]) -> None:
    """Call pip, with the versions of ``KEPT`` as they are.

    Raises:
        RuntimeError: pip failed; its last line is in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept.txt"
        kept.write_text("".join(f"{name}=={find_version(name)}\n" for name in KEPT))
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--constraint",
            str(kept),
        ]
        done = subprocess.run(
            [*command, *map(str, missing)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        names = ", ".join(map(str, missing))
        raise RuntimeError(f"pip could not install {names}: {said[-1]}")


def main() -> None:
    """Install what is missing, and say what came."""
    missing = list_missing(read_requirements(ROOT / "pyproject.toml"))
    if not missing:
        return
    print(
        f"Installing {', '.join(requirement.name for requirement in missing)} ...",
        flush=True,
    )
    before = {found.name: found.version for found in metadata.distributions()}
    start = time.monotonic()
    install(missing)
    importlib.invalidate_caches()
    after = {found.name: found.version for found in metadata.distributions()}
    came = sorted(
        f"{name} {after[name]}" for name in after if before.get(name) != after[name]
    )
    print(f"Installed in {time.monotonic() - start:.0f} s: {', '.join(came)}")
    renewed = [name for name in after if before.get(name, after[name]) != after[name]]
    loaded = [name for name in renewed if name.replace("-", "_") in sys.modules]
    if loaded:
        raise RuntimeError(
            f"{', '.join(loaded)}: loaded before it was renewed; restart the kernel, "
            "then run this cell again"
        )


if __name__ == "__main__":
    main()
