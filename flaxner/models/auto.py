"""The public classes FlaxXForTokenClassification, named like the former classes of `transformers`.

Each is a family's network with `from_pretrained`; `FlaxAutoModelForTokenClassification` reads
the family from config.json.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from flax import nnx

from flaxner.models.bert import BertForTokenClassification
from flaxner.models.deberta import DebertaForTokenClassification
from flaxner.models.distilbert import DistilBertForTokenClassification
from flaxner.models.electra import ElectraForTokenClassification
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.modernbert import ModernBertForTokenClassification
from flaxner.models.pretrained import load_pretrained
from flaxner.models.roberta import RobertaForTokenClassification


class FlaxAutoModelForTokenClassification:
    """A token classifier of the family named in a folder's config.json.

    Its subclasses are the families' networks. They can also be built with new weights, from a
    network's `config` and `rngs=nnx.Rngs(seed)`.
    """

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        num_labels: int | None = None,
        ignore_mismatched_sizes: bool = False,
        seed: int = 0,
        compute: Compute | None = None,
        revision: str | None = None,
    ) -> TokenClassifier:
        """Load a model from a folder or the Hub: safetensors or flax msgpack, single or sharded.

        Warns if head weights are missing or ignored and so initialised from `seed`, and names them.

        Args:
          source: folder or Hub name.
          num_labels: width of the head (default: as in config.json).
          ignore_mismatched_sizes: replace a head of another width by a new one, instead of raising.
          seed: initialises head weights that the folder lacks.
          compute: dtype and layout of the computation.
          revision: branch, tag or commit on the Hub.

        Raises:
          ValueError: the model does not exist, is not supported, belongs to another family than
            this class, or has weights that do not fit; the message lists them all.
        """
        loaded = load_pretrained(
            source,
            num_labels=num_labels,
            new_head=None if ignore_mismatched_sizes else False,
            seed=seed,
            compute=compute,
            revision=revision,
        )
        own: Any = globals()[f"Flax{loaded.model.encoder.architecture}"]
        if not issubclass(own, cls):
            raise ValueError(
                f"{source} is a model of type {loaded.model.config.model_type!r}: load it with "
                f"{own.__name__} or FlaxAutoModelForTokenClassification"
            )
        if loaded.fresh:
            warnings.warn(
                f"{source} has no {', '.join(loaded.fresh)} for {loaded.model.config.num_labels} "
                f"labels: initialised from seed {seed}; train the model before you use it",
                stacklevel=2,
            )
        model = loaded.model
        module = nnx.eval_shape(lambda: own(model.config, rngs=nnx.Rngs(0), compute=model.compute))
        nnx.update(module, nnx.state(model.bind(loaded.params)))
        return module


class FlaxBertForTokenClassification(
    FlaxAutoModelForTokenClassification, BertForTokenClassification
):
    """BERT and its descendants with absolute positions, as a token classifier."""


class FlaxCamembertForTokenClassification(
    FlaxAutoModelForTokenClassification, RobertaForTokenClassification
):
    """CamemBERT, as a token classifier."""


class FlaxDebertaForTokenClassification(
    FlaxAutoModelForTokenClassification, DebertaForTokenClassification
):
    """DeBERTa, version 1, as a token classifier."""


class FlaxDebertaV2ForTokenClassification(
    FlaxAutoModelForTokenClassification, DebertaForTokenClassification
):
    """DeBERTa, versions 2 and 3, as a token classifier."""


class FlaxDistilBertForTokenClassification(
    FlaxAutoModelForTokenClassification, DistilBertForTokenClassification
):
    """DistilBERT, as a token classifier."""


class FlaxElectraForTokenClassification(
    FlaxAutoModelForTokenClassification, ElectraForTokenClassification
):
    """ELECTRA's discriminators, as a token classifier."""


class FlaxModernBertForTokenClassification(
    FlaxAutoModelForTokenClassification, ModernBertForTokenClassification
):
    """ModernBERT, as a token classifier."""


class FlaxRobertaForTokenClassification(
    FlaxAutoModelForTokenClassification, RobertaForTokenClassification
):
    """RoBERTa and its descendants, as a token classifier."""


class FlaxXLMRobertaForTokenClassification(
    FlaxAutoModelForTokenClassification, RobertaForTokenClassification
):
    """XLM-R, as a token classifier."""
