"""Cache tokenised corpora on disk, keyed by everything they depend on."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from flaxner.data.segments import Segments, TagEncoder, Tagged, align
from flaxner.files.atomic import write_with

FORMAT = 1  # increase when `align` produces different segments for the same corpus
FEWEST = 5000  # sentences; fewer are tokenised too quickly for a file to be worth it
MOST_BYTES = 4 * 2**30  # of all cached files; the least recently used go first


def align_cached(
    sentences: Sequence[Tagged],
    tokenizer: Any,
    scheme: TagEncoder | None,
    max_length: int,
    folder: str,
    later: np.ndarray | None = None,
) -> Segments:
    """Call `align`, or load its result if it has been cached.

    Args:
      sentences: as for `align`.
      tokenizer: as for `align`.
      scheme: as for `align`.
      max_length: as for `align`.
      folder: the cache folder; empty: no cache. A folder that cannot be written and files that
        cannot be read are ignored.
      later: as for `align`.
    """
    if not folder or len(sentences) < FEWEST:
        return align(sentences, tokenizer, scheme, max_length, later)
    place = Path(folder).expanduser()
    path = place / f"{_key(sentences, tokenizer, scheme, max_length, later)}.npz"
    segments = _read(path)
    if segments is None:
        segments = align(sentences, tokenizer, scheme, max_length, later)
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            _write(path, segments)
            _drop_oldest(place, MOST_BYTES)
    return segments


def _key(
    sentences: Sequence[Tagged],
    tokenizer: Any,
    scheme: TagEncoder | None,
    max_length: int,
    later: np.ndarray | None,
) -> str:
    """Return a digest of words, tags, tokenizer, label table and length limit."""
    specials = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id)
    tags = None if scheme is None else getattr(scheme, "tags", repr(scheme))
    more = () if later is None else (later.tolist(),)
    key = (FORMAT, tokenizers.__version__, max_length, specials, tags, *more)
    digest = hashlib.sha256(repr(key).encode())
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    for sentence in sentences:
        digest.update(
            repr((tuple(sentence.words), sentence.tags and tuple(sentence.tags))).encode()
        )
    return digest.hexdigest()


def _read(path: Path) -> Segments | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            fields: dict[str, Any] = {name: arrays[name] for name in arrays.files}
        os.utime(path)  # mark as recently used
        for name in ("num_words", "num_sentences"):
            fields[name] = int(fields[name])
        return Segments(**fields)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, segments: Segments) -> None:
    """Write the file atomically."""
    fields: dict[str, Any] = dataclasses.asdict(segments)
    write_with(path, lambda file: np.savez(file, **fields))


def _is_ours(path: Path) -> bool:
    """Whether a file is named after a digest and has the contents of our cache files."""
    if not re.fullmatch("[0-9a-f]{64}", path.stem) or path.is_symlink():
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False
    return names == {field.name for field in dataclasses.fields(Segments)}


def _drop_oldest(folder: Path, most: int) -> None:
    """Delete our files, least recently used first, until at most `most` bytes are left."""
    files = [(path, path.stat()) for path in folder.glob("*.npz") if _is_ours(path)]
    total = sum(stat.st_size for _, stat in files)
    for path, stat in sorted(files, key=lambda item: item[1].st_mtime):
        if total <= most:
            return
        path.unlink(missing_ok=True)
        total -= stat.st_size
