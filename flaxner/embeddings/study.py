"""The comparison from settings to numbers: vectors, occurrences, separation, taggers."""

from __future__ import annotations

import contextlib
import itertools
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from flaxner import terminal
from flaxner.data.corpus import Corpus, Sentence, read_corpus
from flaxner.data.tokenizer import load_tokenizer
from flaxner.devices.compilation_cache import use_compilation_cache
from flaxner.embeddings import plots
from flaxner.embeddings import separation as compare
from flaxner.embeddings.contextual import ContextualEncoder, parse_layers
from flaxner.embeddings.occurrences import (
    LEAST,
    Occurrence,
    ambiguous,
    find_all,
    of_words,
    snippet,
    unique,
)
from flaxner.embeddings.report import write_report
from flaxner.embeddings.settings import Settings, check_output
from flaxner.embeddings.static import StaticVectors, load_vectors, require_gensim, train_vectors
from flaxner.embeddings.tagger_scores import measure_taggers
from flaxner.models.pretrained import load_pretrained
from flaxner.models.scratch import SCRATCH
from flaxner.runs.paths import RunPaths
from flaxner.training.preparation import Prepared, prepare
from flaxner.training.run import train

PREFERRED = ("Washington", "Jordan", "Apple", "Paris", "May", "Chelsea", "Lincoln", "Amazon")
SHOWN_WORDS = 4
MATRIX = 12  # occurrences in a similarity matrix
PER_TYPE = 60  # maximum occurrences of each type of a form
ODD = r"[%/\\\0]"  # characters of words that are not allowed in file names, and the escape itself
FORMS = 60  # maximum forms in the separation measures


def run(settings: Settings, console: Console | None = None) -> dict[str, Any]:
    """Compare, and write index.html, comparison.json and figures/ into the output folder.

    Returns:
      the content of comparison.json.

    Raises:
      ValueError: a package, file, vector, word or model is missing or unusable.
      RunStopped: a signal arrived while BERT was being trained.
    """
    console, begin = terminal.console(console), time.monotonic()
    require_gensim()
    plots.require_matplotlib()
    check_output(settings)
    use_compilation_cache(settings.config.compilation_cache)
    prepared = prepare(settings.config)
    if settings.taggers and "test" not in prepared.corpora:
        hint = "--no-taggers" if settings.run else "--test-file, or --no-taggers"
        raise ValueError(f"the taggers need a test corpus: give {hint}")
    sentences = _sentences(settings, prepared)
    occurrences = find_all(sentences)
    chosen = of_words(occurrences, settings.words)
    all_forms = ambiguous(occurrences)
    places = _limited(dict(itertools.islice(all_forms.items(), FORMS)))
    if not places:
        raise ValueError(
            "the corpus has no word form with two types that are both frequent enough to compare"
        )
    layers = parse_layers(settings.layers, prepared.model.config.num_hidden_layers)
    with _said(console, "static vectors"):
        static = _static(settings, prepared)
        for word in settings.words:
            static.vector(word)  # if absent, fail now rather than after training
    shown = _shown(chosen, places, static)
    scratch = prepared.config.model in SCRATCH
    bert = settings.run
    if bert is None and (settings.taggers or scratch):
        bert = _fine_tuned(settings, console)
    encoders = _encoders(settings, prepared, bert, layers)
    study = _compared(settings, static, encoders, sentences, occurrences, shown, places, console)
    study |= {
        "corpus": prepared.corpora.get("test", prepared.corpora["train"]).source,
        "limits": {"ambiguous_forms": len(all_forms), "least": LEAST, "per_type": PER_TYPE},
        "taggers": [],
        "frozen_note": "",
    }
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "heads"
        if settings.taggers and bert is not None:
            with _said(console, "taggers"):
                study |= measure_taggers(prepared, static, encoders[0], bert, logs, console)
        study["seconds"] = round(time.monotonic() - begin, 1)
        write_report(settings.output_dir, study, console, logs)
    return study


@contextlib.contextmanager
def _said(console: Console, what: str) -> Iterator[None]:
    """Print how long a part took."""
    begin = time.monotonic()
    yield
    console.print(f"{what}: {time.monotonic() - begin:.1f} s")


def _sentences(settings: Settings, prepared: Prepared) -> list[Sentence]:
    """Return tagged sentences that BERT was not trained on, each once."""
    if settings.corpus:
        corpora = (read_corpus(path, options=settings.reading) for path in settings.corpus)
        read = [s for corpus in corpora for s in corpus]
    else:
        splits = [c for split, c in prepared.corpora.items() if split != "train"]
        read = [s for corpus in splits for s in corpus]
    trained_on = {sentence.words for sentence in prepared.corpora["train"]}
    sentences = [s for s in unique(read) if s.words not in trained_on]
    if not sentences:
        raise ValueError(
            "the comparison needs tagged sentences that are not in the training corpus: give "
            "--corpus, --validation-file or --test-file"
        )
    return sentences


def _static(settings: Settings, prepared: Prepared) -> StaticVectors:
    if settings.vectors:
        return load_vectors(settings.vectors, limit=settings.vector_limit)
    corpora: Sequence[Corpus] = [
        read_corpus(path, options=settings.reading) for path in settings.train_vectors
    ]
    name = " + ".join(Path(path).stem for path in settings.train_vectors)
    texts = [s.words for corpus in corpora or [prepared.corpora["train"]] for s in corpus]
    where = name or prepared.corpora["train"].source
    return train_vectors(texts, where, seed=settings.config.seed)


def _fine_tuned(settings: Settings, console: Console) -> RunPaths:
    result = train(settings.config.replace(overwrite=settings.overwrite), console=console)
    return RunPaths(result.output_dir)


def _encoders(
    settings: Settings, prepared: Prepared, bert: RunPaths | None, layers: tuple[int, ...]
) -> list[ContextualEncoder]:
    """Return BERT before NER training and, if there is a run, after it."""
    scratch = prepared.config.model in SCRATCH
    before = "BERT at its random start" if scratch else "BERT, pretrained"
    common: dict[str, Any] = {
        "layers": layers,
        "max_length": prepared.config.max_length,
        "pooling": settings.pooling,
    }
    encoders = [
        ContextualEncoder(before, prepared.model, prepared.params, prepared.tokenizer, **common)
    ]
    if bert is not None:
        loaded = load_pretrained(bert.hub)
        tokenizer = load_tokenizer(loaded.folder)
        encoders.append(
            ContextualEncoder("BERT, fine-tuned", loaded.model, loaded.params, tokenizer, **common)
        )
    return encoders


def _limited(places: Mapping[str, list[Occurrence]]) -> dict[str, list[Occurrence]]:
    """Limit the occurrences of each form, so that the measures take seconds."""
    out = {}
    for form, occurrences in places.items():
        taken: Counter[str] = Counter()
        out[form] = [o for o in occurrences if taken.update([o.type]) or taken[o.type] <= PER_TYPE]
    return out


def _shown(
    asked: dict[str, list[Occurrence]],
    places: Mapping[str, list[Occurrence]],
    static: StaticVectors,
) -> dict[str, list[Occurrence]]:
    """Choose the words to draw: those asked for, else known ambiguous ones, else the most so."""
    if asked:
        return _limited(asked)
    known = [form for form in (*PREFERRED, *places) if form in places]
    covered = [form for form in dict.fromkeys(known) if static.row(form) is not None]
    return {form: places[form] for form in covered[:SHOWN_WORDS]}


def _compared(
    settings: Settings,
    static: StaticVectors,
    encoders: Sequence[ContextualEncoder],
    sentences: list[Sentence],
    found: Mapping[str, list[Occurrence]],
    shown: Mapping[str, list[Occurrence]],
    places: Mapping[str, list[Occurrence]],
    console: Console,
) -> dict[str, Any]:
    """Compute sections 1 and 2 of the page."""
    vectors = {}
    for encoder in encoders:
        with _said(console, f"contextual vectors, {encoder.name}"):
            vectors[encoder.name] = encoder.encode(sentences)
    # Random weights mean nothing before training; a pretrained BERT is shown as it is.
    main = encoders[-1] if "random" in encoders[0].name else encoders[0]
    names = [o for group in found.values() for o in group if o.type != "O"]
    static_rows = np.stack([_or_zero(static, o.form) for o in _by_row(found)])
    rows = [(static.name, static_rows), *vectors.items()]
    separation = []
    for name, matrix in rows:
        measured = compare.separation(matrix, places, settings.config.seed)
        separation.append({"name": name, **vars(measured)})
    words = [
        _word(form, group, vectors[main.name], static, sentences, names)
        for form, group in shown.items()
    ]
    kinds = sorted({o.type for group in (*places.values(), *shown.values(), names) for o in group})
    return {
        "static": {"name": static.name, "source": static.source, "vocabulary": len(static.words),
                   "width": static.matrix.shape[1]},
        "contextual": {"name": main.name, "layers": list(main.layers), "pooling": main.pooling,
                       "of_layers": main.model.config.num_hidden_layers},
        "occurrences_in": f"{len(sentences):,} sentences that are not in the training corpus",
        "types": kinds,
        "words": words,
        "separation": separation,
    }  # fmt: skip


def _by_row(found: Mapping[str, list[Occurrence]]) -> list[Occurrence]:
    return sorted((o for group in found.values() for o in group), key=lambda o: o.row)


def _or_zero(static: StaticVectors, form: str) -> np.ndarray:
    row = static.row(form)
    return np.zeros(static.matrix.shape[1], np.float32) if row is None else static.matrix[row]


def figure_name(form: str) -> str:
    """Return the file name of a word's figure: one file, whatever characters the word has."""
    return f"word-{re.sub(ODD, lambda odd: f'%{ord(odd[0]):02X}', form)}.png"


def _word(
    form: str,
    group: list[Occurrence],
    vectors: np.ndarray,
    static: StaticVectors,
    sentences: list[Sentence],
    names: list[Occurrence],
) -> dict[str, Any]:
    """Return one word in its sentences, as the page shows it."""
    own = vectors[[o.row for o in group]]
    order = sorted(range(len(group)), key=lambda i: (group[i].type, i))
    kinds = sorted({o.type for o in group})
    room = max(MATRIX // len(kinds), 1)
    picked = [[i for i in order if group[i].type == kind][:room] for kind in kinds]
    chosen = [i for part in picked for i in part]
    plane = compare.plane(compare.unit(own))

    def text(o: Occurrence) -> tuple[str, str, str]:
        return snippet(sentences[o.sentence], o.position)

    return {
        "form": form,
        "types": dict(Counter(o.type for o in group)),
        "occurrences": [
            {"type": o.type, "text": text(o),
             "plane": [round(float(x), 5) for x in point]}
            for o, point in zip(group, plane, strict=True)
        ],
        "shown": chosen,
        "cosines": np.round(compare.cosines(own[chosen]), 4).tolist(),
        "static_cosine": 1.0,
        "static_neighbours": static.neighbours(form) if static.row(form) is not None else [],
        "examples": [
            {"type": group[i].type, "text": text(group[i]),
             "neighbours": [(o.form, cosine, o.type) for o, cosine in
                            compare.nearest_occurrences(vectors, group[i], names)]}
            for part in picked for i in part[:2]
        ],
        "figure": figure_name(form),
    }  # fmt: skip
