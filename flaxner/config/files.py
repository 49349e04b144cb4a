"""Settings from presets and TOML files."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from flaxner.config.fields import hint
from flaxner.config.train import SHUFFLED, SPLITS, TrainConfig

DEFAULT_PRESET = "conll2003"
# Settings that name corpora.
CORPORA = ("dataset", "dataset_config", "dataset_revision", *(f"{split}_file" for split in SPLITS))

# The value of a setting that a run's config.toml lacks, because it was unset or the file is older
# than the setting: its default, or the behaviour at that time.
BEFORE = {"batches": SHUFFLED}
LACKING = {field.name: field.default for field in dataclasses.fields(TrainConfig)} | BEFORE


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package."""
    folder = resources.files("flaxner") / "presets"
    return sorted(
        p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")
    )


def load_preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset.

    Raises:
      ValueError: there is no preset of that name; the message lists the presets.
    """
    if name not in preset_names():
        raise ValueError(f"unknown preset {name!r}; choose from: {', '.join(preset_names())}")
    text = (resources.files("flaxner") / "presets" / f"{name}.toml").read_text("utf-8")
    return tomllib.loads(text)


def load_settings(path: str | Path) -> dict[str, Any]:
    """Return the settings in a TOML file.

    Raises:
      ValueError: the file is missing, is not valid TOML, or has an unknown setting.
    """
    settings = read_toml(path, "settings file")
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in settings:
        if name not in names:
            raise ValueError(f"{path}: unknown setting {name!r}{hint(name, names)}")
    return settings


def read_toml(path: str | Path, what: str) -> dict[str, Any]:
    """Return the content of a TOML file that a user wrote; messages call it `what`.

    Raises:
      ValueError: the file is missing or is not valid TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"cannot read the {what} {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}") from error


def laid_over(base: Mapping[str, Any], given: Mapping[str, Any], *, chosen: bool) -> dict[str, Any]:
    """Return the user's settings on top of those of a preset or file.

    A training corpus given by the user replaces all corpora of the base instead of being mixed with
    them. Validation and test files are combined with the training corpus of a preset or file that
    the user requested explicitly, but not with that of the default preset, which the user cannot
    have meant. If the user gives another model, the base's model revision does not apply.

    Args:
      base: settings of the preset or file.
      given: the user's settings.
      chosen: whether the user requested the preset or file explicitly.
    """
    corpus = any(given.get(name) for name in ("dataset", "train_file"))
    files = any(given.get(f"{split}_file") for split in SPLITS)
    replaced = corpus or (files and not chosen)
    kept = {k: v for k, v in base.items() if not (replaced and k in CORPORA)}
    if given.get("model") not in (None, base.get("model")):
        kept.pop("revision", None)
    return {**kept, **given}
