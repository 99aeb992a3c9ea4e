"""How the package is written, in numbers: ``python -m benchmarks.code_style [FOLDER]``.

Lines over 100 characters (empty ones are not counted), parallel assignments (``a, b = x, y``, swaps
left out), comprehensions, pyright's findings, the longest file, the lines of each room, and of the
notebooks the cells over 30 lines and the imports that reach through a room into one of its modules.
Compares two states of the repository when called for two working trees.
"""

import argparse
import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

WIDTH = 100
SCREEN = 30  # lines
PACKAGE = "byol_helpers"
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def is_parallel(node: ast.AST) -> bool:
    """Whether a statement assigns several values to several names and is not a swap."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Tuple):
        return False
    for target in node.targets:
        if isinstance(target, ast.Tuple):
            taken = {ast.unparse(element) for element in target.elts}
            given = {ast.unparse(element) for element in node.value.elts}
            if taken != given:
                return True
    return False


def list_code_cells(root: Path) -> list[str]:
    """The sources of all code cells of the notebooks."""
    sources = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                sources.append("".join(cell["source"]))
    return sources


def count_deep_imports(root: Path) -> int:
    """Imports in the notebooks' code from a module inside a room, ``byol_helpers.room.module``."""
    count = 0
    for source in list_code_cells(root):
        names = list_imports(source)
        count += sum(name.startswith(PACKAGE) and name.count(".") >= 2 for name in names)
    return count


def count_long_cells(root: Path) -> int:
    """Code cells of the notebooks that do not fit a screen."""
    return sum(len(source.strip().splitlines()) > SCREEN for source in list_code_cells(root))


def list_imports(source: str) -> Iterator[str]:
    """The modules that a cell imports or imports from."""
    lines = [line for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name


def count_type_errors(root: Path) -> int:
    """Findings of pyright at its basic level, with the interpreter that runs this."""
    settings = {"include": [PACKAGE], "typeCheckingMode": "basic"}
    file = root / "pyrightconfig.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    finally:
        file.unlink()
    return json.loads(done.stdout)["summary"]["errorCount"]


def measure_style(root: Path) -> dict[str, object]:
    """The table, by the words of its rows."""
    lines = {}
    nodes = Counter()
    for path in sorted((root / PACKAGE).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        lines[path.relative_to(root / PACKAGE)] = len(source.splitlines())
        written = [line for line in source.splitlines() if line.strip()]
        nodes["written lines"] += len(written)
        nodes["long lines"] += sum(len(line) > WIDTH for line in written)
        for node in ast.walk(ast.parse(source)):
            nodes["assignments"] += isinstance(node, ast.Assign | ast.AnnAssign)
            nodes["parallel"] += is_parallel(node)
            nodes["comprehensions"] += isinstance(node, COMPREHENSIONS)
    written = nodes["written lines"]
    rooms = Counter()
    for path, count in lines.items():
        rooms[path.parts[0] if len(path.parts) > 1 else "(top)"] += count
    longest = max(lines, key=lambda path: lines[path])
    return {
        "lines": sum(lines.values()),
        "lines that are not empty": written,
        f"lines over {WIDTH} characters, %": round(100 * nodes["long lines"] / written, 2),
        "parallel assignments, % of assignments": round(
            100 * nodes["parallel"] / nodes["assignments"], 2
        ),
        "comprehensions in 100 lines": round(100 * nodes["comprehensions"] / written, 2),
        "pyright's findings": count_type_errors(root),
        "longest file": f"{longest.as_posix()}, {lines[longest]} lines",
        "deep imports in notebooks": count_deep_imports(root),
        f"cells of notebooks over {SCREEN} lines": count_long_cells(root),
        "lines by room": dict(rooms.most_common()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.code_style", description="How the package is written."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path.cwd())
    print(json.dumps(measure_style(parser.parse_args().folder.resolve()), indent=1))


if __name__ == "__main__":
    main()
