"""A study: the arms again with one setting changed, compared on the same draws."""

import csv

import pytest

from byol_helpers import figures, pipeline
from byol_helpers.ablations import _mirror
from byol_helpers.cli import main
from byol_helpers.core.files import read_json

SMALL = [
    "data.unlabelled=32",
    "data.train=12",
    "data.val=2",
    "data.test=6",
    "data.crops=32",
    "pretrain.hidden=64",
    "evaluate.bootstrap=20",
    "background.images=2",
    "finetune.steps=20",
    "finetune.decay_steps=[]",
    "finetune.arms=[byol, supervised, random]",
]
OPTIONS = ["--profile", "smoke", *(part for setting in SMALL for part in ("--set", setting))]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "done"
    assert main(["study", "norm-policy", "--run", str(run), *OPTIONS]) == 0
    return run


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_study_adds_up(done):
    rows = rows_of(done / "studies/norm-policy.csv")
    assert len(rows) == 3 * (
        3 + 3
    )  # arms and their pairs, under each value and as the change between the values
    value = {(row["value"], row["what"]): float(row["AP50"]) for row in rows}
    for policy, folder in (("trainable", done), ("frozen", done / "studies/norm-policy-frozen")):
        for arm, label in (
            ("byol", "BYOL"),
            ("supervised", "supervised (stand-in)"),
            ("random", "random"),
        ):
            kept = read_json(folder / f"evaluate/{arm}-seed0/metrics.json")["mask"]["AP50"]
            assert value[policy, label] == pytest.approx(100 * kept["value"], abs=0.006)
    gap = "BYOL - random"
    assert value["trainable", gap] == pytest.approx(
        value["trainable", "BYOL"] - value["trainable", "random"], abs=0.011
    )
    assert value["frozen - trainable", gap] == pytest.approx(
        value["frozen", gap] - value["trainable", gap], abs=0.011
    )
    assert all(
        row["profile"] == "smoke" and row["seeds"] == "0" and row["test_images"] == "6"
        for row in rows
    )
    labelled = read_json(done / "statistics.json")["splits"]["train"]["images"]
    assert {row["labels"] for row in rows} == {str(labelled)}


@pytest.mark.slow
def test_the_differences_are_those_of_the_comparison(done):
    rows = {
        row["what"]: row
        for row in rows_of(done / "studies/norm-policy.csv")
        if row["value"] == "trainable"
    }
    compared = read_json(pipeline.compare(pipeline.open_run("smoke", done, overrides=SMALL)))
    for pair in compared["differences"]:
        entry, row = pair["mask"]["AP"], rows[pair["label"]]
        for end, name in (("", "value"), ("_low", "low"), ("_high", "high")):
            assert float(row[f"AP{end}"]) == pytest.approx(100 * entry[name], abs=0.006)


@pytest.mark.slow
def test_nothing_of_the_run_is_trained_twice_and_the_figure_is_drawn(done, capsys):
    before = (done / "studies/norm-policy.csv").read_text()
    assert main(["study", "norm-policy", "--run", str(done), *OPTIONS]) == 0
    assert "runs afresh" not in capsys.readouterr().out
    assert (done / "studies/norm-policy.csv").read_text() == before
    fig = figures.plot_setting(rows_of(done / "studies/norm-policy.csv"), "A study", "AP50")
    assert [label.get_text() for label in fig.axes[0].get_xticklabels()] == ["trainable", "frozen"]


@pytest.mark.slow
def test_the_study_of_pretraining_reaches_figure_and_scorecard(done):
    assert (
        main(
            ["study", "pretraining", "--run", str(done), *OPTIONS, "--out", str(done / "copy.csv")]
        )
        == 0
    )
    rows = rows_of(done / "copy.csv")
    assert rows == rows_of(done / "studies/pretraining.csv")
    curves = {(row["variant"], row["seed"]) for row in rows}
    assert curves == {(variant, seed) for variant in ("2048", "4096", "random") for seed in "012"}
    assert {(row["variant"], row["hidden"], row["init"]) for row in rows} == {
        ("2048", "2048", "supervised"),
        ("4096", "4096", "supervised"),
        ("random", "2048", "random"),
    }
    fig = figures.plot_pretraining_variants(
        rows, {"2048": "thesis", "4096": "paper", "random": "from random"}
    )
    assert len(fig.axes) == 2 and len(fig.axes[0].lines) == 3
    run = pipeline.open_run("smoke", done, overrides=SMALL)
    claims = {row["claim"]: row for row in read_json(pipeline.scorecard(run))["claims"]}
    assert claims["C9"]["interval"] is not None and "seeds 0, 1, 2" in claims["C9"]["reason"]
    loss = {
        (row["variant"], row["seed"]): float(row["loss"]) for row in rows
    }  # the last row of each stays
    mean = sum(loss["2048", seed] - loss["4096", seed] for seed in "012") / 3
    assert claims["C9"]["measured"] == pytest.approx(mean, abs=0.2)
    assert (
        claims["C10"]["verdict"] != "reproduced"
        and "segmentation is not tested" in claims["C10"]["reason"]
    )


@pytest.mark.slow
def test_a_variant_has_the_files_of_the_run_without_symbolic_links(done, capsys):
    folder = done / "studies/norm-policy-frozen"
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    for name in ("splits.json", "weights/byol.pth"):
        assert (folder / name).read_bytes() == (done / name).read_bytes()
    (folder / "weights/byol.pth").unlink()
    (folder / "weights/left-over.pth").write_bytes(b"")
    _mirror(done / "weights", folder / "weights")
    assert (folder / "weights/byol.pth").read_bytes() == (done / "weights/byol.pth").read_bytes()
    assert not (folder / "weights/left-over.pth").exists()


def test_files_are_copied_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "below").mkdir(parents=True)
    (source / "below/a.txt").write_text("first")
    _mirror(source, target)
    assert (target / "below/a.txt").read_text() == "first"
    copied = (target / "below/a.txt").stat()
    _mirror(source, target)
    assert (target / "below/a.txt").stat() == copied
    (source / "below/a.txt").write_text("another")
    _mirror(source, target)
    assert (target / "below/a.txt").read_text() == "another"


def test_the_symbolic_links_of_an_old_study_are_kept(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "study").mkdir()
    link = tmp_path / "study/data"
    try:
        link.symlink_to(tmp_path / "data")
    except OSError:
        pytest.skip("no symbolic links here")
    _mirror(tmp_path / "data", link)
    assert link.is_symlink()


def test_a_study_that_does_not_exist_is_one_line(tmp_path, capsys):
    assert main(["study", "colour", "--run", str(tmp_path / "run"), *OPTIONS]) == 2
    assert (
        "no study 'colour'; there are norm-policy, engines, pretraining" in capsys.readouterr().err
    )
