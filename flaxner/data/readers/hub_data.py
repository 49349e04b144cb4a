"""Read data sets from the Hub and `datasets` folders. The only module that imports `datasets`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.data.readers.arrow import tag_names
from flaxner.data.readers.hub_sources import KNOWN, NAMES, PARQUET, Source
from flaxner.data.readers.records import read_records
from flaxner.data.readers.source import BadCorpus, Notes, Raw, ReadOptions
from flaxner.data.readers.tag_column import TAG_COLUMNS
from flaxner.hub import dataset_file, dataset_folders, dataset_snapshot

PARTIAL = "partial-"  # prefix of a split's folder there if only its beginning was converted
LABELS = "dataset/label.json"  # where T-NER's repositories keep the names of their ids
VALIDATION = ("validation", "dev", "valid", "val", "eval")  # names for the same split


class DataSet(NamedTuple):
    """A loaded data set.

    Attributes:
      splits: by their own names.
      source: where they come from; None for a folder.
      partial: names of the splits of which the Hub has converted only the beginning.
    """

    splits: Mapping[str, Any]
    source: Source | None
    partial: Set[str] = frozenset()


def read_splits(
    name: str, options: ReadOptions, wanted: Sequence[str]
) -> dict[str, tuple[Iterator[Raw], Notes]]:
    """Return the wanted splits that a data set has, found by name or by a synonym in `VALIDATION`.

    Raises:
      ValueError: there is no such data set, it is a script without a Parquet copy, there is no
        network, or two splits could be the wanted one.
    """
    path = Path(name)
    data_set = _from_disk(path, options) if path.is_dir() else _from_hub(name, options)
    splits = data_set.splits
    if not splits:
        raise BadCorpus(name, None, "the data set has no splits")
    columns = {column for data in splits.values() for column in data.column_names}
    if columns <= {"text", "tokens"}:  # how `datasets` reads .txt and .conll files
        message = "`datasets` reads no tags from its files: give them with --train-file or --file"
        raise BadCorpus(name, None, message)
    there = {split: own for split in wanted if (own := _own_name(name, split, splits))}
    if not there:
        message = f"no split {' or '.join(wanted)}; the data set has {', '.join(splits)}"
        raise BadCorpus(name, None, message)
    read = {}
    first = next(iter(there))
    for split, own in there.items():
        notes = Notes()
        literal = Source(name, options.dataset_config, options.dataset_revision)
        if data_set.source is not None and split == first and data_set.source != literal:
            notes.choices.append(f"read from {data_set.source}")
        if own != split:
            notes.choices.append(f"read from the data set's split {own!r}")
        if own in data_set.partial:
            notes.choices.append("only the beginning of the split: the Hub converted no more")
        read[split] = _sentences(name, own, splits[own], options, notes, data_set.source), notes
    return read


def _own_name(name: str, wanted: str, splits: Mapping[str, Any]) -> str | None:
    """Return the data set's own name for the wanted split; None if it has no such split.

    Raises:
      ValueError: no split has that name, and several could be meant.
    """
    if wanted in splits:
        return wanted
    alike = [split for split in splits if split in VALIDATION] if wanted in VALIDATION else []
    if len(alike) > 1:
        message = (
            f"several splits could be the {wanted} split: {', '.join(alike)}; request one by its "
            "own name, or give a file with --validation-file"
        )
        raise BadCorpus(name, None, message)
    return alike[0] if alike else None


def _sentences(
    name: str, split: str, data: Any, options: ReadOptions, notes: Notes, source: Source | None
) -> Iterator[Raw]:
    table = data.with_format("arrow")
    names = tag_names(data.features.arrow_schema.metadata or {})
    if source is not None:
        names |= _listed_names(source, data.features, options.tag_column, set(names))

    def records() -> Iterator[tuple[int, Any]]:
        return enumerate((row for batch in table.iter(1000) for row in batch.to_pylist()), 1)

    return read_records(f"{name} ({split})", records, options, notes, names)


def _listed_names(
    source: Source, features: Mapping[str, Any], wanted: str | None, named: set[str]
) -> dict[str, Sequence[str]]:
    """Return names for the ids of columns without names, if the repository lists them."""
    columns = TAG_COLUMNS if wanted is None else (wanted,)
    ids = [c for c in columns if c in features and "int" in _item_type(features[c])]
    if not ids or named & set(columns):
        return {}
    try:
        # The branch that the Hub creates holds only the converted tables.
        revision = None if source.revision == PARQUET else source.revision
        table = json.loads(dataset_file(source.repository, LABELS, revision).read_text("utf-8"))
        names = sorted(table, key=table.__getitem__)
        if [table[name] for name in names] != list(range(len(names))):
            return {}
    except Exception:  # no such file, no network, not a table: the ids stay without names
        return {}
    return dict.fromkeys(ids, names)


def _item_type(feature: Any) -> str:
    return str(getattr(getattr(feature, "feature", None), "dtype", ""))


def _quiet_datasets() -> Any:
    """Import the library, which takes a second or two."""
    import datasets

    datasets.disable_progress_bars()
    return datasets


def _from_disk(path: Path, options: ReadOptions) -> DataSet:
    datasets = _quiet_datasets()
    marked = (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()
    if options.dataset_revision is not None:
        raise BadCorpus(path, None, "a folder has no revisions: omit --dataset-revision")
    if options.dataset_config is not None and marked:
        message = "a folder saved by `datasets` has no configurations: omit --dataset-config"
        raise BadCorpus(path, None, message)
    try:
        data = (
            datasets.load_from_disk(str(path))
            if marked
            else datasets.load_dataset(str(path), options.dataset_config)
        )
    except Exception as error:  # a damaged folder can raise anything, from any format's library
        if configs := _configs(error):
            raise BadCorpus(path, None, _choose(configs, options.dataset_config)) from None
        raise BadCorpus(path, None, f"not a `datasets` folder: {_text(error)}") from None
    return DataSet(dict(data) if isinstance(data, dict) else {"train": data}, None)


def _from_hub(name: str, options: ReadOptions) -> DataSet:
    sources = list(KNOWN.get(name, (Source(name),)))
    if options.dataset_config is not None or options.dataset_revision is not None:
        first = sources[0]
        config = options.dataset_config or first.config
        sources = [Source(first.repository, config, options.dataset_revision or first.revision)]
    errors: list[tuple[Source, Exception]] = []
    for source in sources:
        try:
            return _load(name, source)
        except BadCorpus:
            raise
        except Exception as error:  # of datasets, the Hub client or pyarrow: reported in one line
            errors.append((source, error))
            if _is_script(error) and source.revision is None:
                sources.append(source._replace(revision=PARQUET))
            if _unreachable(error):
                break
    raise _refusal(name, options, errors) from None


def _load(name: str, source: Source) -> DataSet:
    """Load every split.

    Raises:
      ValueError: there are several configurations, and none was chosen.
    """
    datasets = _quiet_datasets()
    repository, config, revision = source
    if revision == PARQUET:
        files = _parquet_files(name, repository, config)
        partial = {
            split
            for split, paths in files.items()
            if any(Path(path).parent.name.startswith(PARTIAL) for path in paths)
        }
        return DataSet(dict(datasets.load_dataset("parquet", data_files=files)), source, partial)
    return DataSet(dict(datasets.load_dataset(repository, name=config, revision=revision)), source)


def _parquet_files(name: str, repository: str, config: str | None) -> dict[str, list[str]]:
    """Return each split's files on the Parquet branch, where a configuration is a folder of splits.

    `load_dataset` on that branch would read all configurations as one, or a different one than
    requested from its cache.
    """
    chosen = config
    if config is None:
        folders = dataset_folders(repository, PARQUET)
        if len(folders) > 1:
            raise BadCorpus(name, None, _choose(folders))
        chosen = folders[0] if folders else "default"
    folder = dataset_snapshot(repository, PARQUET, str(chosen))
    files: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*/*.parquet")):
        files.setdefault(path.parent.name.removeprefix(PARTIAL), []).append(path.as_posix())
    if not files:
        raise BadCorpus(name, None, _choose(dataset_folders(repository, PARQUET), chosen))
    return files


def _choose(configs: Sequence[str], wanted: str | None = None) -> str:
    shown = ", ".join(configs[:20]) + (", ..." if len(configs) > 20 else "")
    why = f"no configuration {wanted!r}" if wanted else "the data set has several configurations"
    return f"{why}; choose one with --dataset-config: {shown}"


def _configs(error: Exception) -> list[str]:
    """Return the configurations to choose from, if the library complains that none was chosen."""
    text = " ".join(str(error).split())
    if "Config name is missing" not in text and "BuilderConfig" not in text:
        return []
    listed, end, _ = text.partition("[")[2].partition("]")
    return listed.replace("'", "").split(", ") if end else []


def _is_script(error: Exception) -> bool:
    return "scripts are no longer supported" in str(error)


def _unreachable(error: BaseException | None) -> bool:
    if "LocalEntryNotFoundError" in str(error):  # `datasets` hides the cause behind this
        return True
    return _connection_error(error) is not None


def _connection_error(error: BaseException | None) -> BaseException | None:
    """Return the innermost of an error's causes that is of a connection, if there is one."""
    found = None
    while error is not None:
        names = {cls.__name__ for cls in type(error).__mro__}
        if names & {"ConnectionError", "TransportError", "OfflineModeIsEnabled", "TimeoutError"}:
            found = error
        error = error.__cause__ or error.__context__
    return found


def _refusal(
    name: str, options: ReadOptions, errors: Sequence[tuple[Source, Exception]]
) -> BadCorpus:
    """Return an error that explains why none of the sources could be read."""
    source, error = errors[0]
    text, last = _text(error), _text(errors[-1][1])
    if any(_unreachable(error) for _, error in errors):
        # What libraries make of a connection's error are paragraphs.
        reason = _text(_connection_error(errors[-1][1]) or errors[-1][1])
        message = f"the Hub cannot be reached ({reason}): try again, or give the corpus as a file"
        return BadCorpus(name, None, message)
    if configs := _configs(error):
        return BadCorpus(name, None, _choose(configs, options.dataset_config))
    known = f"data sets that work: {NAMES}"
    if _is_script(error):
        message = f"{source} is a loading script, which `datasets` no longer runs"
        if "RevisionNotFound" in type(errors[-1][1]).__name__:
            message += f", and the Hub has no Parquet copy of it ({PARQUET})"
        elif len(errors) > 1:
            message += f", and its Parquet copy ({PARQUET}) cannot be read: {last}"
        return BadCorpus(name, None, f"{message}; {known}")
    if source.revision == PARQUET:
        return BadCorpus(name, None, f"{source} cannot be read: {text}; {known}")
    if "gated" in text or "401" in text or "403" in text:
        message = "the Hub denies access: accept the terms on the data set's page, if any, and log"
        return BadCorpus(name, None, f"{message} in with `hf auth login` ({text})")
    if "NotFound" in type(error).__name__:
        return BadCorpus(name, None, f"no such data set, file or folder: {text}; {known}")
    return BadCorpus(name, None, f"the data set cannot be read: {text}")


def _text(error: BaseException) -> str:
    """Return an error's message, in one line."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
