"""Files from and to the Hub; nothing about models. The only door to `huggingface_hub`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

# What a model folder needs; pickles are never fetched.
MODEL_FILES = ("*.json", "*.safetensors", "flax_model.msgpack", "*.txt", "*.model")


def fetch_model(source: str | Path, *, revision: str | None = None) -> Path:
    """The local folder of a model: the folder itself, or the Hub's files, cached.

    Raises:
      ValueError: neither a folder nor a model on the Hub that can be reached.
    """
    if Path(source).is_dir():
        return Path(source)
    _refuse_lost_path(source, "model")
    try:
        return Path(
            snapshot_download(str(source), revision=revision, allow_patterns=list(MODEL_FILES))
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(_reason(str(source), "model", error)) from error


def fetch_file(source: str | Path, name: str, *, revision: str | None = None) -> Path:
    """One file of a folder or of a Hub model.

    Raises:
      ValueError: it is not there.
    """
    folder = Path(source)
    if folder.is_dir():
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is no model folder: it has no {name}")
        return folder / name
    _refuse_lost_path(source, "model")
    try:
        return Path(hf_hub_download(str(source), name, revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(_reason(str(source), "model", error)) from error


def _refuse_lost_path(source: str | Path, kind: str) -> None:
    """A name that can only be a path is no Hub name: say so without asking the network."""
    text = str(source)
    if Path(text).is_file():
        raise ValueError(f"the {kind} must be a folder or a Hub name: {text} is a file")
    if text.startswith((".", "/", "~")) or text.count("/") > 1 or not text:
        raise ValueError(f"there is no {kind} folder {text!r}")


# Error class of huggingface_hub -> what it means to a user, most special first.
REASONS: Sequence[tuple[type[Exception], str]] = (
    (GatedRepoError, "it is gated: accept its terms on its page and log in with `hf auth login`"),
    (RepositoryNotFoundError, "the Hub has none of that name, or it is private: check the name"),
    (RevisionNotFoundError, "it has no such revision"),
    (OfflineModeIsEnabled, "HF_HUB_OFFLINE is set and it is not in the local cache"),
    (LocalEntryNotFoundError, "the Hub could not be reached and it is not in the local cache"),
    (EntryNotFoundError, "it has no such file"),
    (HFValidationError, "that is no folder here and no valid Hub name"),
)


def _reason(name: str, kind: str, error: Exception) -> str:
    for cls, reason in REASONS:
        if isinstance(error, cls):
            return f"cannot get the {kind} {name!r}: {reason}"
    return f"cannot get the {kind} {name!r}: {str(error).splitlines()[0]}"


def card_metadata(
    *,
    model_name: str,
    base_model: str | None,
    dataset: str | None,
    scores: Mapping[str, Mapping[str, Any]],
) -> str:
    """The YAML head of a model card, as the Hub reads it.

    Args:
      model_name: name in the model index.
      base_model: Hub name of the model that training began with.
      dataset: Hub name of the corpus.
      scores: split -> report with overall_precision, _recall, _f1, _accuracy.
    """
    results = [
        EvalResult(
            task_type="token-classification",
            task_name="Named entity recognition",
            dataset_type=dataset or "custom",
            dataset_name=dataset or "custom",
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
        datasets=[dataset] if dataset else None,
        tags=["token-classification", "named-entity-recognition", "bert", "jax", "flax"],
        model_name=model_name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()
