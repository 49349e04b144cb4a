"""What must match for a run to be resumed, and a description of what differs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.config.files import BEFORE, LACKING, load_settings
from flaxner.config.train import AUTO, NOT_FINGERPRINTED, TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.data.corpus import Corpus
from flaxner.data.documents import document_numbers
from flaxner.data.sentence import Sentence
from flaxner.devices import processes
from flaxner.publishing.model_card import versions
from flaxner.runs.folder import RunFolder
from flaxner.runs.paths import RunPaths
from flaxner.training.preparation import Prepared

SOURCES = "sources"  # split -> name; for messages, not compared
CORPUS, DOCUMENTS, BATCHES = " corpus", " documents", "training batches"
MODEL = "model config"  # sizes, dropout rates etc.; only names present on both sides are compared


def as_begun(config: TrainConfig, run: RunFolder) -> TrainConfig:
    """Return the settings, with `batches` and `row_length` taken from the run to be resumed if they
    leave them open: what is in a batch must not change in the middle of a run.
    """
    if not config.resume:
        return config
    if config.batches == AUTO:
        begun = processes.on_main(lambda: _begun(run.config))
        if begun is not None:
            config = config.replace(batches={**BEFORE, **begun}["batches"])
    if not config.row_length:
        length = processes.on_main(lambda: _row_length(run))
        if length >= config.max_length:  # otherwise the fingerprint shows that max_length differs
            config = config.replace(row_length=length)
    return config


def _row_length(run: RunFolder) -> int:
    """Return the row length of a run, or of the first of several in its folder; 0 if unknown."""
    each = (_begun(RunPaths(path).config) for path in (run.path, *run.members()))
    return next((n for begun in each if begun and (n := begun.get("row_length", 0))), 0)


def _begun(path: Path) -> dict[str, Any] | None:
    """Return the settings in a run's folder, or None if they cannot be read."""
    try:
        return load_settings(path)
    except ValueError:  # the fingerprint will show what differs
        return None


def fingerprint(prepared: Prepared, batches: TrainBatches) -> dict[str, Any]:
    """Return settings, model config, tags, and digests of the corpora and training batches."""
    settings = {
        name: list(value) if isinstance(value, tuple) else value  # as JSON returns it
        for name, value in dataclasses.asdict(prepared.config).items()
        if name not in NOT_FINGERPRINTED
    }
    return {
        **settings,
        MODEL: json.loads(json.dumps(dataclasses.asdict(prepared.model.config))),
        "tags": list(prepared.scheme.tags),
        **{f"{split}{CORPUS}": _split_digest(prepared, split) for split in prepared.corpora},
        **(divisions(prepared.corpora) if prepared.config.in_documents else {}),
        BATCHES: batches.fingerprint(),
        SOURCES: {split: corpus.source for split, corpus in prepared.corpora.items()},
    }


def _split_digest(prepared: Prepared, split: str) -> str:
    """Return a digest of a split's words, tags and tokens."""
    tokens = np.ascontiguousarray(prepared.segments[split].input_ids).tobytes()
    return corpus_digest(prepared.corpora[split], tokens)


def corpus_digest(sentences: Iterable[Sentence], more: bytes = b"") -> str:
    """Return a digest of words and tags, and of additional bytes."""
    digest = hashlib.sha256()
    for sentence in sentences:
        digest.update(repr((tuple(sentence.words), tuple(sentence.tags or ()))).encode())
    digest.update(more)
    return digest.hexdigest()


def divisions(corpora: Mapping[str, Corpus]) -> dict[str, str]:
    """Return digests of how the splits are divided into documents."""
    numbers = {split: document_numbers(corpus.documents) for split, corpus in corpora.items()}
    return {
        f"{split}{DOCUMENTS}": hashlib.sha256(own.astype("<i8").tobytes()).hexdigest()
        for split, own in numbers.items()
    }


def refuse_other_settings(config: TrainConfig) -> None:
    """Reject processes with other settings than the first, except for paths.

    Raises:
      ValueError: the settings differ between the processes.
    """
    common = [
        field.name
        for field in dataclasses.fields(config)
        if not field.metadata.get("of_process") and not field.metadata.get("path")
    ]
    processes.refuse_differences(lambda: {name: getattr(config, name) for name in common})


def refuse_other_inputs(prepared: Prepared, fingerprint: Mapping[str, Any]) -> None:
    """Reject processes that have read something else than the first, or run other versions.

    Raises:
      ValueError: what they read differs between the processes.
    """

    def facts() -> dict[str, Any]:
        named = {
            name: value for name, value in fingerprint.items() if name not in (SOURCES, "model")
        }
        weights = {
            path: zlib.crc32(np.ascontiguousarray(value).data)
            for path, value in prepared.params.items()
        }
        return {
            "splits": list(prepared.corpora),
            **named,
            "weights": weights,
            "versions": versions(),
        }

    processes.refuse_differences(facts)


def told_by_settings(run: RunFolder, ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprint of a run without checkpoints, as far as its config.toml tells it.

    Args:
      run: the folder of the run.
      ours: the current fingerprint, used for everything else.
    """
    begun = processes.on_main(lambda: _begun(run.config))
    if begun is None:
        return dict(ours)
    own = {name: value for name, value in begun.items() if name in ours}
    return {name: value for name, value in ours.items() if name not in LACKING} | own


def of_member(ours: Mapping[str, Any], theirs: Mapping[str, Any], *, folds: bool) -> dict[str, Any]:
    """Derive the fingerprint of one seed or fold from that of another.

    Args:
      ours: the fingerprint of the other, with the seed and fold of this one.
      theirs: the fingerprint of this one's checkpoint, used for what depends on seed and fold.
      folds: whether they also differ in their corpora.
    """
    own = {BATCHES, *([MODEL] if folds else [])}
    return dict(ours) | {
        name: value
        for name, value in theirs.items()
        if name in own or (folds and name.endswith((CORPUS, DOCUMENTS)))
    }


def _of_models(now: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Describe where two models differ, in the values that both sides have."""
    return [
        f"{name} in the model's config.json differs: {there[name]!r} before, {now[name]!r} now"
        for name in now
        if name in there and now[name] != there[name]
    ]


def refuse_another(run: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Reject resuming from a checkpoint with another fingerprint.

    Args:
      run: the output folder, for the message.
      ours: the fingerprint of the current settings.
      theirs: the fingerprint of the checkpoint.

    Raises:
      ValueError: they differ; the message lists every difference.
    """
    lacking: dict[str, Any] = dict(LACKING)
    for side in (ours, theirs):  # earlier versions did not record how splits are divided
        lacking |= {name: value for name, value in side.items() if name.endswith(DOCUMENTS)}
    differences = []
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        # A setting that an earlier version lacks has its default, or that version's behaviour.
        now, there = (side.get(name, lacking.get(name)) for side in (ours, theirs))
        if now == there or name in (SOURCES, MODEL, BATCHES, *NOT_FINGERPRINTED):
            continue
        if name == "model" and os.path.normpath(now) == os.path.normpath(there):
            continue
        if name.endswith(DOCUMENTS):
            split = name.removesuffix(DOCUMENTS)
            differences.append(f"how the {split} corpus is divided into documents differs")
            continue
        if name.endswith(CORPUS):
            split = name.removesuffix(CORPUS)
            there, now = (side.get(SOURCES, {}).get(split) for side in (theirs, ours))
            name = f"the content of the {name}"
        differences.append(f"{name} differs: {there!r} before, {now!r} now")
    if not differences:  # otherwise the settings may be why the models differ
        differences = _of_models(ours.get(MODEL, {}), theirs.get(MODEL, {}))
    if not differences and ours[BATCHES] != theirs[BATCHES]:
        differences = ["the training batches differ: the tokenizer or flaxner has another version"]
    if differences:
        raise ValueError(
            f"cannot resume {run}: {'; '.join(differences)}{_further(run, differences)}"
        )


def _further(run: Path, differences: list[str]) -> str:
    """Return what to do instead, if a run that has ended is resumed with another length."""
    if not differences[0].startswith("epochs") or not (run / "hub").is_dir():
        return ""
    return (
        f"; to train its model further, start a run with --model {run / 'hub'} in another "
        "--output-dir"
    )
