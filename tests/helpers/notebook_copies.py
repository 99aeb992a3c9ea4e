"""Copies of the committed notebooks that run at another scale but keep their outputs, for nbval to
compare.

A committed notebook holds the outputs of a quick run. Its cells marked ``# NBVAL_CHECK_OUTPUT``
promise a value that holds at every scale. The promise is tested by executing a copy whose only
change is the profile, which takes minutes. Copies stand in a folder beside ``notebooks/``, so that
relative paths stay true.

    python -m tests.helpers.notebook_copies --profile smoke --out .nbval
"""

import argparse
import ast
import json
import shutil
import sys
from pathlib import Path

from tests.helpers.notebook_rules import Notebook, tags, text

ROOT = Path(__file__).resolve().parents[2]


def with_profile(source: str, profile: str) -> str:
    """The parameters cell with the value of its ``profile`` (any case) replaced; nothing else
    moves.

    Raises:
        ValueError: no such parameter.
    """
    for statement in ast.parse(source).body:
        name = getattr(getattr(statement, "target", None), "id", "")
        if name.lower() == "profile" and statement.value is not None:
            lines, value = source.split("\n"), statement.value
            line = lines[value.lineno - 1].encode()  # ast counts columns in bytes
            lines[value.lineno - 1] = (
                line[: value.col_offset]
                + json.dumps(profile).encode()
                + line[value.end_col_offset :]
            ).decode()
            return "\n".join(lines)
    raise ValueError("its parameters cell has no 'profile'")


def copy_notebook(path: Path, profile: str, folder: Path) -> Path:
    """Write the copy of one notebook into ``folder`` and return its path."""
    notebook = Notebook(path, ROOT)
    cells = [cell for cell in notebook.cells if "parameters" in tags(cell)]
    if len(cells) != 1:
        raise ValueError(f"{path.name}: {len(cells)} cells tagged 'parameters', not one")
    try:
        cells[0]["source"] = with_profile(text(cells[0]["source"]), profile)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    copy = folder / path.name
    copy.write_text(json.dumps(notebook.json), encoding="utf-8")
    return copy


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--out", type=Path, default=ROOT / ".nbval")
    options = parser.parse_args()
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    if not notebooks:
        print("notebooks/ holds no notebook", file=sys.stderr)
        return 1
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    for path in notebooks:
        copy_notebook(path, options.profile, options.out)
    print(f"{len(notebooks)} notebooks to run with profile {options.profile}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
