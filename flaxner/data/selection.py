"""Select what a run uses of its corpora: renamed types, held-out parts, folds, samples.

Every selection is a pure function of the corpus and `data_seed`, the same on every machine.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from flaxner.config.data import DataSettings, renamings
from flaxner.data.corpus import Corpus, Sentence, entity_counts
from flaxner.data.documents import document_numbers
from flaxner.data.tags import OUTSIDE
from flaxner.wording import number_of

# Numbers of the random streams; each choice has its own.
DIVIDING, FRACTION, SHOTS = 1, 2, 3


def select(corpora: Mapping[str, Corpus], settings: DataSettings) -> dict[str, Corpus]:
    """Return the splits as the settings require; their notes record what was done.

    Types that occur only in sentences outside the sample stay in the label table.

    Raises:
      ValueError: a type is unknown, there is a validation split and a held-out part as well, or
        there are too few sentences.
    """
    selected = dict(corpora)
    renamed = renamings(settings.map_types)
    if renamed or settings.drop_types:
        _require_types([*renamed, *settings.drop_types], corpora)
        selected = {s: retyped(c, renamed, settings.drop_types) for s, c in corpora.items()}
    whole = selected["train"]
    if settings.held_out or settings.cross_validation:
        selected = _with_validation(selected, settings)
    if settings.train_fraction < 1:
        taken = fraction_of_documents if settings.in_documents else fraction
        selected["train"] = taken(selected["train"], settings.train_fraction, settings.data_seed)
    elif settings.few_shot:
        selected["train"] = few_shot(selected["train"], settings.few_shot, settings.data_seed)
    kept = selected["train"]
    if kept is not whole:
        absent = sorted(set(whole.types) - set(kept.types))
        notes = (*kept.notes, f"no {' and no '.join(absent)} left to train on") if absent else ()
        selected["train"] = dataclasses.replace(
            kept, absent_types=tuple(absent), notes=notes or kept.notes
        )
    return selected


def _require_types(named: Sequence[str], corpora: Mapping[str, Corpus]) -> None:
    known = {kind for corpus in corpora.values() for kind in corpus.types}
    for name in named:
        if name not in known:
            raise ValueError(
                f"no type {name!r} to rename or drop: {corpora['train'].source} has "
                f"{', '.join(sorted(known)) or 'no types'}"
            )


def retyped(corpus: Corpus, renamed: Mapping[str, str], dropped: Sequence[str]) -> Corpus:
    """Return a corpus with some types renamed, and without the entities of others."""
    there = set(corpus.types)
    table = {OUTSIDE: OUTSIDE}
    for kind in there:
        for prefix in ("B-", "I-"):
            new = OUTSIDE if kind in dropped else prefix + renamed.get(kind, kind)
            table[prefix + kind] = new
    counts = entity_counts(corpus)
    notes = [f"{old} renamed to {new}" for old, new in renamed.items() if old in there]
    of = {kind: number_of(counts[kind], "entities") for kind in dropped if kind in there}
    notes += [f"{entities} of {kind} dropped" for kind, entities in of.items()]
    sentences = [
        dataclasses.replace(s, tags=None if s.tags is None else tuple(table[t] for t in s.tags))
        for s in corpus
    ]
    return dataclasses.replace(corpus, sentences=sentences, notes=(*corpus.notes, *notes))


def _with_validation(corpora: Mapping[str, Corpus], settings: DataSettings) -> dict[str, Corpus]:
    """Divide the training split into a training and a validation part."""
    folds, train = settings.cross_validation, corpora["train"]
    flag = "--cross-validation" if folds else "--held-out"
    if "validation" in corpora:
        there = corpora["validation"].source
        raise ValueError(f"{flag} requires data without a validation split: there is {there}")
    part = parts(train, settings)
    if len(set(part.tolist())) < (folds or 2):
        many = number_of(len({s.words for s in train}), "sentences") + " without repetitions"
        if settings.in_documents:
            many = _whole_documents(train)
        how = "use fewer folds" if folds else "hold out a larger share"
        how += ", or set --validation-file instead"
        raise ValueError(f"{flag} cannot divide {train.source}: it has only {many}; {how}")
    if folds and not settings.fold:
        return dict(corpora)
    held = part == max(settings.fold - 1, 0)
    name = f"fold {settings.fold} of {folds}" if folds else "held out"
    whole = "in whole documents, " if settings.in_documents else ""
    what = number_of(held.sum(), "sentences are used for validation", len(train))
    note = f"{what} ({name}, {whole}data seed {settings.data_seed})"
    divided = {
        "train": _subset(train, np.flatnonzero(~held), train.source, (*train.notes, note)),
        "validation": _subset(train, np.flatnonzero(held), f"{train.source} ({name})", ()),
    }
    return divided | {split: c for split, c in corpora.items() if split not in divided}


def parts(train: Corpus, settings: DataSettings) -> np.ndarray:
    """Return the part of each training sentence: its fold, from 0; or 0 if held out, else 1."""
    folds, share = settings.cross_validation, settings.held_out
    shares = [1 / folds] * folds if folds else [share, 1 - share]
    whole = settings.in_documents
    return divide(train.sentences, shares, settings.data_seed, whole_documents=whole)


def _subset(corpus: Corpus, chosen: np.ndarray, source: str, notes: tuple[str, ...]) -> Corpus:
    sentences = [corpus.sentences[i] for i in chosen.tolist()]
    if corpus.repaired:
        repaired = number_of(corpus.repaired, "tags repaired in the full")
        notes = (f"{repaired} {number_of(len(corpus), 'sentences')}", *notes)
    return dataclasses.replace(corpus, sentences=sentences, source=source, repaired=0, notes=notes)


def _order(count: int, seed: int, stream: int) -> list[int]:
    return np.random.Generator(np.random.Philox(key=[seed, stream])).permutation(count).tolist()


def divide(
    sentences: Sequence[Sentence],
    shares: Sequence[float],
    seed: int,
    *,
    whole_documents: bool = False,
) -> np.ndarray:
    """Assign each sentence to a part so that every part has its share of every type.

    Equal sentences go to the same part, so none is both trained and validated on; with
    `whole_documents`, all sentences of a document do instead. Rare types are divided first (the
    iterative stratification of Sechidis et al. 2011).

    Args:
      sentences: of the corpus.
      shares: of each part; they sum to 1.
      seed: seed of the order in which sentences are assigned.
      whole_documents: divide documents, even if they have equal sentences.
    """
    members = _documents(sentences) if whole_documents else _equal(sentences)
    types = [entity_counts([sentences[i] for i in group]) for group in members]
    totals: Counter[str] = Counter()
    for counts in types:
        totals.update(counts)
    rarest = [min(counts, key=lambda kind: (totals[kind], kind), default="") for counts in types]
    rank = {kind: at for at, kind in enumerate(sorted(totals, key=lambda k: (totals[k], k)))}
    order = _order(len(members), seed, DIVIDING)
    order.sort(key=lambda group: rank.get(rarest[group], len(rank)))  # stable: shuffled within
    # What each part still lacks: entities of every type and, under "", sentences.
    lacks = [{kind: share * n for kind, n in totals.items()} for share in shares]
    for lack, share in zip(lacks, shares, strict=True):
        lack[""] = share * len(sentences)
    part_of = np.empty(len(sentences), np.int64)
    for group in order:
        kind = rarest[group]
        part = max(range(len(shares)), key=lambda p: (lacks[p][kind], lacks[p][""], -p))
        part_of[members[group]] = part
        lacks[part][""] -= len(members[group])
        for name, count in types[group].items():
            lacks[part][name] -= count
    return part_of


def _equal(sentences: Sequence[Sentence]) -> list[list[int]]:
    """Group sentences with the same words."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, sentence in enumerate(sentences):
        groups.setdefault(sentence.words, []).append(index)
    return list(groups.values())


def _documents(sentences: Sequence[Sentence]) -> list[list[int]]:
    """Group sentences by document, wherever they are; those without one, by consecutive run."""
    named = [sentence.document for sentence in sentences]
    groups: dict[tuple[int, int | None], list[int]] = {}
    for index, (name, run) in enumerate(zip(named, document_numbers(named).tolist(), strict=True)):
        groups.setdefault((run, None) if name is None else (0, name), []).append(index)
    return list(groups.values())


def _whole_documents(corpus: Corpus) -> str:
    """Say how many documents a corpus has, as the reason why it cannot be divided."""
    unmarked = " (it does not mark documents)" if corpus.unmarked else ""
    many = number_of(len(_documents(corpus.sentences)), "documents")
    return f"{many}, and --context document keeps documents whole{unmarked}"


def fraction(corpus: Corpus, share: float, seed: int) -> Corpus:
    """Sample a fraction of the sentences; with one seed, smaller samples are subsets of larger."""
    count = max(1, round(share * len(corpus)))
    chosen = np.sort(_order(len(corpus), seed, FRACTION)[:count])
    what = number_of(count, "sentences are used", len(corpus))
    note = f"{what} ({share:g} of them, data seed {seed})"
    return _subset(corpus, chosen, corpus.source, (*corpus.notes, note))


def fraction_of_documents(corpus: Corpus, share: float, seed: int) -> Corpus:
    """Sample documents with about a fraction of the sentences; smaller samples are subsets.

    Raises:
      ValueError: the corpus is a single document.
    """
    documents = _documents(corpus.sentences)
    if len(documents) == 1:
        only = _whole_documents(corpus)
        raise ValueError(f"--train-fraction cannot divide {corpus.source}: it has only {only}")
    order = _order(len(documents), seed, FRACTION)
    before = np.cumsum([0, *(len(documents[i]) for i in order)])
    count = max(1, int(np.abs(before - share * len(corpus)).argmin()))
    chosen = np.sort(np.concatenate([documents[i] for i in order[:count]]))
    what = number_of(count, "documents are used", len(documents))
    sentences = number_of(len(chosen), "sentences")
    note = f"{what}, {sentences} ({share:g} of {len(corpus):,}, data seed {seed})"
    return _subset(corpus, chosen, corpus.source, (*corpus.notes, note))


def few_shot(corpus: Corpus, k: int, seed: int) -> Corpus:
    """Sample sentences with K to 2K entities of every type.

    This is the greedy N-way K~2K-shot sampling of Few-NERD (Ding et al. 2021, algorithm 1), where N
    is all types: sentences come in random order, and one is taken if it has a type that still has
    fewer than K entities and does not raise any type above 2K. Types that still have fewer than K,
    because their sentences are rich in others, are filled up without the upper limit, rarest first.
    """
    mentions = [entity_counts([sentence]) for sentence in corpus]
    available: Counter[str] = Counter()
    for own in mentions:
        available.update(own)
    wanted = {kind: min(k, n) for kind, n in available.items()}
    order = _order(len(corpus), seed, SHOTS)
    counts: Counter[str] = Counter()
    chosen: list[int] = []

    def take(index: int) -> None:
        chosen.append(index)
        counts.update(mentions[index])

    for index in order:
        own = mentions[index]
        lacking = any(counts[kind] < wanted[kind] for kind in own)
        if lacking and all(counts[kind] + n <= 2 * k for kind, n in own.items()):
            take(index)
    taken = set(chosen)
    for kind in sorted(wanted, key=lambda kind: (available[kind], kind)):
        rest = (i for i in order if kind in mentions[i] and i not in taken)
        while counts[kind] < wanted[kind]:
            index = next(rest)
            taken.add(index)
            take(index)
    numbers = ", ".join(f"{kind} {counts[kind]}" for kind in sorted(counts))
    what = number_of(len(chosen), "sentences are used", len(corpus))
    how = f"{k}~{2 * k}-shot, greedy as in Few-NERD, data seed {seed}"
    note = f"{what}: {how}: {numbers}"
    short = sorted(kind for kind, n in available.items() if n < k)
    few = {kind: number_of(available[kind], "entities") for kind in short}
    notes = [note, *(f"{kind} has only {entities}" for kind, entities in few.items())]
    rich = sorted(kind for kind, n in counts.items() if n > 2 * k)
    if rich:
        what = f"more than {2 * k} of {', '.join(rich)}"
        notes.append(f"{what}: they share sentences with rare types")
    at = np.sort(np.asarray(chosen, np.int64))
    return _subset(corpus, at, corpus.source, (*corpus.notes, *notes))
