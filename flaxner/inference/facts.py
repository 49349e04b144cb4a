"""What a model folder says about its labels and windows, apart from the computation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flaxner.config.data import CONTEXTS
from flaxner.data.labels import label_names
from flaxner.data.tag_rules import CHOICES, agrees, table_scheme
from flaxner.models.config_json import our_block

logger = logging.getLogger("flaxner")
Labels = Sequence[str] | Mapping[Any, str] | None


class Facts(NamedTuple):
    """What a pipeline knows about its labels and windows.

    Attributes:
      labels: names of the labels, in order.
      scheme: scheme of the labels, one of `tag_rules.CHOICES`; None if unknown.
      window: tokens per window in training; None if config.json does not say.
      context: what a word saw in training, one of `config.data.CONTEXTS`.
      temperature: calibrates the scores; None if config.json has none.
    """

    labels: tuple[str, ...]
    scheme: str | None
    window: int | None
    context: str
    temperature: float | None


def read_facts(
    fields: Mapping[str, Any],
    name: str,
    count: int,
    limit: int,
    *,
    labels: Labels = None,
    scheme: str | None = None,
    in_memory: bool = False,
) -> Facts:
    """Read the facts about a model.

    Args:
      fields: content of config.json; empty for a model in memory.
      name: where the model came from, for messages.
      count: width of the logits.
      limit: tokens that the model can read at once.
      labels: names of the labels; those of config.json if None.
      scheme: scheme of the labels; if None, what config.json says or the labels show.
      in_memory: the model has no folder: labels without names get numbers.

    Raises:
      ValueError: no names, too many or too few, an unknown scheme, or a window that the model
        cannot read.
    """
    names = _label_names(fields, labels, name, count, in_memory)
    ours = our_block(fields, name)
    window = ours.get("max_length")
    if window is not None and window > limit:
        raise ValueError(
            f"the config.json of {name} says that the model was trained with windows of {window} "
            f"tokens, but it reads at most {limit} at once: they belong to different models"
        )
    if scheme is None:
        scheme = ours.get("scheme")
        if scheme in CHOICES and not agrees(scheme, names):
            if labels is None:
                logger.warning(
                    "the config.json of %s says that its labels are %s, but %s cannot be: "
                    "inferring the scheme from them",
                    *(name, scheme, ", ".join(names)),
                )
            scheme = None
    if scheme is None:
        scheme = table_scheme(names)
    if scheme is not None and scheme not in CHOICES:
        raise ValueError(f"scheme must be one of {', '.join(CHOICES)}: got {scheme!r}")
    heat = ours.get("temperature")
    context = ours.get("context", CONTEXTS[0])
    return Facts(names, scheme, window, context, None if heat is None else float(heat))


def _label_names(
    fields: Mapping[str, Any], given: Labels, name: str, count: int, in_memory: bool
) -> tuple[str, ...]:
    if given is None and in_memory:
        return tuple(f"LABEL_{i}" for i in range(count))
    names = label_table(fields, given, name)
    if len(names) != count:
        raise ValueError(f"{name} has {count} labels, but {len(names)} names for them")
    return names


def label_table(fields: Mapping[str, Any], given: Labels, name: str) -> tuple[str, ...]:
    """Return the label names from the caller, or else from config.json.

    Raises:
      ValueError: neither has any, or they are not names.
    """
    if given is not None:
        listed = isinstance(given, Sequence) and not isinstance(given, str)
        return label_names(dict(enumerate(given)) if listed else given)
    if not fields.get("id2label"):
        raise ValueError(f"the config.json of {name} has no id2label: add it, or pass id2label=")
    try:
        return label_names(fields["id2label"])
    except ValueError as error:
        raise ValueError(f"the config.json of {name} does not name its labels: {error}") from error
