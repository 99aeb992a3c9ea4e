"""Who goes into which split: drawn from image ids and a seed, so the same on every machine and
after any interruption.

The order is that of a hash (SHA-256 of seed, purpose and id): no random generator whose stream a
library may change. A split is the beginning of such an order, so a tenth of it lies inside a fifth
of it, and an image that is taken away moves no other one.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence


def order_ids(ids: Iterable[int | str], seed: int, purpose: str) -> list:
    """Ids in the order that the seed draws for a purpose, whatever order they come in."""
    return sorted(ids, key=lambda i: (hashlib.sha256(f"{seed}:{purpose}:{i}".encode()).digest(), i))


def count_part(count: int, fraction: float) -> int:
    """How many of ``count`` images a fraction in 0..1 is: rounded, and one at least."""
    return max(1, round(count * fraction))


def take_groups(
    order: Sequence[int], count: int, limit: int, group_of: Mapping[int, int]
) -> list[int]:
    """The first ``count`` of an order, whole groups alone; a group that does not fit is passed by.

    Where none fits, the smallest group is taken, of which ``limit`` at most.

    Args:
        order: ids.
        count: how many to take at most.
        limit: how many may be taken where no group fits.
        group_of: the group of an id; one without is a group of its own.
    """
    if not group_of:
        return list(order[:count])
    groups = defaultdict(list)
    for i in order:
        groups[group_of.get(i, f"alone {i}")].append(i)
    taken = []
    for members in groups.values():
        if len(taken) + len(members) <= count:
            taken += members
    if not taken:
        taken = min(groups.values(), key=len, default=[])[:limit]
    return taken


def stratify(ids: Sequence[int], categories: dict[int, set[int]], count: int) -> list[int]:
    """``count`` of the ids, such that categories keep their shares of images; nested for growing
    counts.

    Iterative stratification (Sechidis et al. 2011), one image at a time: the category that is
    furthest behind its share gives the next image, the first of the order that holds it.

    Args:
        ids: in the drawn order.
        categories: ids of the categories in an image; images without any are a group of their own.
        count: how many to take, at most ``len(ids)``.
    """
    groups: dict[int, set[int | None]] = {i: set(categories.get(i) or {None}) for i in ids}
    waiting = defaultdict(list)
    share = defaultdict(float)
    for i in reversed(ids):
        for category in groups[i]:
            waiting[category].append(i)
            share[category] += 1 / len(ids)
    names = sorted(share, key=lambda c: (c is None, c or 0))
    taken: dict[int, None] = {}
    held = Counter()

    def measure_lack(category: int | None) -> float:
        wanted = share[category] * (len(taken) + 1)
        return (wanted - held[category]) / share[category]

    while len(taken) < count:
        behind = max((name for name in names if waiting[name]), key=measure_lack)
        image = waiting[behind].pop()
        if image in taken:
            continue
        taken[image] = None
        held.update(groups[image])
    return list(taken)
