"""Measurements beside a named peer: ``python -m benchmarks [NAME ...] [--json FILE]``.

Each benchmark is a function without arguments, registered here, that measures us and the peer in one run and returns

    {"ours": x, "peer": y, "peer_name": "...", "unit": "...", "ratio": r, "settings": {...}}

A ratio above 1 means that we are better.
"""

from collections.abc import Callable

REGISTRY: dict[str, Callable[[], dict]] = {}


def benchmark(function: Callable[[], dict]) -> Callable[[], dict]:
    """Register a benchmark under its function's name, ``_`` read as ``-`` and left out at the end."""
    REGISTRY[function.__name__.rstrip("_").replace("_", "-")] = function
    return function


def result(
    ours: float, peer: float, peer_name: str, unit: str, smaller_is_better: bool, settings: dict
) -> dict:
    """One entry of the output; the ratio is above 1 where we are better."""
    ratio = peer / ours if smaller_is_better else ours / peer
    return {
        "ours": round(ours, 4),
        "peer": round(peer, 4),
        "peer_name": peer_name,
        "unit": unit,
        "ratio": round(ratio, 3),
        "settings": settings,
    }
