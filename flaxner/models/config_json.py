"""The config.json of a model: read, checked, written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaxner import hub
from flaxner.config.data import CONTEXTS
from flaxner.data.labels import LabelScheme
from flaxner.data.tag_rules import agrees, table_scheme
from flaxner.files import read_json
from flaxner.models import crf
from flaxner.models.crf import OURS

if TYPE_CHECKING:
    from flaxner.models.network import Model

HEAD = "ForTokenClassification"


def our_block(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """What config.json says to our own pipeline, or nothing.

    Returns:
      "scheme" of the labels, "max_length": tokens of a window in training, "context":
      "document" where windows hold the sentences of a document, "decoder": "crf" where the scores
      of one are beside, "temperature" that calibrates the scores.

    Raises:
      ValueError: a block of another form.
    """
    ours = fields.get(OURS) or {}
    length = ours.get("max_length", 512) if isinstance(ours, Mapping) else None
    if not isinstance(length, int) or length < 8:
        raise ValueError(
            f'the config.json of {name} must say {{"scheme": ..., "max_length": NUMBER}} in '
            f"{OURS!r}: it says {ours!r}"
        )
    if ours.get("context", CONTEXTS[0]) not in CONTEXTS:
        raise ValueError(
            f"the context in the config.json of {name} must be one of {', '.join(CONTEXTS)}: it "
            f"is {ours['context']!r}"
        )
    heat = ours.get("temperature", 1.0)
    if isinstance(heat, bool) or not isinstance(heat, int | float) or not 0 < heat < math.inf:
        raise ValueError(
            f"the config.json of {name} must say in {OURS!r} a temperature above 0: it says "
            f"{heat!r}"
        )
    return ours


def check_head(fields: Mapping[str, Any], name: str) -> None:
    """Another head can have weights of the same names: the file says what it was made for."""
    heads = fields.get("architectures") or []
    if heads and not any(head.endswith(HEAD) for head in heads):
        raise ValueError(f"{name} is no token classifier: its config.json says {', '.join(heads)}")


# What a Hub config.json may carry that describes another head, another file or another program.
STALE_FIELDS = (
    "_name_or_path",
    "architectures",
    "auto_map",  # names code beside the base model, which is neither run here nor published
    "finetuning_task",
    "problem_type",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "gradient_checkpointing",
    "num_labels",
)


def hub_config(
    model: Model,
    scheme: LabelScheme,
    fields: Mapping[str, Any],
    dtype: str = "float32",
    max_length: int | None = None,
    context: str | None = None,
    temperature: float | None = None,
    tagging: str | None = None,
) -> dict[str, Any]:
    """The config.json of a token classifier.

    Args:
      model: sizes and rates, which win over `fields`.
      scheme: label table.
      fields: config.json of the model that training began with, or nothing.
      dtype: of the weights.
      max_length: tokens of a window in training; what `fields` say of it if None.
      context: of a word in training, one of CONTEXTS; what `fields` say of it if None.
      temperature: that calibrates the scores of these very weights; None: it is not known.
      tagging: the scheme of the labels, which training makes IOB2; None: what they show or
        `fields` say, IOB2 of labels that are not those of `fields`.

    Raises:
      ValueError: `fields` have a block of ours that is none.
    """
    import transformers

    ours = dict(our_block(fields, "the model to start from"))
    tagging = tagging or _tagging(ours.pop("scheme", None), fields, scheme.tags)
    if tagging is not None:
        ours["scheme"] = tagging
    ours.pop("decoder", None)
    ours.pop("temperature", None)  # of the model that training began with
    if model.crf:
        ours["decoder"] = crf.NAME
    if max_length is not None:
        ours["max_length"] = max_length
    if context is not None:
        ours["context"] = context
    if ours.get("context") == CONTEXTS[0]:
        del ours["context"]
    if temperature is not None:
        ours["temperature"] = temperature
    return {
        **{name: value for name, value in fields.items() if name not in STALE_FIELDS},
        **model.config.to_hf(),
        "architectures": [model.encoder.architecture],
        "dtype": dtype,
        OURS: ours,
        "id2label": {str(i): tag for i, tag in scheme.id2label.items()},
        "label2id": dict(scheme.label2id),
        "transformers_version": transformers.__version__,
    }


def _tagging(said: str | None, fields: Mapping[str, Any], tags: Sequence[str]) -> str | None:
    """The scheme of labels; None: IOB1 or IOB2, which the model that has them was not asked."""
    if said is not None and agrees(said, tags):
        return said
    own = set((fields.get("id2label") or {}).values()) == set(tags)
    return table_scheme(tags) or (None if own else "IOB2")


def read_plain_config(folder: Path) -> dict[str, Any]:
    """The config.json of a folder, unchecked: for who knows its content by a digest.

    Raises:
      ValueError: not there, or no JSON.
    """
    return read_json(hub.fetch_file(folder, "config.json"))


def read_config(source: str | Path, *, revision: str | None = None) -> dict[str, Any]:
    """The config.json of a folder or Hub model, known to be of a supported type.

    Raises:
      ValueError: not there, no JSON, a model_type flaxner has no encoder for, or a value that is
        of another kind or out of its bounds.
    """
    from flaxner.models import checks
    from flaxner.models.encoders import encoder_of

    path = hub.fetch_file(source, "config.json", revision=revision)
    fields = read_json(path)
    encoder = encoder_of(fields.get("model_type"), str(source))
    checks.check_config(encoder.config, fields, str(source))
    return fields
