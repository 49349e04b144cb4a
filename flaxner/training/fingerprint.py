"""What must be equal for a run to be continued, and what differs in words."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.config.train import NOT_FINGERPRINTED, TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.training.preparation import Prepared

SOURCES = "sources"  # split -> name: for messages, not compared


def fingerprint(prepared: Prepared, batches: TrainBatches) -> dict[str, Any]:
    """Settings, tags, and digests of the corpora and of the training plan."""
    settings = {
        name: list(value) if isinstance(value, tuple) else value  # as JSON gives it back
        for name, value in dataclasses.asdict(prepared.config).items()
        if name not in NOT_FINGERPRINTED
    }
    return {
        **settings,
        "tags": list(prepared.scheme.tags),
        **{f"{split} corpus": _corpus_digest(prepared, split) for split in prepared.corpora},
        "training batches": batches.fingerprint(),
        SOURCES: {split: corpus.source for split, corpus in prepared.corpora.items()},
    }


def _corpus_digest(prepared: Prepared, split: str) -> str:
    """Of words, tags and tokens."""
    digest = hashlib.sha256()
    for sentence in prepared.corpora[split]:
        digest.update(repr((tuple(sentence.words), tuple(sentence.tags or ()))).encode())
    digest.update(np.ascontiguousarray(prepared.segments[split].input_ids).tobytes())
    return digest.hexdigest()


def refuse_another(run: Path, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Compare fingerprints.

    Args:
      run: the output folder, for the message.
      ours: of the settings now.
      theirs: of the checkpoint.

    Raises:
      ValueError: they differ; every difference is named.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    differences = []
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        # A setting that a version of this package lacks has its default there.
        now, there = (side.get(name, defaults.get(name)) for side in (ours, theirs))
        if now == there or name in (SOURCES, "training batches"):
            continue
        if name.endswith(" corpus"):
            split = name.removesuffix(" corpus")
            there, now = (side.get(SOURCES, {}).get(split) for side in (theirs, ours))
            name = f"the content of the {name}"
        differences.append(f"{name} differs: {there!r} there, {now!r} now")
    if not differences and ours["training batches"] != theirs["training batches"]:
        differences = ["the training batches differ: another version of tokenizer or flaxner"]
    if differences:
        raise ValueError(f"cannot resume {run}: {'; '.join(differences)}")
