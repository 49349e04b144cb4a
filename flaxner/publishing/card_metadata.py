"""The YAML metadata of a model card, built with `huggingface_hub`'s own card tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData


def card_metadata(
    *,
    model_name: str,
    model_type: str,
    base_model: str | None,
    datasets: Sequence[str],
    scores: Mapping[str, Mapping[str, Any]],
    measured: Mapping[str, tuple[str | None, str | None, str]],
    widget: Sequence[str] = (),
    license: str | None = None,
    language: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> str:
    """Return the YAML metadata of a model card, as the Hub reads it.

    Args:
      model_name: name in the model index.
      model_type: model_type of config.json, used as a tag.
      base_model: Hub name of the model that was fine-tuned.
      datasets: Hub names of the corpora.
      scores: split -> report with overall_precision, _recall, _f1, _accuracy.
      measured: split -> Hub name and configuration of the data set it belongs to (None if it is
        not the split of a single one), and a name to show.
      widget: sentences to try the model on.
      license: licence, as the Hub abbreviates it.
      language: ISO 639 codes.
      tags: tags in addition to those that every model gets.
    """
    results = [
        EvalResult(
            task_type="token-classification",
            task_name="Named entity recognition",
            dataset_type=measured[split][0] or "custom",
            dataset_config=measured[split][1],
            dataset_name=measured[split][2],
            dataset_split=split,
            metric_type=metric,
            metric_name=metric.capitalize() if metric != "f1" else "F1",
            metric_value=round(report[f"overall_{metric}"], 6),
        )
        for split, report in scores.items()
        for metric in ("precision", "recall", "f1", "accuracy")
    ]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="token-classification",
        base_model=base_model,
        datasets=list(datasets) or None,
        tags=["token-classification", "named-entity-recognition", model_type, "jax", "flax", *tags],
        model_name=model_name if results else None,
        eval_results=results or None,
        license=license,
        language=list(language) or None,
        widget=[{"text": text} for text in widget] or None,
    )
    return data.to_yaml()
