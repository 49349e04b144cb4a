"""A token classifier with all that its use needs: weights, tokenizer, label names, limit."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from flaxner.devices.environment import check_devices
from flaxner.inference.facts import label_table, read_facts
from flaxner.inference.fitting import fitting_tokenizer
from flaxner.inference.precision import AUTO, dtype_name, file_dtype
from flaxner.models.config_json import check_head, read_config
from flaxner.models.crf import Scores, without
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.network import Model, Params, flat_params
from flaxner.models.pretrained import Pretrained, load_pretrained

ModelSource = str | Path | Pretrained | TokenClassifier


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A loaded token classifier.

    Attributes:
      model: static definition.
      params: path -> array.
      tokenizer: a fast tokenizer of `transformers`.
      labels: names, by number.
      limit: tokens the model can read at once, special tokens included; the tokenizer's
        model_max_length may be less.
      name: where it came from, for messages.
      scheme: of the labels, one of `tag_rules.CHOICES`; None: nothing tells.
      window: tokens of a window in training; None where config.json does not say.
      context: "document" if windows held the sentences of a document in training, else
        "sentences".
      temperature: that calibrates the scores; None where config.json does not say.
      fields: content of config.json; nothing of a model in memory.
      folder: of the model; None of a model in memory.
      crf: the scores of its CRF, if it has one.
    """

    model: Model
    params: Params
    tokenizer: Any
    labels: tuple[str, ...]
    limit: int
    name: str
    scheme: str | None
    window: int | None
    context: str
    fields: Mapping[str, Any]
    folder: Path | None
    crf: Scores | None = None
    temperature: float | None = None

    def on(self, device: jax.Device) -> Classifier:
        """The same, computed as suits a device and those beside it."""
        compute = Compute.here(self.model.compute.dtype, device)
        return dataclasses.replace(self, model=dataclasses.replace(self.model, compute=compute))

    def forward(self, params: Params, *inputs: jax.Array) -> jax.Array:
        """(params, input_ids, segment_ids, position_ids) -> logits_BLC, float32.

        In float16 they are rounded as torch's are: of 4,025 labels that torch gives in float16
        3 are others so, 23 if they are not. In bfloat16 it makes no difference: 31 and 32.
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
    """Everything a token classifier needs, from one source.

    Args:
      source: a folder, a Hub name, what `models.load_pretrained` returned, or a model of ours.
      tokenizer: a fast tokenizer, its folder or Hub name; that of the model's folder if None.
      labels: names of the labels; those of config.json if None.
      dtype: of the computation, one of `precision.NAMES`, or "auto": that of the file.
      revision: branch, tag or commit on the Hub.
      scheme: of the labels; what config.json or the labels themselves say if None.

    Raises:
      ValueError: no token classifier, no label names, or a tokenizer that does not fit.
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
        facts.labels,
        limit,
        read.name,
        facts.scheme,
        facts.window,
        facts.context,
        read.fields,
        read.folder,
        Scores.of(read.params) if read.model.crf else None,
        facts.temperature,
    )


def _compute(dtype: str, read: _Read) -> Compute:
    """The dtypes of the computation that a name of one means here."""
    if dtype == AUTO:
        dtype = file_dtype(read.fields, read.folder)
    return Compute.here(dtype)


class _Read(NamedTuple):
    """A model as it came: a definition, its weights, config.json, and where from."""

    model: Model
    params: Params
    fields: Mapping[str, Any]
    folder: Path | None
    name: str


def _read(
    source: ModelSource, labels: Sequence[str] | Mapping[Any, str] | None, revision: str | None
) -> _Read:
    """The model of a source, known to have a trained head."""
    if isinstance(source, TokenClassifier):
        return _Read(Model(source.config), flat_params(source), {}, None, "the model")
    if not isinstance(source, Pretrained):
        if not isinstance(source, str | os.PathLike):
            raise ValueError(
                f"a model must be a folder, a Hub name or a model of ours: got {source!r}"
            )
        fields = read_config(source, revision=revision)
        check_head(fields, str(source))
        label_table(fields, labels, str(source))
        # The weights must fit the file's own table: a wrong number of names is said of the names.
        has_names = labels is None or isinstance(fields.get("id2label"), Mapping)
        count = None if has_names else len(labels or ())
        source = load_pretrained(source, num_labels=count, revision=revision)
    name = str(source.folder)
    check_head(source.fields, name)
    if source.fresh:
        raise ValueError(
            f"{name} is no trained token classifier: it has no {', '.join(source.fresh)}"
        )
    return _Read(source.model, source.params, source.fields, source.folder, name)
