"""A model -> an exported folder, and what storing its weights in fewer bits costs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from flaxner.data.readers import ReadOptions
from flaxner.evaluation.classifier_scores import evaluate
from flaxner.inference.exports import check_export, folder_bytes
from flaxner.inference.pipeline import pipeline


def export_model(
    model: str | Path,
    output_dir: str | Path,
    *,
    weights: str = "float32",
    engine: str = "jax",
    max_f1_loss: float | None = None,
    options: ReadOptions | None = None,
    **corpus: Any,
) -> dict[str, Any]:
    """Export a model; with a corpus, score it before and after.

    Args:
      model: a folder or a Hub name.
      output_dir: the folder to write.
      weights: stored as "float32", "bfloat16" or "int8".
      engine: "jax", or "onnx" for ONNX Runtime.
      max_f1_loss: write no folder if F1 on the corpus falls by more.
      options: how the corpus is read where guessing is not wanted.
      **corpus: file, or dataset and split, of `evaluate`.

    Returns:
      folder, engine, weights and megabytes; overall_f1 of the export, of the model, and their
      difference.

    Raises:
      ValueError: no model, no such format, a folder in use, no such corpus, or a loss of F1 that
        is larger than allowed.
    """
    check_export(output_dir)
    measured = corpus.get("file") is not None or corpus.get("dataset") is not None
    if max_f1_loss is not None and not measured:
        raise ValueError(
            "a largest loss of F1 needs a corpus to measure it on: --file or --dataset"
        )
    ner = pipeline("ner", model=model, engine="jax")
    scores: dict[str, Any] = {}
    if max_f1_loss is not None:  # in a place of its own: a worse one shall not replace a good one
        with tempfile.TemporaryDirectory() as place:
            trial = ner.export(Path(place) / "export", weights=weights, engine=engine)
            scores = _scores(ner, trial, options, corpus)
        if scores["f1_loss"] > max_f1_loss:
            raise ValueError(
                f"{weights} weights cost {scores['f1_loss']:.4f} of F1 ({scores['overall_f1']:.4f} "
                f"instead of {scores['model_f1']:.4f}), more than the {max_f1_loss} allowed: "
                "nothing was written"
            )
    path = ner.export(output_dir, weights=weights, engine=engine)
    if measured and not scores:
        scores = _scores(ner, path, options, corpus)
    size = round(folder_bytes(path) / 1e6, 1)
    about = {"folder": str(path), "engine": engine, "weights": weights, "megabytes": size}
    return {**about, **scores}


def _scores(
    ner: Any, export: Path, options: ReadOptions | None, corpus: dict[str, Any]
) -> dict[str, float]:
    """F1 of the export and of the model, and what was lost."""
    before, after = (
        evaluate(source, options=options, **corpus).report.overall_f1 for source in (ner, export)
    )
    return {"overall_f1": after, "model_f1": before, "f1_loss": before - after}
