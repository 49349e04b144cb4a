"""Exported folders of either engine: what they are called, where they may be put, how written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaxner.files import Kind, check_folder, read_json, write_folder, write_json
from flaxner.inference import kept_graph
from flaxner.inference.exported_checks import check_about, check_files, fingerprints
from flaxner.models import crf
from flaxner.models.graph_weights import STATIC
from flaxner.runs.paths import refuse_runs

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.layers.graph_products import Range

ABOUT, WEIGHTS = "flaxner.json", "weights.safetensors"
PROGRAMS = {"jax": "forward.stablehlo", "onnx": kept_graph.PROGRAM}
VERSION, WITH_CRF = 1, 2  # an earlier flaxner refuses what it would decode without the CRF


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
    """Write a classifier as a folder for serving; it exists whole or not at all.

    Args:
      path: the folder; what flaxner wrote there is replaced, all else stays.
      classifier: what to write.
      weights: stored as "float32", "bfloat16", "int8" or "int8-static".
      engine: "jax" or "onnx".
      seen: the ranges that "int8-static" takes its scales from.

    Raises:
      ValueError: no such engine or format, no ranges where they are needed, or a folder that is
        in use.
    """
    path = Path(path)
    check_export(path)
    check_engine(engine, weights)
    fill, own = _maker(classifier, weights, engine, seen)
    about = {
        "version": VERSION if classifier.crf is None else WITH_CRF,
        "engine": engine,
        "labels": list(classifier.labels),
        "limit": classifier.limit,
        "scheme": classifier.scheme,
        "window": classifier.window,
        "context": classifier.context,
        "temperature": classifier.temperature,
        "weights": weights,
        **own,
    }

    def write(draft: Path) -> None:
        classifier.tokenizer.save_pretrained(str(draft))
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
    """What writes program and weights into a folder, and what flaxner.json says of them."""
    if engine == "onnx":
        kept_graph.check(classifier, weights)
        if weights == STATIC and not seen:
            raise ValueError(
                "int8-static takes its scales from ranges seen on texts: give those of "
                "static_ranges.seen_ranges, or say --calibration-file to scripts/export.py"
            )
        return (lambda draft: kept_graph.write_graph(draft, classifier, weights, seen)), {}
    from flaxner.inference.artefact import PLATFORMS, make_artefact

    return make_artefact(classifier, weights), {"platforms": list(PLATFORMS)}


def check_engine(engine: str, weights: str) -> None:
    """Refuse an engine that there is not, or that has no such weights.

    Raises:
      ValueError: says which there are.
    """
    if engine not in PROGRAMS:
        raise ValueError(f"engine must be one of {', '.join(PROGRAMS)}: got {engine!r}")
    if weights == STATIC and engine != "onnx":
        raise ValueError(f"weights {weights} are computed by ONNX Runtime: say engine onnx")


def check_export(path: str | Path) -> None:
    """Refuse a folder where no export can be put.

    Raises:
      ValueError: it is in use, belongs to a run, or files that are not ours are in the way.
    """
    folder = Path(path)
    refuse_runs(folder)
    shown = folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir())
    if shown and not is_artefact(folder):
        raise ValueError(f"{folder} is in use and no export of ours: name another folder")
    check_folder(folder, EXPORT)


def folder_bytes(path: str | Path) -> int:
    """Size of the files of a folder."""
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def read_about(path: Path) -> dict[str, Any]:
    """What an exported folder says of itself; its files are those that were written.

    Raises:
      ValueError: no such folder, another version of the format, or a file that is another.
    """
    if not is_artefact(path):
        raise ValueError(f"{path} is no exported pipeline: it has no {ABOUT}")
    about = read_json(path / ABOUT)
    if about.get("version") not in (VERSION, WITH_CRF):
        known = f"{VERSION} and {WITH_CRF}"
        raise ValueError(f"{path} has format {about.get('version')!r}; this reads {known}")
    check_about(about, path / ABOUT)
    engine = about.setdefault("engine", "jax")  # version 0.1.0 had no other
    if engine not in PROGRAMS:
        raise ValueError(f"engine in {path / ABOUT} must be one of {', '.join(PROGRAMS)}")
    check_files(path, about.get("files", {}))  # version 0.1.0 wrote none
    return about
