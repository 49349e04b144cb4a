"""The scores of a linear-chain CRF over words (Lample et al. 2016): their names and their file.

They are stored next to a token classifier's weights and do not change it: torch loads the folder
as an ordinary token classifier, and flaxner uses the scores to decode its logits.
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
NAME = "crf"  # name of the decoder in settings and in our block of config.json
OURS = "flaxner"  # name of that block
PREFIX = "crf/"  # prefix of the parameter paths


class Scores(NamedTuple):
    """The scores that a CRF adds to the log probabilities of labels; float32.

    Attributes:
      transitions: [i, j] is the score of label j following label i in a sentence (C, C).
      starts: score of each label at the start of a sentence (C,).
      ends: score of each label at the end of a sentence (C,).
    """

    transitions: Any
    starts: Any
    ends: Any

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Scores:
        """Pick the scores out of the parameters of a model with a CRF."""
        return cls(*(params[PREFIX + name] for name in cls._fields))

    def params(self) -> dict[str, Any]:
        """Return the scores as parameters: path -> array."""
        return {PREFIX + name: value for name, value in self._asdict().items()}


def is_named(fields: Mapping[str, Any], source: str) -> bool:
    """Return whether a config.json declares a CRF.

    Raises:
      ValueError: it names an unknown decoder.
    """
    ours = fields.get(OURS)
    decoder = ours.get("decoder") if isinstance(ours, Mapping) else None
    if decoder not in (None, NAME):
        raise ValueError(
            f"{source} names the decoder {decoder!r}, but this version of flaxner has only {NAME!r}"
        )
    return decoder == NAME


def shapes(num_labels: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Return path -> shape and dtype of the scores."""
    import jax

    sizes = ((num_labels, num_labels), (num_labels,), (num_labels,))
    return {
        PREFIX + name: jax.ShapeDtypeStruct(size, np.float32)
        for name, size in zip(Scores._fields, sizes, strict=True)
    }


def zeros(num_labels: int) -> dict[str, np.ndarray]:
    """Return the scores that training starts from: with these, a CRF is a softmax per word."""
    return {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in shapes(num_labels).items()}


def without(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the token classifier, without those of the CRF."""
    return {path: value for path, value in params.items() if not path.startswith(PREFIX)}


def write(folder: Path, scores: Scores) -> None:
    """Write the scores to a model folder, in float32 whatever the dtype of the weights."""
    write_tensors(
        folder / FILE, {k: np.asarray(v, np.float32) for k, v in scores._asdict().items()}
    )


def read(folder: Path, num_labels: int) -> Scores:
    """Read the scores from a model folder.

    Raises:
      ValueError: the file is missing, damaged, or belongs to a model with other labels.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{folder} lacks {FILE}, the scores of the CRF named in its config.json")
    tensors = read_tensor_file(path)
    wanted = {name.removeprefix(PREFIX): leaf.shape for name, leaf in shapes(num_labels).items()}
    there = {name: tensor.shape for name, tensor in tensors.items()}
    if there != wanted:
        raise ValueError(f"{path} must hold CRF scores for {num_labels} labels: got {there}")
    from flaxner.models import checks

    for name, tensor in tensors.items():
        if (fault := checks.fault(name, tensor)) is not None:
            raise ValueError(f"{path} does not hold valid CRF scores: {fault}")
    return Scores(*(np.asarray(tensors[name], np.float32) for name in Scores._fields))
