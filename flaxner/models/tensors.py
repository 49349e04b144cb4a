"""Applies a weight-name table between our parameters and a Hub folder's tensors.

Our side is a flat dict, path -> array ("layers/0/attention/query/kernel"); the other side is
a flat dict of PyTorch names. Which name is which is data, kept beside each model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from flaxner.models import checks, flax_files

SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5")
# LayerNorm's names in checkpoints older than 2020.
OLD_NAMES = ((".gamma", ".weight"), (".beta", ".bias"))


@dataclasses.dataclass(frozen=True)
class Rule:
    """One row of a weight-name table: our path, their name, and whether to transpose."""

    ours: str
    theirs: str
    transpose: bool = False

    @staticmethod
    def linear(ours: str, theirs: str) -> tuple[Rule, Rule]:
        """Rows of a linear layer: kernel (in, out) = weight (out, in) transposed; bias."""
        return (
            Rule(f"{ours}/kernel", f"{theirs}.weight", transpose=True),
            Rule(f"{ours}/bias", f"{theirs}.bias"),
        )

    @staticmethod
    def norm(ours: str, theirs: str) -> tuple[Rule, Rule]:
        """Rows of a layer norm: scale = weight; bias."""
        return Rule(f"{ours}/scale", f"{theirs}.weight"), Rule(f"{ours}/bias", f"{theirs}.bias")

    def convert(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor in the other side's layout (a transposition is its own inverse)."""
        return np.ascontiguousarray(tensor.T) if self.transpose else tensor


class WeightNames(NamedTuple):
    """How PyTorch names a family's weights.

    Attributes:
      rules: the weight-name table for given settings, written out for every layer.
      prefix: of the encoder's names in a full model, such as "bert.".
      ignored: beginnings of names that a token classifier has no use for (other heads, buffers).
      head: beginnings of our paths that belong to the labels: another label set makes them anew.
      absent_in_encoder: further ones that a bare encoder lacks and training makes.
      words: our path of the table of the vocabulary.
    """

    rules: Callable[[Any], list[Rule]]
    prefix: str
    ignored: tuple[str, ...]
    head: tuple[str, ...]
    absent_in_encoder: tuple[str, ...] = ()
    words: str = "embeddings/word_embeddings/embedding"


def expand(table: Iterable[Rule], layers: int) -> list[Rule]:
    """The table with `{i}` written out for every layer."""
    return [
        Rule(rule.ours.format(i=i), rule.theirs.format(i=i), rule.transpose)
        for rule in table
        for i in (range(layers) if "{i}" in rule.ours else [0])
    ]


def from_hf(
    tensors: Mapping[str, np.ndarray],
    rules: Sequence[Rule],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    source: str,
    prefix: str = "",
    ignored: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> dict[str, np.ndarray]:
    """PyTorch-named tensors -> our parameters, float32.

    Args:
      tensors: name -> array, with or without `prefix` on the encoder's names.
      rules: the expanded weight-name table.
      shapes: the shape every one of our parameters must have.
      source: folder or file, for the error message.
      prefix: of the encoder's names in a full model, such as "bert.".
      ignored: beginnings of names to leave out silently (other heads, buffers).
      optional: beginnings of our paths that may be missing (a new head).

    Returns:
      path -> float32 array, for all of `shapes` but the optional ones that are missing.

    Raises:
      ValueError: all unknown, missing, misshapen and doubled weights, and those that are no
        finite numbers, in one message.
    """
    by_name = {rule.theirs: rule for rule in rules}
    params: dict[str, np.ndarray] = {}
    unknown, misshapen, unusable, twice = [], [], [], []
    for name, tensor in tensors.items():
        rule = by_name.get(_modern(name)) or by_name.get(prefix + _modern(name))
        if rule is None:
            if not name.startswith(ignored):
                unknown.append(name)
            continue
        if rule.ours in params:
            twice.append(name)
        if (fault := checks.fault(name, tensor)) is not None:
            unusable.append(fault)
            params[rule.ours] = np.zeros(shapes[rule.ours], np.float32)
            continue
        value = rule.convert(tensor)
        if value.shape != shapes[rule.ours]:
            there = tuple(reversed(shapes[rule.ours])) if rule.transpose else shapes[rule.ours]
            misshapen.append(f"{name} is {tensor.shape}, expected {there}")
        params[rule.ours] = np.asarray(value, np.float32)
    missing = [
        rule.theirs
        for rule in rules
        if rule.ours not in params and not rule.ours.startswith(optional or ("\0",))
    ]
    problems = [
        f"{kind}: {checks.few(names)}"
        for kind, names in (
            ("unknown", unknown),
            ("missing", missing),
            ("misshapen", misshapen),
            ("no floating-point numbers", unusable),
            ("there twice, under an older name or without the prefix", twice),
        )
        if names
    ]
    if problems:
        raise ValueError(f"the weights in {source} do not fit the model: {'; '.join(problems)}")
    return params


def to_hf(params: Mapping[str, np.ndarray], rules: Sequence[Rule]) -> dict[str, np.ndarray]:
    """Our parameters -> PyTorch-named tensors, every parameter exactly once.

    Raises:
      ValueError: the rules and the parameters do not name the same paths.
    """
    paths = {rule.ours for rule in rules}
    if paths != set(params):
        odd = sorted(paths ^ set(params))
        raise ValueError(f"the weight table and the parameters must name the same paths: {odd}")
    return {rule.theirs: rule.convert(np.asarray(params[rule.ours])) for rule in rules}


def read_tensors(folder: str | Path) -> dict[str, np.ndarray]:
    """All tensors of a Hub folder, under PyTorch names.

    Reads `model.safetensors`, also under Flax's names, and the older `flax_model.msgpack`; both
    also in shards. Where a folder holds a whole file and shards, the whole file counts, as in
    transformers: its `save_pretrained` leaves the index of older shards behind.

    Raises:
      ValueError: no weights, weights only as pickles, or a damaged file.
    """
    folder = Path(folder)
    if (folder / SAFETENSORS).is_file():
        return read_tensor_file(folder / SAFETENSORS)
    if (folder / SAFETENSORS_INDEX).is_file():
        shards = checks.shard_names(folder / SAFETENSORS_INDEX)
        return checks.joined(((s, read_tensor_file(folder / s)) for s in shards), str(folder))
    flax = flax_files.read_msgpack(folder)
    if flax is not None:
        return flax
    pickles = [name for name in PICKLES if (folder / name).is_file()]
    if pickles:
        raise ValueError(
            f"{folder} holds weights only as {pickles[0]}, a format that can run code when "
            f"loaded; save it as safetensors with transformers "
            f"(AutoModel.from_pretrained(...).save_pretrained(...)) and use that folder"
        )
    raise ValueError(
        f"{folder} holds no weights: expected {SAFETENSORS} or {flax_files.MSGPACK}, whole "
        f"or in shards"
    )


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a safetensors file that `transformers` takes for PyTorch's."""
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    save_file(ordered, path, metadata={"format": "pt"})
    Path(path).chmod(0o644)  # safetensors leaves a file that its owner alone may read


def read_tensor_file(path: Path) -> dict[str, np.ndarray]:
    """The tensors of one safetensors file, under PyTorch names.

    Raises:
      ValueError: it is damaged or not there.
    """
    checks.read_header(path)
    try:
        tensors = load_file(path)
        with safe_open(path, framework="numpy") as file:
            written_by = (file.metadata() or {}).get("format")
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is no whole safetensors file: {error}") from error
    if flax_files.is_flax(tensors, written_by):
        return flax_files.named_for_torch(tensors, str(path))
    return tensors


def _modern(name: str) -> str:
    for old, new in OLD_NAMES:
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
