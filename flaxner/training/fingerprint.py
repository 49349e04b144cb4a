"""What must be equal for a run to be continued, and what differs in words."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
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
from flaxner.runs.folder import RunFolder
from flaxner.training.preparation import Prepared

SOURCES = "sources"  # split -> name: for messages, not compared
CORPUS, DOCUMENTS, BATCHES = " corpus", " documents", "training batches"
MODEL = "model config"  # sizes, rates and the like; compared where both sides have a name


def as_begun(config: TrainConfig, run: RunFolder) -> TrainConfig:
    """The settings with what a run that is continued has from its beginning, where they leave it
    open: which sentences share a step must not change in the middle.
    """
    if not config.resume or config.batches != AUTO:
        return config
    begun = processes.on_main(lambda: _begun(run.config))
    if begun is None:
        return config
    return config.replace(batches={**BEFORE, **begun}["batches"])


def _begun(path: Path) -> dict[str, Any] | None:
    """The settings in a run's folder; None: there are none that can be read."""
    try:
        return load_settings(path)
    except ValueError:  # the fingerprint tells what differs
        return None


def fingerprint(prepared: Prepared, batches: TrainBatches) -> dict[str, Any]:
    """Settings, the model's own, tags, and digests of the corpora and of the training plan."""
    settings = {
        name: list(value) if isinstance(value, tuple) else value  # as JSON gives it back
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
    """Of words, tags and tokens."""
    tokens = np.ascontiguousarray(prepared.segments[split].input_ids).tobytes()
    return corpus_digest(prepared.corpora[split], tokens)


def corpus_digest(sentences: Iterable[Sentence], more: bytes = b"") -> str:
    """Of words and tags, and what else belongs to them."""
    digest = hashlib.sha256()
    for sentence in sentences:
        digest.update(repr((tuple(sentence.words), tuple(sentence.tags or ()))).encode())
    digest.update(more)
    return digest.hexdigest()


def divisions(corpora: Mapping[str, Corpus]) -> dict[str, str]:
    """Digests of how the splits are divided into documents."""
    numbers = {split: document_numbers(corpus.documents) for split, corpus in corpora.items()}
    return {
        f"{split}{DOCUMENTS}": hashlib.sha256(own.astype("<i8").tobytes()).hexdigest()
        for split, own in numbers.items()
    }


def of_member(ours: Mapping[str, Any], theirs: Mapping[str, Any], *, folds: bool) -> dict[str, Any]:
    """The fingerprint of one of several seeds or folds, as far as another's tells it.

    Args:
      ours: of the other, with the seed and fold of this one.
      theirs: of this one's checkpoint, which has the last word on what seed and fold decide.
      folds: they differ in their corpora, too.
    """
    own = {BATCHES, *([MODEL] if folds else [])}
    return dict(ours) | {
        name: value
        for name, value in theirs.items()
        if name in own or (folds and name.endswith((CORPUS, DOCUMENTS)))
    }


def _of_models(now: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """Where two models differ, in what versions of this package know of both."""
    return [
        f"{name} in the model's config.json differs: {there[name]!r} there, {now[name]!r} now"
        for name in now
        if name in there and now[name] != there[name]
    ]


def refuse_another(run: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Compare fingerprints.

    Args:
      run: the output folder, for the message.
      ours: of the settings now.
      theirs: of the checkpoint.

    Raises:
      ValueError: they differ; every difference is named.
    """
    lacking: dict[str, Any] = dict(LACKING)
    for side in (ours, theirs):  # earlier versions did not keep how splits are divided
        lacking |= {name: value for name, value in side.items() if name.endswith(DOCUMENTS)}
    differences = []
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        # What a version of this package lacks has its default there, or what was done before.
        now, there = (side.get(name, lacking.get(name)) for side in (ours, theirs))
        if now == there or name in (SOURCES, MODEL, BATCHES):
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
        differences.append(f"{name} differs: {there!r} there, {now!r} now")
    if not differences:  # settings that differ may be why the model does
        differences = _of_models(ours.get(MODEL, {}), theirs.get(MODEL, {}))
    if not differences and ours[BATCHES] != theirs[BATCHES]:
        differences = ["the training batches differ: another version of tokenizer or flaxner"]
    if differences:
        raise ValueError(f"cannot resume {run}: {'; '.join(differences)}")
