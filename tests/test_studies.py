"""A planned study: in pieces, resumed, small, and not trained twice."""

import contextlib
import io

import pytest

from byol_helpers.cli import main
from byol_helpers.core.files import read_json
from byol_helpers.evaluation.comparison import load_result
from byol_helpers.reproduction.plan import find_study, list_trainings
from byol_helpers.reproduction.run_results import open_results
from byol_helpers.studies import is_done

PLAN = """\
studies:
  small:
    question: does it run?
    profile: smoke
    overrides: [data.unlabelled=32, data.train=12, data.val=2, data.crops=64, pretrain.hidden=64,
      evaluate.bootstrap=20, background.images=2, finetune.steps=20, "finetune.decay_steps=[]"]
    per_seed: ["pretrain.seed={seed}"]
    test_images: 6
    seeds: [0, 1]
    trainings:
      - {protocol: trainable, arms: [byol, supervised, random]}
      - {protocol: frozen, labels: 0.5, arms: [random, random-measured], seeds: [0]}
      - {protocol: trainable, arms: [random], seeds: [0], again: true}
    stopping: when all are done
    primary: [C1a]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "plan.yaml").write_text(PLAN)
    return folder


def run_study(folder, *options):
    paths = ["--plan", folder / "plan.yaml", "--run", folder / "run", "--results", folder / "out"]
    return main(["study", "small", *map(str, paths), *options])


@pytest.fixture(scope="module")
def pieces(folder):
    """What the calls say in which the study is worked off: at once over, soon over, to its end."""
    said = []
    for options in (["--minutes", "0"], ["--minutes", "0.05"], []):
        lines = io.StringIO()
        with contextlib.redirect_stdout(lines):
            assert run_study(folder, *options) == 0
        said.append(lines.getvalue())
    return said


@pytest.fixture(scope="module")
def done(folder, pieces):
    """The folder of a study that is done."""
    return folder


@pytest.mark.slow
def test_a_study_is_worked_off_in_pieces(folder, pieces, capsys):
    assert "the same command goes on" in pieces[0]
    assert "of 4 pretrainings" in pieces[1] and "of 9 fine-tunings are done, next" in pieces[1]
    assert "4 of 4 pretrainings, 9 of 9 fine-tunings are done\n" in pieces[2]
    study = find_study("small", folder / "plan.yaml")
    assert all(is_done(study, training, folder / "out/small") for training in list_trainings(study))
    assert run_study(folder) == 0
    assert "up to date" not in capsys.readouterr().out.partition("data: up to date")[2]


@pytest.mark.slow
def test_its_conditions_are_read_like_runs(done):
    results = done / "out/small"
    run = open_results(results / "trainable-12")
    arms = ("byol", "supervised", "random")
    assert set(run.models) == {f"{arm}-seed{seed}" for arm in arms for seed in (0, 1)}
    assert set(run.timing) == set(arms)
    assert run.curves["random"].keys() == {0, 1} and run.background["byol"].keys() == {0, 1}
    frozen = open_results(results / "frozen-6")
    assert frozen.seeds == [0] and set(frozen.curves) == {"random", "random-measured"}
    assert (results / "trainable-12/evaluate/random-seed100/metrics.json").is_file()
    kept = read_json(results / "trainable-12/finetune/byol-seed1/stage.json")
    assert kept["weights_sha256"] and kept["planned"]["settings"][-2] == (
        "finetune.norm_policy=trainable"
    )
    assert kept["parameters"]["images"] == 12 and kept["device"]


@pytest.mark.slow
def test_its_numbers_are_found_again(done, capsys):
    options = ["--results", str(done / "out"), "--plan", str(done / "plan.yaml")]
    assert main(["verdicts", *options]) == 0
    size = sum(path.stat().st_size for path in (done / "out").rglob("*") if path.is_file())
    assert size < 9 * 100_000  # nine fine-tunings


@pytest.mark.slow
def test_its_seeds_differ_in_the_pretraining_and_share_images_and_draws(done):
    results = done / "out/small"
    hashes = set()
    for seed in (0, 1):
        hashes.add(read_json(results / f"pretrain/byol-seed{seed}/stage.json")["weights_sha256"])
    assert len(hashes) == 2
    condition = done / "run/studies/seed1/studies/trainable-12"
    whole = load_result(condition / "evaluate/byol-seed1")
    small = load_result(results / "trainable-12/evaluate/byol-seed1")
    assert whole.metrics["image_ids_sha256"] == small.metrics["image_ids_sha256"]
    value = whole.metrics["mask"]["AP"]["value"]
    assert small.metrics["mask"]["AP"]["value"] == pytest.approx(value, abs=0.01)


@pytest.mark.slow
def test_a_changed_plan_trains_what_it_changes(done, capsys):
    changed = PLAN.replace("finetune.steps=20", "finetune.steps=40")
    (done / "plan.yaml").write_text(changed)
    assert run_study(done, "--minutes", "0") == 0
    assert "0 of 4 pretrainings, 0 of 9 fine-tunings are done" in capsys.readouterr().out
    (done / "plan.yaml").write_text(PLAN)


@pytest.mark.slow
def test_each_part_works_off_its_own_seeds(done, capsys):
    options = ["--results", str(done / "parts"), "--minutes", "0"]
    assert run_study(done, "--part", "2/2", *options) == 0
    assert "pretrain/byol-seed1: not begun" in capsys.readouterr().out
    assert run_study(done, "--part", "1/2", *options) == 0
    assert "pretrain/byol-seed0: not begun" in capsys.readouterr().out


def test_the_plan_alone_decides_the_settings(folder, capsys):
    assert run_study(folder, "--set", "finetune.steps=20") == 2
    assert "the plan decides the settings" in capsys.readouterr().err


def test_more_test_images_than_there_are_is_one_line(tmp_path, photographs, capsys):
    (tmp_path / "plan.yaml").write_text(PLAN.replace("test_images: 6", "test_images: 600"))
    assert run_study(tmp_path, "--data", str(photographs)) == 2
    assert "the study wants 600 test images, there are" in capsys.readouterr().err
