"""Warnings before training: what about the corpora and the model may not be as the user thinks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from flaxner.config.fields import each
from flaxner.config.train import TrainConfig
from flaxner.data.corpus import Corpus
from flaxner.data.documents import unmarked_notes
from flaxner.data.readers import excerpt
from flaxner.data.segments import Segments
from flaxner.data.tokenizer import length_limit
from flaxner.data.type_names import MISSING, conll_name
from flaxner.models.network import Model
from flaxner.wording import number_of


def corpus_warnings(config: TrainConfig, corpora: Mapping[str, Corpus]) -> list[str]:
    """Return warnings about corpora that may not be what the user thinks, one sentence each."""
    named = dict.fromkeys(name for corpus in corpora.values() for name in corpus.unmarked)
    notes = unmarked_notes(list(named)) if config.in_documents else []
    for split, corpus in corpora.items():
        if split == "train":
            continue
        if not corpus.types:
            selects = split == "validation" and config.select == "best"
            more = ", and the first evaluation counts as the best" if selects else ""
            notes.append(
                f"{corpus.source} has no entities: its F1 is 0 whatever the model finds{more}"
            )
        shared = {*each(config.train_file)} & {*each(getattr(config, f"{split}_file"))}
        notes += [f"{file} is both a training and a {split} file" for file in sorted(shared)]
    for kind in sorted({kind for corpus in corpora.values() for kind in corpus.types}):
        if kind.lower() in MISSING:
            notes.append(
                f"the type {kind} seems to stand for entities whose type is missing, but is learnt "
                f"like any other; --drop-types {kind} makes them O"
            )
    alike = defaultdict(list)
    for kind in corpora["train"].types:
        alike[conll_name(kind)].append(kind)
    for first, *others in (kinds for kinds in alike.values() if len(kinds) > 1):
        merged = " ".join(f"{kind}={first}" for kind in others)
        notes.append(
            f"{', '.join((first, *others))} are learnt as different types; "
            f"--map-types {merged} merges them"
        )
    return notes


def length_warnings(config: TrainConfig, model: Model, tokenizer: Any) -> Iterator[str]:
    """Warn if the published tokenizer's limit must be raised to the training length."""
    limit = length_limit(tokenizer, model.config.positions)
    if limit < config.max_length:
        yield (
            f"the tokenizer of {config.model} has model_max_length {limit}, but training uses "
            f"windows of {config.max_length} tokens: the published tokenizer will have "
            f"{config.max_length}"
        )


def shortened_words(
    corpora: Mapping[str, Corpus], segments: Mapping[str, Segments], max_length: int
) -> Iterator[str]:
    """Count the words that no window can hold, and name the first of each corpus."""
    for split, corpus in corpora.items():
        found = segments[split].shortened
        if len(found):
            ends = np.cumsum([len(sentence.words) for sentence in corpus])
            number = int(np.searchsorted(ends, found[0], side="right"))
            word = corpus.sentences[number].words[int(found[0] - ends[number])]
            what = f"words of {corpus.source} have more tokens than fit a window of {max_length}"
            is_first = " is the first" if len(found) > 1 else ""
            yield (
                f"{number_of(len(found), what)}; the rest is not read unless --max-length is "
                f"larger: {excerpt(word, 20)} in sentence {number + 1:,}{is_first}"
            )
