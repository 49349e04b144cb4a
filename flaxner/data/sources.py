"""Read the corpora of a run as its settings say, mixing the sources of a split."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from flaxner.config.fields import Several, each
from flaxner.config.train import SPLITS, TrainConfig
from flaxner.data.corpus import Corpus, join, read_corpus, read_dataset, require_used
from flaxner.data.readers import OF_DATA_SETS, OF_FILES, BadCorpus, ReadOptions

COMPARED = {"tags": "--tag-column", "words": "--word-column"}  # guesses that are compared


def read_sources(config: TrainConfig) -> dict[str, Corpus]:
    """Read every split that the settings name, in the order of `SPLITS`; "train" is required.

    Training files are mixed with the data sets; files for other splits replace those of the data
    sets.

    Raises:
      ValueError: a corpus cannot be read, or there is no training split.
    """
    options = read_options(config)
    parts: dict[str, list[Corpus]] = {}
    for corpora in _data_sets(config, options):
        for split, corpus in corpora.items():
            parts.setdefault(split, []).append(corpus)
    for split in SPLITS:
        if files := _files(config, split):
            read = [read_corpus(path, options=options) for path in files]
            parts[split] = read if split != "train" else [*parts.get(split, []), *read]
    if "train" not in parts:
        names = " and ".join(each(config.dataset))
        raise ValueError(f"{names} has no training split; it has {', '.join(parts)}")
    require_used(options, {corpus.format for corpora in parts.values() for corpus in corpora})
    _check_read_alike(parts)
    return {split: join(parts[split]) for split in SPLITS if split in parts}


def refuse_missing_files(config: TrainConfig) -> None:
    """Reject corpus files that do not exist, before a model or another corpus is fetched.

    Raises:
      ValueError: a file does not exist.
    """
    for path in itertools.chain.from_iterable(_files(config, split) for split in SPLITS):
        if not path.exists():
            reason = os.strerror(errno.ENOENT)
            raise BadCorpus(path, None, f"cannot read the corpus: {reason}")


def read_unmixed(config: TrainConfig, split: str) -> list[Corpus]:
    """Read the data sets and files of a split, each as its own corpus.

    Raises:
      ValueError: a corpus cannot be read.
    """
    options = read_options(config)
    files = [read_corpus(path, options=options) for path in _files(config, split)]
    if files and split != "train":
        return files
    data_sets = _data_sets(config, options)
    return [*(corpora[split] for corpora in data_sets if split in corpora), *files]


def _files(config: TrainConfig, split: str) -> list[Path]:
    return [Path(path) for path in each(getattr(config, f"{split}_file"))]


def _data_sets(config: TrainConfig, options: ReadOptions) -> Iterator[dict[str, Corpus]]:
    """Yield each data set's splits, without those that files replace, which may be ambiguous."""
    wanted = [split for split in SPLITS if split == "train" or not _files(config, split)]
    for name, own in zip(each(config.dataset), _per_data_set(config, options), strict=True):
        yield read_dataset(name, wanted, own)


def _check_read_alike(parts: Mapping[str, Sequence[Corpus]]) -> None:
    """Refuse to score on other columns than were trained on, if the files have both.

    Raises:
      ValueError: files differ; the message names them, their columns and the flag to set.
    """
    trained = [(c.source, c.guessed) for c in parts["train"] if c.guessed is not None]
    scored = [corpus for split in SPLITS[1:] for corpus in parts.get(split, ())]
    for corpus, (which, flag) in itertools.product(scored, COMPARED.items()):
        if corpus.guessed is None:
            continue
        column = getattr(corpus.guessed, which)
        others = [(s, g) for s, g in trained if corpus.guessed.contradicts(g, which)]
        if others and all(getattr(g, which) != column for _, g in trained):
            source, guessed = others[0]
            raise ValueError(
                f"the {which} of {source} would be read from column {getattr(guessed, which)}, but "
                f"those of {corpus.source} from column {column}: choose one with {flag}"
            )


def read_options(config: TrainConfig) -> ReadOptions:
    """Return the settings' options for reading files."""
    return ReadOptions(**{name: getattr(config, name) for name in OF_FILES})


def _per_data_set(config: TrainConfig, options: ReadOptions) -> list[ReadOptions]:
    """Return the options for each data set; an empty configuration or revision means none."""
    count = len(each(config.dataset))
    configs, revisions = (_spread(name, getattr(config, name), count) for name in OF_DATA_SETS)
    return [
        dataclasses.replace(options, dataset_config=c, dataset_revision=r)
        for c, r in zip(configs, revisions, strict=True)
    ]


def _spread(name: str, value: Several, count: int) -> list[str | None]:
    given = each(value) or ("",)
    flag = "--" + name.replace("_", "-")
    if not count and any(given):
        raise ValueError(f"{flag} applies to data sets, but there is no --dataset: omit it")
    if len(given) not in (1, count):
        raise ValueError(
            f"{flag} must be given once for all data sets, or once for each: "
            f"got {len(given)} for {count} data sets"
        )
    return [item or None for item in (given * count if len(given) == 1 else given)]
