"""Plans: read, refused in one line, and listed in their order."""

import pytest

from byol_helpers.cli import main
from byol_helpers.core.errors import UserError
from byol_helpers.core.profile_files import load_profile
from byol_helpers.reproduction.plan import (
    REPEAT_SEED,
    Condition,
    Training,
    find_study,
    list_conditions,
    list_trainings,
    load_plan,
)

SMALL = """\
studies:
  small:
    question: does it run?
    profile: smoke
    overrides: [data.train=12]
    per_seed: ["pretrain.seed={seed}"]
    test_images: 6
    seeds: [3, 4]
    trainings:
      - {protocol: trainable, arms: [byol, random]}
      - {protocol: frozen, labels: 0.25, arms: [random], seeds: [3]}
      - {protocol: trainable, arms: [random], again: true}
    stopping: when all are done
    primary: [C1a]
"""


def write_plan(folder, text=SMALL):
    path = folder / "plan.yaml"
    path.write_text(text)
    return path


def test_trainings_come_in_the_order_of_the_plan_each_once(tmp_path):
    study = find_study("small", write_plan(tmp_path))
    every = Condition("trainable", 12)
    few = Condition("frozen", 3)
    assert list_trainings(study) == [
        Training("byol", 3),
        Training("byol", 3, every, 3),
        Training("random", 3, every, 3),
        Training("random", 3, few, 3),
        Training("random", 3, every, 3 + REPEAT_SEED),
        Training("byol", 4),
        Training("byol", 4, every, 4),
        Training("random", 4, every, 4),
        Training("random", 4, every, 4 + REPEAT_SEED),
    ]
    assert list(list_conditions(study)) == [every, few]
    assert [training.key for training in list_trainings(study)][:2] == [
        "pretrain/byol-seed3",
        "trainable-12/finetune/byol-seed3",
    ]


def test_settings_of_a_condition_and_of_a_seed_are_a_profiles(tmp_path):
    study = find_study("small", write_plan(tmp_path))
    settings = study.settings + Condition("frozen", 3).settings + study.list_seed_settings(4)
    profile = load_profile("smoke", settings)
    assert (profile.pretrain.seed, profile.data.test) == (4, 6)
    assert (profile.finetune.norm_policy, profile.finetune.images) == ("frozen", 3)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[C1a]", "[C15]", "primary names 'C15'"),
        ("arms: [random]", "arms: [nobody]", "trainings.1.arms.0: use byol"),
        ("labels: 0.25", "labels: 2", "trainings.1.labels"),
        ("pretrain.seed=", "seed=", "use pretrain.seed"),
        ("stopping", "stops", "stopping: Field required"),
        ("studies:", "study:", "not a plan"),
    ],
)
def test_a_wrong_plan_is_one_line(tmp_path, old, new, said):
    with pytest.raises(UserError, match=said):
        load_plan(write_plan(tmp_path, SMALL.replace(old, new)))


def test_an_unknown_study_names_those_there_are(tmp_path):
    with pytest.raises(UserError, match="no study 'big'; there are engines, small"):
        find_study("big", write_plan(tmp_path), ["engines"])


def test_the_packaged_plan_can_be_trained():
    for study in load_plan().values():
        trainings = list_trainings(study)
        assert len({training.key for training in trainings}) == len(trainings)
        for condition in list_conditions(study):
            seeds = study.list_seed_settings(study.seeds[0])
            load_profile(study.profile, study.settings + condition.settings + seeds)
        assert study.fingerprint() != study.model_copy(update={"test_images": 1}).fingerprint()


def test_settings_of_a_block_belong_to_its_condition(tmp_path):
    short = 'settings: [finetune.steps=20, "finetune.decay_steps=[]"]'
    study = find_study("small", write_plan(tmp_path, SMALL.replace("seeds: [3]}", short + "}")))
    frozen = list_conditions(study)
    settings = [condition.own_settings for condition in frozen]
    assert settings == [(), ("finetune.steps=20", "finetune.decay_steps=[]")]
    profile = load_profile("smoke", [*study.settings, *list(frozen)[1].settings])
    assert profile.finetune.steps == 20


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/2/3", "a/b"])
def test_a_part_of_the_seeds_is_a_number_of_so_many(tmp_path, text, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["study", "small", "--plan", str(write_plan(tmp_path)), "--part", text])
    assert stopped.value.code == 2
    assert "write 1/2 for the first of two" in capsys.readouterr().err
