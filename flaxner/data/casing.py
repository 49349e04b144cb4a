"""Whether a tokenizer sees the capitals of a corpus, and whether the corpus has any."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flaxner.data.corpus import Corpus

SAMPLE = 20_000  # sentences looked at
FEWEST = 100  # words with letters of a case: fewer tell nothing
TELLING = 0.5  # difference of the shares of capitalised words that makes capitals a clue
NEARLY_ALL = 0.995


@dataclasses.dataclass
class Case:
    """How the words of a corpus are written; words without letters of a case do not count.

    Attributes:
      words: in entities, and others.
      capitalised: of these, those that begin with a capital.
      lower, upper: words all in small letters, all in capitals.
    """

    words: Counter[bool]
    capitalised: Counter[bool]
    lower: int
    upper: int

    @property
    def total(self) -> int:
        """Words with letters of a case."""
        return self.words.total()

    def share(self, in_entities: bool) -> float:
        """Of the words in entities, or of the others, those that begin with a capital."""
        return self.capitalised[in_entities] / max(self.words[in_entities], 1)


def case_of(corpus: Corpus) -> Case:
    """Count how the first sentences of a corpus are written."""
    counts: Counter[tuple[str, bool]] = Counter()
    for sentence in corpus.sentences[:SAMPLE]:
        tags: Sequence[str] = sentence.tags or ("O",) * len(sentence.words)
        counts.update((w, t != "O") for w, t in zip(sentence.words, tags, strict=True))
    case = Case(Counter(), Counter(), 0, 0)
    for (word, in_entity), n in counts.items():
        if word.lower() == word.upper():
            continue
        case.words[in_entity] += n
        case.capitalised[in_entity] += n * (word[:1].lower() != word[:1])
        case.lower += n * word.islower()
        case.upper += n * word.isupper()
    return case


def lowers_case(tokenizer: Any) -> bool:
    """Whether a fast tokenizer folds capitals into small letters."""
    backend = tokenizer.backend_tokenizer
    return backend.normalizer is not None and backend.normalizer.normalize_str("A") == "a"


def casing_warnings(corpora: Mapping[str, Corpus], tokenizer: Any, model: str) -> list[str]:
    """What is lost, or never seen, between the capitals of the corpora and the model."""
    cases = {split: case_of(corpus) for split, corpus in corpora.items()}
    cases = {split: case for split, case in cases.items() if case.total >= FEWEST}
    train = cases.get("train")
    if train is None:
        return []
    if lowers_case(tokenizer):
        inside, outside = train.share(True), train.share(False)
        if inside - outside < TELLING:
            return []
        return [
            f"{model} does not see capitals, and here they tell entities apart ({inside:.0%} of "
            f"the words in entities have them, {outside:.0%} of the others): a cased model may do "
            "better"
        ]
    warnings = []
    for split, case in cases.items():
        for written, count in (("small letters", case.lower), ("capitals", case.upper)):
            if count < NEARLY_ALL * case.total:
                continue
            tried = (
                "an uncased model" if written == "small letters" else "lower-casing or truecasing"
            )
            if split == "train" or train.lower + train.upper < NEARLY_ALL * train.total:
                warnings.append(
                    f"{corpora[split].source} is all in {written}, and {model} is cased: "
                    f"{tried} may do better"
                )
    return warnings
