"""Text and character spans -> words and tags."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from flaxner.data.readers.source import BadCorpus, Notes, excerpt
from flaxner.data.tags import Span, spans_to_tags

Offsets = list[tuple[int, int]]


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Runs of letters, digits and marks; punctuation, symbols and ideographs one by one."""
    ranges: list[tuple[int, int]] = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x323AF)]
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code))[0] in "PS":
            if ranges[-1][1] == code - 1:
                ranges[-1] = (ranges[-1][0], code)
            else:
                ranges.append((code, code))
    alone = "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in ranges)
    return re.compile(f"[{alone}]|[^\\s{alone}]+")


def word_offsets(text: str) -> Offsets:
    """Half-open character ranges of the words of a text.

    As BERT's own splitting: at white space, around every punctuation mark, symbol and ideograph.
    """
    return [match.span() for match in _pattern().finditer(text)]


def char_spans(offsets: Offsets, spans: Iterable[Span]) -> list[Span]:
    """Spans of words -> spans of characters."""
    return [(offsets[a][0], offsets[b - 1][1], kind) for a, b, kind in spans]


def tag_text(
    path: Path | str,
    line: int,
    text: str,
    spans: Sequence[Span],
    policy: str,
    notes: Notes,
    offsets: Offsets | None = None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words and IOB2 tags of a text with character spans.

    Args:
      path, line: for messages.
      text: the text.
      spans: (start, end, type), half-open.
      policy: what becomes of a span that cuts a word or overlaps another.
      notes: counts the spans that were changed.
      offsets: the words, if the record brings them.

    Raises:
      ValueError: a span outside the text or, under the policy "error", one that does not fit.
    """
    offsets = word_offsets(text) if offsets is None else offsets
    word_at = _word_at(len(text), offsets)
    fitted: dict[Span, Span] = {}
    for start, end, kind in spans:
        if not 0 <= start < end <= len(text):
            message = f"a span must lie in its text of {len(text)} characters: {(start, end, kind)}"
            raise BadCorpus(path, line, message)
        while start < end and word_at[start] < 0:
            start += 1
        while start < end and word_at[end - 1] < 0:
            end -= 1
        if start == end:
            notes.count("spans without a word were dropped")
            continue
        first, last = word_at[start], word_at[end - 1]
        whole = (offsets[first][0], offsets[last][1])
        if whole != (start, end):
            what = f"the span {excerpt(text[start:end])} ({kind}) cuts the words"
            if policy == "error":
                where = excerpt(text[whole[0] : whole[1]])
                raise BadCorpus(
                    path, line, f"{what} {where}; --span-policy widen or drop allows it"
                )
            notes.count(f"spans that cut a word were {_done(policy)}")
            if policy == "drop":
                continue
        fitted.setdefault((first, last + 1, kind), (start, end, kind))
    kept = _without_overlaps(path, line, text, fitted, policy, notes)
    words = tuple(text[a:b] for a, b in offsets)
    return words, spans_to_tags(kept, len(words))


def _word_at(length: int, offsets: Offsets) -> list[int]:
    word_at = [-1] * length
    for i, (a, b) in enumerate(offsets):
        word_at[a:b] = [i] * (b - a)
    return word_at


def _done(policy: str) -> str:
    return "widened to whole words" if policy == "widen" else "dropped"


def _without_overlaps(
    path: Path | str,
    line: int,
    text: str,
    fitted: dict[Span, Span],
    policy: str,
    notes: Notes,
) -> list[Span]:
    """The longest first; one that overlaps a kept one goes."""
    kept: list[Span] = []
    taken: set[int] = set()
    for span in sorted(fitted, key=lambda s: (s[0] - s[1], s)):
        covered = range(span[0], span[1])
        if taken.isdisjoint(covered):
            taken.update(covered)
            kept.append(span)
            continue
        if policy == "error":
            start, end, kind = fitted[span]
            what = f"the span {excerpt(text[start:end])} ({kind}) overlaps another"
            raise BadCorpus(path, line, f"{what}; --span-policy widen or drop keeps the longer one")
        notes.count("spans that overlap a longer one were dropped")
    return kept
