"""What takes the background's place, and how soft the edge is: exact values on small arrays."""

import math

import cv2
import numpy as np
import pytest

from byol_helpers.background.compositing import BLUR_SHARE, cover_size, fill_background, soften_mask
from byol_helpers.background.removal import to_rgba, zero_background
from byol_helpers.cutout.cutter import Cutter

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
MASK = RNG.random((40, 60)) < 0.4


def disc(radius: float, size: tuple[int, int] = (101, 101)) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]]
    return (y - size[0] // 2) ** 2 + (x - size[1] // 2) ** 2 <= radius**2


def test_without_options_everything_is_as_in_the_thesis():
    alpha = soften_mask(MASK)
    assert alpha.dtype == np.float32 and set(np.unique(alpha)) == {0, 1}
    np.testing.assert_array_equal(
        fill_background(IMAGE, alpha, "black"), zero_background(IMAGE, MASK)
    )
    np.testing.assert_array_equal(
        fill_background(IMAGE, alpha, (0, 0, 0)), zero_background(IMAGE, MASK)
    )
    np.testing.assert_array_equal(
        fill_background(IMAGE, alpha, "transparent"), to_rgba(IMAGE, MASK)
    )


def test_an_edge_is_a_gaussian_step_and_does_not_fade_at_the_border():
    mask = np.zeros((30, 80), bool)
    mask[:, :40] = True
    alpha = soften_mask(mask, edge=3.0)
    # At pixel centre k + 0.5 - 40 from the edge: the Gaussian's integral, sampled.
    expected = [0.5 * (1 + math.erf((40 - k - 0.5) / 3 / math.sqrt(2))) for k in range(80)]
    np.testing.assert_allclose(alpha, np.broadcast_to(expected, (30, 80)), atol=0.005)
    assert alpha[0, 0] == alpha[29, 0] == 1
    assert (np.diff(alpha, axis=1) <= 0).all() and soften_mask(
        np.ones((5, 5), bool), edge=50
    ).min() == pytest.approx(1)


def test_holes_are_closed_and_specks_removed_up_to_a_size():
    mask = np.zeros((40, 40), bool)
    mask[5:30, 5:30] = True
    mask[10:12, 10:13] = False  # a hole of 6 pixels
    mask[20:24, 20:24] = False  # one of 16
    mask[35, 35:38] = mask[36, 38] = True  # a speck of 4, joined at a corner
    for close, hole, large_hole, speck in [
        (0, 0, 0, 1),
        (3, 0, 0, 1),
        (4, 0, 0, 0),
        (6, 1, 0, 0),
        (16, 1, 1, 0),
    ]:
        alpha = soften_mask(mask, close=close)
        assert (alpha[11, 11], alpha[22, 22], alpha[35, 36]) == (hole, large_hole, speck), close
    assert (
        soften_mask(mask, close=10**6).sum() == 25 * 25
        and not soften_mask(np.zeros((9, 9), bool), close=99).any()
    )
    assert soften_mask(np.ones((9, 9), bool), close=99).all()


def test_what_is_open_to_the_border_is_no_hole():
    mask = np.ones((9, 9), bool)
    mask[0, 4] = mask[4, 4] = False
    alpha = soften_mask(mask, close=5)
    assert alpha[4, 4] == 1 and alpha[0, 4] == 0


def test_the_largest_part_is_never_a_speck():
    mask = np.zeros((30, 30), bool)
    mask[2:4, 2:4] = mask[10:13, 10:13] = True
    alpha = soften_mask(mask, close=20)
    assert alpha.sum() == 9 and alpha[11, 11] == 1


@pytest.mark.parametrize(
    "background", [(10, 200, 30), RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)]
)
def test_a_mixture_is_the_formula_rounded(background):
    alpha = soften_mask(disc(12, (40, 60)), edge=2.0)
    mixed = fill_background(IMAGE, alpha, background)
    exact = alpha[..., None].astype(float) * IMAGE + (
        1 - alpha[..., None].astype(float)
    ) * np.asarray(background)
    assert mixed.dtype == np.uint8 and np.abs(mixed - exact).max() <= 0.501
    hard = fill_background(IMAGE, soften_mask(MASK), background)
    np.testing.assert_array_equal(hard, np.where(MASK[..., None], IMAGE, np.asarray(background)))


def test_transparency_keeps_colours_where_something_is_seen_and_zeroes_the_rest():
    alpha = soften_mask(disc(12, (40, 60)), edge=2.0)
    rgba = fill_background(IMAGE, alpha, "transparent")
    np.testing.assert_array_equal(rgba[..., 3], np.rint(alpha * 255))
    seen = rgba[..., 3] > 0
    np.testing.assert_array_equal(rgba[seen][:, :3], IMAGE[seen])
    assert not rgba[~seen].any() and 0 < seen.sum() < seen.size


def test_blur_leaves_the_object_and_takes_none_of_its_colour_along():
    image = np.full((200, 300, 3), (20, 120, 220), np.uint8)
    mask = disc(50, (200, 300))
    image[mask] = 255, 0, 0
    np.testing.assert_array_equal(
        fill_background(image, soften_mask(mask), "blur"), image
    )  # a flat background stays flat
    noise = RNG.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    blurred = fill_background(noise, soften_mask(np.zeros((200, 300), bool)), "blur")
    plain = cv2.GaussianBlur(
        noise.astype(np.float32), (0, 0), BLUR_SHARE * 300, borderType=cv2.BORDER_REPLICATE
    )
    assert np.abs(blurred - plain)[20:-20, 20:-20].max() < 3 and blurred.std() < 0.1 * noise.std()


def test_a_blur_of_a_large_picture_is_that_of_a_small_one_enlarged():
    small = cv2.GaussianBlur(RNG.integers(0, 256, (120, 160, 3), dtype=np.uint8), (0, 0), 3)
    large = cv2.resize(small, (1280, 960), interpolation=cv2.INTER_CUBIC)
    nothing = np.zeros((120, 160), bool), np.zeros((960, 1280), bool)
    blurred = [
        fill_background(image, soften_mask(mask), "blur")
        for image, mask in zip((small, large), nothing, strict=True)
    ]
    enlarged = cv2.resize(blurred[0], (1280, 960), interpolation=cv2.INTER_LINEAR)
    assert np.abs(enlarged.astype(int) - blurred[1]).max() <= 6


def test_a_picture_covers_without_being_squeezed():
    picture = np.zeros((100, 100, 3), np.uint8)
    picture[40:60, :, 0] = picture[:, 40:60, 1] = 255  # a cross in the middle
    for size in [(50, 200), (200, 50), (7, 300), (100, 100), (1, 1)]:
        covered = cover_size(picture, size)
        assert covered.shape == (*size, 3)
    covered = cover_size(
        picture, (50, 200)
    )  # scaled by 2: the upright bar is 40 wide, the flat one 40 high
    assert (
        covered[25, 100].tolist() == [255, 255, 0]
        and covered[25, 100 - 17, 1] > 200 > 50 > covered[25, 100 - 25, 1]
    )


@pytest.mark.parametrize(
    "background", ["green", (1, 2), (1, 2, 300), (-1, 0, 0), (0.5, 0, 0), np.zeros((4, 4))]
)
def test_backgrounds_of_another_kind_are_refused(background):
    with pytest.raises(ValueError, match="expected a colour"):
        fill_background(IMAGE, soften_mask(MASK), background)


def test_alpha_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"alpha: expected \[40, 60\]"):
        fill_background(IMAGE, np.zeros((60, 40), np.float32), "black")


def test_nothing_found_is_background_alone():
    cut, found = Cutter(background=(1, 2, 3)).cut(IMAGE, [])
    assert not found and (cut == (1, 2, 3)).all()
