"""Try what publishing will do at the end of a run before it begins, so no training is wasted."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.config.train import TrainConfig
from flaxner.data.corpus import Corpus
from flaxner.data.labels import LabelScheme
from flaxner.data.tokenizer import load_tokenizer
from flaxner.evaluation.predictions import (
    Predicted,
    predicted,
    read_predictions,
    write_predictions,
)
from flaxner.models.config_json import hub_config, read_config
from flaxner.models.network import Model
from flaxner.publishing.hub_folder import save_model_files
from flaxner.publishing.model_card import model_card

SHOWN = 1000  # sentences of a split to try the card with


def rehearse(
    config: TrainConfig,
    scheme: LabelScheme,
    tokenizer: Any,
    model: Model,
    fields: Mapping[str, Any],
    corpora: Mapping[str, Corpus],
) -> None:
    """Write predictions, card, config.json and tokenizer into a temporary folder, and read them.

    The gold tags stand in for the model's predictions.

    Args:
      config: settings of the run.
      scheme: label table.
      tokenizer: a `transformers` tokenizer.
      model: static definition.
      fields: config.json of the model to fine-tune; empty if there is none.
      corpora: split -> corpus.

    Raises:
      ValueError: something would fail at the end of the run; the message says what and why.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="flaxner-")
    except OSError:  # there is no temporary folder; the run itself does not need one
        return
    with folder as name:
        try:
            predictions = _predictions(Path(name), corpora, config.in_documents)
            written = hub_config(
                model, scheme, fields, max_length=config.max_length, context=config.context
            )
            _model_files(Path(name), tokenizer, written, scheme)
            results = _results(scheme, predictions, crf=model.crf)
            model_card(config, scheme, model.encoder, results, predictions=predictions)
        except Exception as error:  # whatever it is, it would happen at the end of the run
            raise ValueError(
                f"the trained model could not be published: {str(error) or type(error).__name__}"
            ) from error


def _predictions(
    folder: Path, corpora: Mapping[str, Corpus], in_documents: bool
) -> dict[str, list[Predicted]]:
    predictions = {}
    for split, corpus in corpora.items():
        if split == "train":
            continue
        rows = predicted(corpus, (s.tags or () for s in corpus), in_documents=in_documents)
        file = folder / f"{split}.conll"
        write_predictions(file, rows)
        for before, after in zip(rows, read_predictions(file), strict=True):
            if before != after:
                raise ValueError(
                    f"the words {before.words} of {corpus.source} do not survive in a prediction "
                    f"file: {after.words}"
                )
        predictions[split] = rows[:SHOWN]
    return predictions


def _model_files(
    folder: Path, tokenizer: Any, fields: Mapping[str, Any], scheme: LabelScheme
) -> None:
    save_model_files(folder, tokenizer, fields)
    again = LabelScheme.from_id2label(read_config(folder)["id2label"])
    if again != scheme:
        raise ValueError(f"the labels {scheme.tags} do not survive in config.json: {again.tags}")
    load_tokenizer(folder)


def _results(scheme: LabelScheme, predictions: Mapping[str, Any], *, crf: bool) -> dict[str, Any]:
    """Return the results.json of a run that makes no mistakes."""
    overall = dict.fromkeys(("precision", "recall", "f1", "accuracy"), 1.0)
    row = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    report = {f"overall_{name}": value for name, value in overall.items()}
    report |= {"per_type": dict.fromkeys(scheme.types, row)}  # type: ignore[dict-item]
    report |= {"argmax": dict(report)} if crf else {}  # type: ignore[dict-item]
    return {"train": {}, **dict.fromkeys(predictions, report)}
