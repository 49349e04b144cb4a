"""Read Parquet and Arrow files, batch by batch. Only this module and `streams` import `pyarrow`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers.records import read_records
from flaxner.data.readers.source import BadCorpus, Notes, Raw, ReadOptions, local_file
from flaxner.wording import first_line

BATCH = 1000


def detect(path: Path, head: str) -> bool:
    """Whether a file has the magic bytes, or the suffix of an Arrow stream or Parquet file."""
    return head.startswith(("PAR1", "ARROW1")) or path.suffix.lower() in (".arrow", ".parquet")


def read(path: Path, options: ReadOptions, notes: Notes) -> Iterator[Raw]:
    """Yield the sentences of a table; the "line" in a message is a row number.

    Raises:
      ValueError: the file is damaged, or a column is missing.
    """
    import pyarrow as pa

    try:
        with local_file(path).open("rb") as file:
            names = tag_names(_open(file)[0].metadata or {})
        yield from read_records(path, lambda: _file_records(path), options, notes, names)
    except (pa.ArrowException, OSError, OverflowError, MemoryError, UnicodeDecodeError) as error:
        raise BadCorpus(path, 1, f"not a readable table: {first_line(error)[:200]}") from None


def _file_records(path: Path) -> Iterator[tuple[int, Any]]:
    with local_file(path).open("rb") as file:
        yield from _records(_open(file)[1])


def _open(file: Any) -> tuple[Any, Iterator[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"PAR1"):
        table = pq.ParquetFile(file)
        return table.schema_arrow, table.iter_batches(BATCH)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(file)
        return reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
    stream = pa.ipc.open_stream(file)
    return stream.schema, iter(stream)


def _records(batches: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    number = 1
    for batch in batches:
        batch.validate(full=True)  # out-of-bounds offsets would crash the process
        for at in range(0, batch.num_rows, BATCH):
            rows = batch.slice(at, BATCH).to_pylist()
            yield from enumerate(rows, number)
            number += len(rows)


def tag_names(metadata: Mapping[bytes, bytes]) -> dict[str, Sequence[str]]:
    """Return the names of ClassLabel columns, which `datasets` stores in a table's metadata."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        tables = {name: _names(feature) for name, feature in features.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return {name: names for name, names in tables.items() if names}


def _names(feature: Any) -> list[str] | None:
    while isinstance(feature, dict) and "names" not in feature:
        feature = feature.get("feature")
    names = feature["names"] if isinstance(feature, dict) else None
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else None
