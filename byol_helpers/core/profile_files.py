"""Profiles are YAML files: one of those in ``byol_helpers/profiles``, or a user's own.

A file is checked when it is read: an unknown key, a value of the wrong kind or a combination that
cannot work is one clear line, not a traceback hours later. A profile extends another one by
``extends: quick`` or ``extends: other.yaml`` and then holds only what differs.
"""

import difflib
import re
import textwrap
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from byol_helpers.core.config import PROFILES, Profile, Section
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import expand_path

# Words that earlier versions wrote as the value of a setting: {setting: {old: new}}.
RENAMED_VALUES = {"norm_policy": {"fair": "trainable"}}


def list_overrides(overrides: Sequence[str] | str | None) -> list[str]:
    """``key=value`` overrides as a list, also where they come as one text.

    ``"finetune.steps=20 finetune.arms=[byol, random]"`` holds two; an empty text, or None, none.
    """
    if not isinstance(overrides, str):
        return list(overrides or ())
    text = overrides.strip()
    if text.startswith("["):  # a list, written as YAML or Python does
        return [str(item) for item in yaml.safe_load(text)]
    return re.split(r"\s+(?=[\w.]+=)", text) if text else []


def load_profile(
    profile: str | Path = "quick", overrides: Sequence[str] | str | None = ()
) -> Profile:
    """Read a profile and apply ``key=value`` overrides.

    Args:
        profile: one of ``PROFILES``, or the path of a YAML file, which may extend one.
        overrides: for example ``["finetune.learning_rate=0.01", "finetune.arms=[byol, random]"]``;
            values are YAML. One text, with spaces between the settings, serves as well.

    Raises:
        UserError: unknown profile or key, a file that cannot be read, wrong type, impossible
            combination.
    """
    values = _merge(_collect_defaults(), _read_profile(str(profile)))
    for override in list_overrides(overrides):
        _set_value(values, override)
    try:
        return Profile.model_validate(values)
    except ValidationError as error:
        raise UserError(f"profile {profile}: {_describe_first_error(error)}") from None


def dump_profile(profile: Profile) -> str:
    """The resolved profile as YAML, every value spelled out."""
    return yaml.safe_dump(profile.model_dump(), sort_keys=False)


def update_words(settings: dict) -> dict:
    """The same settings, with today's words where an earlier version wrote others."""
    updated = dict(settings)
    for key, words in RENAMED_VALUES.items():
        if updated.get(key) in words:
            updated[key] = words[updated[key]]
    return updated


def _read_profile(profile: str) -> dict:
    """The values of a built-in profile, or of a file with a name of its own."""
    if profile in PROFILES:
        return _read_built_in(profile)
    path = expand_path(profile)
    if path.suffix.lower() not in (".yaml", ".yml") and not path.exists():
        raise UserError(
            f"unknown profile {profile!r}; choose one of {', '.join(PROFILES)}, or give the path "
            "of a YAML file"
        )
    values = _read_file(path, ())
    own = _parse_yaml(path)
    is_copy = own.get("name") in PROFILES and path.name != "profile.yaml"  # that of a run folder
    if is_copy and path.stem != own["name"]:
        raise UserError(
            f"profile {profile}: name: {own['name']!r} is that of a built-in profile, whose run "
            "folder it would take; give another name, or none to use the file's"
        )
    named = {"name": path.stem, "description": f"the settings of {path.name}"}
    return values | named | {key: own[key] for key in named if key in own}


def _read_built_in(name: str) -> dict:
    file = resources.files("byol_helpers") / "profiles" / f"{name}.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    base = values.pop("extends", None)
    return _merge(_read_built_in(base), values) if base else values


def _read_file(path: Path, below: tuple[Path, ...]) -> dict:
    """The values of a user's file, over those of what it extends.

    ``below``: the files that extend this one.
    """
    values = _parse_yaml(path)
    base = values.pop("extends", None)
    if base is None:
        return values
    if base in PROFILES:
        return _merge(_read_built_in(base), values)
    if not isinstance(base, str):
        raise UserError(
            f"{path}: extends: {_shorten(base)} is neither a profile ({', '.join(PROFILES)}) nor "
            "the path of a YAML file"
        )
    other = path.parent / expand_path(base)
    chain = (*below, path.resolve())
    if other.resolve() in chain:
        raise UserError(f"{path}: extends: {base} leads back to itself; extend another profile")
    if not other.is_file():
        raise UserError(
            f"{path}: extends: {base}: no such file beside it, and no profile of that name; use "
            f"one of {', '.join(PROFILES)}, or the path of a YAML file"
        )
    return _merge(_read_file(other, chain), values)


def _parse_yaml(path: Path) -> dict:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such profile; give the path of a YAML file, or one of "
            f"{', '.join(PROFILES)}"
        ) from None
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise UserError(f"{path}: cannot be read ({said}); give the path of a YAML file") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: not valid YAML{where}; correct it there") from None
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: not a profile; write one setting a line, for example `extends: quick` and "
            "`finetune: {steps: 2000}`"
        )
    return {
        key: update_words(value) if isinstance(value, dict) else value
        for key, value in values.items()
    }


def _collect_defaults() -> dict:
    """Settings that the files may leave out."""
    defaults = {}
    for name, section in Profile.model_fields.items():
        if not section.is_required():
            defaults[name] = section.default
        if isinstance(section.annotation, type) and issubclass(section.annotation, Section):
            fields = section.annotation.model_fields.items()
            optional = {key: field for key, field in fields if not field.is_required()}
            defaults[name] = {key: field.default for key, field in optional.items()}
    return defaults


def _merge(base: dict, own: dict) -> dict:
    """One profile's values over another's, section by section."""
    merged = base | own
    for key, value in own.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = _merge(base[key], value)
    return merged


def _set_value(values: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise UserError(
            f"--set {override}: write it as key=value, for example finetune.learning_rate=0.01"
        )
    *parents, last = key.strip().split(".")
    here = values
    for part in parents:
        here = here.get(part) if isinstance(here, dict) else None
    if not isinstance(here, dict) or last not in here or isinstance(here[last], dict):
        known = sorted(here) if isinstance(here, dict) else sorted(values)
        raise UserError(f"--set {key}: unknown key; known here: {_list_nearest(last, known)}")
    try:
        here[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: the value is not valid YAML; quote it") from None


def _list_nearest(key: str, known: list[str]) -> str:
    """The keys that are written most alike, or the first ones, in at most 150 characters."""
    nearest = difflib.get_close_matches(key, known, 5) or known
    return textwrap.shorten(", ".join(nearest), 150, placeholder=" ...")


def _describe_first_error(error: ValidationError) -> str:
    """The first problem that pydantic found, in one line with its key."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if problem["type"] == "missing":
        return f"{key}: missing; set it, or take it from another profile by `extends: quick`"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message}, not {_shorten(problem['input'])}" if key else message


def _shorten(value: Any) -> str:
    """A value as Python writes it, in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
