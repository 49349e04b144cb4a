"""Settings in presets and TOML files."""

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

# What a setting is that a run's file of settings lacks, being unset or written by a version before
# it: its default, or what was done then.
BEFORE = {"batches": SHUFFLED}
LACKING = {field.name: field.default for field in dataclasses.fields(TrainConfig)} | BEFORE


def preset_names() -> list[str]:
    """The presets that come with the package."""
    folder = resources.files("flaxner") / "presets"
    return sorted(
        p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")
    )


def load_preset(name: str) -> dict[str, Any]:
    """The settings of a preset.

    Raises:
      ValueError: no preset of that name; the known ones are named.
    """
    if name not in preset_names():
        raise ValueError(f"there is no preset {name!r}; known: {', '.join(preset_names())}")
    text = (resources.files("flaxner") / "presets" / f"{name}.toml").read_text("utf-8")
    return tomllib.loads(text)


def load_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a TOML file.

    Raises:
      ValueError: missing, no TOML, or an unknown setting.
    """
    try:
        settings = tomllib.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"cannot read the settings {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    for name in settings:
        if name not in names:
            raise ValueError(f"{path}: unknown setting {name!r}{hint(name, names)}")
    return settings


def laid_over(base: Mapping[str, Any], given: Mapping[str, Any], *, chosen: bool) -> dict[str, Any]:
    """The user's settings over those of a preset or a file.

    A training corpus of the user's own replaces all of the other's corpora, it is not mixed with
    them. Validation and test files stand beside the training corpus of a preset or file that was
    asked for by name; beside the corpus of the default preset nobody meant them. A model of the
    user's own has not the revision of the other one.

    Args:
      base: settings of the preset or file.
      given: the user's.
      chosen: whether the user named the preset or file.
    """
    corpus = any(given.get(name) for name in ("dataset", "train_file"))
    files = any(given.get(f"{split}_file") for split in SPLITS)
    replaced = corpus or (files and not chosen)
    kept = {k: v for k, v in base.items() if not (replaced and k in CORPORA)}
    if given.get("model") not in (None, base.get("model")):
        kept.pop("revision", None)
    return {**kept, **given}
