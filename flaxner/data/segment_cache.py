"""Cache tokenised corpora on disk, keyed by everything they depend on."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from flaxner.data.segments import Segments, TagEncoder, Tagged, align
from flaxner.files import kept

FORMAT = 4  # increase when `align` produces different segments for the same corpus
FEWEST = 5000  # sentences; fewer are tokenised too quickly for a file to be worth it
MOST_BYTES = 4 * 2**30  # of all cached corpora; the least recently used go first
ARRAYS = "segments.npz"


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
      sentences, tokenizer, scheme, max_length, later: as for `align`.
      folder: the cache folder; empty: no cache. A folder that cannot be written and files that
        cannot be read are ignored.
    """
    if not folder or len(sentences) < FEWEST:
        return align(sentences, tokenizer, scheme, max_length, later)
    place = Path(folder).expanduser()
    key = _key(sentences, tokenizer, scheme, max_length, later)
    if (at := kept.find(place, key)) is not None:
        with contextlib.suppress(OSError):  # another process has just dropped it
            return _read(at / ARRAYS)
    segments = align(sentences, tokenizer, scheme, max_length, later)
    with contextlib.suppress(OSError):
        kept.keep(place, key, lambda draft: _write(draft / ARRAYS, segments), MOST_BYTES)
    return segments


def _key(
    sentences: Sequence[Tagged],
    tokenizer: Any,
    scheme: TagEncoder | None,
    max_length: int,
    later: np.ndarray | None,
) -> str:
    """Return a digest of words, tags, tokenizer, label table and length limit."""
    split = bool(getattr(tokenizer, "split_special_tokens", False))
    specials = (tokenizer.cls_token_id, tokenizer.unk_token_id, split)
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


def _read(path: Path) -> Segments:
    with np.load(path, allow_pickle=False) as arrays:
        fields: dict[str, Any] = {name: x if x.ndim else int(x) for name, x in arrays.items()}
    return Segments(**fields)


def _write(path: Path, segments: Segments) -> None:
    np.savez(
        path,
        **{field.name: getattr(segments, field.name) for field in dataclasses.fields(Segments)},
    )
