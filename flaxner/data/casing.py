"""Check whether a tokenizer preserves the case of a corpus, and whether the corpus has any."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flaxner.data.corpus import Corpus

SAMPLE = 20_000  # sentences to look at
FEWEST = 100  # cased words needed for a judgement
TELLING = 0.5  # difference between the fractions of capitalised words that makes capitals a clue
NEARLY_ALL = 0.995


@dataclasses.dataclass
class Case:
    """The case of the words in a corpus; words without cased letters do not count.

    Attributes:
      words: number of words in entities (True) and outside (False).
      capitalised: number of these that begin with a capital.
      lower, upper: number of words all in lower case, all in upper case.
    """

    words: Counter[bool]
    capitalised: Counter[bool]
    lower: int
    upper: int

    @property
    def total(self) -> int:
        """Number of words with cased letters."""
        return self.words.total()

    def share(self, in_entities: bool) -> float:
        """Return the fraction of words in entities, or of other words, that are capitalised."""
        return self.capitalised[in_entities] / max(self.words[in_entities], 1)


def case_of(corpus: Corpus) -> Case:
    """Count the case of the words in the first sentences of a corpus."""
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
    """Whether a fast tokenizer lower-cases its input."""
    backend = tokenizer.backend_tokenizer
    # It may put a space before the text.
    return backend.normalizer is not None and backend.normalizer.normalize_str("A").endswith("a")


def casing_warnings(corpora: Mapping[str, Corpus], tokenizer: Any, model: str) -> list[str]:
    """Return warnings about a mismatch between the case of the corpora and the model."""
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
            f"{model} ignores case, but here capitals mark entities ({inside:.0%} of the words in "
            f"entities are capitalised, {outside:.0%} of the others): a cased model may do better"
        ]
    warnings = []
    for split, case in cases.items():
        for written, count in (("lower case", case.lower), ("upper case", case.upper)):
            if count < NEARLY_ALL * case.total:
                continue
            tried = "an uncased model" if written == "lower case" else "lower-casing or truecasing"
            if split == "train" or train.lower + train.upper < NEARLY_ALL * train.total:
                warnings.append(
                    f"{corpora[split].source} is all in {written}, and {model} is cased: "
                    f"{tried} may do better"
                )
    return warnings
