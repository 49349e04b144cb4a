"""Words in their sentences: every occurrence of a form, and its entity type there."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from flaxner.data.corpus import Sentence
from flaxner.data.tags import OUTSIDE
from flaxner.data.type_names import broad_name


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """A word where it stands.

    Attributes:
      form: as written.
      type: entity type, or "O".
      sentence: index of the sentence in the list that was searched.
      position: of the word in the sentence.
      row: index of the word in all words of that list.
    """

    form: str
    type: str
    sentence: int
    position: int
    row: int


def unique(sentences: Iterable[Sentence]) -> list[Sentence]:
    """The sentences that have tags, equal ones once: a repeated one would be its own neighbour."""
    seen: dict[tuple[str, ...], Sentence] = {}
    for sentence in sentences:
        if sentence.words and sentence.tags is not None:
            seen.setdefault(sentence.words, sentence)
    return list(seen.values())


def find_all(sentences: Sequence[Sentence]) -> dict[str, list[Occurrence]]:
    """Form -> its occurrences, in the order of the text."""
    occurrences: dict[str, list[Occurrence]] = defaultdict(list)
    row = 0
    for index, sentence in enumerate(sentences):
        for position, (word, tag) in enumerate(
            zip(sentence.words, sentence.tags or (), strict=True)
        ):
            kind = OUTSIDE if tag == OUTSIDE else broad_name(tag[2:])  # one colour, one meaning
            occurrences[word].append(Occurrence(word, kind, index, position, row))
            row += 1
    return dict(occurrences)


def of_words(
    occurrences: dict[str, list[Occurrence]], words: Sequence[str]
) -> dict[str, list[Occurrence]]:
    """The occurrences of the words that a user asks for.

    Raises:
      ValueError: a word that does not occur; words like it are named.
    """
    for word in words:
        if word not in occurrences:
            near = difflib.get_close_matches(word, occurrences, n=3)
            hint = f"; there are {', '.join(map(repr, near))}" if near else ""
            raise ValueError(f"the word {word!r} does not occur in the corpus{hint}")
    return {word: occurrences[word] for word in words}


def ambiguous(
    occurrences: dict[str, list[Occurrence]], *, least: int = 4
) -> dict[str, list[Occurrence]]:
    """Forms of names that have two types or more, each `least` times; the richest first.

    Only occurrences of such types are kept. A form must have a capital, be a name somewhere, and
    not be the beginning of a sentence that is usually written small, as The is.
    """
    chosen: dict[str, list[Occurrence]] = {}
    ranks: dict[str, tuple[int, int]] = {}
    for form, places in occurrences.items():
        if not (form[:1].isupper() and len(form) > 2 and form.isalpha()):
            continue
        if len(occurrences.get(form.lower(), ())) > len(places) // 4:
            continue
        counts = {kind: n for kind, n in Counter(o.type for o in places).items() if n >= least}
        if len(counts) < 2 or set(counts) == {OUTSIDE}:
            continue
        chosen[form] = [o for o in places if o.type in counts]
        ranks[form] = (len(set(counts) - {OUTSIDE}), sorted(counts.values())[-2])
    return dict(sorted(chosen.items(), key=lambda item: (*(-r for r in ranks[item[0]]), item[0])))


def snippet(sentence: Sentence, position: int, around: int = 6) -> tuple[str, str, str]:
    """Text before the word, the word, text after it."""
    low, high = max(position - around, 0), position + around + 1
    before = ("… " if low else "") + " ".join(sentence.words[low:position])
    after = " ".join(sentence.words[position + 1 : high])
    return before, sentence.words[position], after + (" …" if high < len(sentence.words) else "")
