"""A look at corpora before training: what is in them and what a run would meet. Writes nothing."""

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
from flaxner.training.preparation import with_context
from flaxner.training.program import train_batches

UNBOUNDED = 1 << 30  # tokens: no sentence becomes windows
LONG = 5  # words; shorter sentences are repeated by chance


class Repeated(NamedTuple):
    """Sentences of a split that another holds too, word for word.

    Attributes:
      sentences: how many.
      long: how many of them have at least `LONG` words.
      retagged: how many of them never have the same tags there.
      example: words of the longest.
    """

    sentences: int
    long: int
    retagged: int
    example: tuple[str, ...]


class Form(NamedTuple):
    """A surface form that is read in more than one way.

    Attributes:
      text: its words.
      readings: type, or O where no word of it is tagged -> occurrences.
    """

    text: str
    readings: Counter[str]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run would do with the training corpus.

    Attributes:
      steps, steps_per_epoch: of the optimizer.
      tokens: real ones, over the whole run.
      fill: share of real tokens in the rows; `unpacked`: with one segment a row.
      step: what one holds, in words.
      windowed: sentences over the limit.
      seconds: of the run, if known; `measured_by`: the earlier run it is taken from.
    """

    steps: int
    steps_per_epoch: int
    tokens: int
    fill: float
    unpacked: float
    step: str
    windowed: int
    seconds: float | None = None
    measured_by: str = ""


def type_differences(corpora: Mapping[str, Corpus]) -> list[str]:
    """Types that not every split has, a sentence each."""
    types = {split: set(corpus.types) for split, corpus in corpora.items()}
    lines = []
    for kind in sorted(set().union(*types.values())):
        having = [split for split in types if kind in types[split]]
        lacking = [split for split in types if kind not in types[split]]
        if lacking:
            refused = "; training refuses it" if "train" in lacking else ""
            lines.append(f"{kind} is in {' and '.join(having)}, not in {' or '.join(lacking)}")
            lines[-1] += refused
    return lines


def repeated(corpus: Corpus, known: Corpus) -> Repeated:
    """The sentences of `corpus` that are in `known` too."""
    tagged: dict[tuple[str, ...], set[Any]] = {}
    for sentence in known:
        tagged.setdefault(sentence.words, set()).add(sentence.tags)
    repeats = [sentence for sentence in corpus if sentence.words in tagged]
    return Repeated(
        len(repeats),
        sum(len(s.words) >= LONG for s in repeats),
        sum(s.tags not in tagged[s.words] for s in repeats),
        max((s.words for s in repeats), key=len, default=()),
    )


def repeated_within(corpus: Corpus) -> int:
    """How many sentences repeat an earlier one, word for word."""
    return len(corpus) - len({sentence.words for sentence in corpus})


def ambiguous_forms(corpus: Corpus) -> list[Form]:
    """Forms of entities with several readings; those that mislead a table of forms most first."""
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
                for size in sizes[word]:
                    counter = readings.get(words[i : i + size])
                    if counter is not None and set(tags[i : i + size]) == {OUTSIDE}:
                        counter[OUTSIDE] += 1
    forms = [Form(" ".join(form), counts) for form, counts in readings.items() if len(counts) > 1]
    return sorted(forms, key=lambda f: (max(f.readings.values()) - f.readings.total(), f.text))


def seen_names(corpus: Corpus, train: Corpus) -> tuple[int, int]:
    """(entities of a corpus that the training corpus has with form and type, all entities)."""
    known, entities = (
        [(s.words[a:b], kind) for s in side for a, b, kind in tags_to_spans(s.tags or ())]
        for side in (train, corpus)
    )
    names = set(known)
    return sum(name in names for name in entities), len(entities)


def token_lengths(corpus: Corpus, tokenizer: Any) -> tuple[Segments, np.ndarray]:
    """The corpus without windows, and the tokens of each sentence, [CLS] and [SEP] included."""
    segments = align(corpus.sentences, tokenizer, None, UNBOUNDED)
    return segments, segments.lengths


def histogram(lengths: np.ndarray) -> list[tuple[int, int, int]]:
    """(from, to, sentences) in classes whose bounds double, from 8 tokens on."""
    edges = [0, 8]
    while edges[-1] < lengths.max(initial=0):
        edges.append(2 * edges[-1])
    counts = np.histogram(lengths, bins=np.asarray(edges) + 0.5)[0]
    return [(a + 1, b, int(n)) for a, b, n in zip(edges, edges[1:], counts, strict=False)]


def make_plan(config: TrainConfig, train: Corpus, whole: Segments, tokenizer: Any) -> Plan:
    """Steps, fill and, where an earlier run tells it, time.

    Args:
      config: settings with nothing left to be decided.
      train: the training corpus.
      whole: the same, tokenised without windows.
      tokenizer: that did it.
    """
    windowed = int((whole.lengths > config.max_length).sum())
    segments = align(train.sentences, tokenizer, None, config.max_length) if windowed else whole
    segments = with_context(segments, train, config)
    devices = jax.device_count()
    batches = train_batches(config, segments, devices)
    tokens = sum(batches.tokens_at(step) for step in range(batches.num_steps))
    speed, measured_by = _speed(config, devices)
    return Plan(
        steps=batches.num_steps,
        steps_per_epoch=batches.steps_per_epoch,
        tokens=tokens,
        fill=batches.fill(),
        unpacked=float(segments.lengths.sum()) / (len(segments) * config.row_length),
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
    """Tokens per second of the run in the output folder, if it was like this one; else 0."""
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
        pass  # no run, or one that tells nothing
    return 0.0, ""
