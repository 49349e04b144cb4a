"""A token classifier with everything needed to use it: weights, tokenizer, label names, limit."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from flaxner.devices.environment import check_devices
from flaxner.inference.facts import Facts, label_table, read_facts
from flaxner.inference.fitting import fitting_tokenizer
from flaxner.inference.options import kind
from flaxner.inference.precision import AUTO, dtype_name, file_dtype
from flaxner.models.config_json import check_head, read_config
from flaxner.models.crf import Scores, without
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.network import Model, Params, changes, flat_params
from flaxner.models.pretrained import Pretrained, load_pretrained
from flaxner.wording import few

ModelSource = str | Path | Pretrained | TokenClassifier


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A loaded token classifier.

    Attributes:
      model: static definition.
      params: path -> array.
      tokenizer: a fast tokenizer of `transformers`.
      facts: about its labels and windows.
      limit: tokens the model can read at once, special tokens included; the tokenizer's
        model_max_length may be lower.
      name: where it came from, for messages.
      fields: content of config.json; empty for a model in memory.
      folder: the model's folder; None for a model in memory.
      crf: the scores of its CRF, if it has one.
    """

    model: Model
    params: Params
    tokenizer: Any
    facts: Facts
    limit: int
    name: str
    fields: Mapping[str, Any]
    folder: Path | None
    crf: Scores | None

    def on(self, device: jax.Device) -> Classifier:
        """Return the same classifier, with computation settings for a device."""
        compute = Compute.here(self.model.compute.dtype, device)
        return dataclasses.replace(self, model=dataclasses.replace(self.model, compute=compute))

    def forward(self, params: Params, *inputs: jax.Array) -> jax.Array:
        """Compute logits_BLC, float32, from (params, input_ids, segment_ids, position_ids).

        In float16 they are rounded like torch's: of 4,025 labels, 3 differ from torch's in float16,
        against 23 without the rounding. In bfloat16 it makes no difference: 31 and 32.
        """
        logits_BLC = self.model.apply(params, *inputs)
        if self.model.compute.dtype == "float16":
            logits_BLC = logits_BLC.astype(jnp.float16)
        return logits_BLC.astype(jnp.float32)


def load_classifier(
    source: ModelSource,
    tokenizer: Any = None,
    *,
    labels: Sequence[str] | Mapping[Any, str] | None = None,
    dtype: str = "float32",
    revision: str | None = None,
    scheme: str | None = None,
) -> Classifier:
    """Load a token classifier with everything it needs.

    Args:
      source: a folder, a Hub name, the result of `models.load_pretrained`, or a flaxner model.
      tokenizer: a fast tokenizer, its folder or its Hub name; the model's own if None.
      labels: names of the labels; those of config.json if None.
      dtype: dtype of the computation, one of `precision.NAMES`, or "auto": that of the file.
      revision: branch, tag or commit on the Hub.
      scheme: scheme of the labels; if None, what config.json says or the labels show.

    Raises:
      ValueError: not a token classifier, no label names, or a tokenizer that does not fit.
    """
    check_devices()
    read = _read(source, labels, revision)
    compute = _compute(dtype_name(dtype), read)
    model = dataclasses.replace(read.model, compute=compute, crf=False)
    limit = model.config.positions
    facts = read_facts(
        read.fields,
        read.name,
        model.config.num_labels,
        limit,
        labels=labels,
        scheme=scheme,
        in_memory=read.folder is None,
    )
    tokenizer = fitting_tokenizer(tokenizer, read.folder, model.config.vocab_size, read.name)
    return Classifier(
        model,
        without(read.params),
        tokenizer,
        facts,
        limit,
        read.name,
        read.fields,
        read.folder,
        Scores.of(read.params) if read.model.crf else None,
    )


def _compute(dtype: str, read: _Read) -> Compute:
    """Return the computation settings for the name of a dtype."""
    if dtype == AUTO:
        dtype = file_dtype(read.fields, read.folder)
    return Compute.here(dtype)


class _Read(NamedTuple):
    """A model as loaded: definition, weights, config.json and where it came from."""

    model: Model
    params: Params
    fields: Mapping[str, Any]
    folder: Path | None
    name: str


def _read(
    source: ModelSource, labels: Sequence[str] | Mapping[Any, str] | None, revision: str | None
) -> _Read:
    """Load the model from its source, and check that it has a trained head."""
    if isinstance(source, TokenClassifier):
        model = Model(source.config)
        _refuse_changed(model, source)
        return _Read(model, flat_params(source), {}, None, "the model")
    if not isinstance(source, Pretrained):
        if not isinstance(source, str | os.PathLike):
            raise ValueError(
                f"model must be a folder, a Hub name or a flaxner model: got {kind(source)}"
            )
        fields = read_config(source, revision=revision)
        check_head(fields, str(source))
        label_table(fields, labels, str(source))
        # Check the weights against the file's own table: a wrong number of names is reported later.
        has_names = labels is None or isinstance(fields.get("id2label"), Mapping)
        count = None if has_names else len(labels or ())
        source = load_pretrained(source, num_labels=count, revision=revision)
    name = str(source.folder)
    check_head(source.fields, name)
    if source.fresh:
        raise ValueError(
            f"{name} is not a trained token classifier: it has no {', '.join(source.fresh)}"
        )
    return _Read(source.model, source.params, source.fields, source.folder, name)


def _refuse_changed(model: Model, network: TokenClassifier) -> None:
    """Refuse a network that computes something else than its config and parameters say."""
    if changed := changes(model, network):
        raise ValueError(
            f"the model is not the one of its config: it differs in {few(changed)}; merge adapters "
            "into the kernels, build a model of another size from a config of its own, and call a "
            "network of your own yourself"
        )
