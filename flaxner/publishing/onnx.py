"""A Hub folder -> its onnx/model.onnx, through PyTorch's exporter.

The folder `onnx` and the names of file, inputs and axes are those of Optimum and transformers.js.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
ONNX = "onnx/model.onnx"
EXAMPLE = (2, 7)  # rows and length of what the exporter traces


def write_onnx(folder: Path) -> Path:
    """Write onnx/model.onnx, float32, any number of rows and any length up to the model's.

    Args:
      folder: config.json, tokenizer and weights, read by `transformers` with torch.

    Returns:
      the file.
    """
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model = AutoModelForTokenClassification.from_pretrained(
        str(folder), dtype=torch.float32, trust_remote_code=False
    )
    known = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False).model_input_names
    # With a mask of ones alone the traced program has no mask, and padding would be attended to.
    mask = torch.ones(EXAMPLE, dtype=torch.long)
    mask[-1, EXAMPLE[1] // 2 :] = 0
    inputs = {
        "input_ids": torch.zeros(EXAMPLE, dtype=torch.long),
        "attention_mask": mask,
        "token_type_ids": torch.zeros(EXAMPLE, dtype=torch.long),
    }
    inputs = {name: value for name, value in inputs.items() if name in known}
    axes = {
        0: torch.export.Dim("batch_size"),
        1: torch.export.Dim("sequence_length", max=model.config.positions),
    }
    file = folder / ONNX
    file.parent.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own use of its own former names
        _quietly(logging.getLogger("torch.onnx"))
        torch.onnx.export(
            model.eval(),
            (),
            str(file),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes=dict.fromkeys(inputs, axes),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return file


def _quietly(logger: logging.Logger) -> None:
    """No word of packages that the exporter could also translate, were they installed."""
    logger.setLevel(logging.ERROR)
