"""Run the notebooks as Colab would: alone, with a Python that has PyTorch, in no environment.

    python -m tests.helpers.colab --folder build/colab

A copy of an interpreter becomes the machine's Python: PyTorch and numpy are installed into it
beforehand, with the packages that a kernel needs, and a stub of ``google.colab``. The committed
state of this checkout goes into a bare repository; the notebooks lie outside of any checkout and
hold its address, as ``python -m byol_helpers publish --repository`` writes it. papermill runs every
notebook there at smoke scale, in its order. Then the versions of PyTorch, torchvision and numpy
must be what they were, and no setup cell may have taken longer than two minutes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import papermill

from byol_helpers.report.notebooks import SHARES

ROOT = Path(__file__).resolve().parents[2]
# Of Colab's image in the autumn of 2025. Others of Colab's packages are left out: more is missing.
MACHINE = (
    "torch==2.9.0",
    "torchvision==0.24.0",
    "numpy==2.0.2",
    "ipykernel==6.17.1",
    "ipywidgets==7.7.1",
    "matplotlib==3.10.0",
    "pandas==2.2.2",
    "pillow==11.3.0",
    "psutil==5.9.5",
    "scipy==1.16.3",
)
KEPT = ("torch", "torchvision", "numpy")
SETUP_SECONDS = 120
DRIVE = '''"""A stub of Colab's module: its drive is a folder."""
from pathlib import Path


def mount(place):
    Path(place, "MyDrive").mkdir(parents=True, exist_ok=True)
'''


def make_machine(folder: Path, base: Path) -> Path:
    """A copy of an interpreter with what Colab has before a notebook is opened; its executable.

    Args:
        folder: of the copy; one that is whole is used again.
        base: an installation of Python 3.12 in a folder of its own.
    """
    home = folder / "python"
    python = home / "bin" / "python3"
    stamp = folder / "machine.json"
    if stamp.is_file() and json.loads(stamp.read_text()) == list(MACHINE):
        return python
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(base, home, symlinks=True)
    call(python, "-m", "pip", "install", "--quiet", "--root-user-action=ignore", *MACHINE)
    packages = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    stub = Path(packages, "google", "colab")
    stub.mkdir(parents=True, exist_ok=True)
    (stub / "__init__.py").write_text("")
    (stub / "drive.py").write_text(DRIVE)
    stamp.write_text(json.dumps(MACHINE))
    return python


def make_repository(folder: Path) -> Path:
    """A bare repository with the committed state and its own address in it; a checkout of it."""
    bare = folder / "course.git"
    checkout = folder / "source"
    for path in (bare, checkout):
        shutil.rmtree(path, ignore_errors=True)
    git = ("git", "-c", "user.name=colab", "-c", "user.email=colab@example.org")
    call("git", "clone", "--quiet", ROOT, checkout)
    call("git", "clone", "--quiet", "--bare", checkout, bare)
    address = bare.as_uri().removesuffix(".git")
    publish = "from byol_helpers.cli import main; main(['publish', '--repository', {!r}])"
    call(sys.executable, "-c", publish.format(address), cwd=checkout)
    call(*git, "commit", "--quiet", "--all", "--message=address", cwd=checkout)
    text = (checkout / "byol_helpers" / "__init__.py").read_text(encoding="utf-8")
    version = text.partition('__version__ = "')[2].partition('"')[0]
    call(*git, "tag", "--force", f"v{version}", cwd=checkout)
    call("git", "push", "--quiet", "--force", bare, f"v{version}", cwd=checkout)
    return checkout


def run_notebooks(python: Path, checkout: Path, content: Path) -> dict[str, float]:
    """Seconds of each notebook's setup cell; every one runs whole, at smoke scale.

    Args:
        python: the machine's.
        checkout: where the notebooks are copied from.
        content: the folder that they lie in alone.
    """
    shutil.rmtree(content, ignore_errors=True)
    content.mkdir(parents=True)
    write_kernel(python, content.parent / "jupyter")
    seconds = {}
    for stem in SHARES:
        path = content / f"{stem}.ipynb"
        shutil.copy(checkout / "notebooks" / path.name, path)
        start = time.monotonic()
        papermill.execute_notebook(
            path,
            path,
            {"PROFILE": "smoke"},
            kernel_name="python3",
            cwd=content,
            progress_bar=False,
        )
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        setup = next(cell for cell in cells if cell["cell_type"] == "code")
        seconds[stem] = setup["metadata"]["papermill"]["duration"]
        said = "".join("".join(output.get("text", "")) for output in setup["outputs"])
        print(f"{stem}: setup {seconds[stem]:.1f} s, whole {time.monotonic() - start:.0f} s")
        print("    " + said.strip().replace("\n", "\n    "), flush=True)
    return seconds


def write_kernel(python: Path, jupyter: Path) -> None:
    """Let papermill find the machine's kernel, with Colab's module loaded, and no other."""
    start = "import google.colab, ipykernel.kernelapp as app; app.launch_new_instance()"
    home = str(jupyter.parent)
    spec = {
        "argv": [str(python), "-c", start, "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        "env": {"HOME": home, "PYTHONPATH": "", "VIRTUAL_ENV": ""},
    }
    kernel = jupyter / "kernels" / "python3"
    kernel.mkdir(parents=True, exist_ok=True)
    (kernel / "kernel.json").write_text(json.dumps(spec))
    os.environ["JUPYTER_PATH"] = str(jupyter)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "0"


def list_packages(python: Path) -> dict[str, str]:
    """Installed packages and their versions."""
    found = call(python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check")
    return {entry["name"]: entry["version"] for entry in json.loads(found)}


def call(*command: object, cwd: Path | None = None) -> str:
    """Standard output of a command; its standard error is shown."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=clean,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "colab")
    parser.add_argument("--base", type=Path, help="an installation of Python 3.12")
    parser.add_argument("--content", type=Path, help="where the notebooks lie, as /content")
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    python = make_machine(folder, options.base or Path(sys.base_prefix))
    checkout = make_repository(folder)
    before = list_packages(python)
    seconds = run_notebooks(python, checkout, options.content or folder / "content")
    after = list_packages(python)
    came = sorted(f"{name} {after[name]}" for name in after if before.get(name) != after[name])
    print(f"installed by the setup cells: {', '.join(came) or 'nothing'}")
    kept = {name: (before[name], after[name]) for name in KEPT}
    print("before and after:", kept)
    changed = [name for name, (then, now) in kept.items() if then != now]
    slow = [stem for stem, taken in seconds.items() if taken > SETUP_SECONDS]
    if changed or slow:
        print(f"changed: {changed}; setup cells over {SETUP_SECONDS} s: {slow}", file=sys.stderr)
    return 1 if changed or slow else 0


if __name__ == "__main__":
    sys.exit(main())
