"""The public classes FlaxXForTokenClassification, named like the former classes of `transformers`.

Each is a family's network with `from_pretrained`; `FlaxAutoModelForTokenClassification` reads
the family from config.json. The classes are generated from the table of encoders, so a new row
there is all that a new family needs.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from flaxner.models.encoders import ENCODERS
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.pretrained import load_pretrained


class FlaxAutoModelForTokenClassification:
    """A token classifier of the family named in a folder's config.json."""

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        num_labels: int | None = None,
        seed: int = 0,
        compute: Compute | None = None,
        revision: str | None = None,
    ) -> TokenClassifier:
        """Load a model from a folder or the Hub: safetensors or flax msgpack, single or sharded.

        Warns if head weights are missing and had to be initialised from `seed`, and names them.

        Args:
          source: folder or Hub name.
          num_labels: width of the head (default: as in config.json).
          seed: initialises head weights that the folder lacks.
          compute: dtype and layout of the computation.
          revision: branch, tag or commit on the Hub.

        Raises:
          ValueError: the model does not exist, is not supported, belongs to another family than
            this class, or has weights that do not fit; the message lists them all.
        """
        loaded = load_pretrained(
            source, num_labels=num_labels, seed=seed, compute=compute, revision=revision
        )
        architecture = loaded.model.encoder.architecture
        if cls is not FlaxAutoModelForTokenClassification and cls.__name__ != f"Flax{architecture}":
            raise ValueError(
                f"{source} is a model of type {loaded.model.config.model_type!r}: load it with "
                f"Flax{architecture} or FlaxAutoModelForTokenClassification"
            )
        if loaded.fresh:
            warnings.warn(
                f"{source} has no {', '.join(loaded.fresh)}: initialised from seed {seed}; train "
                "the model before you use it",
                stacklevel=2,
            )
        return loaded.model.bind(loaded.params)


# name -> class, one for each architecture in the table.
CLASSES: dict[str, type] = {
    f"Flax{encoder.architecture}": type(
        f"Flax{encoder.architecture}",
        (FlaxAutoModelForTokenClassification, encoder.network),
        {"__doc__": encoder.network.__doc__, "__module__": __name__},
    )
    for encoder in ENCODERS.values()
}


def __getattr__(name: str) -> Any:
    if name in CLASSES:
        return CLASSES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
