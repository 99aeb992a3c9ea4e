"""What is in the splits: table 4.1 and its neighbours."""

from collections import Counter

from byol_helpers.coco.dataset import Split, get_area_limits, load_split, load_splits
from byol_helpers.core.stage import Run


def compute_statistics(run: Run) -> dict:
    """Counts of every split of a prepared run, ready for JSON."""
    splits = load_splits(run)
    limits = get_area_limits(run)
    counted = {}
    for name in ("train", "val", "test"):
        counted[name] = count_split(load_split(run, name), limits)
    return {
        "source": splits["source"],
        "area_limits": list(limits),
        "pretrain": {"images": len(splits["pretrain"])},
        "overlap": splits["overlap"],
        "splits": counted,
    }


def count_split(split: Split, limits: tuple[float, float]) -> dict:
    """Images, instances, crowds, empty images; instances by category, by size and by image.

    Crowds count apart and enter none of the distributions, as in table 4.1, whose total of 36,335
    is the number of non-crowd instances of val2017.
    """
    names = {category["id"]: category["name"] for category in split.categories}
    everything = []
    for record in split.images:
        everything += split.annotations.get(record["id"], [])
    single = [a for a in everything if not a.get("iscrowd")]
    per_image = Counter(a["image_id"] for a in single)
    by_category = Counter(names[a["category_id"]] for a in single)
    sizes = Counter(_name_size(a["area"], limits) for a in single)
    return {
        "images": len(split.images),
        "instances": len(single),
        "crowds": len(everything) - len(single),
        "empty_images": sum(record["id"] not in per_image for record in split.images),
        "categories": {names[key]: by_category.get(names[key], 0) for key in sorted(names)},
        "sizes": {size: sizes.get(size, 0) for size in ("small", "medium", "large")},
        "instances_per_image": dict(sorted(Counter(per_image.values()).items())),
    }


def _name_size(area: float, limits: tuple[float, float]) -> str:
    small, large = limits
    if area < small:
        return "small"
    return "large" if area > large else "medium"
