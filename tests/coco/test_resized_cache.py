"""Pictures for pretraining: shrunk copies that survive an interruption, and unreadable ones left
out up to a share.
"""

import numpy as np
import pytest
from PIL import Image

from byol_helpers.coco.images import read_image
from byol_helpers.coco.resized_cache import keep_readable, resize_images
from byol_helpers.core.errors import UserError


def pictures(folder, many, size=(90, 60)):
    draw, paths = np.random.default_rng(0), []
    folder.mkdir(exist_ok=True)
    for k in range(many):
        coarse = Image.fromarray(draw.integers(0, 256, (5, 5, 3), dtype=np.uint8))
        paths.append(folder / f"{k}.png")
        coarse.resize(size, Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def test_copies_have_the_short_side_the_order_and_the_look(tmp_path):
    files = [*pictures(tmp_path / "a", 3), *pictures(tmp_path / "b", 1, (30, 20))]
    copies = resize_images(files, tmp_path / "cache", 30, "shrink")
    assert [Image.open(copy).size for copy in copies] == [(45, 30)] * 3 + [(30, 20)]
    for path, copy in zip(files, copies, strict=True):
        small = np.asarray(
            Image.fromarray(read_image(path)).resize(
                Image.open(copy).size, Image.Resampling.BICUBIC
            )
        )
        assert np.abs(small.astype(float) - read_image(copy)).mean() < 6
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_a_copy_is_read_alike_by_both_readers(tmp_path):
    from byol_helpers.pretraining.stages import read_copy

    grey = tmp_path / "grey.png"
    Image.new("L", (40, 50), 90).save(grey)
    for copy in resize_images(
        [*pictures(tmp_path / "a", 2), grey], tmp_path / "cache", 30, "shrink"
    ):
        slow, fast = read_image(copy), read_copy(copy)
        assert fast.shape == slow.shape and fast.dtype == np.uint8
        assert np.abs(fast.astype(int) - slow).max() <= 2


def test_what_is_there_is_not_made_again(tmp_path):
    files = pictures(tmp_path / "a", 4)
    copies = resize_images(files, tmp_path / "cache", 30, "shrink")
    copies[1].unlink()
    before = {copy: copy.stat().st_mtime_ns for copy in copies if copy.exists()}
    assert resize_images(files, tmp_path / "cache", 30, "shrink") == copies and copies[1].is_file()
    assert all(copy.stat().st_mtime_ns == then for copy, then in before.items())


@pytest.mark.parametrize("shrink", [False, True])
def test_one_in_a_hundred_is_left_out_and_counted_two_are_an_error_that_names_them(
    tmp_path, shrink, capsys
):
    files = pictures(tmp_path / "a", 100, (12, 9))

    def call(name):
        return (
            resize_images(files, tmp_path / name, 8, "pictures")
            if shrink
            else keep_readable(files, "pictures")
        )

    files[40].write_text("not a picture")
    found = call("one")
    assert len(found) == 99 and "1 of 100 pictures left out" in capsys.readouterr().out
    if not shrink:
        assert found == files[:40] + files[41:]
    files[70].write_bytes(files[70].read_bytes()[:30])
    with pytest.raises(UserError, match=r"more than one picture in a hundred.*40\.png.*70\.png"):
        call("two")
