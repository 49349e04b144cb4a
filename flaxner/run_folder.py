"""The folder of a run: who may write there, what lies where, atomic writes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

# What a run writes, so that --overwrite deletes a run and nothing else.
CONTENT = (
    "config.toml",
    "model",
    "checkpoints",
    "metrics.jsonl",
    "results.json",
    "predictions",
    "hub",
)


class RunFolder:
    """Paths and writers of one output folder (DESIGN section 5)."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.model = self.path / "model"  # config.json and tokenizer, from the first step on
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.results = self.path / "results.json"
        self.predictions = self.path / "predictions"
        self.hub = self.path / "hub"

    def check(self, *, overwrite: bool, resume: bool) -> None:
        """Refuse a folder that is another run's, before anything is computed.

        Raises:
          ValueError: occupied, or nothing to resume.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"the output folder {self.path} is a file")
        if resume:
            if not self.config.is_file():
                raise ValueError(f"there is no run to resume in {self.path}")
            return
        if not self.path.is_dir() or not any(self.path.iterdir()):
            return
        if not overwrite:
            raise ValueError(
                f"the output folder {self.path} is in use: continue that run with --resume, "
                f"replace it with --overwrite, or name another --output-dir"
            )
        foreign = sorted(p.name for p in self.path.iterdir() if p.name not in CONTENT)
        if not self.config.is_file() and foreign:
            raise ValueError(
                f"{self.path} holds {foreign[0]!r}, which no run wrote: name another --output-dir"
            )

    def claim(self, config_toml: str, *, overwrite: bool) -> None:
        """Make the folder this run's: empty of other runs' files, settings written."""
        if overwrite:
            for name in CONTENT:
                target = self.path / name
                if target.is_dir():
                    shutil.rmtree(target)
                else:
                    target.unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(self.config, config_toml)

    def best_step(self) -> int | None:
        """The step whose model hub/ holds, if the run has ended."""
        if not self.results.is_file():
            return None
        return json.loads(self.results.read_text("utf-8"))["train"]["best_step"]


class MetricsLog:
    """metrics.jsonl: one JSON object a line, flushed at once."""

    def __init__(self, path: Path, *, keep_lines: int = 0) -> None:
        """Open for appending after the first `keep_lines` lines; later ones are cut off."""
        lines = path.read_text("utf-8").splitlines(keepends=True)[:keep_lines] if keep_lines else []
        write_text(path, "".join(lines))
        self.lines = len(lines)
        self._file = path.open("a", encoding="utf-8")

    def write(self, **values: Any) -> None:
        """Append one object."""
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()
        self.lines += 1

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def write_text(path: Path, text: str) -> None:
    """Write a file that exists whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o666 & ~_umask())
    os.replace(file.name, path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON that exists whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that exists whole or not at all: `fill` writes into a sibling first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        fill(draft)
        os.chmod(draft, 0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        os.replace(draft, path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def write_predictions(
    path: Path,
    sentences: Iterable[tuple[Iterable[str], Iterable[str], Iterable[str]]],
) -> None:
    """`word gold predicted` a line, a blank line between sentences."""
    blocks = (
        "".join(f"{word} {a} {b}\n" for word, a, b in zip(words, gold, predicted, strict=True))
        for words, gold, predicted in sentences
    )
    write_text(path, "\n".join(blocks))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
