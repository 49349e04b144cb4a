"""Words in their sentences: every occurrence of a form, and its entity type there."""

from __future__ import annotations

import dataclasses
import difflib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from flaxner.data.corpus import Sentence
from flaxner.data.tags import OUTSIDE
from flaxner.data.type_names import broad_name

LEAST = 4  # occurrences of a type that make it one of a form's types


@dataclasses.dataclass(frozen=True)
class Occurrence:
    """A word in its place in the corpus.

    Attributes:
      form: the word as written.
      type: entity type, or "O".
      sentence: index of the sentence in the list that was searched.
      position: index of the word in the sentence.
      row: index of the word among all words of that list.
    """

    form: str
    type: str
    sentence: int
    position: int
    row: int


def unique(sentences: Iterable[Sentence]) -> list[Sentence]:
    """Return the tagged sentences, equal ones once: a repeated one would be its own neighbour."""
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
    """Return the occurrences of the words that the user asked for.

    Raises:
      ValueError: a word does not occur; the message names similar ones.
    """
    for word in words:
        if word not in occurrences:
            near = difflib.get_close_matches(word, occurrences, n=3)
            hint = f"; similar words: {', '.join(map(repr, near))}" if near else ""
            raise ValueError(f"the word {word!r} does not occur in the corpus{hint}")
    return {word: occurrences[word] for word in words}


def ambiguous(
    occurrences: dict[str, list[Occurrence]], *, least: int = LEAST
) -> dict[str, list[Occurrence]]:
    """Return the forms of names with two or more types, each at least `least` times; richest first.

    Only occurrences of these types are kept. A form must be capitalised and a name somewhere, and
    must not be a word that is usually lower case and only starts sentences, such as The.
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
    """Return the text before the word, the word, and the text after it."""
    low, high = max(position - around, 0), position + around + 1
    before = ("… " if low else "") + " ".join(sentence.words[low:position])
    after = " ".join(sentence.words[position + 1 : high])
    return before, sentence.words[position], after + (" …" if high < len(sentence.words) else "")
