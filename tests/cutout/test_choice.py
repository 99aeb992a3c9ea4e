"""Saying which object: by category, by a point, by number."""

import numpy as np
import pytest

from byol_helpers.background.removal import choose_instances, find_category_id
from byol_helpers.core.errors import UserError
from tests.helpers.videos import result

CATEGORIES = [
    {"id": 1, "name": "person"},
    {"id": 18, "name": "dog"},
    {"id": 90, "name": "Tooth Brush"},
]


def box(left: int, right: int, score: float, category: int) -> dict:
    mask = np.zeros((10, 20), bool)
    mask[2:8, left:right] = True
    return result(mask, score, category)


PERSON, SMALL_DOG, DOG, FAINT = (
    box(0, 10, 0.9, 1),
    box(8, 11, 0.8, 18),
    box(5, 20, 0.7, 18),
    box(0, 20, 0.1, 18),
)
ALL = [SMALL_DOG, FAINT, DOG, PERSON]


@pytest.mark.parametrize(
    ("rule", "options", "kept"),
    [
        ("confident", {}, [PERSON]),
        ("largest", {}, [DOG]),
        ("all", {}, [PERSON, SMALL_DOG, DOG]),
        ("confident", {"category": 18}, [SMALL_DOG]),
        ("largest", {"category": 18}, [DOG]),
        ("all", {"category": 18}, [SMALL_DOG, DOG]),
        ("all", {"category": 90}, []),
        ("confident", {"point": (15, 5)}, [DOG]),
        ("all", {"point": (9, 5)}, [PERSON, SMALL_DOG, DOG]),
        ("all", {"point": (7.9, 5)}, [PERSON, DOG]),
        ("all", {"point": (8.0, 5)}, [PERSON, SMALL_DOG, DOG]),
        ("largest", {"point": (9, 5), "category": 18}, [DOG]),
        ("all", {"point": (9, 1)}, []),  # nothing there
        ("all", {"point": (20, 5)}, []),  # beside the picture
        ("all", {"point": (5, -1)}, []),
        ("confident", {"number": 1}, [PERSON]),
        ("all", {"number": 3}, [DOG]),
        ("largest", {"number": 2}, [SMALL_DOG]),  # by score, whatever the rule
        ("confident", {"number": 4}, []),
        ("confident", {"number": 2, "category": 18}, [DOG]),
        ("confident", {"number": 2, "point": (15, 5)}, []),
    ],
)
def test_the_choice_is_narrowed_and_then_the_rule_applies(rule, options, kept):
    assert choose_instances(ALL, rule, 0.5, **options) == kept


def test_the_first_is_number_one():
    with pytest.raises(ValueError, match="number 0: the first is 1"):
        choose_instances(ALL, "all", 0.5, number=0)


def test_categories_by_name():
    assert (
        find_category_id("dog", CATEGORIES) == 18
        and find_category_id(" tooth brush", CATEGORIES) == 90
    )
    with pytest.raises(
        UserError, match="^no category 'cat'; the model knows person, dog, Tooth Brush$"
    ):
        find_category_id("cat", CATEGORIES)
