"""The public classes: FlaxXForTokenClassification under the names that users knew.

Each is a family's network with `from_pretrained`; `FlaxAutoModelForTokenClassification` takes
the family from config.json. They are made from the table of encoders, so a new family has its
class by its row.
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
    """A token classifier of whatever family a folder's config.json names."""

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
        """Read a folder or a Hub model: safetensors, sharded safetensors or flax msgpack.

        A warning names the head weights that it lacks and that were drawn from `seed`.

        Args:
          source: folder or Hub name.
          num_labels: width of the head; that of config.json if None.
          seed: for the head weights that the folder lacks.
          compute: dtype and layout of the computation.
          revision: branch, tag or commit on the Hub.

        Raises:
          ValueError: not there, not supported, of another family than this class's, or weights
            that do not fit, all named.
        """
        loaded = load_pretrained(
            source, num_labels=num_labels, seed=seed, compute=compute, revision=revision
        )
        architecture = loaded.model.encoder.architecture
        if cls is not FlaxAutoModelForTokenClassification and cls.__name__ != f"Flax{architecture}":
            raise ValueError(
                f"{source} is a model of type {loaded.model.config.model_type!r}: read it with "
                f"Flax{architecture} or FlaxAutoModelForTokenClassification"
            )
        if loaded.fresh:
            warnings.warn(
                f"{source} has no {', '.join(loaded.fresh)}: drawn from seed {seed}, to be trained",
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
