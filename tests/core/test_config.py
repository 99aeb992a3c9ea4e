"""Profiles: valid as they are, and one clear line for what is wrong."""

import pytest
import yaml

from byol_helpers.core.config import PROFILES, Profile, dump_profile, load_profile
from byol_helpers.core.errors import UserError
from byol_helpers.reproduction.thesis import load_thesis


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_is_valid_and_survives_a_round_trip(name):
    profile = load_profile(name)
    assert profile.name == name
    assert Profile(**yaml.safe_load(dump_profile(profile))) == profile


def test_thesis_profile_holds_the_numbers_of_the_thesis():
    profile, settings = load_profile("thesis"), load_thesis().settings
    pre, tune = settings["pretraining"], settings["finetuning"]
    assert profile.depth == 50
    assert profile.pretrain.batch_size == pre["batch_size"].value == 64
    assert profile.pretrain.hidden == 2048 and profile.pretrain.output == 256
    assert profile.pretrain.weight_decay == 1e-4 and profile.pretrain.gradient_clip == 0.1
    assert profile.pretrain.steps == 350_000 and profile.data.unlabelled == 82_783
    assert profile.finetune.batch_size == tune["batch_size"].value == 8
    assert profile.finetune.learning_rate == 0.03 and profile.finetune.workers == 4
    assert profile.finetune.steps == 100_000 and profile.finetune.decay_steps == [40_000, 80_000]
    assert (profile.data.train, profile.data.val, profile.data.test) == (20_000, 5_000, 5_000)


def test_second_experiment_of_the_thesis_is_a_matter_of_two_settings():
    profile = load_profile("thesis", ["finetune.steps=50000", "finetune.decay_steps=[32000]"])
    assert profile.finetune.steps == 50_000 and profile.finetune.decay_steps == [32_000]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("finetune.stepz=3", "unknown key; known here"),
        ("finetune", "write it as key=value"),
        ("pretrain=3", "unknown key"),
        ("x.y=3", "unknown key"),
        ("finetune.steps=many", "finetune.steps"),
        ("finetune.steps=-5", "finetune.steps"),
        ("finetune.arms=[byol, simclr]", "finetune.arms"),
        ("finetune.arms=[imagenet]", "supervised.source"),
        ("finetune.arms=[byol, byol]", "twice"),
        ("finetune.decay_steps=[300, 200]", "must increase"),
        ("finetune.decay_steps=[100000]", "below finetune.steps"),
        ("finetune.engine=keras", "finetune.engine"),
        ("finetune.checkpoint_every=50", "multiple of 20"),
        ("finetune.steps=[", "not valid YAML"),
        (
            "finetune.norm_policy=fair",
            "finetune.norm_policy: Input should be 'trainable' or 'frozen'",
        ),
        ("depth=34", "depth"),
    ],
)
def test_a_wrong_override_is_one_line_with_its_key(override, said):
    with pytest.raises(UserError) as caught:
        load_profile("quick", [override])
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(UserError, match="smoke, quick, colab, thesis"):
        load_profile("fast")
