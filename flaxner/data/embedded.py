"""The corpus that the package generates itself: news-like sentences about invented events.

It allows training, evaluation and export without a network. It is designed to be a realistic task
for a tagger:

* a third of the names of persons, places and organisations are ambiguous, such as Washington,
  which can be any of the three: only the sentence shows which;
* many names are composed of syllables, so no list of names covers them;
* the validation and test splits draw more than half of their names from pools that no other
  split uses.

The same seed gives the same sentences on every machine. Templates and names are in sample.txt.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Tagged = tuple[tuple[str, ...], tuple[str, ...]]  # words, IOB2 tags
Data = Mapping[str, list[str]]

SIZES = {"train": 10000, "validation": 600, "test": 600}  # sentences
UNSEEN = 0.6  # fraction of the names in validation and test that no other split uses
AMBIGUITY = 0.35  # fraction of names that may have any type
JOINED = 0.2  # fraction of sentences that are joined from two
TITLES = ("Mr.", "Mrs.", "Dr.", "Judge", "Senator", "Coach")  # capitalised anywhere in a sentence
EXAMPLES = (
    "The headquarters of Google is located in Mountain View, California.",
    "Washington told reporters that he would resign on Friday.",
    "Shares of Washington fell 4 percent, while it rained in Washington for 3 days.",
)


def read_data() -> dict[str, list[str]]:
    """Read the sections of sample.txt: `[name]`, then one item per line."""
    text = (Path(__file__).parent / "sample.txt").read_text("utf-8")
    parts = re.split(r"^\[(\w+)\]$", text, flags=re.MULTILINE)[1:]
    return {
        name: [line.strip() for line in body.splitlines() if line.strip()]
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


class _Draw:
    """Random choices that are the same on every machine and version of Python."""

    def __init__(self, key: str) -> None:
        self._random = random.Random(key).random

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def one(self, items: Sequence[str]) -> str:
        return items[int(self._random() * len(items))]

    def number(self, low: int, high: int) -> int:
        return low + int(self._random() * (high - low + 1))

    def shuffled(self, items: Sequence[str]) -> list[str]:
        return [item for _, item in sorted((self._random(), item) for item in items)]


def _invented(draw: _Draw, data: Data, endings: str) -> str:
    """Invent a name from one or two syllables and one of the given endings."""
    syllables = [draw.one(data["syllables"]) for _ in range(draw.number(1, 2))]
    return ("".join(syllables) + draw.one(data[endings])).capitalize()


def _pools(draw: _Draw, data: Data) -> dict[str, list[str]]:
    """Return all parts of names, listed and invented, without duplicates."""

    def with_invented(section: str, count: int) -> list[str]:
        invented = {_invented(draw, data, f"{section}_endings") for _ in range(count)}
        return draw.shuffled(sorted(invented | set(data[section])))

    return {
        "first": draw.shuffled(data["first"]),
        "last": with_invented("last", 800),
        "place": with_invented("place", 600),
        "company": with_invented("company", 600),
        "misc": draw.shuffled(data["misc"]),
    }


def _shares(pools: Data) -> dict[str, dict[str, list[str]]]:
    """Return each split's own pools: 60% for training, 20% for each of the others."""
    cuts = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
    return {
        split: {
            name: pool[int(low * len(pool)) : int(high * len(pool))] for name, pool in pools.items()
        }
        for split, (low, high) in cuts.items()
    }


class _Writer:
    """Writes the sentences of one split."""

    def __init__(self, draw: _Draw, data: Data, own: Data, shared: Data, unseen: float) -> None:
        self.draw, self.data, self.unseen = draw, data, unseen
        self.own, self.shared = own, shared

    def sentence(self) -> Tagged:
        """Return words and IOB2 tags."""
        words: list[str] = []
        tags: list[str] = []
        for item in self._template().split():
            slot = item[1:-1] if item.startswith("{") else ""
            if slot.isupper():
                kind = "MISC" if slot == "AWARD" else slot
                parts = self._entity(slot).split()
                tags += [f"B-{kind}", *[f"I-{kind}"] * (len(parts) - 1)]
            else:
                parts = self._filler(slot).split() if slot else [item]
                tags += ["O"] * len(parts)
            words += parts
        words[0] = words[0][0].upper() + words[0][1:]
        for index, following in enumerate(words[1:]):
            if words[index] in ("A", "a") and following[0] in "AEIOaeio":
                words[index] += "n"
        return tuple(words), tuple(tags)

    def _template(self) -> str:
        template = self.draw.one(self.data["templates"])
        if not self.draw.chance(JOINED):
            return template
        second = self.draw.one(self.data["templates"])
        if not second.startswith(TITLES):
            second = second[0].lower() + second[1:]
        return f"{template.rsplit(' ', 1)[0]} {self.draw.one(self.data['joints'])} {second}"

    def _entity(self, kind: str) -> str:
        if kind in ("PER", "LOC", "ORG") and self.draw.chance(AMBIGUITY):
            return self.draw.one(self.data["ambiguous"])
        pattern = self.draw.one(self.data[f"{kind}_patterns"])
        return re.sub(r"<(\w+)>", lambda match: self._part(match[1]), pattern)

    def _part(self, name: str) -> str:
        if name not in self.own:
            return self.draw.one(self.data[name])
        return self.draw.one((self.own if self.draw.chance(self.unseen) else self.shared)[name])

    def _filler(self, slot: str) -> str:
        number = self.draw.number
        if slot == "score":
            return f"{number(0, 5)}-{number(0, 5)}"
        if slot == "sets":
            return f"{number(0, 7)}-{number(4, 7)} {number(4, 7)}-{number(0, 7)}"
        if slot == "number":
            return str(number(2, 90))
        if slot == "year":
            return str(number(1950, 2024))
        return self.draw.one(self.data[slot])


@functools.cache
def _corpus(seed: int) -> dict[str, list[Tagged]]:
    data = read_data()
    shares = _shares(_pools(_Draw(f"flaxner {seed} pools"), data))
    seen: set[tuple[str, ...]] = set()
    corpus: dict[str, list[Tagged]] = {}
    for split, size in SIZES.items():
        draw = _Draw(f"flaxner {seed} {split}")
        unseen = 1.0 if split == "train" else UNSEEN
        writer = _Writer(draw, data, shares[split], shares["train"], unseen)
        sentences: list[Tagged] = []
        while len(sentences) < size:
            words, tags = writer.sentence()
            if words not in seen:  # no sentence occurs twice, in any split
                seen.add(words)
                sentences.append((words, tags))
        corpus[split] = sentences
    return corpus


def generate(split: str, seed: int = 0) -> Iterator[Tagged]:
    """Yield the words and IOB2 tags of every sentence of a split.

    Args:
      split: "train", "validation" or "test".
      seed: another seed gives another corpus.

    Raises:
      ValueError: there is no such split.
    """
    if split not in SIZES:
        raise ValueError(f"the embedded corpus has the splits {', '.join(SIZES)}: got {split!r}")
    yield from _corpus(seed)[split]
