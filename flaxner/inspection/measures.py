"""Measure corpora before training: their contents, and what a run would do. Writes nothing."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.data.corpus import Corpus
from flaxner.data.segments import Segments, align
from flaxner.data.tags import OUTSIDE, tags_to_spans
from flaxner.runs.folder import RunFolder
from flaxner.training.preparation import with_context, with_row_length
from flaxner.training.program import train_batches

UNBOUNDED = 1 << 30  # tokens: no sentence is split into windows
LONG = 5  # words; shorter sentences may repeat by chance
Known = dict[tuple[str, ...], set[Any]]  # words of a sentence -> all the tags that it has


class Repeated(NamedTuple):
    """The sentences of a split that occur elsewhere, or earlier in it, word for word.

    Attributes:
      sentences: their number.
      long: number of those with at least `LONG` words.
      retagged: number of those that never have the same tags there.
      example: words of the longest.
      contradiction: words of the longest that has other tags.
    """

    sentences: int
    long: int
    retagged: int
    example: tuple[str, ...]
    contradiction: tuple[str, ...]


class Form(NamedTuple):
    """A surface form with more than one reading.

    Attributes:
      text: its words.
      readings: occurrences by type, or O if none of its words is tagged.
    """

    text: str
    readings: Counter[str]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run would do with the training corpus.

    Attributes:
      steps, steps_per_epoch: optimizer steps.
      tokens: real tokens over the whole run.
      fill: fraction of real tokens in the rows; `unpacked`: with one segment per row.
      row_length: tokens per row.
      step: description of a step's contents.
      windowed: number of sentences over the length limit.
      seconds: duration of the run, if known; `measured_by`: the earlier run that shows it.
    """

    steps: int
    steps_per_epoch: int
    tokens: int
    fill: float
    unpacked: float
    row_length: int
    step: str
    windowed: int
    seconds: float | None = None
    measured_by: str = ""


def type_differences(corpora: Mapping[str, Corpus]) -> list[str]:
    """Return a sentence for each type that some split lacks."""
    types = {split: set(corpus.types) for split, corpus in corpora.items()}
    lines = []
    for kind in sorted(set().union(*types.values())):
        having = [split for split in types if kind in types[split]]
        lacking = [split for split in types if kind not in types[split]]
        if lacking:
            refused = "; training refuses this" if "train" in lacking else ""
            lines.append(f"{kind} is in {' and '.join(having)}, not in {' or '.join(lacking)}")
            lines[-1] += refused
    return lines


def repeated(corpus: Corpus, known: Known, *, add: bool = False) -> Repeated:
    """Find the sentences of `corpus` that are in `known`; with `add`, add each of them to it."""
    repeats, retagged = [], []
    for sentence in corpus:
        before = known.get(sentence.words)
        if before is not None:
            repeats.append(sentence.words)
            if sentence.tags not in before:
                retagged.append(sentence.words)
        if add:
            known.setdefault(sentence.words, set()).add(sentence.tags)
    return Repeated(
        len(repeats),
        sum(len(words) >= LONG for words in repeats),
        len(retagged),
        max(repeats, key=len, default=()),
        max(retagged, key=len, default=()),
    )


def ambiguous_forms(corpus: Corpus) -> list[Form]:
    """Return entity forms with several readings, most misleading first.

    Forms are sorted by the number of occurrences that differ from the form's most frequent reading.
    """
    readings: dict[tuple[str, ...], Counter[str]] = {}
    for sentence in corpus:
        for start, end, kind in tags_to_spans(sentence.tags or ()):
            readings.setdefault(sentence.words[start:end], Counter())[kind] += 1
    sizes: dict[str, set[int]] = {}
    for form in readings:
        sizes.setdefault(form[0], set()).add(len(form))
    for words, tags in ((s.words, s.tags or ()) for s in corpus):
        for i, word in enumerate(words):
            if word in sizes and tags[i] == OUTSIDE:
                # At the end of a sentence, a longer slice would be a shorter form once more.
                for size in (size for size in sizes[word] if i + size <= len(words)):
                    counter = readings.get(words[i : i + size])
                    if counter is not None and set(tags[i : i + size]) == {OUTSIDE}:
                        counter[OUTSIDE] += 1
    forms = [Form(" ".join(form), counts) for form, counts in readings.items() if len(counts) > 1]
    return sorted(forms, key=lambda f: (max(f.readings.values()) - f.readings.total(), f.text))


def entities(corpus: Corpus) -> list[tuple[tuple[str, ...], str]]:
    """Return the form and type of every entity."""
    return [(s.words[a:b], kind) for s in corpus for a, b, kind in tags_to_spans(s.tags or ())]


def whole_sentences(corpus: Corpus, tokenizer: Any) -> Segments:
    """Return the corpus with each sentence in one segment, however long it is."""
    return align(corpus.sentences, tokenizer, None, UNBOUNDED)


def histogram(lengths: np.ndarray) -> list[tuple[int, int, int]]:
    """Return (from, to, sentences) for bins whose bounds double, starting at 8 tokens."""
    edges = [0, 8]
    while edges[-1] < lengths.max(initial=0):
        edges.append(2 * edges[-1])
    counts = np.histogram(lengths, bins=np.asarray(edges) + 0.5)[0]
    return [(a + 1, b, int(n)) for a, b, n in zip(edges, edges[1:], counts, strict=False)]


def make_plan(config: TrainConfig, train: Corpus, whole: Segments, tokenizer: Any) -> Plan:
    """Plan steps, fill and, if an earlier run shows it, time.

    Args:
      config: fully resolved settings.
      train: the training corpus.
      whole: the same corpus, tokenised without windows.
      tokenizer: the tokenizer that was used.
    """
    windowed = int((whole.lengths > config.max_length).sum())
    segments = align(train.sentences, tokenizer, None, config.max_length) if windowed else whole
    segments = with_context(segments, train, config)
    config = with_row_length(config, segments)
    devices = jax.device_count()
    batches = train_batches(config, segments, devices)
    tokens = sum(batches.tokens_at(step) for step in range(batches.num_steps))
    speed, measured_by = _speed(config, devices)
    return Plan(
        steps=batches.num_steps,
        steps_per_epoch=batches.steps_per_epoch,
        tokens=tokens,
        fill=batches.fill(),
        unpacked=float(segments.lengths.sum()) / (len(segments) * config.max_length),
        row_length=config.row_length,
        step=batches.described,
        windowed=windowed,
        seconds=tokens / speed if speed else None,
        measured_by=measured_by,
    )


SHAPING = (
    *("precision", "batch_size", "max_length", "row_length", "accumulate"),
    *("context", "context_share"),
)


def _speed(config: TrainConfig, devices: int) -> tuple[float, str]:
    """Return the tokens per second and path of a comparable run in the output folder, else 0."""
    run = RunFolder(config.output_dir)
    try:
        results, settings = run.finished(), TrainConfig(**load_settings(run.config))
        train = (results or {}).get("train", {})
        machine = (train.get("devices"), train.get("device_kind"))
        same = all(getattr(settings, name) == getattr(config, name) for name in SHAPING)
        same &= os.path.normpath(settings.model) == os.path.normpath(config.model)
        if same and machine == (devices, jax.devices()[0].device_kind):
            return float(train["tokens_per_second"]), str(run.path)
    except (ValueError, OSError, KeyError, TypeError):
        pass  # no run, or one without this information
    return 0.0, ""
