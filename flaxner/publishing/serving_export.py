"""A model -> an exported folder, and what storing its weights in fewer bits costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flaxner.data.readers import ReadOptions
from flaxner.evaluation.classifier_scores import evaluate
from flaxner.inference.artefact import check_artefact, folder_bytes
from flaxner.inference.pipeline import pipeline


def export_model(
    model: str | Path,
    output_dir: str | Path,
    *,
    weights: str = "float32",
    options: ReadOptions | None = None,
    **corpus: Any,
) -> dict[str, Any]:
    """Export a model; with a corpus, score it before and after.

    Args:
      model: a folder or a Hub name.
      output_dir: the folder to write.
      weights: stored as "float32", "bfloat16" or "int8".
      options: how the corpus is read where guessing is not wanted.
      **corpus: file, or dataset and split, of `evaluate`.

    Returns:
      folder, weights and megabytes; overall_f1 of the export, of the model, and their difference.

    Raises:
      ValueError: no model, no such format, a folder in use, or no such corpus.
    """
    check_artefact(output_dir)
    ner = pipeline("ner", model=model)
    path = ner.export(output_dir, weights=weights)
    report: dict[str, Any] = {"folder": str(path), "weights": weights}
    report["megabytes"] = round(folder_bytes(path) / 1e6, 1)
    if corpus.get("file") is None and corpus.get("dataset") is None:
        return report
    before, after = (
        evaluate(source, options=options, **corpus).report.overall_f1 for source in (ner, path)
    )
    return {**report, "overall_f1": after, "model_f1": before, "f1_loss": before - after}
