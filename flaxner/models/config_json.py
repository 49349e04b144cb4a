"""Reads, checks and writes the config.json of a model."""

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
    """Return the block of config.json that is meant for our own pipeline; empty if there is none.

    Returns:
      Any of "scheme": of the labels; "max_length": tokens per window in training; "context":
      "document" if windows hold the sentences of a document; "decoder": "crf" if the folder
      holds CRF scores; "temperature": calibrates the scores.

    Raises:
      ValueError: the block is malformed.
    """
    ours = fields.get(OURS) or {}
    length = ours.get("max_length", 512) if isinstance(ours, Mapping) else None
    if not isinstance(length, int) or length < 8:
        raise ValueError(
            f"the config.json of {name} must have in {OURS!r} an object whose max_length is a "
            f"whole number of at least 8: got {ours!r}"
        )
    if ours.get("context", CONTEXTS[0]) not in CONTEXTS:
        raise ValueError(
            f"the context in the config.json of {name} must be one of {', '.join(CONTEXTS)}: "
            f"got {ours['context']!r}"
        )
    heat = ours.get("temperature", 1.0)
    if isinstance(heat, bool) or not isinstance(heat, int | float) or not 0 < heat < math.inf:
        raise ValueError(
            f"the config.json of {name} must have in {OURS!r} a temperature above 0: got {heat!r}"
        )
    return ours


def check_head(fields: Mapping[str, Any], name: str) -> None:
    """Refuse the config.json of another head, whose weights can have the same names."""
    heads = fields.get("architectures") or []
    if heads and not any(head.endswith(HEAD) for head in heads):
        raise ValueError(
            f"{name} is not a token classifier: its config.json names {', '.join(heads)}"
        )


# Fields of a Hub config.json that describe another head, another file or another program.
STALE_FIELDS = (
    "_name_or_path",
    "architectures",
    "auto_map",  # refers to code next to the base model, which we neither run nor publish
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
    """Return the config.json of a token classifier.

    Args:
      model: sizes and rates, which take precedence over `fields`.
      scheme: label table.
      fields: config.json of the model that training started from; may be empty.
      dtype: of the weights.
      max_length: tokens per window in training (default: as in `fields`).
      context: of a word in training, one of CONTEXTS (default: as in `fields`).
      temperature: calibrates the scores of exactly these weights; None if unknown.
      tagging: the scheme of the labels (training converts them to IOB2). If None, it is taken
        from `fields` or inferred from the labels; if neither decides it, labels that differ from
        those in `fields` count as IOB2.

    Raises:
      ValueError: our block in `fields` is malformed.
    """
    import transformers

    ours = dict(our_block(fields, "the model to start from"))
    tagging = tagging or _tagging(ours.pop("scheme", None), fields, scheme.tags)
    if tagging is not None:
        ours["scheme"] = tagging
    ours.pop("decoder", None)
    ours.pop("temperature", None)  # belongs to the model that training started from
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
    """Return the scheme of the labels; None: IOB1 or IOB2, and nothing shows which."""
    if said is not None and agrees(said, tags):
        return said
    own = set((fields.get("id2label") or {}).values()) == set(tags)
    return table_scheme(tags) or (None if own else "IOB2")


def read_plain_config(folder: Path) -> dict[str, Any]:
    """Read the config.json of a folder unchecked, for callers that know its content by a digest.

    Raises:
      ValueError: the file is missing or not JSON.
    """
    return read_json(hub.fetch_file(folder, "config.json"))


def read_config(source: str | Path, *, revision: str | None = None) -> dict[str, Any]:
    """Read and check the config.json of a folder or Hub model.

    Raises:
      ValueError: the file is missing or not JSON, its model_type is not supported, or a value has
        the wrong type or is out of bounds.
    """
    from flaxner.models import checks
    from flaxner.models.encoders import encoder_of

    path = hub.fetch_file(source, "config.json", revision=revision)
    fields = read_json(path)
    encoder = encoder_of(fields.get("model_type"), str(source))
    checks.check_config(encoder.config, fields, str(source))
    return fields
