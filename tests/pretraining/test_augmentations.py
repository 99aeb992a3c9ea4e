"""The two views: their draws follow the published numbers, and both renderers show the same."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from byol_helpers.coco.images import list_images, read_image
from byol_helpers.pretraining import torch_augmentations
from byol_helpers.pretraining.augmentations import COLOURS, MEAN, STD, View, two_views
from byol_helpers.training.sampler import rng

DRAWS = 2000


def photo(side=160, seed=0):
    """Smooth colours with edges, uint8 [H, W, 3]: what a photograph is to an augmentation."""
    draw = rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((side * 4 // 3, side), Image.Resampling.BICUBIC))


def pixels(view):
    """A normalised view in 0..255."""
    return 255 * (view.permute(1, 2, 0).numpy() * STD + MEAN)


def test_rates_of_both_views_over_many_draws_are_the_published_ones():
    for view, blur, solarize in zip(two_views(224), (1.0, 0.1), (0.0, 0.2), strict=True):
        drawn = [view.draw(640, 480, rng(1, k)) for k in range(DRAWS)]
        for rate, name in (
            (blur, "sigma"),
            (solarize, "solarize"),
            (0.2, "grey"),
            (0.5, "flip"),
            (0.8, "colours"),
        ):
            found = np.mean([bool(getattr(one, name)) for one in drawn])
            assert found == pytest.approx(
                rate, abs=4 * np.sqrt(rate * (1 - rate) / DRAWS) + 1e-9
            ), name


def test_strengths_are_uniform_over_the_published_ranges_and_their_order_is_random():
    drawn = [View().draw(640, 480, rng(2, k)) for k in range(DRAWS)]
    jittered = [one.colours for one in drawn if one.colours]
    ranges = {
        "brightness": (0.6, 1.4),
        "contrast": (0.6, 1.4),
        "saturation": (0.8, 1.2),
        "hue": (-0.1, 0.1),
    }
    for name, (low, high) in ranges.items():
        values = np.array([dict(colours)[name] for colours in jittered])
        assert (
            low <= values.min() < low + 0.02 * (high - low)
            and high - 0.02 * (high - low) < values.max() <= high
        )
        assert np.quantile(values, [0.25, 0.5, 0.75]) == pytest.approx(
            np.linspace(low, high, 5)[1:4], abs=0.05 * (high - low)
        )
    first = [colours[0][0] for colours in jittered]
    assert all(first.count(name) / len(first) == pytest.approx(0.25, abs=0.05) for name in ranges)
    sigmas = np.array([one.sigma for one in drawn])
    assert (
        0.1 <= sigmas.min()
        and sigmas.max() <= 2.0
        and np.median(sigmas) == pytest.approx(1.05, abs=0.06)
    )


def test_crop_areas_and_ratios_are_those_of_torchvision():
    """Same distribution as RandomResizedCrop, which BYOL's reimplementations use: quantiles of
    2,000 draws each.
    """
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    empty = torch.zeros(3, 480, 640)
    theirs = np.array(
        [RandomResizedCrop.get_params(empty, [0.08, 1.0], [3 / 4, 4 / 3])[2:] for _ in range(DRAWS)]
    )
    boxes = np.array([View().crop(640, 480, rng(3, k)) for k in range(DRAWS)])
    ours = np.stack([boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], axis=1)
    at = np.linspace(0.05, 0.95, 10)
    for measure, close in (
        (lambda s: s.prod(axis=1) / (640 * 480), 0.05),
        (lambda s: np.log(s[:, 1] / s[:, 0]), 0.04),
    ):
        assert np.quantile(measure(ours), at) == pytest.approx(
            np.quantile(measure(theirs), at), abs=close
        )
    assert boxes.min() >= 0 and boxes[:, 2].max() <= 640 and boxes[:, 3].max() <= 480


@pytest.mark.parametrize("kind", ["brightness", "contrast", "saturation", "hue"])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_each_colour_change_is_pillows_within_rounding(kind, share):
    low, high = (-0.1, 0.1) if kind == "hue" else (0.6, 1.4)
    strength, image = low + share * (high - low), photo()
    slow = np.asarray(COLOURS[kind](Image.fromarray(image), strength), np.float32)
    x = torch.tensor(image).permute(2, 0, 1).float() / 255
    fast = 255 * torch_augmentations._CHANGES[kind](x, strength).permute(1, 2, 0).numpy()
    assert np.abs(fast - slow).mean() < (1.5 if kind == "hue" else 0.8)  # Pillow's hue has 8 bits
    assert np.quantile(np.abs(fast - slow), 0.99) < (8 if kind == "hue" else 1.6)


def test_hue_turns_red_to_green_in_a_third_of_a_turn_and_a_whole_turn_is_none():
    red = torch.tensor([1.0, 0, 0])[:, None, None]
    assert torch.allclose(
        torch_augmentations.turn_hue(red, 1 / 3).flatten(), torch.tensor([0.0, 1, 0]), atol=1e-6
    )
    x = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(torch_augmentations.turn_hue(x, 1.0), x, atol=1e-5)
    assert torch.allclose(torch_augmentations.turn_hue(x, 0.0), x, atol=1e-6)
    grey = torch.full((3, 2, 2), 0.3)
    assert torch.allclose(torch_augmentations.turn_hue(grey, 0.07), grey)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_a_gaussian_with_a_repeated_border(sigma):
    x = torch.rand(3, 40, 30, generator=torch.Generator().manual_seed(0))
    radius = max(1, round(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    wide = np.pad(
        x.numpy().astype(float), ((0, 0), (radius, radius), (radius, radius)), mode="edge"
    )
    expected = np.apply_along_axis(np.convolve, 1, wide, kernel, mode="valid")
    expected = np.apply_along_axis(np.convolve, 2, expected, kernel, mode="valid")
    assert np.abs(torch_augmentations.blur_view(x, sigma).numpy() - expected).max() < 1e-5
    image = photo()
    slow = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)), np.float32)
    fast = 255 * torch_augmentations.blur_view(
        torch.from_numpy(image).permute(2, 0, 1).float() / 255, sigma
    )
    assert np.abs(fast.permute(1, 2, 0).numpy() - slow).mean() < 1.0


def test_both_renderers_show_the_same_view():
    """The same draws, one by one; Pillow rounds to 8 bits after every step."""
    image, differences = photo(), []
    for view in two_views(96):
        for k in range(100):
            slow = pixels(view(Image.fromarray(image), rng(5, k)))
            fast = pixels(torch_augmentations.render_view(image, view, rng(5, k)))
            if view.draw(image.shape[1], image.shape[0], rng(5, k)).solarize:
                continue  # a pixel next to the threshold may turn in one and not in the other
            differences.append(np.abs(fast - slow).mean())
    assert np.mean(differences) < 1.5 and np.max(differences) < 5


def test_a_fast_view_is_a_function_of_its_key():
    view, image = View(32), photo()
    one, again, other = (torch_augmentations.render_view(image, view, rng(1, k)) for k in (5, 5, 6))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.shape == (3, 32, 32) and one.dtype == torch.float32
    assert torch_augmentations.render_view(image[:1, :1], view, rng(1, 5)).isfinite().all()


def test_statistics_of_both_views_are_those_of_lightly_on_photographs(photographs):
    """Mean, spread, colourfulness and sharpness of many views, against lightly's transform of the
    same recipe.
    """
    from lightly.transforms.byol_transform import BYOLView1Transform, BYOLView2Transform

    images = [read_image(path) for path in list_images(photographs)[:40]]
    torch.manual_seed(0)
    for view, theirs in zip(
        two_views(224), (BYOLView1Transform(), BYOLView2Transform()), strict=True
    ):
        ours = [
            torch_augmentations.render_view(image, view, rng(7, k, n))
            for k, image in enumerate(images)
            for n in range(5)
        ]
        other = [theirs(Image.fromarray(image)) for image in images for _ in range(5)]
        for measure in (
            torch.mean,
            torch.std,
            lambda x: x.std(dim=0).mean(),
            lambda x: (x[:, 1:] - x[:, :-1]).abs().mean(),
        ):
            a, b = (np.array([float(measure(x)) for x in of]) for of in (ours, other))
            error = np.sqrt(a.var() / len(a) + b.var() / len(b))
            assert abs(a.mean() - b.mean()) < 4 * error, (view.blur, a.mean(), b.mean())


def test_views_of_grey_palette_cmyk_16_bit_and_turned_pictures(tmp_path):
    base = Image.fromarray(photo(60))
    exif = Image.Exif()
    exif[0x0112] = 6
    made = {
        "grey.png": base.convert("L"),
        "palette.png": base.convert("P"),
        "cmyk.jpg": base.convert("CMYK"),
        "deep.png": Image.fromarray(np.asarray(base.convert("L"), np.uint16) * 257),
        "rgba.png": base.convert("RGBA"),
    }
    for name, picture in made.items():
        picture.save(tmp_path / name)
    base.save(tmp_path / "turned.jpg", exif=exif)
    for name in (*made, "turned.jpg"):
        image = read_image(tmp_path / name)
        assert torch_augmentations.render_view(image, View(32), rng(0)).shape == (3, 32, 32), name
    assert read_image(tmp_path / "turned.jpg").shape[:2] == (80, 60)
