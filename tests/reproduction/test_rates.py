"""Learning rates of a study: tried before they count, chosen on validation images."""

import pytest

from byol_helpers import studies
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import write_json
from byol_helpers.reproduction.plan import (
    RATE_SEED,
    Condition,
    Training,
    find_study,
    list_rate_trainings,
    list_trainings,
    load_plan,
)

PLAN = """\
studies:
  small:
    question: does it run?
    profile: smoke
    overrides: [data.train=12]
    per_seed: ["pretrain.seed={seed}"]
    test_images: 6
    seeds: [3, 4]
    needs: {photographs: "pictures, from somewhere"}
    rates: {values: [0.01, 0.02], settings: [finetune.steps=20, "finetune.decay_steps=[]"]}
    trainings:
      - {protocol: trainable, arms: [byol, random]}
      - {protocol: trainable, labels: 0.25, arms: [random]}
    stopping: when all are done
    primary: [C1a]
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "plan.yaml").write_text(PLAN)
    return find_study("small", tmp_path / "plan.yaml")


def test_each_rate_is_tried_before_the_first_training_that_needs_it(study):
    keys = [training.key for training in list_trainings(study)]
    assert keys[:6] == [
        "pretrain/byol-seed3",
        f"rates/trainable-12-0.01/finetune/byol-seed{3 + RATE_SEED}",
        f"rates/trainable-12-0.02/finetune/byol-seed{3 + RATE_SEED}",
        "trainable-12/finetune/byol-seed3",
        f"rates/trainable-12-0.01/finetune/random-seed{3 + RATE_SEED}",
        f"rates/trainable-12-0.02/finetune/random-seed{3 + RATE_SEED}",
    ]
    assert len(keys) == len(set(keys)) == 2 + 4 + 6  # pretrainings, trials, fine-tunings
    tried = list_rate_trainings(study, "trainable", "random")[1].condition
    assert tried.settings[-2:] == ["finetune.decay_steps=[]", "finetune.learning_rate=0.02"]


def test_the_rate_with_the_highest_ap_is_taken_and_the_smaller_of_equals(study, tmp_path):
    every = Condition("trainable", 12)
    counted = Training("random", 4, Condition("trainable", 3), 4)
    assert studies.choose_rate(study, counted, tmp_path) is None
    with pytest.raises(studies.StopRequested, match="is chosen with seed 3"):
        studies._check_rate(study, counted, tmp_path)
    for first, second, best in ((0.1, 0.2, 0.02), (0.2, 0.1, 0.01), (0.1, 0.1, 0.01)):
        for trial, ap in zip(
            list_rate_trainings(study, "trainable", "random"), (first, second), strict=True
        ):
            folder = tmp_path / trial.key
            entry = {"learning_rate": trial.condition.rate, "AP": ap, "images": 4}
            write_json(folder / studies.RATE_FILE, entry)
            planned = studies._describe(study, trial, tmp_path)
            write_json(folder / "stage.json", {"planned": planned})
        assert studies.choose_rate(study, counted, tmp_path) == best
        described = studies._describe(study, counted, tmp_path)
        assert described["settings"][-1] == f"finetune.learning_rate={best}"
    assert studies.list_rates(study, every, tmp_path) == {"random": 0.01}


def test_what_a_study_needs_is_said_in_one_line(study, tmp_path):
    with pytest.raises(UserError, match="needs --photographs FOLDER: pictures, from somewhere"):
        studies.run_planned_study("small", study, results=tmp_path)


def test_studies_without_rates_keep_their_fingerprint():
    assert load_plan()["laptop"].fingerprint() == "db9f509ef470"
