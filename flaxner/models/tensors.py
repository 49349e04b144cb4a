"""Maps between our parameters and a Hub folder's tensors by a weight-name table.

Our side is a flat dict, path -> array ("layers/0/attention/query/kernel"); the other side is
a flat dict of PyTorch names. The table itself is data, kept next to each model.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from flaxner.models import checks, flax_files, torch_files
from flaxner.models.shards import read_weights
from flaxner.wording import few

SAFETENSORS = "model.safetensors"
TENSORFLOW = "tf_model.h5"
# LayerNorm's parameter names in checkpoints from before 2020.
OLD_NAMES = ((".gamma", ".weight"), (".beta", ".bias"))
# What torch puts before every name of a model saved while wrapped by DataParallel or compile.
WRAPPERS = ("module.", "_orig_mod.")


@dataclasses.dataclass(frozen=True)
class Rule:
    """One row of a weight-name table: our path, PyTorch's name, and whether to transpose."""

    ours: str
    theirs: str
    transpose: bool = False

    @staticmethod
    def linear(ours: str, theirs: str) -> tuple[Rule, Rule]:
        """Return the rows of a linear layer: kernel (in, out) = weight (out, in).T; bias."""
        return (
            Rule(f"{ours}/kernel", f"{theirs}.weight", transpose=True),
            Rule(f"{ours}/bias", f"{theirs}.bias"),
        )

    @staticmethod
    def norm(ours: str, theirs: str) -> tuple[Rule, Rule]:
        """Return the rows of a layer norm: scale = weight; bias."""
        return Rule(f"{ours}/scale", f"{theirs}.weight"), Rule(f"{ours}/bias", f"{theirs}.bias")

    def convert(self, tensor: np.ndarray) -> np.ndarray:
        """Convert a tensor to the other side's layout (a transpose is its own inverse)."""
        return np.ascontiguousarray(tensor.T) if self.transpose else tensor


class WeightNames(NamedTuple):
    """How PyTorch names a family's weights.

    Attributes:
      rules: the weight-name table for given settings, expanded for every layer.
      prefix: of the encoder's names in a full model, such as "bert.".
      ignored: prefixes of names that a token classifier does not use (other heads, buffers).
      head: prefixes of our paths that depend on the labels: a new label set reinitialises them.
      absent_in_encoder: prefixes of further paths that a bare encoder lacks and training adds.
      words: our path of the token embeddings.
    """

    rules: Callable[[Any], list[Rule]]
    prefix: str
    ignored: tuple[str, ...]
    head: tuple[str, ...]
    absent_in_encoder: tuple[str, ...] = ()
    words: str = "embeddings/word_embeddings/embedding"


def expand(table: Iterable[Rule], layers: int) -> list[Rule]:
    """Return the table with `{i}` expanded for every layer."""
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
    """Convert PyTorch-named tensors to our parameters, float32.

    Args:
      tensors: name -> array, with or without `prefix` on the encoder's names.
      rules: the expanded weight-name table.
      shapes: path -> the shape that the parameter must have.
      source: folder or file, for the error message.
      prefix: of the encoder's names in a full model, such as "bert.".
      ignored: prefixes of names to skip silently (other heads, buffers).
      optional: prefixes of our paths that may be missing (a new head).

    Returns:
      path -> float32 array, for all of `shapes` except missing optional ones.

    Raises:
      ValueError: lists in one message all weights that are unknown, missing, duplicated, of the
        wrong shape or not finite floating-point numbers.
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
        f"{kind}: {few(names)}"
        for kind, names in (
            ("unknown", unknown),
            ("missing", missing),
            ("wrong shape", misshapen),
            ("not finite floating-point numbers", unusable),
            ("present twice, also under an older name or without the prefix", twice),
        )
        if names
    ]
    if problems:
        raise ValueError(f"the weights in {source} do not fit the model: {'; '.join(problems)}")
    return params


def to_hf(params: Mapping[str, np.ndarray], rules: Sequence[Rule]) -> dict[str, np.ndarray]:
    """Convert our parameters to PyTorch-named tensors, every parameter exactly once.

    Raises:
      ValueError: the rules and the parameters do not have the same paths.
    """
    paths = {rule.ours for rule in rules}
    if paths != set(params):
        odd = sorted(paths ^ set(params))
        raise ValueError(f"the weight-name table and the parameters differ in these paths: {odd}")
    return {rule.theirs: rule.convert(np.asarray(params[rule.ours])) for rule in rules}


def read_tensors(folder: str | Path) -> dict[str, np.ndarray]:
    """Read all tensors of a Hub folder, under PyTorch names.

    Reads `model.safetensors`, with PyTorch or Flax names, and where there is none the older
    `flax_model.msgpack` or `pytorch_model.bin`, each as a single file or in shards.

    Raises:
      ValueError: the folder has no weights, or only TensorFlow's, or a file is damaged.
    """
    folder = Path(folder)
    for name, read in (
        (SAFETENSORS, read_tensor_file),
        (flax_files.MSGPACK, flax_files.read_msgpack),
        (torch_files.BIN, torch_files.read_bin_file),
    ):
        if (tensors := read_weights(folder, name, read)) is not None:
            for prefix in WRAPPERS:
                if all(name.startswith(prefix) for name in tensors):
                    tensors = {name.removeprefix(prefix): x for name, x in tensors.items()}
            return tensors
    if (folder / TENSORFLOW).is_file():
        raise ValueError(
            f"{folder} holds weights only as {TENSORFLOW}, which transformers before 5 can convert "
            "(from_pretrained with from_tf=True, then save_pretrained)"
        )
    raise ValueError(
        f"{folder} holds no weights: expected {SAFETENSORS}, {flax_files.MSGPACK} or "
        f"{torch_files.BIN}, as a single file or in shards"
    )


def write_tensors(path: str | Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a safetensors file that `transformers` loads as PyTorch's.

    Raises:
      OSError: it cannot be written.
    """
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    try:
        save_file(ordered, path, metadata={"format": "pt"})
    except SafetensorError as error:  # also of a full disk, whose number is only in the message
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error
    Path(path).chmod(0o644)  # safetensors makes the file readable by its owner only


def read_tensor_file(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of one safetensors file, under PyTorch names.

    Raises:
      ValueError: the file is damaged or missing.
    """
    checks.read_header(path)
    try:
        tensors = load_file(path)
        with safe_open(path, framework="numpy") as file:
            written_by = (file.metadata() or {}).get("format")
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is not a valid safetensors file: {error}") from error
    if flax_files.is_flax(tensors, written_by):
        return flax_files.named_for_torch(tensors, str(path))
    return tensors


def _modern(name: str) -> str:
    for old, new in OLD_NAMES:
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
