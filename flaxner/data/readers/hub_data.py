"""Data sets of the Hub and local folders of `datasets`. The only door to that library."""

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

PARTIAL = "partial-"  # before the name of a split there, of which it has the beginning
LABELS = "dataset/label.json"  # where the repositories of T-NER keep the names of their ids
VALIDATION = ("validation", "dev", "valid", "val", "eval")  # names of one split


class DataSet(NamedTuple):
    """A data set that was loaded.

    Attributes:
      splits: by their own names.
      source: where they are from; a folder: None.
      partial: those of which the Hub has converted the beginning only.
    """

    splits: Mapping[str, Any]
    source: Source | None
    partial: Set[str] = frozenset()


def read_splits(
    name: str, options: ReadOptions, wanted: Sequence[str]
) -> dict[str, tuple[Iterator[Raw], Notes]]:
    """The wanted splits that a data set has, by their own names or by another of `VALIDATION`.

    Raises:
      ValueError: no such data set, a script without a Parquet copy, no network, or two splits that
        may be the wanted one.
    """
    path = Path(name)
    data_set = _from_disk(path, options) if path.is_dir() else _from_hub(name, options)
    splits = data_set.splits
    if not splits:
        raise BadCorpus(name, None, "the data set has no split")
    there = {split: own for split in wanted if (own := _own_name(name, split, splits))}
    if not there:
        message = f"there is no split {' or '.join(wanted)}; there are {', '.join(splits)}"
        raise BadCorpus(name, None, message)
    read = {}
    first = next(iter(there))
    for split, own in there.items():
        notes = Notes()
        literal = Source(name, options.dataset_config, options.dataset_revision)
        if data_set.source is not None and split == first and data_set.source != literal:
            notes.choices.append(f"it is read from {data_set.source}")
        if own != split:
            notes.choices.append(f"it is the split {own!r} of the data set")
        if own in data_set.partial:
            notes.choices.append("it is only the beginning of the split, as the Hub converted it")
        read[split] = _sentences(name, own, splits[own], options, notes, data_set.source), notes
    return read


def _own_name(name: str, wanted: str, splits: Mapping[str, Any]) -> str | None:
    """What a data set calls the wanted split; None: it has none.

    Raises:
      ValueError: it has none of that name, and several that may be meant.
    """
    if wanted in splits:
        return wanted
    alike = [split for split in splits if split in VALIDATION] if wanted in VALIDATION else []
    if len(alike) > 1:
        message = (
            f"several splits may be the {wanted} split: {', '.join(alike)}; read the one that is "
            "meant by its own name, or name a file with --validation-file"
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
    """Column -> names of its ids, of columns without names, if the repository lists them."""
    columns = TAG_COLUMNS if wanted is None else (wanted,)
    ids = [c for c in columns if c in features and "int" in _item_type(features[c])]
    if not ids or named & set(columns):
        return {}
    try:
        # The branch that the Hub made holds the converted tables alone.
        revision = None if source.revision == PARQUET else source.revision
        table = json.loads(dataset_file(source.repository, LABELS, revision).read_text("utf-8"))
        names = sorted(table, key=table.__getitem__)
        if [table[name] for name in names] != list(range(len(names))):
            return {}
    except Exception:  # no such file, no network, no such table: the ids stay without names
        return {}
    return dict.fromkeys(ids, names)


def _item_type(feature: Any) -> str:
    return str(getattr(getattr(feature, "feature", None), "dtype", ""))


def _quiet_datasets() -> Any:
    """The library, which takes a second or two to import."""
    import datasets

    datasets.disable_progress_bars()
    return datasets


def _from_disk(path: Path, options: ReadOptions) -> DataSet:
    datasets = _quiet_datasets()
    marked = (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()
    if options.dataset_revision is not None:
        raise BadCorpus(path, None, "a folder has no revisions: leave --dataset-revision out")
    if options.dataset_config is not None and marked:
        message = "a folder that `datasets` saved has no configurations: leave --dataset-config out"
        raise BadCorpus(path, None, message)
    try:
        data = (
            datasets.load_from_disk(str(path))
            if marked
            else datasets.load_dataset(str(path), options.dataset_config)
        )
    except Exception as error:  # whatever the library and its formats raise over a damaged folder
        if configs := _configs(error):
            raise BadCorpus(path, None, _choose(configs, options.dataset_config)) from None
        raise BadCorpus(path, None, f"no folder of `datasets`: {_text(error)}") from None
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
        except Exception as error:  # the library's, the client's, pyarrow's: all become a sentence
            errors.append((source, error))
            if _is_script(error) and source.revision is None:
                sources.append(source._replace(revision=PARQUET))
            if _unreachable(error):
                break
    raise _refusal(name, options, errors) from None


def _load(name: str, source: Source) -> DataSet:
    """Load every split.

    Raises:
      ValueError: there are several configurations, and none is chosen.
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
    """Split -> files of the Parquet branch, where each configuration is a folder of splits.

    `load_dataset` on that branch would read all configurations as one, and another than the
    wanted one from its cache.
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
    why = f"there is no configuration {wanted!r}" if wanted else "it has several configurations"
    return f"{why}; --dataset-config chooses one of {shown}"


def _configs(error: Exception) -> list[str]:
    """The configurations to choose from, if the library misses the choice of one."""
    text = _text(error)
    if "Config name is missing" not in text and "BuilderConfig" not in text:
        return []
    return text[text.find("[") + 1 : text.find("]")].replace("'", "").split(", ")


def _is_script(error: Exception) -> bool:
    return "scripts are no longer supported" in str(error)


def _unreachable(error: BaseException | None) -> bool:
    if "LocalEntryNotFoundError" in str(error):  # `datasets` hides the cause, and says this
        return True
    while error is not None:
        names = {cls.__name__ for cls in type(error).__mro__}
        if names & {"ConnectionError", "TransportError", "OfflineModeIsEnabled", "TimeoutError"}:
            return True
        error = error.__cause__ or error.__context__
    return False


def _refusal(
    name: str, options: ReadOptions, errors: Sequence[tuple[Source, Exception]]
) -> BadCorpus:
    """One sentence about why none of the sources could be read."""
    source, error = errors[0]
    text, last = _text(error), _text(errors[-1][1])
    if any(_unreachable(error) for _, error in errors):
        return BadCorpus(name, None, f"the Hub cannot be reached ({last}); give --train-file")
    if configs := _configs(error):
        return BadCorpus(name, None, _choose(configs, options.dataset_config))
    known = f"names that do work: {NAMES}"
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
        message = "the Hub refuses access: accept its terms on its page, if it has any, and log in"
        return BadCorpus(name, None, f"{message} with `hf auth login` ({text})")
    if "NotFound" in type(error).__name__:
        return BadCorpus(name, None, f"no such data set, file or folder: {text}; {known}")
    return BadCorpus(name, None, f"the data set cannot be read: {text}")


def _text(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
