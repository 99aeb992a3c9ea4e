"""Windows around objects: what they show, against the scene's masks."""

import numpy as np

from byol_helpers.synthetic.scenes import Instance, Scene, make_scene
from byol_helpers.synthetic.windows import FEWEST_PIXELS, cut_around_objects, make_windows


def make_square_scene(top, left, side, crowd=False):
    """A grey scene of 60 pixels with one white square."""
    image = np.full((60, 60, 3), 100, np.uint8)
    mask = np.zeros((60, 60), bool)
    mask[top : top + side, left : left + side] = True
    image[mask] = 255
    return Scene(image, [Instance(7, mask, crowd)])


def test_an_object_fills_two_thirds_of_the_side_whatever_its_size():
    for side in (8, 20, 40):
        ((window, category_id),) = cut_around_objects(make_square_scene(10, 10, side), 48)
        assert (window.shape, window.dtype, category_id) == ((48, 48, 3), np.uint8, 7)
        white = (window[..., 0] > 178).sum()
        assert abs(np.sqrt(white) - 32) <= 1
        rows = np.nonzero((window[..., 0] > 178).any(axis=1))[0]
        assert abs(rows.mean() - 23.5) <= 0.5


def test_beyond_the_edge_the_scene_is_mirrored():
    ((window, _),) = cut_around_objects(make_square_scene(0, 0, 30), 45)
    assert (window[:7, 10:30] > 240).all()  # the mirrored square goes on
    assert (window[-5:, -5:] < 110).all()


def test_crowds_and_hidden_objects_have_no_window():
    assert not list(cut_around_objects(make_square_scene(10, 10, 20, crowd=True), 32))
    side = int(np.sqrt(FEWEST_PIXELS))
    assert not list(cut_around_objects(make_square_scene(10, 10, side), 32))


def test_windows_are_those_of_the_scenes_in_their_order():
    images, ids = make_windows(3, 10, 5, 32, 64, "shapes")
    again, _ = make_windows(3, 10, 4, 32, 64, "shapes")
    assert images.shape == (5, 32, 32, 3) and len(ids) == 5
    assert (images[:4] == again).all()
    shown = []
    for index in range(10, 20):
        shown += list(cut_around_objects(make_scene(3, index, 64, "val", "shapes"), 32))
    assert ids == [category_id for _, category_id in shown[:5]]
    assert (images[4] == shown[4][0]).all()
