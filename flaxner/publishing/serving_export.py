"""A model -> an exported folder, and the F1 lost by storing its weights in fewer bits."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from flaxner.data.corpus import read_corpus
from flaxner.data.readers import ReadOptions
from flaxner.evaluation.classifier_scores import evaluate
from flaxner.inference.exports import check_engine, check_export, folder_bytes
from flaxner.inference.pipeline import pipeline
from flaxner.inference.static_ranges import evenly_spaced, seen_ranges
from flaxner.models.graph_weights import STATIC


def export_model(
    model: str | Path,
    output_dir: str | Path,
    *,
    weights: str = "float32",
    engine: str = "jax",
    max_f1_loss: float | None = None,
    calibration_file: str | Path | None = None,
    calibration_split: str | None = None,
    options: ReadOptions | None = None,
    **corpus: Any,
) -> dict[str, Any]:
    """Export a model; with a corpus, score it before and after.

    Args:
      model: a folder or a Hub name.
      output_dir: folder to write.
      weights: format of the weights: "float32", "bfloat16", "int8" or "int8-static".
      engine: "jax", or "onnx" for ONNX Runtime.
      max_f1_loss: write nothing if F1 on the corpus drops by more than this.
      calibration_file: corpus on which to calibrate int8-static; if None,
      calibration_split: this split of the dataset; "validation" if None.
      options: how to read corpora, where it should not be guessed.
      **corpus: `file`, or `dataset` and `split`, as for `evaluate`.

    Returns:
      folder, engine, weights and megabytes; the number of sentences that int8-static was
      calibrated on; overall_f1 of the export, F1 of the model, and their difference.

    Raises:
      ValueError: the model, format or corpus does not exist, the folder is in use, or F1 drops by
        more than allowed.
    """
    if max_f1_loss is not None and not 0 <= max_f1_loss < math.inf:
        raise ValueError(f"max_f1_loss must be a number of at least 0: got {max_f1_loss}")
    check_export(output_dir)
    check_engine(engine, weights)
    measured = corpus.get("file") is not None or corpus.get("dataset") is not None
    if max_f1_loss is not None and not measured:
        raise ValueError("max_f1_loss needs a corpus to measure it on: give --file or --dataset")
    if corpus.get("split") is not None and not measured:
        raise ValueError("--split needs --dataset")
    texts = _calibration(
        weights, calibration_file, corpus.get("dataset"), calibration_split, options
    )
    ner = pipeline("ner", model=model, engine="jax")
    form: dict[str, Any] = {"weights": weights, "engine": engine}
    if texts is not None:
        assert ner.classifier is not None  # the pipeline has loaded a model
        form["seen"] = seen_ranges(ner.classifier, texts)
    scores: dict[str, Any] = {}
    if max_f1_loss is not None:
        scores = _tried(ner, form, max_f1_loss, options, corpus)
    path = ner.export(output_dir, **form)
    if measured and not scores:
        scores = _scores(ner, path, options, corpus)
    size = round(folder_bytes(path) / 1e6, 1)
    about = {"folder": str(path), "engine": engine, "weights": weights, "megabytes": size}
    calibrated = {} if texts is None else {"sentences_calibrated": len(texts)}
    return {**about, **calibrated, **scores}


def _tried(
    ner: Any,
    form: dict[str, Any],
    most: float,
    options: ReadOptions | None,
    corpus: dict[str, Any],
) -> dict[str, float]:
    """Return the scores of an export to a temporary folder, so a bad one replaces nothing.

    Raises:
      ValueError: it loses more than `most` F1.
    """
    with tempfile.TemporaryDirectory() as place:
        scores = _scores(ner, ner.export(Path(place) / "export", **form), options, corpus)
    if scores["f1_loss"] > most:
        raise ValueError(
            f"{form['weights']} weights lose {scores['f1_loss']:.4f} F1 "
            f"({scores['overall_f1']:.4f} instead of {scores['model_f1']:.4f}), more than the "
            f"{most} allowed: nothing was written"
        )
    return scores


def _calibration(
    weights: str,
    file: str | Path | None,
    dataset: str | None,
    split: str | None,
    options: ReadOptions | None,
) -> list[tuple[str, ...]] | None:
    """Return the sentences to calibrate int8-static on; None for other weights.

    Raises:
      ValueError: no sentences are given, or they are given but not needed.
    """
    if weights != STATIC:
        if file is not None or split is not None:
            raise ValueError(f"calibration is only for {STATIC}: the weights are {weights}")
        return None
    if file is None and dataset is None:
        raise ValueError(
            f"{STATIC} must be calibrated on sentences: give the validation split with "
            "--calibration-file, or with --dataset and --calibration-split"
        )
    if file is not None and split is not None:
        raise ValueError("--calibration-split is for --dataset: it cannot be combined with a file")
    source, of = (str(dataset), split or "validation") if file is None else (Path(file), None)
    return evenly_spaced([sentence.words for sentence in read_corpus(source, of, options)])


def _scores(
    ner: Any, export: Path, options: ReadOptions | None, corpus: dict[str, Any]
) -> dict[str, float]:
    """Return F1 of the export and of the model, and the loss."""
    before, after = (
        evaluate(source, options=options, **corpus).report.overall_f1 for source in (ner, export)
    )
    return {"overall_f1": after, "model_f1": before, "f1_loss": before - after}
