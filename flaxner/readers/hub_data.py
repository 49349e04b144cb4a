"""Data sets of the Hub and local folders of `datasets`. The only door to that library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.readers.arrow import tag_names
from flaxner.readers.records import read_records
from flaxner.readers.source import BadCorpus, Notes, Raw, ReadOptions

PARQUET = "refs/convert/parquet"  # the branch into which the Hub converts data sets
SPLIT_NAMES = {
    "dev": "validation",
    "valid": "validation",
    "val": "validation",
    "eval": "validation",
}


class Source(NamedTuple):
    """Where a data set is read from: repository, configuration, revision."""

    repository: str
    config: str | None = None
    revision: str | None = None


# Names that people know, whose data set is a script or whose repository has moved.
KNOWN: dict[str, Source] = {
    "conll2003": Source("eriktks/conll2003", "conll2003", PARQUET),
    "eriktks/conll2003": Source("eriktks/conll2003", "conll2003", PARQUET),
    "wnut_17": Source("leondz/wnut_17", "wnut_17", PARQUET),
    "leondz/wnut_17": Source("leondz/wnut_17", "wnut_17", PARQUET),
    "conllpp": Source("ZihanWangKi/conllpp", "conllpp", PARQUET),
    "ZihanWangKi/conllpp": Source("ZihanWangKi/conllpp", "conllpp", PARQUET),
    "wikiann": Source("unimelb-nlp/wikiann"),
    "few-nerd": Source("DFKI-SLT/few-nerd", "supervised"),
}


def read_splits(
    name: str, options: ReadOptions, notes: Notes, wanted: Sequence[str]
) -> dict[str, Iterator[Raw]]:
    """The wanted splits that a data set has; dev and the like count as validation.

    Raises:
      ValueError: no such data set, a script without a Parquet copy, no network.
    """
    path = Path(name)
    loaded = _from_disk(path) if path.is_dir() else _from_hub(name, options, notes)
    found = {SPLIT_NAMES.get(split, split): loaded[split] for split in loaded}
    if not found:
        raise BadCorpus(name, None, "the data set has no split")
    there = {split: found[split] for split in wanted if split in found}
    if not there:
        message = f"there is no split {' or '.join(wanted)}; there are {', '.join(found)}"
        raise BadCorpus(name, None, message)
    return {split: _sentences(name, split, data, options, notes) for split, data in there.items()}


def _sentences(
    name: str, split: str, data: Any, options: ReadOptions, notes: Notes
) -> Iterator[Raw]:
    table = data.with_format("arrow")
    metadata = data.features.arrow_schema.metadata or {}
    batches = table.iter(1000)
    rows = (row for batch in batches for row in batch.to_pylist())
    source = f"{name} ({split})"
    return read_records(source, enumerate(rows, 1), options, notes, tag_names(metadata))


def _from_disk(path: Path) -> dict[str, Any]:
    import datasets

    try:
        marked = (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()
        data = datasets.load_from_disk(str(path)) if marked else datasets.load_dataset(str(path))
    except Exception as error:  # whatever the library and its formats raise over a damaged folder
        raise BadCorpus(path, None, f"no folder of `datasets`: {_first_line(error)}") from None
    return dict(data) if isinstance(data, dict) else {"train": data}


def _from_hub(name: str, options: ReadOptions, notes: Notes) -> dict[str, Any]:
    source = KNOWN.get(name, Source(name))
    if options.dataset_config is not None:
        source = source._replace(config=options.dataset_config)
    if options.dataset_revision is not None:
        source = source._replace(revision=options.dataset_revision)
    try:
        data = _load(source)
    except Exception as error:  # the library's, the client's, pyarrow's: all become one sentence
        if "scripts are no longer supported" not in str(error) or source.revision == PARQUET:
            raise _refusal(name, source, error) from None
        try:
            source = source._replace(revision=PARQUET)
            data = _load(source)
        except Exception as second:
            raise _refusal(name, source, second) from None
    if source != Source(name):
        at = f" at {source.revision}" if source.revision else ""
        notes.choices.append(f"{name} is read from {source.repository}{at}")
    return data


def _load(source: Source) -> dict[str, Any]:
    """Load every split; on the Parquet branch each configuration is a folder."""
    import datasets

    datasets.disable_progress_bars()
    where: dict[str, Any] = {"name": source.config}
    if source.revision == PARQUET:
        where = {"data_dir": source.config} if source.config else {}
    return dict(datasets.load_dataset(source.repository, revision=source.revision, **where))


def _refusal(name: str, source: Source, error: Exception) -> BadCorpus:
    kind, text = type(error).__name__, _first_line(error)
    known = ", ".join(KNOWN)
    if isinstance(error, ConnectionError) or "ConnectError" in kind or "Offline" in kind:
        return BadCorpus(name, None, f"the Hub cannot be reached ({text}); give --train-file")
    if source.revision == PARQUET:
        message = (
            f"its Parquet copy ({source.repository} at {PARQUET}) cannot be read: {text}; names "
            f"with a known source: {known}; --dataset-revision and --dataset-config choose another"
        )
        return BadCorpus(name, None, message)
    if "NotFound" in kind:
        return BadCorpus(name, None, f"no such data set, file or folder: {text}; known: {known}")
    return BadCorpus(name, None, f"the data set cannot be read: {text}")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
