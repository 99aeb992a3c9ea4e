"""Images of other kinds and moving scenes: the same everywhere, and what they are said to be."""

import hashlib

import numpy as np
import pytest

from byol_helpers.synthetic.clips import make_clip
from byol_helpers.synthetic.kinds import GROUND_SPECTRUM, KINDS, SPECTRA
from byol_helpers.synthetic.scenes import CATEGORIES, Scene, make_scene

SIZE = 96
DIGESTS = {
    "grey": "62f0cd3fa1947e60",
    "medical": "1a3df5ec0783da71",
    "electron microscope": "f955c4274fc7682e",
    "multispectral": "db8f0bc6ed6c0615",
}
CLIP_DIGEST = "fbdbfc7c827f59a2"


def digest(scenes: list[Scene]) -> str:
    """The beginning of the SHA-256 of pixels and masks."""
    code = hashlib.sha256()
    for scene in scenes:
        code.update(scene.image.tobytes())
        for instance in scene.instances:
            code.update(bytes([instance.category_id]) + np.packbits(instance.mask).tobytes())
    return code.hexdigest()[:16]


def make_many(kind: str) -> list[Scene]:
    return [KINDS[kind].make(3, index, SIZE, "train") for index in range(6)]


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_the_same_everywhere(kind):
    assert digest(make_many(kind)) == DIGESTS[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_its_channels_and_disjoint_masks(kind):
    for scene in make_many(kind):
        assert scene.image.shape == (SIZE, SIZE, len(KINDS[kind].channels))
        assert scene.image.dtype == np.uint8
        covered = np.zeros((SIZE, SIZE), int)
        for instance in scene.instances:
            assert instance.mask.any()
            covered += instance.mask
        assert covered.max(initial=0) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_draws_share_no_image(kind):
    first = KINDS[kind].make(3, 0, SIZE, "train").image
    assert not np.array_equal(first, KINDS[kind].make(3, 0, SIZE, "test").image)


def test_grey_is_the_luma_of_the_scene():
    scene = make_scene(3, 0, SIZE, "train")
    by_hand = scene.image @ np.array([0.299, 0.587, 0.114])
    grey = KINDS["grey"].make(3, 0, SIZE, "train").image[..., 0]
    assert np.abs(grey - by_hand).max() <= 1


def test_medical_images_have_little_contrast():
    grey = np.stack([scene.image for scene in make_many("grey")])
    medical = np.stack([scene.image for scene in make_many("medical")])
    assert medical.std() < 0.7 * grey.std()


def test_the_microscope_shows_many_small_objects():
    scenes = make_many("electron microscope")
    counts = [len(scene.instances) for scene in scenes]
    areas = [np.count_nonzero(i.mask) for scene in scenes for i in scene.instances]
    assert min(counts) >= 10 and max(counts) > 25
    assert np.median(areas) < 0.01 * SIZE * SIZE


def test_infrared_shows_the_material():
    """In the mean over a material the third band is nearer to its reflectance than to others'."""
    seen = {}
    for index in range(60):
        scene = KINDS["multispectral"].make(3, index, SIZE, "train")
        for instance in scene.instances:
            bands = scene.image[instance.mask][:, 3:].mean(axis=0)
            seen.setdefault(instance.category_id, []).append(bands / bands.sum())
    for category, found in seen.items():
        mixed = np.mean(found, axis=0)
        distances = {}
        for other, spectrum in SPECTRA.items():
            distances[other] = np.abs(mixed - np.array(spectrum) / sum(spectrum)).sum()
        assert min(distances, key=distances.__getitem__) == category
    assert set(SPECTRA) == {category.id for category in CATEGORIES}
    assert GROUND_SPECTRUM not in SPECTRA.values()


def test_a_clip_is_the_same_everywhere():
    assert digest(make_clip(3, 0, 64, 4)) == CLIP_DIGEST


def test_objects_of_a_clip_keep_their_place_in_the_list_and_move():
    frames = make_clip(3, 1, 96, 10)
    assert {len(frame.instances) for frame in frames} == {len(frames[0].instances)}
    moved = 0
    for number in range(len(frames[0].instances)):
        of = [frame.instances[number] for frame in frames]
        assert len({instance.category_id for instance in of}) == 1
        places = [np.argwhere(i.mask).mean(axis=0) for i in of if i.mask.any()]
        moved += np.abs(places[-1] - places[0]).max() > 3
        steps = np.abs(np.diff(places, axis=0))
        assert steps.max() < 0.12 * 96  # hidden parts move a centre too
    assert moved


def test_the_ground_of_a_clip_stands_still():
    frames = make_clip(3, 1, 96, 6)
    ground = np.ones((96, 96), bool)
    for frame in frames:
        for instance in frame.instances:
            ground &= ~instance.mask
    first = frames[0].image[ground].astype(float)
    last = frames[-1].image[ground].astype(float)
    assert np.median(np.abs(first - last)) < 10  # grain; shadows move
