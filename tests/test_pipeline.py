"""The whole thesis at smoke scale, by the command line, killed in the middle and called again."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from byol_helpers import pipeline
from byol_helpers.cli import main
from byol_helpers.core.arms import BASELINE_LABELS
from byol_helpers.core.files import read_json, sha256

SMALL = [
    "data.unlabelled=32",
    "data.train=12",
    "data.val=2",
    "data.test=6",
    "data.crops=32",
    "pretrain.hidden=64",
    "evaluate.bootstrap=20",
    "background.images=2",
]
OPTIONS = [part for setting in SMALL for part in ("--set", setting)]


def command(*arguments, run):
    return [
        sys.executable,
        "-m",
        "byol_helpers",
        *arguments,
        "--profile",
        "smoke",
        "--run",
        str(run),
        *OPTIONS,
    ]


def call(stage, run):
    assert main([*command(stage, run=run)[3:]]) == 0


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run with every stage done by the command line."""
    run = tmp_path_factory.mktemp("runs") / "done"
    for stage in pipeline.STAGES:
        call(stage, run)
    return run


def numbers(path):
    """A metrics.csv without its clock."""
    with open(path, newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_every_stage_leaves_its_files(done):
    for arm in ("byol", "supervised", "random"):
        assert (done / f"finetune/{arm}-seed0/model.pth").is_file()
        metrics = read_json(done / f"evaluate/{arm}-seed0/metrics.json")
        assert (
            metrics["profile"] == "smoke" and metrics["iterations"] == 40 and metrics["images"] == 6
        )
        assert {"value", "low", "high"} == metrics["mask"]["AP"].keys()
        assert read_json(done / f"background/{arm}-seed0/metrics.json")["images"] >= 1
    for method in BASELINE_LABELS:
        assert read_json(done / f"background/{method}/metrics.json")["all_images"]["images"] >= 1
    assert (
        read_json(done / "evaluate/comparison.json")["arms"]["supervised"]["label"]
        == "supervised (stand-in)"
    )
    claims = [row["claim"] for row in read_json(done / "scorecard.json")["claims"]]
    assert claims == ["C1a", "C1b", *[f"C{k}" for k in range(2, 15)]]
    assert not list(done.rglob("*.part")) and not list(done.rglob("started.json"))


@pytest.mark.slow
def test_nothing_is_run_twice(done, capsys):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("stage.json")}
    for stage in pipeline.STAGES:
        call(stage, done)
    assert {path: path.stat().st_mtime_ns for path in done.rglob("stage.json")} == before
    assert "runs afresh" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "folder"),
    [
        ("supervised", "supervised"),
        ("pretrain", "pretrain/byol"),
        ("finetune", "finetune/byol-seed0"),
    ],
)
def test_killed_and_called_again_ends_like_an_uninterrupted_run(done, tmp_path, stage, folder):
    """kill -9 right after the first checkpoint.

    On a CPU every number and every weight must come out the same.
    """
    run = tmp_path / "killed"
    shutil.copytree(done, run)
    shutil.rmtree(run / folder)
    process = subprocess.Popen(
        command(stage, run=run), stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (run / folder / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (run / folder / "stage.json").exists()
    again = subprocess.run(command(stage, run=run), capture_output=True, text=True, check=True)
    assert "was interrupted, goes on" in again.stdout and "goes on from" in again.stdout
    assert numbers(run / folder / "metrics.csv") == numbers(done / folder / "metrics.csv")
    name = "model.pth" if stage == "finetune" else "last.ckpt"
    whole, resumed = (torch.load(base / folder / name, weights_only=True) for base in (done, run))
    whole = whole.get("network", whole)
    resumed = resumed.get("network", resumed)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.slow
def test_evaluation_after_a_kill_gives_the_same_detections(done, tmp_path):
    run = tmp_path / "killed"
    shutil.copytree(done, run)
    folder = run / "evaluate/byol-seed0"
    (folder / "stage.json").rename(folder / "started.json")
    (folder / "detections.json").unlink()
    call("evaluate", run)
    for name in ("detections.json", "metrics.json"):
        assert sha256(folder / name) == sha256(done / "evaluate/byol-seed0" / name)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_costs_nothing_finished(done, tmp_path, monkeypatch, capsys):
    run = tmp_path / "full"
    shutil.copytree(done, run)
    kept = sha256(run / "scorecard.json")

    def full(self, content):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert main(command("scorecard", run=run)[3:]) == 2
    monkeypatch.undo()
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1 and "no space left on device" in said and "same command again" in said
    )
    assert sha256(run / "scorecard.json") == kept
    call("scorecard", run)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["finetune", "--profile", "fast"], "unknown profile 'fast'"),
        (["finetune", "--engine", "keras"], "finetune.engine"),
        (
            ["finetune", "--engine", "detectron2", "--set", "finetune.devices=2"],
            "finetune.engine=detectron2",
        ),
        (["finetune", "--set", "finetune.devices=3"], "multiple of finetune.devices"),
        (["finetune", "--set", "finetune.arms=[file, random]"], "finetune.weights_file is not set"),
        (["finetune", "--set", "finetune.weights_file=moco.pth"], "the other way round"),
        (["finetune", "--set", "finetune.arms=[moco]"], "finetune.arms"),
        (["finetune", "--set", "steps=3"], "unknown key"),
        (["prepare", "--data", "nowhere"], "nowhere: no such data folder"),
        (["prepare", "--profile", "thesis"], "--data"),
        (["evaluate"], "run the stage that writes it first"),
        (["scorecard"], "nothing to score; run finetune and evaluate first"),
        (["cutout", "nothing.png", "--weights", "no.pth", "--out", "out"], "no.pth"),
    ],
)
def test_what_the_user_can_put_right_is_one_line_and_status_2(
    arguments, said, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and error.startswith("error: ")


@pytest.mark.skipif(
    importlib.util.find_spec("detectron2") is not None, reason="detectron2 is installed here"
)
def test_an_engine_that_is_not_installed_is_said_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", "--engine", "detectron2"]) == 2
    assert "detectron2, which is not installed" in capsys.readouterr().err


@pytest.mark.slow
def test_an_arm_from_somebody_elses_checkpoint(done, tmp_path):
    """A checkpoint in MoCo's form becomes an arm beside the others, under its own name."""
    run = tmp_path / "own"
    shutil.copytree(done, run)
    body = torch.load(done / "weights/supervised.pth", weights_only=True)
    moco = {f"module.encoder_q.{name}": value for name, value in body.items()}
    moco |= {f"module.encoder_k.{name}": torch.zeros_like(value) for name, value in body.items()}
    torch.save({"epoch": 3, "state_dict": moco}, tmp_path / "moco.pth")
    more = [
        "--set",
        "finetune.arms=[random, file]",
        "--set",
        f"finetune.weights_file={tmp_path / 'moco.pth'}",
    ]
    for stage in ("transfer", "finetune", "evaluate"):
        assert main([*command(stage, run=run)[3:], *more]) == 0
    got = torch.load(run / "weights/file.pth", weights_only=True)
    assert all(torch.equal(got[name], body[name]) for name in body)
    note = read_json(run / "weights/file.json")["source"]
    assert note["kind"] == "weights file" and note["prefix"] == "state_dict.module.encoder_q."
    assert read_json(run / "evaluate/comparison.json")["arms"]["file"]["label"] == "weights file"


@pytest.mark.slow
def test_pretraining_from_shrunk_copies_with_every_option(done, tmp_path, capsys):
    run = tmp_path / "options"
    shutil.copytree(done, run)
    options = [
        "cache_side=64",
        "views=torch",
        "channels_last=true",
        "optimizer=lars",
        "accumulate=2",
        "head_norm=false",
        "precision=bf16-mixed",
    ]
    call_it = [
        *command("pretrain", run=run)[3:],
        *(part for one in options for part in ("--set", f"pretrain.{one}")),
    ]
    assert main(call_it) == 0
    said = capsys.readouterr().out
    assert "runs afresh" in said and "shrink images to 64 pixels: 32 of 32 images" in said
    (folder,) = (run / "cache").glob("64-*")
    copies = sorted(folder.rglob("*.jpg"))
    assert len(copies) == 32 and min(Image.open(copies[0]).size) == 64
    columns = (run / "pretrain/byol/metrics.csv").read_text().splitlines()[0].split(",")
    assert {"loss", "feature_std", "alignment", "target_cosine", "effective_rank", "tau"} <= set(
        columns
    )
    assert main(call_it) == 0 and "up to date" in capsys.readouterr().out


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_stops_with_step_rate_and_remedy(done, tmp_path, capsys):
    run = tmp_path / "nan"
    shutil.copytree(done, run)
    arguments = command("finetune", run=run)[3:] + ["--set", "finetune.learning_rate=1e6"]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "the loss is" in said and "at step" in said and "lower learning rate" in said


@pytest.mark.slow
def test_cutout_of_a_folder_with_one_bad_file(done, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(next((done / "data/test").glob("*.png")), pictures / "good.png")
    (pictures / "bad.jpg").write_text("not a picture")
    weights = done / "finetune/byol-seed0/model.pth"
    status = main(
        [
            "cutout",
            str(pictures),
            "--weights",
            str(weights),
            "--out",
            str(tmp_path / "out"),
            "--score",
            "0",
        ]
    )
    assert status == 1 and "bad.jpg" in capsys.readouterr().err
    cut = np.asarray(Image.open(tmp_path / "out/good.png"))
    assert cut.shape == (160, 160, 4) and set(np.unique(cut[..., 3])) <= {0, 255}


def test_doctor_names_device_versions_engines_and_room(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert all(
        word in said for word in ("device", "torchvision", "memory free", "disk free", "lightning")
    )


@pytest.mark.slow
def test_evaluating_needs_no_model_and_no_torch(done):
    code = (
        "import sys; from byol_helpers import pipeline; from pathlib import Path; "
        f"run = pipeline.open_run('smoke', Path({str(done)!r}), overrides={SMALL!r}); "
        "pipeline.score_detections(run, run.path / 'evaluate/random-seed0', 'random', 0); "
        "pipeline.compare(run); "
        "pipeline.scorecard(run); assert 'torch' not in sys.modules"
    )
    before = json.loads((done / "evaluate/random-seed0/metrics.json").read_text())
    subprocess.run([sys.executable, "-c", code], check=True)
    assert json.loads((done / "evaluate/random-seed0/metrics.json").read_text()) == before
