"""Score any token classifier on any corpus."""

from __future__ import annotations

import dataclasses
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.config.data import CONTEXTS
from flaxner.data.corpus import Corpus, Sentence, read_corpus, require_used
from flaxner.data.documents import unmarked_notes
from flaxner.data.readers import OF_DATA_SETS, ReadOptions
from flaxner.data.tag_rules import label_parts
from flaxner.data.tags import OUTSIDE, to_iob2
from flaxner.data.type_names import match_names
from flaxner.evaluation.metrics import NerReport, score
from flaxner.evaluation.predictions import Predicted, predicted, write_predictions
from flaxner.files import Kind, check_folder, holds, write_folder, write_json
from flaxner.inference.opening import open_pipeline
from flaxner.runs.paths import refuse_runs
from flaxner.wording import number_of

RESULTS, PREDICTIONS = "results.json", "predictions.conll"


def _is_evaluation(folder: Path) -> bool:
    """Return whether an earlier version wrote the folder's results.json."""
    return holds(folder / RESULTS, "corpus", "decoder", "overall_f1")


UNNAMED = "; the model's config.json does not name its labels: write them into id2label there"
EVALUATION = Kind("an evaluation", RESULTS, (RESULTS, PREDICTIONS), known=_is_evaluation)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`.

    Attributes:
      report: scores.
      notes: what readers of the scores need to know, one sentence each.
      predicted: predicted tags of every sentence.
      seconds: prediction time.
    """

    report: NerReport
    notes: list[str]
    predicted: list[list[str]]
    seconds: float

    def lines(self) -> list[str]:
        """Return the lines to print below the table of scores."""
        words = number_of(self.report.words_scored, "words", self.report.words_in_corpus)
        return [f"{words} scored in {self.seconds:.1f} s", *self.notes]


def evaluate(
    model: Any,
    *,
    file: str | Path | None = None,
    dataset: str | None = None,
    split: str | None = None,
    decoder: str | None = None,
    max_length: int | None = None,
    context: str | None = None,
    output_dir: str | Path | None = None,
    options: ReadOptions | None = None,
    same_types: Mapping[str, str] | None = None,
) -> Evaluation:
    """Score a token classifier on a corpus, word by word.

    Args:
      model: a folder, a Hub name, an exported folder, or a flaxner pipeline.
      file: the corpus file; or
      dataset: Hub name of the corpus, with
      split: the split, "test" if None.
      decoder: "argmax", as for published scores, "viterbi" or "crf"; if None, "crf" for a model
        that has a CRF, else "argmax".
      max_length: window length for longer sentences, in tokens; if None, that of training or, if
        config.json does not record it, the model's maximum.
      context: what a word sees, "sentences" or "document"; if None, the same as in training.
      output_dir: folder for results.json and predictions.conll.
      options: how to read the corpus, where it should not be guessed.
      same_types: type of the model -> equivalent type of the corpus; if None, equal names match,
        and the others are paired one to one by spelling and synonyms.

    Raises:
      ValueError: model or corpus cannot be read, have no entity type in common, or have types
        that can be paired in several ways; or the output folder belongs to a run, or holds files
        with these names that no evaluation wrote.
    """
    _check(file, dataset, context, output_dir)
    given = {"split": split} | {name: getattr(options, name, None) for name in OF_DATA_SETS}
    for name, value in given.items() if file is not None else ():
        if value is not None:
            flag = name.replace("_", "-")
            raise ValueError(f"--{flag} is for --dataset: it cannot be combined with a file")
    source, of = (str(dataset), split or "test") if file is None else (Path(file), None)
    corpus = read_corpus(source, of, options)
    require_used(options or ReadOptions(), {corpus.format})
    sentences = _tagged(corpus)
    ner = open_pipeline(model, engine="jax")  # the engine that training scores with
    decoder = decoder or ("crf" if ner.has_crf else "argmax")
    renamed, notes = match_types(ner.labels, corpus, same_types)
    repaired = number_of(corpus.repaired, "tags were illegal") + f" in {corpus.scheme}: repaired"
    notes = [*corpus.notes, *([repaired] if corpus.repaired else []), *notes]
    if decoder == "crf":
        notes.append(
            "decoded with the model's CRF; --decoder argmax scores what torch's pipeline sees"
        )
    context = context or ner.context
    documents = None
    if context == "document":
        documents = [sentence.document for sentence in sentences]
        notes += unmarked_notes(corpus.unmarked)
    begin = time.perf_counter()
    words = [sentence.words for sentence in sentences]
    raw = ner.predict_words(words, documents=documents, decoder=decoder, max_length=max_length)
    seconds = time.perf_counter() - begin
    tags = _as_the_corpus(raw, renamed, ner.scheme)
    gold = [list(sentence.tags or ()) for sentence in sentences]
    report = score(gold, tags, words_in_corpus=corpus.words)
    if output_dir is not None:
        results = {
            "corpus": corpus.source,
            "decoder": decoder,
            "max_length": max_length or ner.window,
            "context": context,
            "scheme": ner.scheme,
            "notes": notes,
            **report.to_dict(),
            "seconds": seconds,
            "words_per_second": corpus.words / seconds,
        }
        rows = predicted(sentences, tags, in_documents=documents is not None)
        notes = [*notes, *_write(Path(output_dir), results, rows)]
    return Evaluation(report, notes, tags, seconds)


def _check(
    file: str | Path | None,
    dataset: str | None,
    context: str | None,
    output_dir: str | Path | None,
) -> None:
    """Refuse what cannot be done, before anything is read."""
    if (file is None) == (dataset is None):
        raise ValueError(
            "give either a file (--file) or a dataset with a split (--dataset, --split)"
        )
    if context not in (None, *CONTEXTS):
        raise ValueError(f"context must be one of {', '.join(CONTEXTS)}: got {context!r}")
    if output_dir is not None:
        refuse_runs(output_dir)
        check_folder(output_dir, EVALUATION)


def _tagged(corpus: Corpus) -> list[Sentence]:
    """Return the non-empty sentences, which must all have tags."""
    sentences = [sentence for sentence in corpus if sentence.words]
    if not sentences or any(sentence.tags is None for sentence in sentences):
        raise ValueError(f"{corpus.source} has no tagged sentences to score")
    return sentences


def _as_the_corpus(
    raw: Sequence[Sequence[str]], renamed: Mapping[str, str], scheme: str
) -> list[list[str]]:
    """Return a model's tags with the corpus's types and scheme, so that correct ones are equal."""
    tags = [[renamed[tag] for tag in row] for row in raw]
    return tags if scheme == "IOB2" else [list(to_iob2(row)) for row in tags]


def _write(folder: Path, results: Mapping[str, Any], rows: Sequence[Predicted]) -> list[str]:
    """Write results.json and predictions.conll; return notes about them."""
    said: list[str] = []

    def fill(draft: Path) -> None:
        said.extend(write_predictions(draft / PREDICTIONS, rows))
        write_json(draft / RESULTS, results)

    kept = write_folder(folder, EVALUATION, fill)
    return [*said, *kept]


def match_types(
    labels: Sequence[str], corpus: Corpus, same_types: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """Return the model's labels -> tags with the corpus's type names, and notes about it.

    Equal names are the same type. The other types are paired one to one by spelling (Name, name)
    and by synonyms (PERSON, PER), unless `same_types` says which type of the model is which of the
    corpus; then nothing else is paired.

    Raises:
      ValueError: model and corpus have no type in common, or types can be paired in several ways.
    """
    parts = label_parts(labels)
    types = sorted({kind for _, kind in parts.values() if kind})
    if same_types is None:
        pairs, unsure = match_names(types, corpus.types)
        for a, b in unsure:
            raise ValueError(
                f"{_listed(a)} of the model and {_listed(b)} of {corpus.source} may be the same: "
                f"pair them with --same-type {a[0]}={b[0]}, or pair none with --same-type alone"
            )
    else:
        pairs = _given_pairs(same_types, types, corpus)
    if not pairs:
        unnamed = types and all(re.fullmatch("LABEL_[0-9]+", name) for name in types)
        raise ValueError(
            f"the model and {corpus.source} have no entity type in common: the model has "
            f"{', '.join(types) or 'none'}; the corpus has {', '.join(corpus.types) or 'none'}"
            f"{UNNAMED if unnamed else ''}"
        )
    notes = [f"the model's {a} is scored as the corpus's {b}" for a, b in pairs.items() if a != b]
    notes += [f"the model's {a} counts as O" for a, (p, _) in parts.items() if p == "O" != a]
    absent = sorted(set(corpus.types) - set(pairs.values()))
    if absent:
        notes.append(f"the model does not have {', '.join(absent)}: all of them count as missed")
    extra = sorted(set(types) - set(pairs))
    if extra:
        notes.append(f"the corpus does not have {', '.join(extra)}: each one found is an error")
    names = {kind: pairs.get(kind, kind) for kind in types}
    tags = {label: f"{p}-{names[n]}" if n else OUTSIDE for label, (p, n) in parts.items()}
    return tags, notes


def _given_pairs(given: Mapping[str, str], types: Sequence[str], corpus: Corpus) -> dict[str, str]:
    """Return the pairs that the caller names, and those with equal names; one to one."""
    for side, names, known in (
        ("the model", given.keys(), types),
        (corpus.source, given.values(), corpus.types),
    ):
        for name in names:
            if name not in known:
                raise ValueError(f"{side} has no type {name!r}; it has {', '.join(known)}")
    pairs = {kind: given.get(kind, kind) for kind in types if kind in {*given, *corpus.types}}
    for name, count in Counter(pairs.values()).items():
        if count > 1:
            both = _listed([a for a, b in pairs.items() if b == name])
            raise ValueError(f"{both} of the model cannot both be {name} of {corpus.source}")
    return pairs


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)
