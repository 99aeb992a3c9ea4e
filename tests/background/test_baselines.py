"""Methods from before deep learning: they find what their rule finds, always the same, and never
fall over.
"""

import inspect

import numpy as np
import pytest

from byol_helpers.background.baselines import BASELINES, LONGEST_SIDE, choose_object_side
from byol_helpers.background.scores import iou
from byol_helpers.core.arms import BASELINE_LABELS

SEEKING = [name for name in BASELINES if name != "keep-everything"]


def disc(
    side: int = 64, bright: int = 200, ground: int = 60, noise: float = 8.0
) -> tuple[np.ndarray, np.ndarray]:
    """A disc a little off the centre, with noise, and its mask."""
    y, x = np.indices((side, side)) - side * 0.53
    mask = np.hypot(x, y) < side * 0.27
    image = np.where(mask, bright, ground)[..., None] + np.random.default_rng(0).normal(
        0, noise, (side, side, 3)
    )
    return image.clip(0, 255).astype(np.uint8), mask


def test_every_method_has_a_label_and_sees_the_image_alone():
    assert list(BASELINES) == list(BASELINE_LABELS)
    assert all(
        list(inspect.signature(method).parameters) == ["image"] for method in BASELINES.values()
    )


@pytest.mark.parametrize("name", SEEKING)
@pytest.mark.parametrize(("bright", "ground"), [(200, 60), (60, 200)], ids=["bright", "dark"])
def test_a_plain_disc_is_found_whatever_its_brightness(name, bright, ground):
    image, mask = disc(bright=bright, ground=ground)
    before = image.copy()
    found = BASELINES[name](image)
    assert found.dtype == bool and found.shape == mask.shape
    assert iou(found, mask) > 0.9
    np.testing.assert_array_equal(found, BASELINES[name](image))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", ["k-means", "grabcut"])
def test_colour_alone_is_enough_for_methods_that_see_it(name):
    image, mask = disc(noise=0)
    image[mask], image[~mask] = (200, 40, 40), (40, 116, 40)  # of nearly the same lightness
    assert iou(BASELINES[name](image), mask) > 0.9


@pytest.mark.parametrize("name", SEEKING)
def test_pictures_of_one_colour_have_no_object(name):
    for size in ((1, 1), (1, 7), (40, 30)):
        for level in (0, 7, 255):
            found = BASELINES[name](np.full((*size, 3), level, np.uint8))
            assert found.shape == size and found.dtype == bool and not found.any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BASELINES)
def test_tiny_and_lank_pictures(name):
    dice = np.random.default_rng(4)
    for size in [(h, w) for h in range(1, 6) for w in range(1, 6)] + [(900, 1), (2, 700)]:
        image = dice.integers(0, 256, (*size, 3), dtype=np.uint8)
        found = BASELINES[name](image)
        assert found.shape == size and found.dtype == bool
        np.testing.assert_array_equal(found, BASELINES[name](image))


@pytest.mark.parametrize("name", SEEKING)
def test_large_pictures_are_judged_on_a_smaller_copy(name):
    image, mask = disc(side=2 * LONGEST_SIDE + 1)
    found = BASELINES[name](image)
    assert found.shape == mask.shape and iou(found, mask) > 0.9


def test_the_object_is_the_side_that_touches_the_edge_less():
    image = np.zeros((5, 5, 3), np.uint8)
    middle = np.zeros((5, 5), bool)
    middle[1:4, 1:4] = True
    for mask in (middle, ~middle):
        np.testing.assert_array_equal(choose_object_side(mask, image), middle)
    large = np.ones((5, 5), bool)  # 16 of 25 pixels, but only 7 of the 16 at the edge
    large[0, :] = large[:, 0] = False
    np.testing.assert_array_equal(choose_object_side(~large, image), large)


def test_ties_at_the_edge_go_to_the_smaller_and_then_to_the_brighter_side():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 2:] = 200
    left = np.zeros((4, 4), bool)
    left[:, :2] = True
    np.testing.assert_array_equal(choose_object_side(left, image), ~left)
    dented = left.copy()
    dented[1, 1] = False
    np.testing.assert_array_equal(choose_object_side(~dented, image), dented)
