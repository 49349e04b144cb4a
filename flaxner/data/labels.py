"""The label table of a model: a number for each tag."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from flaxner.data.tags import OUTSIDE


def label_names(table: Any) -> tuple[str, ...]:
    """Return the names in an id2label table, in the order of their numbers.

    `transformers` fails at the first token whose label has no name; this fails up front.

    Args:
      table: the id2label of a config.json, from numbers (or strings of digits) to names.

    Raises:
      ValueError: the value is not such a table, or leaves a label without a name.
    """
    if not isinstance(table, Mapping) or not table:
        raise ValueError(f"id2label must map numbers to names: got {_brief(table)}")
    names: dict[int, Any] = {}
    for key, name in table.items():
        try:
            number = int(key)
        except (TypeError, ValueError):
            known = ", ".join(map(str, table))
            raise ValueError(f"the keys of id2label must be numbers: got {known}") from None
        if not isinstance(name, str):
            raise ValueError(f"id2label must name every label with a string: got {_brief(table)}")
        if number in names:
            raise ValueError(f"id2label must name every label once: it has {number} twice")
        names[number] = name
    absent = next((number for number in range(len(names)) if number not in names), None)
    if absent is not None:
        given = ", ".join(map(str, sorted(names)))
        raise ValueError(
            f"id2label must number its {len(names)} labels from 0 to {len(names) - 1}: it has "
            f"no name for label {absent}, only for {given}"
        )
    return tuple(names[number] for number in range(len(names)))


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


@dataclasses.dataclass(frozen=True)
class LabelScheme:
    """The label table of a model, in IOB2: label i is `tags[i]`.

    Attributes:
      tags: "O", "B-PER", "I-PER", ..., without duplicates.
    """

    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tags", tuple(self.tags))  # a list is not hashable
        if len(set(self.tags)) != len(self.tags):
            raise ValueError(f"each tag must occur only once: got {self.tags}")

    @classmethod
    def from_types(cls, types: Iterable[str]) -> LabelScheme:
        """Build a scheme of O, then B- and I- for every type in alphabetical order."""
        return cls((OUTSIDE, *(f"{p}-{t}" for t in sorted(set(types)) for p in "BI")))

    @classmethod
    def from_id2label(cls, table: Mapping[Any, str]) -> LabelScheme:
        """Build a scheme from the id2label of a config.json; keys are numbers or digit strings.

        Raises:
          ValueError: see `label_names`.
        """
        return cls(label_names(table))

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
        """Convert tags to labels, int32.

        Raises:
          ValueError: a tag has no label; the message lists the tags that do.
        """
        try:
            return np.asarray([self.label2id[tag] for tag in tags], np.int32)
        except KeyError as error:
            known = ", ".join(self.tags)
            raise ValueError(f"the tag {error.args[0]!r} has no label; these do: {known}") from None

    def decode(self, labels: Iterable[int]) -> list[str]:
        """Convert labels to tags."""
        return [self.tags[int(label)] for label in labels]

    @functools.cached_property
    def inside(self) -> np.ndarray:
        """For each label, that of its type's inside tag (B-X -> I-X), or itself; int32 (C,)."""
        inside = (self.label2id.get(f"I-{tag[2:]}", own) for own, tag in enumerate(self.tags))
        return np.fromiter(inside, np.int32)
