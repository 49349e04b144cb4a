"""The scores of a linear-chain CRF over words (Lample et al. 2016): their names, their file.

They stand beside a token classifier's weights and change nothing of it: torch reads the folder as
an ordinary token classifier, flaxner decodes its logits with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flaxner.models.tensors import read_tensor_file, write_tensors

if TYPE_CHECKING:
    import jax

FILE = "crf.safetensors"
NAME = "crf"  # of the decoder, in settings and in our block of config.json
OURS = "flaxner"  # that block
PREFIX = "crf/"  # of the paths of its parameters


class Scores(NamedTuple):
    """What a CRF adds to the log probabilities of labels; float32.

    Attributes:
      transitions: of label j after label i in a sentence (C, C).
      starts: of the first label of a sentence (C,).
      ends: of the last (C,).
    """

    transitions: Any
    starts: Any
    ends: Any

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Scores:
        """Those among the parameters of a model that has them."""
        return cls(*(params[PREFIX + name] for name in cls._fields))

    def params(self) -> dict[str, Any]:
        """path -> array, as they stand among the parameters."""
        return {PREFIX + name: value for name, value in self._asdict().items()}


def is_named(fields: Mapping[str, Any], source: str) -> bool:
    """Whether a config.json says that the model has a CRF.

    Raises:
      ValueError: it names a decoder that we have not.
    """
    ours = fields.get(OURS)
    decoder = ours.get("decoder") if isinstance(ours, Mapping) else None
    if decoder not in (None, NAME):
        raise ValueError(f"{source} names the decoder {decoder!r}: this flaxner has {NAME!r} alone")
    return decoder == NAME


def shapes(num_labels: int) -> dict[str, jax.ShapeDtypeStruct]:
    """path -> shape and dtype of the scores."""
    import jax

    sizes = ((num_labels, num_labels), (num_labels,), (num_labels,))
    return {
        PREFIX + name: jax.ShapeDtypeStruct(size, np.float32)
        for name, size in zip(Scores._fields, sizes, strict=True)
    }


def zeros(num_labels: int) -> dict[str, np.ndarray]:
    """Scores at the start of training: with them a CRF is a softmax for each word."""
    return {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in shapes(num_labels).items()}


def without(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the token classifier alone."""
    return {path: value for path, value in params.items() if not path.startswith(PREFIX)}


def write(folder: Path, scores: Scores) -> None:
    """Write the file of a model folder, float32 whatever the weights are."""
    write_tensors(
        folder / FILE, {k: np.asarray(v, np.float32) for k, v in scores._asdict().items()}
    )


def read(folder: Path, num_labels: int) -> Scores:
    """Read the file of a model folder.

    Raises:
      ValueError: it is not there, damaged, or of a model with other labels.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{folder} lacks {FILE}, the scores of the CRF that its config.json names")
    tensors = read_tensor_file(path)
    wanted = {name.removeprefix(PREFIX): leaf.shape for name, leaf in shapes(num_labels).items()}
    there = {name: tensor.shape for name, tensor in tensors.items()}
    if there != wanted:
        raise ValueError(f"{path} must hold the scores of {num_labels} labels: it has {there}")
    from flaxner.models import checks

    for name, tensor in tensors.items():
        if (fault := checks.fault(name, tensor)) is not None:
            raise ValueError(f"{path} holds no scores of a CRF: {fault}")
    return Scores(*(np.asarray(tensors[name], np.float32) for name in Scores._fields))
