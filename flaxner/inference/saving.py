"""Converts a loaded classifier to a `transformers` config, or to a folder it can load."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from flaxner.data.tokenizer import save_tokenizer
from flaxner.files import check_folder, write_folder, write_json
from flaxner.inference.classifier import Classifier
from flaxner.inference.precision import file_dtype
from flaxner.models import crf
from flaxner.models import tensors as weights_lib
from flaxner.models.crf import OURS
from flaxner.runs.kinds import HUB
from flaxner.runs.paths import refuse_runs


def config_fields(classifier: Classifier) -> dict[str, Any]:
    """Return the content of config.json: the classifier folder's, with the current labels."""
    model = classifier.model
    own = {**model.config.to_hf(), "model_type": model.config.model_type}
    labels = {str(number): name for number, name in enumerate(classifier.facts.labels)}
    fields = dict(classifier.fields or own)
    if fields.get(OURS):
        scheme = {} if classifier.facts.scheme is None else {"scheme": classifier.facts.scheme}
        block = {name: value for name, value in fields[OURS].items() if name != "scheme"}
        fields[OURS] = {**block, **scheme}
    return {
        **fields,
        "architectures": [model.encoder.architecture],
        "id2label": labels,
        "label2id": {name: int(number) for number, name in labels.items()},
    }


def save_classifier(folder: Path, classifier: Classifier) -> None:
    """Write config.json, model.safetensors and the tokenizer's files, in the original file's dtype.

    A warning names other files that stay in the folder.

    Raises:
      ValueError: the folder belongs to a run, or files that flaxner did not write are in the way.
    """
    refuse_runs(folder)
    check_folder(folder, HUB)
    fields = config_fields(classifier)
    host = {path: np.asarray(value) for path, value in classifier.params.items()}
    dtype = file_dtype(classifier.fields, classifier.folder)
    narrow = {path: value.astype(jnp.dtype(dtype)) for path, value in host.items()}
    if any((narrow[path].astype(value.dtype) != value).any() for path, value in host.items()):
        dtype, narrow = "float32", host  # the file was more precise than its config.json says
    fields = {name: value for name, value in fields.items() if name != "torch_dtype"}
    tensors = weights_lib.to_hf(narrow, classifier.model.rules)

    def fill(draft: Path) -> None:
        save_tokenizer(classifier.tokenizer, draft)
        write_json(draft / "config.json", fields | {"dtype": dtype})
        weights_lib.write_tensors(draft / weights_lib.SAFETENSORS, tensors)
        if classifier.crf is not None:
            crf.write(draft, classifier.crf)

    for text in write_folder(folder, HUB, fill):
        warnings.warn(text, stacklevel=3)
