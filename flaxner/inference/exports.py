"""Exported folders of either engine: their files, where they may be written, and how."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaxner.data.tokenizer import save_tokenizer
from flaxner.files import Kind, check_folder, read_json, write_folder, write_json
from flaxner.inference import kept_graph
from flaxner.inference.exported_checks import check_about, check_files, fingerprints
from flaxner.models import crf
from flaxner.models.graph_weights import STATIC
from flaxner.runs.paths import contents, refuse_runs
from flaxner.typed_commands import command_line

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.layers.graph_products import Range

ABOUT, WEIGHTS = "flaxner.json", kept_graph.ARRAYS
PROGRAMS = {"jax": "forward.stablehlo", "onnx": kept_graph.PROGRAM}
VERSION, WITH_CRF = 1, 2  # a flaxner that knows no CRF refuses 2 instead of decoding without it


def is_artefact(path: str | Path) -> bool:
    """Whether a folder was written by `write_export`."""
    return (Path(path) / ABOUT).is_file()


EXPORT = Kind(
    "an exported pipeline", ABOUT, (ABOUT, *PROGRAMS.values(), WEIGHTS), known=is_artefact,
    plain=True,
)  # fmt: skip


def write_export(
    path: str | Path,
    classifier: Classifier,
    weights: str,
    engine: str,
    seen: Mapping[str, Range] | None = None,
) -> Path:
    """Write a classifier to a folder for serving, atomically.

    Args:
      path: the folder; files that flaxner wrote there are replaced, all others stay.
      classifier: the model to write.
      weights: format of the weights, "float32", "bfloat16", "int8" or "int8-static".
      engine: "jax" or "onnx".
      seen: calibration ranges for "int8-static".

    Raises:
      ValueError: unknown engine or format, missing ranges, or a folder in use.
    """
    path = Path(path)
    check_export(path)
    check_engine(engine, weights)
    fill, own = _maker(classifier, weights, engine, seen)
    about = {
        "version": VERSION if classifier.crf is None else WITH_CRF,
        "engine": engine,
        "limit": classifier.limit,
        **classifier.facts._asdict(),
        "weights": weights,
        **own,
    }

    def write(draft: Path) -> None:
        save_tokenizer(classifier.tokenizer, draft)
        fill(draft)
        if classifier.crf is not None:
            crf.write(draft, classifier.crf)
        write_json(draft / ABOUT, about | {"files": fingerprints(draft)})

    for text in write_folder(path, EXPORT, write):
        warnings.warn(text, stacklevel=3)
    return path


def _maker(
    classifier: Classifier, weights: str, engine: str, seen: Mapping[str, Range] | None
) -> tuple[Callable[[Path], Any], dict[str, Any]]:
    """Return a function that writes program and weights, and their entries in flaxner.json."""
    if engine == "onnx":
        kept_graph.check(classifier, weights)
        if weights == STATIC and not seen:
            raise ValueError(
                "int8-static needs ranges seen on texts: pass those of static_ranges.seen_ranges, "
                f"or use {command_line('export')} with --calibration-file"
            )
        return (lambda draft: kept_graph.write_graph(draft, classifier, weights, seen)), {}
    from flaxner.inference.artefact import PLATFORMS, make_artefact

    return make_artefact(classifier, weights), {"platforms": list(PLATFORMS)}


def check_engine(engine: str, weights: str) -> None:
    """Refuse an unknown engine, or weights that it does not support.

    Raises:
      ValueError: the message names the choices.
    """
    if engine not in PROGRAMS:
        raise ValueError(f"engine must be one of {', '.join(PROGRAMS)}: got {engine!r}")
    if weights == STATIC and engine != "onnx":
        raise ValueError(f"weights {weights} need ONNX Runtime: use engine onnx")


def check_export(path: str | Path) -> None:
    """Refuse a folder that an export cannot be written to.

    Raises:
      ValueError: it is in use, belongs to a run, or files that are not ours are in the way.
    """
    folder = Path(path)
    refuse_runs(folder)
    if contents(folder) and not is_artefact(folder):
        raise ValueError(f"{folder} is in use and is not a flaxner export: choose another folder")
    check_folder(folder, EXPORT)


def folder_bytes(path: str | Path) -> int:
    """Return the total size of the files in a folder."""
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def read_about(path: Path) -> dict[str, Any]:
    """Read the flaxner.json of an exported folder, and check the folder's files against it.

    Raises:
      ValueError: not an exported folder, another version of the format, or a changed file.
    """
    if not is_artefact(path):
        raise ValueError(f"{path} is not an exported pipeline: it has no {ABOUT}")
    about = read_json(path / ABOUT)
    if about.get("version") not in (VERSION, WITH_CRF):
        known = f"{VERSION} and {WITH_CRF}"
        found = about.get("version")
        raise ValueError(f"{path} has format {found!r}, but this flaxner reads {known}")
    check_about(about, path / ABOUT)
    engine = about.setdefault("engine", "jax")  # version 0.1.0 had no other
    if engine not in PROGRAMS:
        raise ValueError(f"engine in {path / ABOUT} must be one of {', '.join(PROGRAMS)}")
    check_files(path, about.get("files", {}))  # version 0.1.0 wrote none
    return about
