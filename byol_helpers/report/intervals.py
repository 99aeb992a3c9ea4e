"""Values with intervals as the cells of tables say them."""

import math


def is_defined(value: float | None) -> bool:
    """Whether there is a number: neither None nor nan, which stand for what is not defined."""
    return value is not None and not math.isnan(value)


def format_percent(share: float) -> str:
    """A share from 0 to 1 in percent, with one decimal."""
    return f"{100 * share:.1f}"


def format_interval(entry: dict) -> str:
    """``12.3 (10.1 to 14.5)`` in percent.

    Args:
        entry: ``value``, ``low`` and ``high``, shares from 0 to 1. ``none`` stands for a value that
            is not defined; an interval that is not defined is left out.
    """
    if not is_defined(entry["value"]):
        return "none"
    value = format_percent(entry["value"])
    if not is_defined(entry["low"]) or not is_defined(entry["high"]):
        return value
    return f"{value} ({format_percent(entry['low'])} to {format_percent(entry['high'])})"
