"""A token classifier with all that its use needs: weights, tokenizer, label names, limit."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from flaxner.data.tag_rules import CHOICES, table_scheme
from flaxner.data.tokenizer import check_vocabulary, load_tokenizer, require_fast
from flaxner.models.config_json import check_head, our_block, read_config
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.network import Model, Params, flat_params
from flaxner.models.pretrained import Pretrained, load_pretrained

UNLIMITED = 1_000_000  # what `transformers` takes for "no model_max_length"
Source = str | Path | Pretrained | TokenClassifier


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A loaded token classifier.

    Attributes:
      model: static definition.
      params: path -> array.
      tokenizer: a fast tokenizer of `transformers`.
      labels: names, by number.
      limit: tokens the model reads at once, special tokens included.
      name: where it came from, for messages.
      scheme: of the labels, one of `tag_rules.CHOICES`; None: nothing tells.
      window: tokens of a window in training; `limit` where config.json does not say.
    """

    model: Model
    params: Params
    tokenizer: Any
    labels: tuple[str, ...]
    limit: int
    name: str
    scheme: str | None
    window: int


def load_classifier(
    source: Source,
    tokenizer: Any = None,
    *,
    labels: Sequence[str] | Mapping[Any, str] | None = None,
    dtype: str = "float32",
    revision: str | None = None,
    scheme: str | None = None,
) -> Classifier:
    """Everything a token classifier needs, from one source.

    Args:
      source: a folder, a Hub name, what `models.load_pretrained` returned, or a model of ours.
      tokenizer: a fast tokenizer, its folder or Hub name; that of the model's folder if None.
      labels: names of the labels; those of config.json if None.
      dtype: of the computation, "float32" or "bfloat16".
      revision: branch, tag or commit on the Hub.
      scheme: of the labels; what config.json or the labels themselves say if None.

    Raises:
      ValueError: no token classifier, no label names, or a tokenizer that does not fit.
    """
    if dtype not in ("float32", "bfloat16"):
        raise ValueError(f"dtype must be float32 or bfloat16: got {dtype!r}")
    folder: Path | None = None
    fields: Mapping[str, Any]
    if isinstance(source, TokenClassifier):
        model, params, name = Model(source.config), flat_params(source), "the model"
        fields = {}
    else:
        if not isinstance(source, Pretrained):
            if not isinstance(source, str | os.PathLike):
                raise ValueError(
                    f"a model must be a folder, a Hub name or a model of ours: got {source!r}"
                )
            fields = read_config(source, revision=revision)
            check_head(fields, str(source))
            if labels is None and not fields.get("id2label"):
                raise ValueError(f"the config.json of {source} has no id2label: name its labels")
            count = None if fields.get("id2label") or labels is None else len(labels)
            source = load_pretrained(source, num_labels=count, revision=revision)
        model, params, fields, folder = source.model, source.params, source.fields, source.folder
        name = str(folder)
        check_head(fields, name)
        if source.fresh:
            raise ValueError(
                f"{name} is no trained token classifier: it has no {', '.join(source.fresh)}"
            )
    model = dataclasses.replace(model, compute=Compute.on(jax.default_backend(), dtype))
    if tokenizer is None and folder is None:
        raise ValueError("a model given as an object needs a tokenizer beside it")
    if tokenizer is None or isinstance(tokenizer, str | os.PathLike):
        tokenizer = load_tokenizer(str(tokenizer or folder))
    require_fast(tokenizer, name)
    check_vocabulary(tokenizer, model.config.vocab_size, name)
    names = _label_names(labels, fields, model.config.num_labels, name, named=folder is not None)
    longest = getattr(tokenizer, "model_max_length", None) or 0
    positions = model.config.positions
    limit = min(longest, positions) if 0 < longest < UNLIMITED else positions
    ours = our_block(fields, name)
    if scheme is None:
        scheme = (ours.get("scheme") if labels is None else None) or table_scheme(names)
    if scheme is not None and scheme not in CHOICES:
        raise ValueError(f"the scheme must be one of {', '.join(CHOICES)}: got {scheme!r}")
    window = min(limit, ours.get("max_length") or limit)
    return Classifier(model, params, tokenizer, names, limit, name, scheme, window)


def _label_names(
    given: Sequence[str] | Mapping[Any, str] | None,
    fields: Mapping[str, Any],
    count: int,
    name: str,
    *,
    named: bool,
) -> tuple[str, ...]:
    table = given if given is not None else fields.get("id2label")
    if not table:
        if named:
            raise ValueError(f"the config.json of {name} has no id2label: its labels have no names")
        return tuple(f"LABEL_{i}" for i in range(count))
    if isinstance(table, Mapping):
        if any(not str(key).isdecimal() for key in table):
            raise ValueError(f"the keys of id2label must be numbers: got {', '.join(table)}")
        table = [table[key] for key in sorted(table, key=int)]
    if isinstance(table, str) or any(not isinstance(label, str) for label in table):
        raise ValueError(f"id2label must name every label with a string: got {table!r}")
    if len(table) != count:
        raise ValueError(f"{name} has {count} labels and {len(table)} names for them")
    return tuple(table)
