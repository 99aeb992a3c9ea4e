"""Parameters that papermill writes into a notebook: a misspelt one is an error, not a warning."""

import ast
import difflib
import sys
from collections.abc import Sequence

from byol_helpers.core.errors import UserError

# What papermill's own cell begins with.
INJECTED = "# Parameters"


def check_parameters(minutes: float | None) -> None:
    """Refuse what a notebook cannot mean.

    Args:
        minutes: a time budget; None and 0 are none.

    Raises:
        UserError: papermill was given a parameter that the notebook does not have, or the minutes
            are no number from 0 on.
    """
    is_number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
    if minutes is not None and not (is_number and minutes >= 0):
        raise UserError(f"MINUTES={minutes!r}: give a number of minutes, or 0 for no limit")
    for name, nearest in find_unknown_parameters(_list_executed_cells()):
        raise UserError(f"{name}: the notebook has no such parameter; it has {nearest}")


def find_unknown_parameters(cells: Sequence[str]) -> list[tuple[str, str]]:
    """Parameters of papermill's cell that no cell before it declares, each with what there is.

    Args:
        cells: the sources of the cells that were executed so far, in their order.
    """
    declared: list[str] = []
    unknown = []
    for source in cells:
        if source.startswith(INJECTED):
            given = _list_targets(source, ast.Assign)
            for name in given:
                if name not in declared:
                    nearest = difflib.get_close_matches(name.upper(), declared, 1, 0.0)
                    unknown.append((name, ", ".join(nearest or declared) or "none"))
        else:
            declared += _list_targets(source, ast.AnnAssign)
    return unknown


def _list_targets(source: str, kind: type[ast.Assign] | type[ast.AnnAssign]) -> list[str]:
    """Names that a cell's statements of one kind give a value; none where it is no plain Python."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return []
    names = []
    for node in body:
        if isinstance(node, kind):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return names


def _list_executed_cells() -> list[str]:
    """Sources of the cells of the notebook that calls; none outside of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return list(shell.user_ns.get("In", [])) if shell is not None else []
