"""Profiles: valid as they are, and one clear line for what is wrong."""

from pathlib import Path

import pytest
import yaml

from byol_helpers.core.config import PROFILES, Profile, require
from byol_helpers.core.errors import UserError
from byol_helpers.core.profile_files import dump_profile, list_overrides, load_profile
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
        ("finetune.stepz=3", "unknown key; known here: steps"),
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
            "finetune.norm_policy: Input should be 'trainable', 'frozen' or 'group'",
        ),
        ("depth=34", "depth"),
    ],
)
def test_a_wrong_override_is_one_line_with_its_key(override, said):
    with pytest.raises(UserError) as caught:
        load_profile("quick", [override])
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_unknown_profile_lists_the_known_ones():
    with pytest.raises(UserError, match="smoke, quick, study, photographs, colab, thesis"):
        load_profile("fast")


def write_profile(path: Path, text: str) -> str:
    """A user's own profile; returns what is given as ``--profile``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_users_file_extends_a_built_in_profile_and_is_named_after_itself(tmp_path):
    mine = write_profile(tmp_path / "mine.yaml", "extends: quick\nfinetune: {steps: 1600}\n")
    profile = load_profile(mine, ["seed=3"])
    quick = load_profile("quick")
    finetune = quick.finetune.model_copy(update={"steps": 1600})
    changed = {"name": "mine", "description": "the settings of mine.yaml", "seed": 3}
    assert profile == quick.model_copy(update=changed | {"finetune": finetune})


def test_a_users_file_extends_another_one_relative_to_itself(tmp_path):
    write_profile(tmp_path / "base/first.yml", "extends: smoke\nseed: 5\ndata: {train: 30}\n")
    mine = write_profile(
        tmp_path / "mine.yaml", "extends: base/first.yml\nname: second\ndata: {val: 9}\n"
    )
    profile = load_profile(mine)
    assert (profile.name, profile.seed) == ("second", 5)
    assert (profile.data.train, profile.data.val) == (30, 9)
    assert profile.data.test == load_profile("smoke").data.test


def test_a_file_in_the_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_profile(tmp_path / "mine.yaml", "extends: quick\n")
    assert load_profile("~/mine.yaml").name == "mine"
    file = load_profile("colab", ["supervised.weights_file=~/w.pth"]).supervised.weights_file
    assert file == str(tmp_path / "w.pth")


def test_the_profile_of_a_run_folder_opens_that_run_again(tmp_path):
    kept = dump_profile(load_profile("quick")).replace("trainable", "fair")  # an earlier version's
    assert load_profile(write_profile(tmp_path / "profile.yaml", kept)) == load_profile("quick")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: quick\nfinetune: {stepz: 3}", "mine.yaml: finetune.stepz: unknown key"),
        ("extends: quick\nfinetune: 3", "mine.yaml: finetune: "),
        ("extends: quick\nfinetune: {steps: many}", "finetune.steps: "),
        ("extends: quick\n3: 4", "mine.yaml: "),
        ("extends: quick\nname: quick", "'quick' is that of a built-in profile"),
        ("extends: quick\nname: ../up", "name: use letters"),
        ("extends: fast", "extends: fast: no such file beside it"),
        (
            "extends: [quick]",
            "extends: ['quick'] is neither a profile (smoke, quick, study, photographs, co",
        ),
        ("extends: mine.yaml", "leads back to itself"),
        ("seed: 3", "missing; set it, or take it from another profile by `extends: quick`"),
        ("- quick", "not a profile"),
        ("", "not a profile"),
        ("a: [1\nb: 2", "not valid YAML in line 2"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_name(tmp_path, text, said):
    mine = write_profile(tmp_path / "mine.yaml", text)
    with pytest.raises(UserError) as caught:
        load_profile(mine)
    line = str(caught.value)
    assert said in line and "mine.yaml" in line and "\n" not in line and len(line) < 300


def test_a_file_that_is_not_there_or_not_text_is_named(tmp_path):
    with pytest.raises(UserError, match="none.yaml: no such profile; give the path"):
        load_profile(str(tmp_path / "none.yaml"))
    with pytest.raises(UserError, match=r"cannot be read \(is a directory\)"):
        load_profile(str(tmp_path))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="bytes.yaml: not valid YAML"):
        load_profile(str(tmp_path / "bytes.yaml"))


def test_a_setting_that_a_stage_needs_is_asked_for_by_that_stage():
    profile = load_profile("thesis")
    assert profile.data.image_size is profile.supervised.steps is None
    with pytest.raises(UserError, match="supervised.steps is not set, and the stage supervised"):
        profile.supervised.get_training()
    with pytest.raises(UserError, match="--set data.crops=NUMBER"):
        require(profile.data.crops, "data.crops", "prepare")
    assert load_profile("quick").supervised.get_training().batch_size == 128


@pytest.mark.parametrize(
    ("given", "listed"),
    [
        (None, []),
        ("", []),
        ("[]", []),
        ("finetune.steps=20 data.train=8", ["finetune.steps=20", "data.train=8"]),
        ("finetune.arms=[byol, random]  seed=1", ["finetune.arms=[byol, random]", "seed=1"]),
        ("['seed=1', 'depth=50']", ["seed=1", "depth=50"]),
        (("seed=1",), ["seed=1"]),
    ],
)
def test_overrides_may_come_as_one_text(given, listed):
    assert list_overrides(given) == listed
