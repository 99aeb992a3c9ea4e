"""Views rendered in a batch: those of the renderer per image, and trainings fed with them."""

import csv
import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from byol_helpers import pipeline
from byol_helpers.coco.pixel_cache import decode_images
from byol_helpers.core.profile_files import load_profile
from byol_helpers.pretraining import batch_augmentations, torch_augmentations
from byol_helpers.pretraining.augmentations import MEAN, STD, View, two_views
from byol_helpers.pretraining.batch_augmentations import render_batch
from byol_helpers.pretraining.dataset import BatchViewsDataset, ViewsDataset
from byol_helpers.pretraining.methods import train_method
from byol_helpers.training.sampler import Item, rng
from tests.helpers.interruption import interrupted_at_a_checkpoint

SIZE = 48
SMALL = [
    "data.unlabelled=24",
    "data.train=4",
    "data.val=2",
    "data.test=4",
    "pretrain.init=random",
    "pretrain.steps=4",
    "pretrain.warmup_steps=1",
    "pretrain.batch_size=8",
    "pretrain.hidden=16",
    "pretrain.view_size=32",
    "pretrain.checkpoint_every=2",
    "pretrain.views=batch",
    "pretrain.optimizer=adamw",
]


def photo(seed):
    """Smooth colours with edges, uint8 [64, 64, 3]."""
    coarse = Image.fromarray(rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8))
    return np.array(coarse.resize((64, 64), Image.Resampling.BICUBIC))


def to_pixels(views):
    """Normalised views [N, 3, H, W] in 0..255."""
    shift = torch.from_numpy(MEAN)[:, None, None]
    return 255 * (views * torch.from_numpy(STD)[:, None, None] + shift)


@pytest.fixture(scope="module")
def drawn():
    """Eighty images and the draws of their first and second views."""
    images = [photo(k) for k in range(80)]
    views = two_views(SIZE)
    return images, [[view.draw(64, 64, rng(3, k)) for k in range(80)] for view in views]


def render_one_by_one(images, draws):
    return torch.stack(
        [torch_augmentations.render(*pair, SIZE) for pair in zip(images, draws, strict=True)]
    )


def difference(images, draws):
    """Of the two renderers, in grey values 0..255, absolute, [N]."""
    batch = to_pixels(render_batch(images, draws, SIZE))
    return (batch - to_pixels(render_one_by_one(images, draws))).abs().mean(dim=(1, 2, 3))


def test_crops_and_flips_differ_by_the_resizing_alone(drawn):
    """Bilinear against bicubic with smoothing: half a grey value."""
    images, (draws, _) = drawn
    plain = [replace(one, colours=(), grey=False, sigma=0.0) for one in draws]
    found = difference(images, plain)
    assert found.mean() < 0.6 and found.max() < 3
    turned = [replace(one, flip=not one.flip) for one in plain]
    mirrored = render_batch(images, turned, SIZE).flip(-1)
    torch.testing.assert_close(mirrored, render_batch(images, plain, SIZE))
    left, top, right, bottom = plain[0].box
    expected = cv2.resize(images[0][top:bottom, left:right], (SIZE, SIZE))
    expected = expected[:, ::-1] if plain[0].flip else expected
    again = to_pixels(render_batch(images[:1], plain[:1], SIZE))[0].permute(1, 2, 0)
    np.testing.assert_allclose(again, expected, atol=1e-3)


@pytest.mark.parametrize("change", ["grey", "solarize", "blur", "brightness", "all but hue"])
def test_each_change_is_that_of_the_renderer_per_image(drawn, change):
    """On crops of a view's size, which no renderer resizes: equal within float rounding."""
    images, (_, draws) = drawn
    changed = []
    for k, one in enumerate(draws):
        one = replace(one, box=(k % 9, 3, k % 9 + SIZE, 3 + SIZE))
        colours = tuple(pair for pair in one.colours if pair[0] != "hue")
        parts = {"colours": (), "grey": False, "sigma": 0.0, "solarize": False}
        if change == "all but hue":
            parts = {"colours": (*colours, ("hue", 0.0)) if colours else ()}
        elif change == "blur":
            parts["sigma"] = 0.1 + 0.02 * k
        elif change == "brightness":
            order = ("brightness", "contrast", "saturation", "hue")
            parts["colours"] = tuple(zip(order, (0.7 + k / 200, 1.0, 1.0, 0.0), strict=True))
        else:
            parts[change] = k % 2 == 0
        changed.append(replace(one, **parts))
    found = difference(images, changed)
    assert found.max() < (0.5 if change == "solarize" else 0.01)


def test_whole_views_stay_close(drawn):
    """What is left is the hue's other axis, on colours more saturated than photographs have."""
    images, both = drawn
    for draws in both:
        kept = [k for k, one in enumerate(draws) if not one.solarize]  # a pixel may turn in one
        found = difference([images[k] for k in kept], [draws[k] for k in kept])
        assert found.mean() < 8 and found.median() < 6


def test_hue_turns_about_the_axis_of_greys():
    matrix = batch_augmentations.turn_hue_in_yiq(0.1)
    luma = batch_augmentations.LUMA
    np.testing.assert_allclose(luma @ matrix, luma, atol=1e-12)
    np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-3)  # greys stay
    back = batch_augmentations.turn_hue_in_yiq(-0.1)
    np.testing.assert_allclose(matrix @ back, np.eye(3), atol=1e-12)
    reddish = np.array([0.6, 0.4, 0.4])
    third = batch_augmentations.turn_hue_in_yiq(1 / 3) @ reddish
    assert third.argmax() == 1  # green, as a third of a turn gives in HSV


def test_one_image_does_not_depend_on_its_batch(drawn):
    images, (_, draws) = drawn
    together = render_batch(images, draws, SIZE)
    for k in (0, 7, 31):
        alone = render_batch(images[k : k + 1], draws[k : k + 1], SIZE)[0]
        torch.testing.assert_close(alone, together[k], atol=1e-5, rtol=0)


def test_decoded_images_are_the_files_in_their_order(tmp_path):
    sizes = ((8, 5), (3, 9), (6, 6))
    files = [tmp_path / f"{k}.png" for k in range(3)]
    for k, (file, size) in enumerate(zip(files, sizes, strict=True)):
        pixels = rng(k).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    images = decode_images(files, tmp_path / "cache", "decode")
    images = pickle.loads(pickle.dumps(images))  # as a process that is started anew gets them
    for k, found in zip((2, 0, 1), images.read([2, 0, 1]), strict=True):
        np.testing.assert_array_equal(found, np.asarray(Image.open(files[k])))
    for file in files:
        file.unlink()
    assert len(decode_images(files, tmp_path / "cache", "decode")) == 3  # not read again


def test_both_datasets_draw_the_same_views(tmp_path):
    files = [tmp_path / f"{k}.png" for k in range(4)]
    for k, file in enumerate(files):
        Image.fromarray(photo(k)).save(file)
    items = [Item(k % 4, 10 + k) for k in range(8)]
    batch = BatchViewsDataset(decode_images(files, tmp_path / "cache", "decode"), SIZE, 5, 0.3)
    slow = ViewsDataset(files, SIZE, 5, fast=True, smallest=0.3)
    close = []
    for pair, item in zip(batch.__getitems__(items), items, strict=True):
        for found, expected in zip(pair, slow[item], strict=True):
            close.append(float((found - expected).abs().mean()))
    assert np.median(close) < 0.15  # of standard deviations
    assert torch.equal(batch[items[3]][1], batch.__getitems__(items[3:4])[0][1])


def test_a_view_shows_no_less_than_the_smallest_share():
    for view in two_views(32, 0.4):
        boxes = [view.crop(100, 100, rng(0, k)) for k in range(300)]
        shares = [(box[2] - box[0]) * (box[3] - box[1]) / 1e4 for box in boxes]
        assert 0.38 < min(shares) < 0.45
    assert two_views(32)[0] == View(32)


@pytest.mark.parametrize("method", ["byol", "simclr"])
def test_a_training_that_is_interrupted_ends_like_one_that_is_not(method, tmp_path, monkeypatch):
    profile = load_profile("smoke", SMALL)
    files = [tmp_path / f"{k}.png" for k in range(24)]
    for k, file in enumerate(files):
        Image.fromarray(photo(k)).save(file)
    cache = tmp_path / "cache"
    whole = train_method(profile, method, files, tmp_path / "whole", "whole", None, cache)
    with interrupted_at_a_checkpoint(monkeypatch):
        train_method(profile, method, files, tmp_path / "halves", "first", None, cache)
    halves = train_method(profile, method, files, tmp_path / "halves", "second", None, cache)
    assert whole.keys() == halves.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, halves[name]), name


def test_arms_share_one_file_of_decoded_images(tmp_path):
    run = pipeline.open_run("smoke", tmp_path / "run", overrides=SMALL)
    pipeline.prepare(run)
    for arm in ("byol-random", "simclr-random"):
        pipeline.pretrain(run, arm)
    (file,) = run.path.glob("cache/*/pixels.u8")
    side = run.profile.data.image_size
    assert file.stat().st_size == 24 * side * side * 3
    with open(run.path / "pretrain/simclr-random/metrics.csv", newline="") as table:
        assert {"loss", "partners"} <= set(next(csv.DictReader(table)))
    weights = pipeline.transfer(run, "simclr-random")
    assert weights.is_file()
