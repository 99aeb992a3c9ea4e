"""Views from pixels in memory: the device's renderer against OpenCV's, draws, and trainings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from byol_helpers.coco.pixel_cache import decode_images
from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining import batch_augmentations, memory_views
from byol_helpers.pretraining.augmentations import Drawn, two_views
from byol_helpers.pretraining.memory_views import (
    MemoryViews,
    draw_boxes,
    draw_views,
    render_by_opencv,
    render_on_device,
)
from byol_helpers.pretraining.methods import train_method
from byol_helpers.training.sampler import Item, rng
from tests.helpers.interruption import interrupted_at_a_checkpoint

SIZE = 48
NAMES = ("brightness", "contrast", "saturation", "hue")
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Smooth photographs with edges, of several sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    made = []
    for k in range(24):
        coarse = Image.fromarray(rng(k).integers(0, 256, (7, 7, 3), dtype=np.uint8))
        size = (64, 64) if k % 3 else (90, 50 + k)
        made.append(folder / f"{k:02d}.png")
        coarse.resize(size, Image.Resampling.BICUBIC).save(made[-1])
    return made


@pytest.fixture(scope="module")
def images(files, tmp_path_factory):
    return decode_images(files, tmp_path_factory.mktemp("cache"), "decode")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [SIZE, 112])
def test_both_renderers_give_the_same_views(images, device, size):
    """Within one grey value of 255, where the crop was rounded."""
    for number, view in enumerate(two_views(size)):
        drawn = draw_views(view, images.sizes, rng(3, number))
        expected = render_by_opencv(images.read(list(range(len(images)))), drawn, size)
        pixels = torch.from_numpy(np.fromfile(images.file, np.uint8)).to(device)
        starts = images.ends - 3 * images.sizes.prod(axis=1)
        found = render_on_device(pixels, starts, images.sizes, drawn, size).cpu()
        assert found.shape == expected.shape and found.dtype == expected.dtype
        assert found.is_contiguous(memory_format=torch.channels_last)
        apart = (found - expected).abs() * 255 * 0.225
        plain = ~drawn.solarized
        assert apart[plain].max() < 4 and apart[plain].mean() < 0.2
        assert apart.mean() < 0.2


def test_a_view_is_that_of_the_renderer_of_a_batch(images):
    """From the same random numbers."""
    view = two_views(SIZE)[1]
    drawn = draw_views(view, images.sizes, rng(5))
    ones = []
    for k in range(len(images)):
        colours = []
        for kind, strength in zip(drawn.kinds[k], drawn.strengths[k], strict=True):
            colours.append((NAMES[kind], float(strength)))
        box = tuple(int(value) for value in drawn.boxes[k])
        flip, grey, solarize = (bool(of[k]) for of in (drawn.flips, drawn.greys, drawn.solarized))
        ones.append(Drawn(box, flip, tuple(colours), grey, float(drawn.sigmas[k]), solarize))
    pixels = images.read(list(range(len(images))))
    expected = batch_augmentations.render_batch(pixels, ones, SIZE)
    torch.testing.assert_close(render_by_opencv(pixels, drawn, SIZE), expected, atol=2e-5, rtol=0)


def test_draws_have_the_published_distributions():
    first, second = two_views(100)
    sizes = np.tile([80, 120], (20_000, 1))
    drawn = draw_views(first, sizes, rng(0))
    other = draw_views(second, sizes, rng(1))
    assert abs(drawn.flips.mean() - 0.5) < 0.02 and abs(drawn.greys.mean() - 0.2) < 0.02
    assert (drawn.sigmas > 0).all() and abs((other.sigmas > 0).mean() - 0.1) < 0.01
    assert drawn.sigmas.max() < 2 * 100 / 224 and not drawn.solarized.any()
    assert abs(other.solarized.mean() - 0.2) < 0.02
    is_contrast = drawn.kinds == memory_views.CONTRAST
    assert np.allclose(is_contrast.mean(axis=0), 0.25, atol=0.02)
    strengths = drawn.strengths[is_contrast]
    assert abs((strengths == 1).mean() - 0.2) < 0.02
    assert 0.6 <= strengths.min() < 0.62 and 1.38 < strengths.max() <= 1.4
    boxes = draw_boxes(first, sizes, rng(2))
    one_by_one = np.array([first.crop(120, 80, rng(4, k)) for k in range(4000)])
    for ours, theirs in zip(boxes.T, one_by_one.T, strict=True):
        assert abs(ours.mean() - theirs.mean()) < 2
    assert boxes.min() == 0 and boxes[:, 2].max() == 120 and boxes[:, 3].max() == 80


def test_an_image_too_long_for_any_crop_is_shown_whole():
    view = replace(two_views(32)[0], area=(1.0, 1.0))
    assert draw_boxes(view, np.array([[4, 400]]), rng(0)).tolist() == [[0, 0, 400, 4]]


def test_kernels_are_gaussians_cut_at_three_sigma():
    kernels = memory_views.make_kernels(np.array([0.0, 0.4, 1.0]))
    assert kernels.shape == (3, 7)
    np.testing.assert_allclose(kernels.sum(axis=1), 1)
    np.testing.assert_allclose(kernels[0], [0, 0, 0, 1, 0, 0, 0])
    assert kernels[1, :2].max() == 0 and kernels[2, 0] > 0
    assert kernels[2, 4] / kernels[2, 3] == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_is_a_function_of_its_place_alone(images, device):
    views = MemoryViews(images, 32, 7)
    batches = [[Item(k, 8 * step + k) for k in range(8)] for step in range(3)]
    pixels = views.load_pixels(torch.device(device))
    whole = [views.render(batch, torch.device(device), pixels) for batch in batches]
    again = views.render(batches[2], torch.device(device), pixels)
    assert all(torch.equal(a, b) for a, b in zip(whole[2], again, strict=True))
    assert not torch.equal(whole[0][0], whole[0][1])
    loaded = list(views.load_batches(batches, torch.device("cpu")))
    assert len(loaded) == 3 and loaded[0][0].shape == (8, 3, 32, 32)


def test_a_training_that_is_interrupted_ends_like_one_that_is_not(files, tmp_path, monkeypatch):
    settings = ["init=random", "steps=4", "warmup_steps=1", "batch_size=8", "hidden=16"]
    settings += ["view_size=32", "checkpoint_every=2", "views=memory", "channels_last=true"]
    profile = load_profile("smoke", [f"pretrain.{setting}" for setting in settings])
    cache = tmp_path / "cache"
    whole = train_method(profile, "byol", files, tmp_path / "whole", "whole", None, cache)
    with interrupted_at_a_checkpoint(monkeypatch):
        train_method(profile, "byol", files, tmp_path / "halves", "first", None, cache)
    halves = train_method(profile, "byol", files, tmp_path / "halves", "second", None, cache)
    for name, tensor in whole.items():
        assert torch.equal(tensor, halves[name]), name
