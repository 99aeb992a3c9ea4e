"""Measurements beside a named peer: ``python -m benchmarks [NAME ...] [--images DIR] [--json
FILE]``.

Each benchmark is a function of the folder given with ``--images`` (or None) that measures us and
the peer in one run and returns

    {"ours": x, "peer": y, "peer_name": "...", "unit": "...", "ratio": r, "settings": {...}}

A ratio above 1 means that we are better. Benchmarks that read photographs take those of the folder,
or generate some; ``settings["photographs"]`` says which. The others make their own data and ignore
the folder.
"""


def compare(
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
