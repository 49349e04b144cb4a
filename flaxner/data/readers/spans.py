"""Turn texts with character spans into words and tags."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from flaxner.data.readers.offsets import COUNTINGS, INVISIBLE, in_characters, others
from flaxner.data.readers.source import BadCorpus, Notes, excerpt
from flaxner.data.tags import Span, spans_to_tags
from flaxner.wording import number_of

Offsets = list[tuple[int, int]]
_HIDDEN = re.compile(f"[{INVISIBLE}]")


@functools.cache
def _pattern() -> re.Pattern[str]:
    """Match runs of letters, digits and marks; punctuation, symbols and ideographs one by one."""
    ranges = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x323AF), (0xF900, 0xFAFF)]
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code))[0] in "PS":
            if ranges[-1][1] == code - 1:
                ranges[-1] = (ranges[-1][0], code)
            else:
                ranges.append((code, code))
    alone = "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in ranges)
    return re.compile(f"[{alone}]|[^\\s{alone}]+")


def word_offsets(text: str) -> Offsets:
    """Return the half-open character ranges of a text's words.

    Splits as BERT does: at white space, and around every punctuation mark, symbol and ideograph.
    Invisible characters at the edge of a word are not part of it.
    """
    offsets = [match.span() for match in _pattern().finditer(text)]
    if text.isascii() or not _HIDDEN.search(text):
        return offsets
    return [place for a, b in offsets if (place := _seen(text, a, b))[0] < place[1]]


def _seen(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a range without the invisible characters at its edges."""
    piece = text[start:end]
    return (
        start + len(piece) - len(piece.lstrip(INVISIBLE)),
        start + len(piece.rstrip(INVISIBLE)),
    )


def tag_text(
    path: Path | str,
    line: int,
    text: str,
    spans: Sequence[Span],
    policy: str,
    notes: Notes,
    offsets: Offsets | None = None,
    name: str = "",
    counted: bool = False,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words and IOB2 tags of a text with character spans.

    Args:
      path, line: for messages.
      text: the text.
      spans: (start, end, type), half-open, in characters.
      policy: what to do with a span that cuts a word or overlaps another.
      notes: counts the spans that were changed.
      offsets: the words, if the record has them.
      name: the text's name in messages, in addition to its line, such as "task 7".
      counted: whether the spans are known to be counted in characters; if not, messages suggest
        the unit that would fit.

    Raises:
      ValueError: a span lies outside the text or, under the policy "error", does not fit.
    """

    def bad(message: str) -> BadCorpus:
        return BadCorpus(path, line, f"{name}: {message}" if name else message)

    offsets = word_offsets(text) if offsets is None else offsets
    fitted = _fitted(text, spans, offsets, policy, notes, counted, bad)
    kept = apart(fitted, policy, notes, bad)
    words = tuple(text[a:b] for a, b in offsets)
    return words, spans_to_tags(kept, len(words))


def _fitted(
    text: str,
    spans: Sequence[Span],
    offsets: Offsets,
    policy: str,
    notes: Notes,
    counted: bool,
    bad: Callable[[str], BadCorpus],
) -> dict[Span, str]:
    """Return the spans in words, each with its text."""
    word_at = _word_at(len(text), offsets)
    fitted: dict[Span, str] = {}
    for span in spans:
        start, end, kind = span
        if not 0 <= start < end <= len(text):
            length = number_of(len(text), "characters")
            what = f"a span must lie in its text of {length}: got {start, end, kind}"
            raise bad(what if counted else what + _elsewhere(text, offsets, start, end))
        touched = _words_within(word_at, start, end)
        if touched is None:
            notes.count("spans without a word were dropped")
            continue
        if not _whole(text, offsets, start, end, touched):
            if policy == "error":
                hint = "" if counted else _elsewhere(text, offsets, start, end)
                raise bad(_cut(text, offsets, span, touched, hint))
            notes.count(f"spans cut a word and were {_done(policy)}")
            if policy == "drop":
                continue
        fitted.setdefault(Span(touched[0], touched[1] + 1, kind), text[start:end])
    return fitted


def _cut(text: str, offsets: Offsets, span: Span, touched: tuple[int, int], hint: str) -> str:
    """Describe the fault of a span that begins or ends within a word."""
    (start, end, kind), (first, last) = span, touched
    where = excerpt(text[offsets[first][0] : offsets[last][1]])
    what = f"the span {excerpt(text[start:end])} ({kind}) cuts the words {where}"
    inclusive = fit(text, [(start, end + 1)], offsets)
    causes = [" if the ends are inclusive, add 1 to all of them;"] * inclusive
    causes += [" if the offsets count words, convert them to characters;"] * (end <= len(offsets))
    cause = "".join(causes) + (" otherwise" if causes else "")
    return what + (hint or f";{cause} --span-policy widen or drop resolves this")


def fit(text: str, places: Iterable[tuple[int, int]], offsets: Offsets) -> bool:
    """Whether ranges of a text begin and end at word boundaries."""
    word_at = _word_at(len(text), offsets)
    for start, end in places:
        touched = _words_within(word_at, start, end) if 0 <= start < end <= len(text) else None
        if touched is None or not _whole(text, offsets, start, end, touched):
            return False
    return True


def _words_within(word_at: list[int], start: int, end: int) -> tuple[int, int] | None:
    """Return the first and last word that a range touches."""
    while start < end and word_at[start] < 0:
        start += 1
    while start < end and word_at[end - 1] < 0:
        end -= 1
    return (word_at[start], word_at[end - 1]) if start < end else None


def _whole(text: str, offsets: Offsets, start: int, end: int, touched: tuple[int, int]) -> bool:
    """Whether a range covers all visible characters of its words."""
    before, after = text[offsets[touched[0]][0] : start], text[end : offsets[touched[1]][1]]
    return not (before + after).strip(INVISIBLE)


def _elsewhere(text: str, offsets: Offsets, start: int, end: int) -> str:
    """Return a hint for a message if a range covers whole words in another unit."""
    for counting in others(text):
        places = in_characters(text, [(start, end)], counting)
        if places and fit(text, places, offsets):
            piece = excerpt(text[places[0][0] : places[0][1]])
            return (
                f"; counted in {COUNTINGS[counting]} it is {piece}: use --span-offsets {counting}"
            )
    return ""


def _word_at(length: int, offsets: Offsets) -> list[int]:
    word_at = [-1] * length
    for i, (a, b) in enumerate(offsets):
        word_at[a:b] = [i] * (b - a)
    return word_at


def _done(policy: str) -> str:
    return "widened to whole words" if policy == "widen" else "dropped"


def apart(
    spans: Mapping[Span, str], policy: str, notes: Notes, bad: Callable[[str], BadCorpus]
) -> list[Span]:
    """Return the spans without those that overlap a longer one, which are counted.

    Of two that are as long, the first is kept; of two at one place, the first in the alphabet.

    Args:
      spans: each with its text.
      policy: "error" refuses overlaps.
      notes: counts the spans that are left out.
      bad: makes an error of a message.

    Raises:
      ValueError: spans overlap under the policy "error".
    """
    kept: list[Span] = []
    taken: set[int] = set()
    for span in sorted(spans, key=lambda s: (s.start - s.end, s)):
        covered = range(span.start, span.end)
        if taken.isdisjoint(covered):
            kept.append(span)
            taken.update(covered)
            continue
        other = next(k for k in kept if k.start < span.end and span.start < k.end)
        one_place, shorter = span[:2] == other[:2], span.end - span.start < other.end - other.start
        if policy == "error":
            what = f"the span {excerpt(spans[span])} ({span.type}) overlaps another"
            what += f", {excerpt(spans[other])} ({other.type}); --span-policy widen or drop keeps "
            first = "type that comes first in the alphabet" if one_place else "one that comes first"
            raise bad(f"{what}the {'longer one' if shorter else first}")
        if shorter:
            notes.count("spans overlapped a longer one and were dropped")
        elif one_place:
            what = "spans at the place of another were dropped: the type that comes first in the "
            notes.count(what + "alphabet is kept", f"{span.type} at {other.type}")
        else:
            notes.count("spans overlapped one as long that begins earlier and were dropped")
    return kept
