"""The architecture, as tests: who imports whom, what stays light, and what a room offers."""

import ast
import importlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "byol_helpers"
FILES = sorted(PACKAGE.rglob("*.py"))
STUBS = sorted(PACKAGE.rglob("__init__.pyi"))  # the names that a room offers, imported when used

# What each room may import from the package besides itself, bottom up. pretraining, segmentation
# and background are strangers to each other; backbones is the bridge of the first two, and adoption
# brings weights of others onto it. download and cutout are for the command line alone.
DATA = {"core", "synthetic", "coco"}
TRAINED = {"training", "pretraining", "segmentation", "adoption", "backbones", "released"}
MEASURED = {"background", "evaluation", "reproduction"}
ALLOWED = {
    "core": set(),
    "synthetic": {"core"},
    "coco": {"core", "synthetic"},
    "training": {"core"},
    "pretraining": DATA | {"training"},
    "segmentation": DATA | {"training"},
    "background": DATA,
    "adoption": DATA | {"segmentation"},
    "released": {"core"},
    "backbones": DATA | {"training", "pretraining", "segmentation", "adoption"},
    "evaluation": DATA,
    "reproduction": DATA | {"evaluation"},
    "figures": DATA | MEASURED,
    "initial_weights": DATA | {"pretraining", "adoption", "backbones", "released"},
    "probing": DATA | {"pretraining", "backbones", "initial_weights"},
    "pipeline": DATA | TRAINED | MEASURED | {"initial_weights", "probing"},
    "ablations": DATA | MEASURED | {"pipeline", "probing"},
    "studies": DATA | MEASURED | {"initial_weights", "probing", "pipeline", "ablations"},
    "forecasts": {"core", "training", "pipeline"},
    "releasing": {
        "core",
        "coco",
        "backbones",
        "released",
        "initial_weights",
        "probing",
        "pipeline",
    },
    "report": DATA | MEASURED | {"figures", "pipeline"},
    "download": DATA,
    "cutout": DATA | {"background", "segmentation"},
    "cli_options": {"core", "cutout"},
    "cli": DATA
    | TRAINED
    | MEASURED
    | {
        "figures",
        "cli_options",
        "pipeline",
        "ablations",
        "studies",
        "forecasts",
        "releasing",
        "report",
        "download",
        "cutout",
    },
    "__main__": {"cli"},
}
# These read tensors and build networks.
WITH_TORCH = {"core/weights.py", "core/inert_pickle.py", "core/channels.py", "core/resnet.py"}
NO_TORCH = (
    "core",
    "synthetic",
    "coco",
    "reproduction",
    "background",
    "evaluation",
    "figures",
)


def part(path: Path) -> str:
    """The layer a file belongs to: its folder, or its own name at the top.

    "" for the package itself.
    """
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


@cache
def imports(path: Path) -> frozenset[str]:
    """Full names of all modules that a file imports, anywhere in it; relative imports resolved."""
    names = set()
    home = ("byol_helpers", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(home[: len(home) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return frozenset(names)


def parts_imported(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imports(path) if name.startswith("byol_helpers.")}
    return names - {part(path), "__version__"}


def relative(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", [*FILES, *STUBS], ids=relative)
def test_a_file_imports_only_from_the_layers_below(path):
    if path == PACKAGE / "__init__.pyi":
        return  # the reader's surface: it may offer a name of any room
    if part(path) == "":
        assert not parts_imported(path), (
            "byol_helpers/__init__.py imports nothing, so that it is cheap"
        )
        return
    assert part(path) in ALLOWED, f"{relative(path)} has no place in the layers"
    assert parts_imported(path) <= ALLOWED[part(path)], f"{relative(path)} reaches above itself"


def test_nothing_imports_from_a_notebook_a_test_or_a_benchmark():
    strangers = {"tests", "notebooks", "benchmarks"}
    found = {
        relative(path): sorted({n.split(".")[0] for n in imports(path)} & strangers)
        for path in FILES
    }
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize("module", ["byol_helpers", *(f"byol_helpers.{name}" for name in NO_TORCH)])
def test_this_part_works_without_torch(module):
    """Imports every file of the part in a fresh interpreter in which torch cannot be imported."""
    name = module.removeprefix("byol_helpers").removeprefix(".")
    files = [path for path in FILES if part(path) == name and relative(path) not in WITH_TORCH]
    assert files, f"{module} does not exist"
    names = [
        ".".join(("byol_helpers", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in files
    ]
    script = (
        "import sys; sys.modules.update(torch=None, torchvision=None, lightning=None)\n"
        + "\n".join(f"import {name.removesuffix('.__init__')}" for name in names)
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_importing_the_package_loads_no_torch():
    script = "import sys, byol_helpers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=PACKAGE.parent).returncode == 0


def test_importing_the_package_is_cheap():
    """It takes less than 0.1 s of the processor, and loads nothing but itself and lazy_loader."""
    script = (
        "import sys, time; start = time.process_time(); before = set(sys.modules)\n"
        "import byol_helpers\n"
        "roots = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(time.process_time() - start, *sorted(roots - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    seconds, *loaded = done.stdout.split()
    assert float(seconds) < 0.1
    assert loaded == ["byol_helpers", "lazy_loader"]


def list_offered(stub: Path) -> list[tuple[str, str]]:
    """(module, name) for every name that a stub offers."""
    body = ast.parse(stub.read_text(encoding="utf-8")).body
    imported = [node for node in body if isinstance(node, ast.ImportFrom)]
    home = ".".join(("byol_helpers", *stub.relative_to(PACKAGE).parent.parts))
    return [(f"{home}.{node.module}", node.names[0].name) for node in imported]


@pytest.mark.parametrize("stub", STUBS, ids=relative)
def test_an_offered_name_is_the_object_itself(stub):
    package = importlib.import_module(
        ".".join(("byol_helpers", *stub.relative_to(PACKAGE).parts[:-1]))
    )
    offered = list_offered(stub)
    assert [name for _, name in offered] != []
    assert sorted(package.__all__) == sorted({name for _, name in offered})
    for module, name in offered:
        assert getattr(package, name) is getattr(importlib.import_module(module), name), name


@pytest.mark.parametrize("stub", STUBS, ids=relative)
def test_an_offered_name_comes_from_where_it_is_defined(stub):
    for module, name in list_offered(stub):
        file = PACKAGE.parent / (module.replace(".", "/") + ".py")
        assert name in definitions(file), f"{module} does not define {name}"


def definitions(path: Path) -> set[str]:
    """Functions, classes and constants at the top of a module."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names
