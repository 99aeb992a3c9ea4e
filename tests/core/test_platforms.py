"""The package can be imported where the modules of Unix do not exist, as on Windows."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Other packages choose by sys.platform what they import; they see all modules as before.
IMPORT_ALL = """
import builtins, importlib, pkgutil

HIDDEN = {"resource", "fcntl", "pwd", "grp", "termios"}
real_import = builtins.__import__

def import_without_unix(name, globals=None, *more, **named):
    importer = (globals or {}).get("__name__") or ""
    if importer.split(".")[0] == "byol_helpers" and name.split(".")[0] in HIDDEN:
        raise ModuleNotFoundError(f"{importer} imports {name}", name=name)
    return real_import(name, globals, *more, **named)

builtins.__import__ = import_without_unix
package = importlib.import_module("byol_helpers")
count = 0
for module in pkgutil.walk_packages(package.__path__, "byol_helpers."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if error.name in HIDDEN:
            print(error)
    count += 1
print(count, "modules")
"""


def import_all() -> list[str]:
    """Lines of a process that imports every module without those of Unix: what was asked for."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.slow
def test_no_module_needs_those_of_unix_when_it_is_imported():
    *refused, last = import_all()
    assert refused == []
    count = int(last.split()[0])
    assert count >= len(list((ROOT / "byol_helpers").rglob("*.py"))) - 20  # __init__.py of rooms
