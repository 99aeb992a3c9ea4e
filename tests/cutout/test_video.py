"""Cutting objects out of videos: real files of many kinds, written here and read back."""

import os
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from byol_helpers.core.errors import UserError
from byol_helpers.cutout.cut_files import cut_out
from byol_helpers.cutout.cutter import Cutter
from byol_helpers.cutout.video import cut_video
from tests.helpers.videos import NTSC, film, heard, left_half, picture, watched


def cut(path: Path, background: object = "transparent") -> Path:
    """The cut-out of a video beside it."""
    out = path.parent / "out"
    summary = cut_out(path, left_half, out, background=background, overwrite=True)
    assert (summary.done, summary.failed) == (1, [])
    transparent = isinstance(background, str) and background == "transparent"
    return out / f"{path.stem}{'.mov' if transparent else '.mp4'}"


def test_a_transparent_video_carries_its_alpha(tmp_path):
    source = film(tmp_path / "a.mp4", audio="aac")
    target = cut(source)
    assert target.name == "a.mov"
    frames, times, rate = watched(target)
    originals, original_times, _ = watched(source)
    assert times == original_times and rate == NTSC and len(frames) == 12
    for frame, original in zip(frames, originals, strict=True):
        assert frame.shape == (48, 64, 4)
        assert (
            (frame[:, :31, 3] == 255).all()
            and not frame[:, 33:, 3].any()
            and not frame[:, 40:, :3].any()
        )
        assert np.abs(frame[:, :28, :3] - original[:, :28, :3].astype(int)).mean() < 1
    assert heard(target) == heard(source)


@pytest.mark.parametrize(
    ("background", "expected"), [("black", (0, 0, 0)), ((0, 177, 64), (0, 177, 64))]
)
def test_a_video_with_another_background(tmp_path, background, expected):
    source = film(tmp_path / "a.mov", audio="aac")
    target = cut(source, background)
    assert target.name == "a.mp4" and heard(target) == heard(source)
    frames, times, _ = watched(target)
    assert times == watched(source)[1]
    assert np.abs(frames[6][:, 36:, :3].astype(int) - expected).max() <= 3
    assert np.abs(frames[6][:, :28, :3] - picture(6, 48, 64)[:, :28].astype(int)).mean() < 3


def test_a_picture_as_background_is_cut_to_fit(tmp_path):
    behind = np.zeros((20, 60, 3), np.uint8)
    behind[:, 30:] = 200  # covers 48 x 64 as 48 x 144, of which columns 40 to 104 are seen
    frames, _, _ = watched(cut(film(tmp_path / "a.mp4"), behind))
    assert np.abs(frames[3][:, 40:, :3].astype(int) - 200).max() < 12


@pytest.mark.parametrize("background", ["transparent", "blur"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("odd.avi", {"codec": "ffv1", "pixels": "bgr0", "size": (33, 51)}),
        ("b.webm", {"codec": "libvpx-vp9"}),
        ("c.mkv", {"codec": "mjpeg", "pixels": "yuvj422p"}),
        ("d.mpg", {"codec": "mpeg2video", "rate": Fraction(25)}),
        ("e.flv", {"codec": "flv"}),
        ("f.mkv", {"codec": "mpeg4", "rate": Fraction(12)}),
        ("one.mp4", {"frames": 1}),
    ],
)
def test_other_containers_codecs_sizes_and_rates(tmp_path, name, options, background):
    source = film(tmp_path / name, **options)
    frames, times, rate = watched(cut(source, background))
    originals, original_times, original_rate = watched(source)
    assert times == original_times and frames[0].shape == originals[0].shape
    # The last frame's duration, in milliseconds in some containers, is in the mean.
    assert float(rate) == pytest.approx(float(original_rate), rel=0.01)


def test_uneven_time_stamps_are_kept(tmp_path):
    times = [0, 900, 2100, 2150, 5000, 5001, 9000, 9800, 10500, 14000, 14100, 15000]
    source = film(tmp_path / "a.mp4", times=times)
    wanted = [Fraction(time, 1000) / NTSC for time in times]
    for background in ("transparent", "black"):
        assert watched(source)[1] == watched(cut(source, background))[1] == pytest.approx(wanted)


@pytest.mark.parametrize(("rotation", "shape"), [(90, (64, 48)), (-90, (64, 48)), (180, (48, 64))])
def test_a_turned_video_stands_upright(tmp_path, rotation, shape):
    source = film(tmp_path / "a.mp4", rotation=rotation)
    frames, _, _ = watched(cut(source))
    assert frames[0].shape[:2] == shape
    upright = np.rot90(picture(5, 48, 64), rotation // 90)
    half = shape[1] // 2 - 2
    assert np.abs(frames[5][:, :half, :3] - upright[:, :half].astype(int)).mean() < 4
    with av.open(str(tmp_path / "out" / "a.mov")) as made:
        assert next(made.decode(video=0)).rotation == 0


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [1, 5])
def test_colours_survive_whatever_matrix_and_range(tmp_path, matrix, full):
    source = film(tmp_path / "a.webm", codec="libvpx-vp9", matrix=matrix, full=full)
    target = cut(source, "black")
    with av.open(str(target)) as made:
        frame = next(made.decode(video=0))
        assert frame.colorspace == matrix
        seen = frame.to_ndarray(format="rgb24")
    assert np.abs(seen[:, :28] - picture(0, 48, 64)[:, :28].astype(int)).mean() < 4


def test_what_is_left_out_and_what_is_empty_is_said(tmp_path, capsys):
    source = film(tmp_path / "a.mkv", audio="libopus", dark=3)
    cut(source)
    assert capsys.readouterr().err.splitlines() == [
        f"{source}: left out, because .mov does not take it: audio (opus)",
        f"{source}: no object scores 0.5 or more in 3 of 12 frames; these are empty",
    ]
    assert heard(cut(source, "black")) == heard(source)
    assert cut_out(film(tmp_path / "dark.mp4", dark=12), left_half, tmp_path / "out").empty == 1


def test_a_choice_holds_in_every_frame(tmp_path):
    source = film(tmp_path / "a.mp4")
    made = cut_video(source, tmp_path / "b.mov", left_half, Cutter(point=(50, 10)))
    assert not made.found and "no object of those asked for" in made.remarks[0]
    assert cut_video(source, tmp_path / "c.mov", left_half, Cutter(point=(10, 10))) == (True, [])


def test_videos_in_folders_are_done_once(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    film(tmp_path / "in" / "deep" / "a.mp4")
    film(tmp_path / "in" / "deep" / "a.webm", codec="libvpx-vp9")
    Image.fromarray(picture(0, 20, 20)).save(tmp_path / "in" / "a.png")
    assert str(cut_out(tmp_path / "in", left_half, tmp_path / "out")).startswith(
        "3 cut out, 0 there"
    )
    made = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")
    )
    assert made == ["a.png", "deep/a.mp4.mov", "deep/a.webm.mov"]
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in made}
    assert cut_out(tmp_path / "in", left_half, tmp_path / "out").skipped == 3
    assert before == {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in made}
    assert cut_out(tmp_path / "in", left_half, tmp_path / "out", overwrite=True).done == 3


def test_a_cut_off_video_is_done_and_said(tmp_path, capsys):
    whole = film(tmp_path / "whole.avi", frames=60, codec="mjpeg", pixels="yuvj420p").read_bytes()
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    summary = cut_out(tmp_path / "half.avi", left_half, tmp_path / "out")
    said = capsys.readouterr().err
    assert (
        summary.done == 1
        and "half.avi: cut off or broken: " in said
        and said.endswith(" of 2.0 s\n")
    )
    assert said.count("\n") == 1 and 10 < len(watched(tmp_path / "out" / "half.mov")[0]) < 40


def test_frames_of_two_sizes_are_refused(tmp_path):
    for side in (32, 64):
        film(tmp_path / f"{side}.mpg", size=(side, side), codec="mpeg2video", rate=Fraction(25))
    both = (tmp_path / "32.mpg").read_bytes() + (tmp_path / "64.mpg").read_bytes()
    (tmp_path / "both.mpg").write_bytes(both)
    with pytest.raises(UserError, match="its frames differ in size"):
        cut_video(tmp_path / "both.mpg", tmp_path / "out.mov", left_half, Cutter())
    assert not (tmp_path / "out.mov").exists()


def test_an_interrupted_video_leaves_nothing_and_is_done_again(tmp_path):
    source = film(tmp_path / "a.mp4", frames=200)
    script = (
        "import sys, time; from pathlib import Path; from tests.helpers.videos import left_half\n"
        "from byol_helpers.cutout.cut_files import cut_out\n"
        "slow = lambda image: time.sleep(0.05) or left_half(image)\n"
        "cut_out(Path(sys.argv[1]), slow, Path(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, source, tmp_path / "out"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("out/.*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    (part,) = (tmp_path / "out").iterdir()
    assert part.name.startswith(".a.mov.") and part.suffix == ".part"
    assert cut_out(tmp_path, left_half, tmp_path / "out").done == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mov"]
