"""The literature's column: what the thesis says beside what others have published."""

from byol_helpers.reproduction.thesis import Claim

AGREES = "agrees"
DISAGREES = "disagrees"
NO_COUNTERPART = "no counterpart"


def compare_with_published(claim: Claim) -> dict:
    """Whether the thesis's value lies among the published ones, or within the margin beside them.

    Returns:
        ``{"line": one of the three constants, "low", "high", "text", "source", "checked"}``; all
        but the line are None without a counterpart.
    """
    published = claim.published
    if published is None:
        keys = ("low", "high", "text", "source", "checked")
        return {"line": NO_COUNTERPART} | dict.fromkeys(keys)
    said = next(iter(claim.values.values()))
    room = claim.margin.value if claim.margin else 0.0
    inside = published.low - room <= said <= published.high + room
    return {"line": AGREES if inside else DISAGREES} | published.model_dump()


def describe_published(found: dict, unit: str | None) -> str:
    """One cell: the line, the published range, its source, and whether it is still to be checked.

    Args:
        found: of ``compare_with_published``.
    """
    if found["line"] == NO_COUNTERPART:
        return NO_COUNTERPART
    low = found["low"]
    high = found["high"]
    low = found["low"]
    high = found["high"]
    span = f"{low:+g}" if low == high else f"{low:+g} to {high:+g}"
    check = "" if found["checked"] else "; the figure is quoted and still to be checked"
    return f"**{found['line']}**: {span} {unit or ''} ({found['text']}; {found['source']}{check})"
