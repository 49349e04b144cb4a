"""Tags and labels: the label table of a model, and which label may follow which."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

OUTSIDE = "O"


@dataclasses.dataclass(frozen=True)
class LabelScheme:
    """The label table of a model, in IOB2: label i is `tags[i]`.

    Attributes:
      tags: "O", "B-PER", "I-PER", ...; every one once.
    """

    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.tags)) != len(self.tags):
            raise ValueError(f"every tag must have one label: {self.tags}")

    @classmethod
    def from_types(cls, types: Iterable[str]) -> LabelScheme:
        """O, then B- and I- of every type in alphabetical order."""
        return cls((OUTSIDE, *(f"{p}-{t}" for t in sorted(set(types)) for p in "BI")))

    @classmethod
    def from_id2label(cls, table: Mapping[Any, str]) -> LabelScheme:
        """The id2label of a Hub config.json, its keys being numbers or their digits."""
        return cls(tuple(table[key] for key in sorted(table, key=int)))

    def __len__(self) -> int:
        return len(self.tags)

    @property
    def types(self) -> tuple[str, ...]:
        """Entity types, in alphabetical order."""
        return tuple(sorted({tag[2:] for tag in self.tags if tag[1:2] == "-"}))

    @property
    def id2label(self) -> dict[int, str]:
        """Label -> tag."""
        return dict(enumerate(self.tags))

    @functools.cached_property
    def label2id(self) -> dict[str, int]:
        """Tag -> label."""
        return {tag: label for label, tag in enumerate(self.tags)}

    def encode(self, tags: Sequence[str]) -> np.ndarray:
        """Tags -> labels, int32.

        Raises:
          ValueError: a tag that has no label; those that have one are named.
        """
        try:
            return np.asarray([self.label2id[tag] for tag in tags], np.int32)
        except KeyError as error:
            known = ", ".join(self.tags)
            raise ValueError(f"the tag {error.args[0]!r} has no label; known: {known}") from None

    def decode(self, labels: Iterable[int]) -> list[str]:
        """Labels -> tags."""
        return [self.tags[int(label)] for label in labels]

    @functools.cached_property
    def legal_starts(self) -> np.ndarray:
        """bool (C,): which labels may begin a sentence; in IOB2 all but I-."""
        return np.asarray([not tag.startswith("I-") for tag in self.tags])

    @functools.cached_property
    def legal_transitions(self) -> np.ndarray:
        """bool (C, C): [a, b] says whether label b may follow label a; I-X follows B-X or I-X."""
        return np.asarray(
            [[not b.startswith("I-") or a[2:] == b[2:] for b in self.tags] for a in self.tags]
        )
