"""Any token classifier on any corpus -> scores."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flaxner.data.corpus import Corpus, read_corpus
from flaxner.data.readers import ReadOptions
from flaxner.data.tag_rules import label_parts
from flaxner.data.tags import OUTSIDE, to_iob2
from flaxner.evaluation.metrics import NerReport, score
from flaxner.evaluation.predictions import Predicted, write_predictions
from flaxner.files import write_json
from flaxner.inference.opening import open_pipeline

# Names that corpora and models give to the same type.
SAME = (
    ("PER", "PERSON"),
    ("LOC", "LOCATION"),
    ("ORG", "ORGANIZATION", "ORGANISATION", "CORPORATION"),
    ("MISC", "MISCELLANEOUS"),
)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
      report: scores.
      notes: what a reader of the scores must know, one sentence each.
      predicted: tags of every sentence.
      seconds: time of prediction.
    """

    report: NerReport
    notes: list[str]
    predicted: list[list[str]]
    seconds: float

    def lines(self) -> list[str]:
        """What belongs below the table of scores."""
        words = f"{self.report.words_scored:,} of {self.report.words_in_corpus:,} words scored"
        return [f"{words} in {self.seconds:.1f} s", *self.notes]


def evaluate(
    model: Any,
    *,
    file: str | Path | None = None,
    dataset: str | None = None,
    split: str = "test",
    decoder: str = "argmax",
    max_length: int | None = None,
    output_dir: str | Path | None = None,
    options: ReadOptions | None = None,
) -> Evaluation:
    """Score a token classifier on a corpus, word for word.

    Args:
      model: a folder, a Hub name, an exported folder, or a pipeline of ours.
      file: the corpus; or
      dataset: its Hub name, with
      split: the split.
      decoder: "argmax", as published scores have it, or "viterbi".
      max_length: tokens of the windows that longer sentences are read in; those of training if
        None, or all that the model takes where its config.json does not tell.
      output_dir: where results.json and predictions.conll go.
      options: how the corpus is read where guessing is not wanted.

    Raises:
      ValueError: model or corpus cannot be read, or have no entity type in common.
    """
    if (file is None) == (dataset is None):
        raise ValueError(
            "give either a file (--file) or a dataset with a split (--dataset, --split)"
        )
    source, of = (str(dataset), split) if file is None else (Path(file), None)
    corpus = read_corpus(source, of, options)
    sentences = [sentence for sentence in corpus if sentence.words]
    if not sentences or any(sentence.tags is None for sentence in sentences):
        raise ValueError(f"{corpus.source} has no tagged sentence to score")
    ner = open_pipeline(model)
    renamed, notes = match_types(ner.labels, corpus)
    notes = [*corpus.notes, *notes]
    begin = time.perf_counter()
    raw = ner.predict_words(
        [sentence.words for sentence in sentences], decoder=decoder, max_length=max_length
    )
    seconds = time.perf_counter() - begin
    predicted = [[renamed[tag] for tag in tags] for tags in raw]
    if ner.scheme != "IOB2":  # the corpus is, and words with the right tag are counted
        predicted = [list(to_iob2(tags)) for tags in predicted]
    gold = [list(sentence.tags or ()) for sentence in sentences]
    report = score(gold, predicted, words_in_corpus=corpus.words)
    if output_dir is not None:
        rows = (
            Predicted(sentence.words, tuple(a), tuple(b))
            for sentence, a, b in zip(sentences, gold, predicted, strict=True)
        )
        notes += write_predictions(Path(output_dir) / "predictions.conll", rows)
        about = {
            "corpus": corpus.source,
            "decoder": decoder,
            "max_length": max_length or ner.window,
            "scheme": ner.scheme,
            "notes": notes,
        }
        measured = {"seconds": seconds, "words_per_second": corpus.words / seconds}
        write_json(Path(output_dir) / "results.json", {**about, **report.to_dict(), **measured})
    return Evaluation(report, notes, predicted, seconds)


def match_types(labels: Sequence[str], corpus: Corpus) -> tuple[dict[str, str], list[str]]:
    """A model's labels -> tags with the corpus' names of types, and what to say about it.

    Raises:
      ValueError: they have no type in common.
    """
    parts = label_parts(labels)
    ours = {_key(name): name for name in corpus.types}
    types = sorted({name for _, name in parts.values() if name})
    names = {name: ours.get(_key(name), name) for name in types}
    if not set(names.values()) & set(corpus.types):
        raise ValueError(
            f"the model and {corpus.source} have no entity type in common: the model has "
            f"{', '.join(types) or 'none'}; the corpus has {', '.join(corpus.types) or 'none'}"
        )
    notes = [f"the model's {a} is the corpus' {b}" for a, b in names.items() if a != b]
    notes += [f"the model's {a} counts as O" for a, (p, _) in parts.items() if p == "O" != a]
    absent = sorted(set(corpus.types) - set(names.values()))
    if absent:
        notes.append(f"the model does not know {', '.join(absent)}: all of them count as missed")
    extra = sorted(set(names.values()) - set(corpus.types))
    if extra:
        notes.append(f"the corpus does not have {', '.join(extra)}: each one found is an error")
    tags = {label: f"{p}-{names[n]}" if n else OUTSIDE for label, (p, n) in parts.items()}
    return tags, notes


def _key(name: str) -> str:
    upper = name.upper()
    return next((group[0] for group in SAME if upper in group), upper)
