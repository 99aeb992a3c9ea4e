"""Cutting objects out of files and folders."""

import errno
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from pycocotools import mask as rle

from byol_helpers.coco.images import list_images, read_image
from byol_helpers.core.errors import UserError
from byol_helpers.cutout import cut_files as module
from byol_helpers.cutout.cut_files import cut_out

REAL = Path(__file__).parents[3] / "shared" / "data"


def result(mask: np.ndarray, certainty: float) -> dict:
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"category_id": 1, "score": certainty, "bbox": [0, 0, 1, 1], "segmentation": encoded}


def left_half(image: np.ndarray) -> np.ndarray:
    mask = np.zeros(image.shape[:2], bool)
    mask[:, : image.shape[1] // 2] = True
    return mask


def predict(image: np.ndarray) -> list[dict]:
    """A stand-in for a model: sure of the left half, less sure of everything, and blind to dark
    images.
    """
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if image.mean() < 10:
        return []
    return [result(np.ones(image.shape[:2], bool), 0.6), result(left_half(image), 0.9)]


def photo(path: Path, seed: int = 0, size: tuple[int, int] = (6, 10)) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(1, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")
    return pixels


def names(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_one_file(tmp_path):
    pixels = photo(tmp_path / "dog.jpg")
    summary = cut_out(tmp_path / "dog.jpg", predict, tmp_path / "out")
    assert (summary.done, summary.empty, summary.skipped, summary.failed) == (1, 0, 0, [])
    assert str(summary) == "1 cut out, 0 there already, 0 failed"
    cut = np.array(Image.open(tmp_path / "out" / "dog.png"))
    assert cut.shape == (6, 10, 4)
    np.testing.assert_array_equal(cut[:, :5, :3], pixels[:, :5])
    assert (cut[:, :5, 3] == 255).all() and not cut[:, 5:].any()
    # Read back, the transparent cut-out is the one on black.
    cut_out(tmp_path / "dog.jpg", predict, tmp_path / "black", background="black")
    assert Image.open(tmp_path / "black" / "dog.png").mode == "RGB"
    np.testing.assert_array_equal(read_image(tmp_path / "black" / "dog.png"), cut[..., :3])


def test_rules_and_threshold_reach_the_choice(tmp_path):
    photo(tmp_path / "a.png")
    for rule, columns in {"confident": 5, "largest": 10, "all": 10}.items():
        cut_out(tmp_path / "a.png", predict, tmp_path / rule, rule=rule)
        assert np.count_nonzero(read_image(tmp_path / rule / "a.png")[0].any(axis=1)) == columns
    assert cut_out(tmp_path / "a.png", predict, tmp_path / "sure", score_threshold=0.95).empty == 1


def test_the_cut_out_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.full((6, 10, 3), 99, np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    cut_out(tmp_path / "a.jpg", predict, tmp_path / "out")
    assert Image.open(tmp_path / "out" / "a.png").size == (6, 10)


def test_a_folder_is_mirrored_and_bad_files_cost_one_line(tmp_path, capsys):
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "deep" / "er" / "b.JPG", 1)
    Image.new("RGB", (5, 5)).save(tmp_path / "in" / "dark.png")
    (tmp_path / "in" / "broken.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:90])
    (tmp_path / "in" / "text.jpg").write_text("no picture")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    summary = cut_out(tmp_path / "in", predict, tmp_path / "out")
    assert str(summary) == "3 cut out (1 empty: no object found), 0 there already, 2 failed"
    assert names(tmp_path / "out") == ["a.png", "dark.png", "deep/er/b.png"]
    assert not np.array(Image.open(tmp_path / "out" / "dark.png")).any()
    assert [path.name for path, _ in summary.failed] == ["broken.png", "text.jpg"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.count(str(tmp_path)) == 1 for line in lines)
    assert lines[1].endswith("dark.png: no object scores 0.5 or more; empty cut-out")
    assert "text.jpg: not an image" in lines[2]


def test_a_second_call_does_only_what_is_missing(tmp_path):
    for n in range(4):
        photo(tmp_path / "in" / f"{n}.png", n)
    cut_out(tmp_path / "in", predict, tmp_path / "out")
    (tmp_path / "out" / "2.png").unlink()
    (tmp_path / "out" / "3.png").write_bytes(b"mine")
    asked = []

    def count(image):
        asked.append(image)
        return predict(image)

    summary = cut_out(tmp_path / "in", count, tmp_path / "out")
    assert (summary.done, summary.skipped, len(asked)) == (1, 3, 1)
    assert (tmp_path / "out" / "3.png").read_bytes() == b"mine"


def test_outputs_below_the_inputs_are_not_inputs(tmp_path):
    photo(tmp_path / "a.png")
    for skipped in (0, 1):
        assert cut_out(tmp_path, predict, tmp_path / "out").skipped == skipped
    assert names(tmp_path / "out") == ["a.png"]


def test_pictures_that_would_share_a_name_keep_their_extension(tmp_path):
    for n, name in enumerate(["a.jpg", "a.png", "A.tif", "b.jpg", "a.jpg.webp"]):
        photo(tmp_path / "in" / name, n)
    cut_out(tmp_path / "in", predict, tmp_path / "out")
    assert names(tmp_path / "out") == [
        "A.tif.png",
        "a.jpg.png",
        "a.jpg.webp.png",
        "a.png.png",
        "b.png",
    ]


def test_a_failing_prediction_costs_that_picture_only(tmp_path, capsys):
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "b.png", size=(20, 20))
    photo(tmp_path / "in" / "c.png", size=(5, 5))

    def fail(image):
        if image.shape[0] == 20:
            raise RuntimeError("CUDA out of memory.\nTried to allocate")
        if image.shape[0] == 5:
            return [result(np.ones((4, 4), bool), 0.9)]
        return predict(image)

    summary = cut_out(tmp_path / "in", fail, tmp_path / "out")
    assert summary.done == 1 and [path.name for path, _ in summary.failed] == ["b.png", "c.png"]
    assert summary.failed[0][1] == "CUDA out of memory. Tried to allocate"
    assert "a mask of 4 x 4" in summary.failed[1][1]
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_full_disk_stops_at_once_and_leaves_what_is_done(tmp_path, monkeypatch):
    for n in range(30):
        photo(tmp_path / "in" / f"{n:02}.png", n)
    write, asked = module.write_bytes, []

    def full(path, content):
        if path.name != "00.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(module, "write_bytes", full)
    with pytest.raises(
        UserError, match=r"01\.png: the disk is full \(1 cut out.*free some and call again"
    ):
        cut_out(
            tmp_path / "in", lambda image: asked.append(image) or predict(image), tmp_path / "out"
        )
    assert names(tmp_path / "out") == ["00.png"] and len(asked) < 15


def test_what_cannot_work_is_refused_before_anything_is_done(tmp_path):
    photo(tmp_path / "in" / "a.png")
    (tmp_path / "none").mkdir()
    for inputs, out, said in [
        ("missing", "out", "no such file or folder"),
        ("none", "out", "no images or videos in it; known are .bmp"),
        ("in", "in", "the folder of the pictures"),
        ("in/a.png", "in", "would take the place of"),
        ("in", "in/a.png", "a file; give a folder"),
    ]:
        with pytest.raises(UserError, match=said):
            cut_out(tmp_path / inputs, predict, tmp_path / out)
    assert names(tmp_path) == ["in/a.png"]


def test_files_of_one_name_from_several_folders_keep_apart(tmp_path):
    for name in ("a/dog.png", "b/dog.png", "b/cat.png"):
        photo(tmp_path / name)
    given = [tmp_path / "a" / "dog.png", tmp_path / "b", tmp_path / "b" / "cat.png"]
    assert cut_out(given, predict, tmp_path / "out").done == 3
    assert names(tmp_path / "out") == ["a/dog.png", "b/cat.png", "b/dog.png"]
    given = [tmp_path / "a" / "dog.png", tmp_path / "b" / "cat.png"]
    assert cut_out(given, predict, tmp_path / "flat").done == 2
    assert names(tmp_path / "flat") == ["cat.png", "dog.png"]


def test_pictures_of_telephones_are_read_or_named_and_counted(tmp_path, monkeypatch, capsys):
    photo(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # not installed
    expected = "1 cut out, 0 there already, 1 failed"
    if features.check("avif"):
        with Image.open(tmp_path / "in" / "a.jpg") as image:
            image.save(tmp_path / "in" / "c.avif")
        expected = expected.replace("1 cut", "2 cut")
    assert str(cut_out(tmp_path / "in", predict, tmp_path / "out")) == expected
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{tmp_path / 'in' / 'b.heic'}: HEIC is read once pillow-heif")


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder with real images is not there")
@pytest.mark.parametrize("folder", ["coco-real/train2017", "nuclei/val"])
def test_real_images(tmp_path, folder):
    paths = list_images(REAL / folder)[:12]
    (tmp_path / "in").mkdir()
    for path in paths:
        (tmp_path / "in" / path.name).symlink_to(path)
    summary = cut_out(tmp_path / "in", predict, tmp_path / "out")
    assert summary.done + len(summary.failed) == 12 and not summary.failed
    for path in paths:
        with Image.open(tmp_path / "out" / f"{path.stem}.png") as cut, Image.open(path) as original:
            assert cut.size == original.size and cut.mode == "RGBA"
