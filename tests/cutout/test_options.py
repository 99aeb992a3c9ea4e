"""The command ``cutout`` with a real network, small and untrained, which finds something
everywhere.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from byol_helpers.cli import main
from byol_helpers.cli_options import make_parser
from byol_helpers.coco.images import read_image
from byol_helpers.core.profile_files import load_profile
from byol_helpers.cutout import options as cutout_options
from byol_helpers.cutout.cut_files import Summary
from byol_helpers.segmentation.engine import make_predictor, read_categories, save_model
from byol_helpers.segmentation.torchvision_engine import build
from tests.helpers.videos import film, picture, watched

CATEGORIES = [{"id": 3, "name": "cup"}, {"id": 8, "name": "bowl"}]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A model of the smoke size that knows two categories and finds both everywhere."""
    profile, folder = (
        load_profile("smoke", ["finetune.proposals=20"]),
        tmp_path_factory.mktemp("model"),
    )
    network = build(profile.depth, len(CATEGORIES), profile.finetune, seed=0, width=profile.width)
    torch.nn.init.zeros_(network.roi_heads.box_predictor.cls_score.weight)
    save_model(network, folder, profile, CATEGORIES, "random", 0)
    return folder / "model.pth"


@pytest.fixture(scope="module")
def call(weights):
    """The command with its options, as ``main`` runs it, with the model loaded once."""
    predict = make_predictor(weights)

    def call(inputs: Path, out: Path, *options: str) -> Summary:
        arguments = [
            "cutout",
            str(inputs),
            "--weights",
            str(weights),
            "--out",
            str(out),
            "--score",
            "0",
            *options,
        ]
        return cutout_options.run_cutout(
            make_parser().parse_args(arguments), read_categories(weights), lambda: predict
        )

    return call


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    return tmp_path / "a.png"


def test_pictures_of_any_shape(weights, tmp_path, capsys):
    shapes = {
        "dot.png": (1, 1),
        "wide.png": (2000, 10),
        "high.png": (3, 500),
        "usual.png": (90, 60),
    }
    (tmp_path / "in").mkdir()
    for name, size in shapes.items():
        Image.effect_noise(size, 90).save(tmp_path / "in" / name)
    (tmp_path / "in" / "bad.jpg").write_text("no picture")
    assert (
        main(
            [
                "cutout",
                str(tmp_path / "in"),
                "--weights",
                str(weights),
                "--out",
                str(tmp_path / "out"),
                "--score",
                "0.3",
            ]
        )
        == 1
    )
    said = capsys.readouterr()
    assert (
        "4 cut out" in said.out and "1 failed" in said.out and "bad.jpg: not an image" in said.err
    )
    for name, size in shapes.items():
        assert Image.open(tmp_path / "out" / name).size == size


def test_the_options_reach_the_choice(call, weights, photo, tmp_path):
    detections = make_predictor(weights)(read_image(photo))
    assert {d["category_id"] for d in detections} == {3, 8} and read_categories(
        weights
    ) == CATEGORIES
    assert call(photo, tmp_path / "all", "--rule", "all").done == 1
    found = np.asarray(Image.open(tmp_path / "all" / "a.png"))[..., 3] > 0
    y, x = np.argwhere(found)[0]
    for name, options in {
        "class": ["--class", "Bowl"],
        "point": ["--point", f"{x},{y}"],
        "number": ["--number", "2"],
        "none": ["--number", "999"],
    }.items():
        assert call(photo, tmp_path / name, *options).done == 1
        opaque = np.asarray(Image.open(tmp_path / name / "a.png"))[..., 3] > 0
        assert opaque.any() == (name != "none") and not (opaque & ~found).any()
    assert np.asarray(Image.open(tmp_path / "point" / "a.png"))[y, x, 3] == 255


def test_the_options_reach_the_look(call, photo, tmp_path):
    behind = tmp_path / "behind.png"
    Image.new("RGB", (7, 7), (1, 2, 3)).save(behind)
    pixels = read_image(photo)
    assert call(photo, tmp_path / "out").done == 1
    mask = np.asarray(Image.open(tmp_path / "out" / "a.png"))[..., 3] > 0
    for fill, colour in {
        "black": (0, 0, 0),
        "#00b140": (0, 177, 64),
        "white": (255, 255, 255),
        str(behind): (1, 2, 3),
    }.items():
        assert call(photo, tmp_path / "out", "--fill", fill, "--overwrite").done == 1
        expected = np.where(mask[..., None], pixels, colour)
        np.testing.assert_array_equal(read_image(tmp_path / "out" / "a.png"), expected)
    call(photo, tmp_path / "old", "--black")
    assert Image.open(tmp_path / "old" / "a.png").mode == "RGB"
    call(photo, tmp_path / "soft", "--edge", "2", "--close", "30")
    assert len(np.unique(np.asarray(Image.open(tmp_path / "soft" / "a.png"))[..., 3])) > 10


def test_a_file_that_is_there_is_left_alone_unless_told(call, photo, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    assert call(photo, tmp_path / "out").skipped == 1
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
    assert call(photo, tmp_path / "out", "--overwrite").done == 1
    assert Image.open(tmp_path / "out" / "a.png").size == (90, 60)


def test_several_paths_and_the_name_of_one_cutout(weights, photo, tmp_path, capsys):
    Image.new("RGB", (9, 8)).save(tmp_path / "b.jpg")
    options = ["--weights", str(weights), "--score", "0.3"]
    several = ["cutout", str(photo), str(tmp_path / "b.jpg"), *options]
    assert main([*several, "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    one = tmp_path / "new" / "result.png"
    assert main(["cutout", str(photo), *options, "--out", str(one)]) == 0
    assert Image.open(one).size == (90, 60)
    capsys.readouterr()
    for arguments, said in (
        ([*several, "--out", str(one)], "result.png: a file; give a folder for the cut-outs of"),
        ([*several, "--out", "x.png"], "x.png: the name of one file; give a folder"),
        (["cutout", str(photo), *options, "--out", "x.jpg"], "give --out x.png, or a folder"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


def test_a_model_without_its_description_names_the_missing_file(weights, photo, tmp_path, capsys):
    moved = tmp_path / "model.pth"
    moved.write_bytes(weights.read_bytes())
    command = ["cutout", str(photo), "--weights", str(moved), "--out", str(tmp_path / "out")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {tmp_path / 'model.json'}: missing, and model.pth")


def test_a_video(call, tmp_path):
    source = film(tmp_path / "a.mp4", frames=3)
    assert call(source, tmp_path / "out", "--fill", "blur", "--rule", "all").done == 1
    frames, times, _ = watched(tmp_path / "out" / "a.mp4")
    assert (
        len(frames) == 3
        and times == watched(source)[1]
        and frames[0].shape[:2] == picture(0, 48, 64).shape[:2]
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--class", "cat"], "no category 'cat'; the model knows cup, bowl"),
        (["--point", "12"], "--point 12: give two numbers"),
        (["--point", "a,b"], "--point a,b: give two numbers"),
        (["--point", "-1,5"], "--point -1,5: pixels are counted from 0"),
        (["--point", "nan,5"], "--point nan,5: pixels are counted from 0"),
        (["--number", "0"], "--number 0: the first is 1"),
        (["--edge", "-1"], "--edge -1: give a number of pixels"),
        (["--edge", "nan"], "--edge nan: give a number of pixels"),
        (["--close", "-5"], "--close -5: give a number of pixels"),
        (["--score", "2"], "--score 2.0: give a number from 0 to 1"),
        (["--fill", "#12"], "--fill #12: not a colour"),
        (
            ["--fill", "greenish"],
            "--fill greenish: no such file, no colour's name, and none of transparent, black,",
        ),
    ],
)
def test_what_cannot_be_followed_is_one_line_and_status_2(
    weights, photo, tmp_path, capsys, options, said
):
    out = tmp_path / "out"
    assert (
        main(
            ["cutout", str(photo), "--weights", str(weights), "--out", str(out), "=".join(options)]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
    assert not out.exists()
