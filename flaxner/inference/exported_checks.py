"""Checks of an exported folder before its program runs, since it may come from a stranger."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaxner.config.data import CONTEXTS
from flaxner.data.tag_rules import CHOICES
from flaxner.files.manifest import file_digest

if TYPE_CHECKING:
    import jax.export

# Custom calls that a program may make: they only describe shapes and shardings, or stand for an
# operation on rows of any length, which JAX puts in their place once the length is known. Others
# may dereference an address that the program supplies, as callbacks into Python do.
HARMLESS_CALLS = ("shape_assertion", "Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape",
                  "stablehlo.dynamic_reduce_window")  # fmt: skip
# Operations that communicate with the host or with other machines, and wait for them.
TALKING = ("infeed", "outfeed", "send", "recv", "all_reduce", "all_gather", "all_to_all",
           "collective_permute", "collective_broadcast", "reduce_scatter")  # fmt: skip
LONGEST = 1 << 24  # tokens


def check_about(about: Mapping[str, Any], path: Path) -> None:
    """Refuse a flaxner.json with missing or invalid fields.

    Raises:
      ValueError: names the field and what it must be.
    """
    labels, limit = about.get("labels"), about.get("limit")
    if not isinstance(labels, list) or not labels or any(not isinstance(x, str) for x in labels):
        raise ValueError(f"labels in {path} must be a list of names")
    for name, value in (("limit", limit), ("window", about.get("window", limit))):
        if type(value) is not int or not 8 <= value <= LONGEST:
            raise ValueError(
                f"{name} in {path} must be a number of tokens, 8 or more: got {value!r}"
            )
    scheme = about.get("scheme")
    if scheme is not None and scheme not in CHOICES:
        raise ValueError(f"scheme in {path} must be one of {', '.join(CHOICES)}: got {scheme!r}")
    context = about.get("context", CONTEXTS[0])
    if context not in CONTEXTS:
        known = ", ".join(CONTEXTS)
        raise ValueError(f"context in {path} must be one of {known}: got {context!r}")
    heat = about.get("temperature")
    if heat is not None and not (type(heat) is float and 0 < heat < math.inf):
        raise ValueError(f"temperature in {path} must be a number above 0: got {heat!r}")
    files = about.get("files", {})
    if not isinstance(files, dict) or any(
        not isinstance(row, dict) or Path(name).name != name for name, row in files.items()
    ):
        raise ValueError(f"files in {path} must map each file name to its size and sha256")


def fingerprints(folder: Path) -> dict[str, dict[str, Any]]:
    """Return name -> size and SHA-256 of the files in a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {file.name: {"size": file.stat().st_size, "sha256": file_digest(file)} for file in files}


def check_files(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a folder whose files are not the ones that were exported.

    Raises:
      ValueError: names the first file that is missing or differs.
    """
    for name, row in files.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{folder} is incomplete: {name} is missing")
        if path.stat().st_size != row.get("size") or file_digest(path) != row.get("sha256"):
            raise ValueError(f"{path} is not the file that was exported: copy the folder again")


def check_program(
    program: jax.export.Exported, params: Mapping[str, Any], labels: int, path: Path
) -> None:
    """Refuse a program that does more than compute label scores from its weights.

    Args:
      program: the deserialised program.
      params: the stored arrays.
      labels: number of labels.
      path: its file.

    Raises:
      ValueError: it makes calls that are not known to be harmless, or its inputs or outputs are
        not a classifier's.
    """
    import jax

    text = program.mlir_module()
    calls = len(re.findall(r"custom_call\b", text))
    names = re.findall(r"stablehlo\.custom_call @([\w.]+)\(", text)
    if calls != len(names) or not set(names) <= set(HARMLESS_CALLS):
        odd = sorted(set(names) - set(HARMLESS_CALLS)) or ["a call of another form"]
        raise ValueError(f"refusing to run {path}: it calls {odd[0]}, which no classifier needs")
    talking = re.search(rf"stablehlo\.({'|'.join(TALKING)})\b", text)
    if talking or program.ordered_effects or program.unordered_effects:
        what = talking[1] if talking else "the host"
        raise ValueError(
            f"refusing to run {path}: it communicates with the outside ({what}), which no "
            "classifier needs"
        )
    try:
        (wanted, *inputs), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
        shapes = {name: (aval.shape, str(aval.dtype)) for name, aval in wanted.items()}
        width = program.out_avals[0].shape[-1]
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} does not have a classifier's inputs and outputs") from error
    stored = {name: (array.shape, str(array.dtype)) for name, array in params.items()}
    if shapes != stored or len(inputs) != 3 or len(program.out_avals) != 1 or width != labels:
        raise ValueError(f"{path} does not match the weights and labels beside it")
