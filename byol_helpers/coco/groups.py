"""Pictures that belong together and must not be divided between training and test.

Groups are the same file under two ids, copies that an export tool made of one picture,
near-duplicates, and frames of one video: pictures whose names differ in a running number alone, and
which are called frames or whose neighbours look more alike than others do.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from byol_helpers.coco.file_tree import split_into_words
from byol_helpers.coco.near_duplicates import (
    CORRELATION,
    correlate,
    find_near_pairs,
    hash_images,
    make_thumbnails,
)
from byol_helpers.core.progress import Progress

MOST_COMPARED = 20_000  # pictures; more are grouped by their names alone
FEWEST_FRAMES = 4  # of a video
# How much more alike neighbours must be than frames far apart: correlation of thumbnails, median.
FRAMES_ALIKE = 0.6
FRAMES_NEARER = 0.2
_SAMPLED = 16  # pairs looked at in each series of names
_VIDEO_WORDS = frozenset("frame frames video videos vid clip mp4 avi mov mkv".split())
_COPY = re.compile(r"[_.](jpe?g|png|bmp|tiff?|webp)\.rf\.[0-9a-z]+$", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?!.*\d)")  # the last one of a name


@dataclass
class Groups:
    """``of``: the group of each image id that has one; ``alike``: pairs of near-duplicates."""

    of: dict[int, int] = field(default_factory=dict)
    alike: list[tuple[int, int]] = field(default_factory=list)
    hashes: dict[str, np.ndarray] = field(default_factory=dict)  # by file name
    counts: dict[str, int] = field(default_factory=dict)  # pictures by the reason of their group

    def describe(self) -> str:
        """One line about them; empty where there are none."""
        if not self.of:
            return ""
        reasons = " and ".join(f"{count:,} {why}" for why, count in self.counts.items() if count)
        return (
            f"{len(self.of):,} images form {len(set(self.of.values())):,} groups, each in one "
            f"split: {reasons}"
        )


class _Union:
    """Sets that grow together."""

    def __init__(self, count: int):
        self.parent = list(range(count))

    def find(self, item: int) -> int:
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def join(self, items: Iterable[int]) -> None:
        items = list(items)
        for item in items[1:]:
            self.parent[self.find(item)] = self.find(items[0])

    def list_sets(self) -> list[list[int]]:
        sets = defaultdict(list)
        for item in range(len(self.parent)):
            sets[self.find(item)].append(item)
        return list(sets.values())


def find_groups(root: Path, records: list[dict], largest: int) -> Groups:
    """Groups among image records, whose names start from ``root``.

    Args:
        root: the data folder.
        records: of one annotation file.
        largest: images of a group at most; a longer video is cut into pieces of consecutive frames.
    """
    names = sorted({record["file_name"] for record in records}, key=order_by_number)
    groups = Groups()
    if 1 < len(names) <= MOST_COMPARED:
        there = [name for name in names if (root / name).is_file()]
        progress = Progress("compare", len(there), "images")
        hashes = hash_images([root / name for name in there], progress, skip_broken=True)
        progress.close()
        for name, value in zip(there, hashes, strict=True):
            if any(value):  # zeros stand for a broken picture
                groups.hashes[name] = value
    near = _find_alike(root, list(groups.hashes), groups.hashes)
    place = {name: k for k, name in enumerate(names)}
    sets = _Union(len(names))
    copies = [series for series in _list_copies(names) if len(series) > 1]
    videos = [series for series in list_series(names) if _is_video(root, series, groups.hashes)]
    for series in [*copies, *videos]:
        sets.join(place[name] for name in series)
    by_name = [list(members) for members in sets.list_sets()]
    for one, two in near:
        sets.join([place[one], place[two]])
    if near and max(map(len, sets.list_sets())) > max(largest, len(names) / 2):
        sets = _Union(len(names))  # all look alike: nothing to tell copies by
        for members in by_name:
            sets.join(members)
        near = []
    ids = defaultdict(list)
    for record in records:
        ids[record["file_name"]].append(record["id"])
    for members in sets.list_sets():
        for piece in _cut([names[k] for k in members], ids, largest):
            if sum(len(ids[name]) for name in piece) > 1:
                number = len(set(groups.of.values())) + 1
                groups.of |= {i: number for name in piece for i in ids[name]}
    groups.alike = [(i, k) for one, two in near for i in ids[one] for k in ids[two]]
    groups.counts = {
        "of one file under several ids": sum(len(own) for own in ids.values() if len(own) > 1),
        "copies of one picture": sum(map(len, copies)),
        "frames of videos": sum(map(len, videos)),
        "near-duplicates": len({name for pair in near for name in pair}),
    }
    return groups


def _find_alike(
    root: Path, names: list[str], hashes: dict[str, np.ndarray]
) -> list[tuple[str, str]]:
    """Pairs of near-duplicates among pictures."""
    stacked = np.array([hashes[name] for name in names], np.uint64).reshape(-1, 2)
    pairs = [(i, k) for i, k in find_near_pairs(stacked, stacked) if i < k]
    seen = sorted({place for pair in pairs for place in pair})
    thumbnails = dict(zip(seen, make_thumbnails([root / names[k] for k in seen]), strict=True))
    alike = []
    for i, k in pairs:
        if correlate(thumbnails[i], thumbnails[k]) >= CORRELATION:
            alike.append((names[i], names[k]))
    return alike


def _list_copies(names: list[str]) -> list[list[str]]:
    """Pictures that an export tool made of one picture: they differ in a code after its name."""
    copies = defaultdict(list)
    for name in names:
        stem = name.rpartition(".")[0]
        if _COPY.search(stem):
            copies[_COPY.sub("", stem)].append(name)
    return list(copies.values())


def list_series(names: list[str]) -> list[list[str]]:
    """Names that differ in their last number alone, in its order, ``FEWEST_FRAMES`` or more."""
    series = defaultdict(list)
    for name in names:
        stem = _COPY.sub("", name.rpartition(".")[0])
        if _NUMBER.search(stem):
            series[_NUMBER.sub("#", stem)].append(name)
    return [sorted(of, key=order_by_number) for of in series.values() if len(of) >= FEWEST_FRAMES]


def order_by_number(name: str) -> tuple[str, int, str]:
    """A key that sorts names by what stands around their last number, then by the number."""
    stem = _COPY.sub("", name.rpartition(".")[0])
    found = _NUMBER.search(stem)
    return _NUMBER.sub("#", stem), int(found.group()) if found else -1, name


def _is_video(root: Path, series: list[str], readable: dict[str, np.ndarray]) -> bool:
    """Whether the names call themselves frames, or neighbours look more alike than others do."""
    if _VIDEO_WORDS & set(split_into_words(series[0])):
        return True
    series = [name for name in series if name in readable]
    if len(series) < FEWEST_FRAMES:
        return False
    step = max(1, (len(series) - 1) // _SAMPLED)
    starts = range(0, len(series) - 1, step)
    half = len(series) // 2
    wanted = sorted({k for i in starts for k in (i, i + 1, (i + half) % len(series))})
    thumbnails = make_thumbnails([root / series[k] for k in wanted])
    of = dict(zip(wanted, thumbnails, strict=True))
    beside = np.median([correlate(of[i], of[i + 1]) for i in starts])
    apart = np.median([correlate(of[i], of[(i + half) % len(series)]) for i in starts])
    return bool(beside >= FRAMES_ALIKE and beside - apart >= FRAMES_NEARER)


def _cut(names: list[str], ids: dict[str, list[int]], largest: int) -> list[list[str]]:
    """A group in pieces of ``largest`` images at most; one file is never cut."""
    names = sorted(names, key=order_by_number)
    if sum(len(ids[name]) for name in names) <= largest:
        return [names]
    pieces = [[]]
    size = 0
    for name in names:
        if size and size + len(ids[name]) > largest:
            pieces.append([])
            size = 0
        pieces[-1].append(name)
        size += len(ids[name])
    return pieces


def leave_out_alike(
    drawn: dict[str, list[dict]], alike: list[tuple[int, int]]
) -> tuple[dict[str, list[dict]], int]:
    """Splits without the images of train and val that have a near-duplicate in test, or in val.

    Args:
        drawn: image records of ``train``, ``val`` and ``test``, of one annotation file.
        alike: pairs of image ids.

    Returns:
        The splits, and how many images were left out.
    """
    where = {record["id"]: split for split, records in drawn.items() for record in records}
    rank = {"train": 0, "val": 1, "test": 2}
    gone = set()
    for one, two in alike:
        if one in where and two in where and where[one] != where[two]:
            gone.add(min(one, two, key=lambda i: rank[where[i]]))
    kept = {}
    for split, records in drawn.items():
        kept[split] = [record for record in records if record["id"] not in gone]
    return kept, len(gone)
