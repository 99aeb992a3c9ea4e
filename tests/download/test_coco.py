"""A miniature COCO on the loopback interface and as local copies: what a profile needs lies where
prepare reads it.
"""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from byol_helpers import pipeline
from byol_helpers.cli import main
from byol_helpers.coco.dataset import load_split, load_splits
from byol_helpers.core.errors import UserError
from byol_helpers.core.profile_files import load_profile
from byol_helpers.download.coco import (
    ANNOTATIONS_URL,
    IMAGES_URL,
    download_annotations,
    download_coco,
    list_needed_splits,
    list_wanted_images,
)
from byol_helpers.download.disk import LOCK_NAME
from byol_helpers.download.http import Patience
from tests.helpers.http_server import Server, serving

HASTY = Patience(retries=2, first=0.02, longest=0.1, connect=2.0, read=0.5)
COUNTS = ["data.train=8", "data.val=3", "data.test=2", "data.unlabelled=6", "data.fraction=1"]
IDS = {"train2017": range(1, 11), "val2017": range(101, 105), "train2014": range(1, 8)}


def file_name(split: str, k: int) -> str:
    return f"COCO_train2014_{k:012}.jpg" if split == "train2014" else f"{k:012}.jpg"


def content(split: str) -> dict:
    images = [
        {"id": k, "file_name": file_name(split, k), "width": 32, "height": 24} for k in IDS[split]
    ]
    square = {
        "category_id": 1,
        "iscrowd": 0,
        "area": 64,
        "bbox": [4, 4, 8, 8],
        "segmentation": [[4, 4, 12, 4, 12, 12, 4, 12]],
    }
    return {
        "images": images,
        "categories": [{"id": 1, "name": "square"}],
        "annotations": [square | {"id": k, "image_id": k} for k in IDS[split]],
    }


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return file.getvalue()


@pytest.fixture
def coco():
    """Addresses and files of a COCO server with 10 + 4 images of 2017 and 7 of 2014."""
    files, spoken = {}, {split: json.dumps(content(split)).encode() for split in IDS}
    for split, ids in IDS.items():
        for k in ids:
            picture = io.BytesIO()
            Image.fromarray(np.full((24, 32, 3), k, np.uint8)).save(picture, "JPEG")
            files[f"/{split}/{file_name(split, k)}"] = picture.getvalue()
    for year in ("2017", "2014"):
        files[f"/annotations/annotations_trainval{year}.zip"] = zipped(
            {
                f"annotations/instances_{split}.json": spoken[split]
                for split in IDS
                if split.endswith(year)
            }
            | {f"annotations/captions_train{year}.json": b"{}"}
        )
    return files


def lying(folder: Path) -> set[str]:
    """The files below a folder, without the hidden one that locks it."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {LOCK_NAME}


def spread(files: dict[str, bytes], folder: Path) -> Path:
    for name, body in files.items():
        path = folder / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    return folder


ANNOTATIONS = {"annotations/instances_train2017.json", "annotations/instances_val2017.json"}


def test_colab_gets_the_images_that_prepare_reads(coco, tmp_path):
    data, profile = tmp_path / "coco", load_profile("colab", COUNTS)
    server = Server(coco)
    with serving(server) as address:
        urls = address, f"{address}/annotations/annotations_trainval2017.zip"
        download_coco(data, profile, *urls, patience=HASTY)
        before = sum(server.gets.values())
        download_coco(data, profile, *urls, patience=HASTY)
        assert sum(server.gets.values()) == before, "the second call fetches nothing"
    images = {f"train2017/{k:012}.jpg" for k in IDS["train2017"]}
    drawn = {f"val2017/{k:012}.jpg" for k in IDS["val2017"]} & lying(data)
    assert len(drawn) == 3 and lying(data) == images | drawn | ANNOTATIONS | {"manifest.jsonl"}
    assert all((data / name).read_bytes() == coco[f"/{name}"] for name in images | drawn)
    run = pipeline.open_run("colab", tmp_path / "run", data, COUNTS)
    pipeline.prepare(run)
    read = {
        record["file_name"]
        for name in ("train", "val", "test")
        for record in load_split(run, name).images
    }
    assert read == images | drawn


@pytest.mark.parametrize("exclude", ["false", "true"])
def test_thesis_also_gets_images_of_2014(coco, tmp_path, exclude):
    overrides = [*COUNTS, f"data.exclude_pretraining={exclude}"]
    data, profile = tmp_path / "coco", load_profile("thesis", overrides)
    with serving(Server(coco)) as address:
        download_coco(
            data,
            profile,
            address,
            f"{address}/annotations/annotations_trainval2017.zip",
            patience=HASTY,
        )
    run = pipeline.open_run("thesis", tmp_path / "run", data, overrides)
    pipeline.prepare(run)
    test = {record["id"] for record in load_split(run, "test").images}
    drawn = load_splits(run)["pretrain"]
    usable = {
        f"train2014/{file_name('train2014', k)}"
        for k in IDS["train2014"]
        if exclude == "false" or k not in test
    }
    assert len(drawn) == min(6, len(usable)) and set(drawn) <= usable
    assert {name for name in lying(data) if name.startswith("train2014")} == set(drawn)
    assert "annotations/instances_train2014.json" in lying(data)


def test_a_local_copy_packed_or_not_serves_as_well(coco, tmp_path):
    mirror, profile = spread(coco, tmp_path / "mirror"), load_profile("thesis", COUNTS)
    packed = download_coco(
        tmp_path / "1",
        profile,
        mirror.as_uri(),
        str(mirror / "annotations/annotations_trainval2017.zip"),
    )
    download_coco(tmp_path / "2", profile, str(mirror), str(mirror / "annotations"))
    assert lying(tmp_path / "2") == lying(packed)
    (tmp_path / "loose").mkdir()
    for path in packed.glob("annotations/*.json"):
        shutil.copy(path, tmp_path / "loose" / path.name)
    download_coco(tmp_path / "3", profile, str(mirror), str(tmp_path / "loose"))
    assert lying(tmp_path / "3") == lying(packed)


def test_a_dry_run_writes_nothing_with_and_without_annotations(coco, tmp_path, capsys):
    data, profile, server = tmp_path / "coco", load_profile("colab", COUNTS), Server(coco)
    with serving(server) as address:
        urls = address, f"{address}/annotations/annotations_trainval2017.zip"
        download_coco(data, profile, *urls, dry_run=True, patience=HASTY)
        said = capsys.readouterr().out
        assert (
            not data.exists()
            and not server.gets
            and f"annotations: {urls[1]} (" in said
            and "up to 19;" in said
        )
        assert "about 3 MB" in said and "mean of 163 kB" in said
        download_annotations(data, "train2017", urls[1], HASTY)
        before = lying(data)
        download_coco(data, profile, *urls, dry_run=True, patience=HASTY)
        said = capsys.readouterr().out
    assert lying(data) == before
    assert "13 images: 0 there, 13 to fetch" in said


def test_an_archive_that_was_there_before_is_used_and_kept(coco, tmp_path):
    spread(
        {"/annotations_trainval2017.zip": coco["/annotations/annotations_trainval2017.zip"]},
        tmp_path,
    )
    download_annotations(tmp_path, "val2017", "http://127.0.0.1:9/annotations_trainval2017.zip")
    assert (tmp_path / "annotations_trainval2017.zip").is_file() and ANNOTATIONS <= lying(tmp_path)


def test_without_a_network_address_and_place_are_said(tmp_path):
    with serving(Server({})) as address:
        pass
    url = f"{address}/annotations/annotations_trainval2017.zip"
    for dry_run in (False, True):
        with pytest.raises(UserError) as caught:
            download_coco(
                tmp_path / "coco",
                load_profile("colab"),
                address,
                url,
                dry_run=dry_run,
                patience=HASTY,
            )
        assert str(caught.value).startswith(f"{url}: no connection")
        assert str(caught.value).endswith(
            f"by hand to {tmp_path}/coco/annotations_trainval2017.zip"
        )


def test_public_addresses_and_names():
    assert (
        ANNOTATIONS_URL == "http://images.cocodataset.org/annotations/annotations_trainval2017.zip"
    )
    record = content("train2014")["images"][:1]
    (one,) = list_wanted_images({"train2014": record}, IMAGES_URL + "/")
    assert one.url == "http://images.cocodataset.org/train2014/COCO_train2014_000000000001.jpg"
    assert (one.name, one.width, one.height) == (
        "train2014/COCO_train2014_000000000001.jpg",
        32,
        24,
    )
    assert list_needed_splits(load_profile("thesis")) == ["train2017", "val2017", "train2014"]
    with pytest.raises(UserError, match="data.pretrain_folder=unlabeled2017: no part of COCO"):
        list_needed_splits(load_profile("thesis", ["data.pretrain_folder=unlabeled2017"]))


def test_the_command_downloads_and_goes_on(coco, tmp_path, capsys):
    mirror, data = spread(coco, tmp_path / "mirror"), tmp_path / "coco"
    options = [word for pair in COUNTS for word in ("--set", pair)]
    command = [
        "download",
        "--profile",
        "colab",
        "--data",
        str(data),
        "--images-url",
        str(mirror),
        "--annotations-url",
        str(mirror / "annotations/annotations_trainval2017.zip"),
        *options,
    ]
    assert main([*command, "--dry-run"]) == 0 and not data.exists()
    assert main(command) == 0 and main(command) == 0
    assert "13 images: 13 there, none to fetch" in capsys.readouterr().out
    assert (
        main(
            [
                "prepare",
                "--profile",
                "colab",
                "--data",
                str(data),
                "--run",
                str(tmp_path / "run"),
                *options,
            ]
        )
        == 0
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["--profile", "colab"], "needs --data FOLDER"),
        (["--data", "x"], "generates its images"),
        (["--profile", "colab", "--data", "x", "--connections", "0"], "from 1 to 64"),
    ],
)
def test_what_the_command_refuses(command, said, capsys):
    assert main(["download", *command]) == 2
    assert said in capsys.readouterr().err
