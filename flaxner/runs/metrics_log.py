"""metrics.jsonl: one JSON object per logged step or evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from flaxner.files import write_bytes


class MetricsLog:
    """metrics.jsonl: one JSON object per line, flushed immediately."""

    def __init__(
        self,
        path: Path | None,
        *,
        keep_lines: int = 0,
        also: Callable[[Mapping[str, Any]], object] = lambda _: None,
    ) -> None:
        """Open the file for appending after its first `keep_lines` lines; cut off later ones.

        Without a path, lines are only counted. `lost` is the number of lines to keep that are
        missing from the file. `also` is called with every line written.
        """
        self._also = also
        self._file: IO[str] | None = None
        self.lines, self.lost = keep_lines, 0
        if path is None:
            return
        there = path.read_bytes() if keep_lines and path.is_file() else b""
        lines = there.splitlines(keepends=True)[:keep_lines]
        self.lines, self.lost = len(lines), keep_lines - len(lines)
        write_bytes(path, b"".join(lines))
        self._file = _appended(path)

    def write(self, **values: Any) -> None:
        """Append one object."""
        self.lines += 1
        if self._file is not None:
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()
            self._also(values)

    def sync(self) -> None:
        """Save all lines, so that they survive a crash of the machine.

        Some mounted buckets save a file only when it is closed.
        """
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = _appended(Path(self._file.name))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _appended(path: Path) -> IO[str]:
    return path.open("a", encoding="utf-8")
