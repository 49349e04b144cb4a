"""A Hub folder -> its onnx/model.onnx, through PyTorch's exporter.

The folder `onnx` and the names of files, inputs and axes follow Optimum and transformers.js. The
graph has a form that ONNX Runtime's transformer optimizer (`onnxruntime.transformers.optimizer`)
recognises: it fuses the attention of each layer into one Attention node.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.inference.onnx_runtime import onnxruntime
from flaxner.publishing.verification import torch_model

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
ONNX = "onnx/model.onnx"
QUANTIZED = "onnx/model_quantized.onnx"
EXAMPLE = (2, 7)  # rows and length of the input that the exporter traces with
AXES = ("batch_size", "sequence_length")
TRACED = "traced_model"  # name of the model inside the traced module


def write_onnx(folder: Path, positions: int) -> Path:
    """Write onnx/model.onnx in float32, for any number of rows and any length up to the model's.

    Args:
      folder: folder with config.json, tokenizer and weights, read by `transformers` with torch.
      positions: length of the longest input, in tokens.

    Returns:
      path of the file.
    """
    import torch
    from transformers import AutoTokenizer

    model = torch_model(folder, dtype=torch.float32, attn_implementation="eager")
    given = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False).model_input_names
    known = set(given) & set(inspect.signature(model.forward).parameters)
    # With a mask of ones only, the traced program has no mask, and padding would be attended to.
    mask = torch.ones(EXAMPLE, dtype=torch.long)
    mask[-1, EXAMPLE[1] // 2 :] = 0
    inputs = {
        "input_ids": torch.zeros(EXAMPLE, dtype=torch.long),
        "attention_mask": mask,
        "token_type_ids": torch.zeros(EXAMPLE, dtype=torch.long),
    }
    inputs = {name: value for name, value in inputs.items() if name in known}
    dims = {0: torch.export.Dim(AXES[0]), 1: torch.export.Dim(AXES[1], max=positions)}
    file = folder / ONNX
    file.parent.mkdir()
    with _quietly():
        torch.onnx.export(
            _graph(model, inputs),
            (),
            str(file),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["logits"],
            dynamic_shapes=dict.fromkeys(inputs, dims),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    _make_recognisable(file)
    return file


def write_quantized(file: Path) -> Path:
    """Write model_quantized.onnx, the same graph with int8 weights, next to a float32 graph.

    Only 7 bits of each weight are used: with 8, processors without VNNI overflow silently, and the
    scores would depend on the machine.

    Returns:
      path of the file.
    """
    onnxruntime()  # must come before any of its submodules is imported
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = file.with_name(Path(QUANTIZED).name)
    with _quietly():
        quantize_dynamic(
            file, quantized, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
    return quantized


def _graph(model: Any, inputs: Mapping[str, Any]) -> Any:
    """Return what to trace: the model, with an additive mask if it accepts one and agrees with it.

    What `transformers` computes from a mask of ones and zeros is correct, but no optimizer
    recognises it.
    """
    import torch

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(TRACED, model)

        def forward(
            self, input_ids: Any, attention_mask: Any, token_type_ids: Any = None
        ) -> torch.Tensor:
            hidden = 1.0 - attention_mask[:, None, None, :].to(torch.float32)
            own = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            added = hidden * torch.finfo(torch.float32).min
            return model(input_ids=input_ids, attention_mask=added, **own).logits

    graph = Graph().eval()
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(inputs["input_ids"].numel()).reshape(EXAMPLE) % vocabulary
    probe = {**inputs, "input_ids": ids}
    real = inputs["attention_mask"] == 1
    try:
        with torch.inference_mode():
            difference = (model(**probe).logits - graph(**probe)).abs()[real].max()
    except Exception:  # a model that does not accept such a mask may raise anything
        return model
    return graph if difference <= 1e-5 else model


def _make_recognisable(file: Path) -> None:
    """Rewrite the exported graph in the form that optimizers look for; nothing else changes.

    Each of the mask's two axes gets its own node; heads are split by constant shapes (0, 0, heads,
    head width), where 0 keeps an axis as it is; scores are divided by the square root of the
    width instead of multiplied by its inverse.
    """
    import onnx

    model = onnx.load(file, load_external_data=False)  # which a graph of over 2 GB has beside it
    for item in model.graph.initializer:  # use the names that the weights have in the folder
        item.name = item.name.removeprefix(f"{TRACED}.")
    for node in model.graph.node:
        node.input[:] = [name.removeprefix(f"{TRACED}.") for name in node.input]
    graph = _Rewriting(model.graph)
    softmax = {node.input[0] for node in model.graph.node if node.op_type == "Softmax"}
    sums = [node for node in model.graph.node if softmax.intersection(node.output)]
    scores = {name for node in sums if node.op_type == "Add" for name in node.input}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Unsqueeze" and node.input[0] == "attention_mask":
            nodes += graph.one_by_one(node)
            continue
        if node.op_type == "Reshape":
            graph.split_by_constants(node)
        if node.op_type == "Mul" and scores.intersection(node.output):
            graph.divide(node)
        nodes.append(node)
    graph.replace(nodes)
    onnx.save(model, file)
    onnx.checker.check_model(str(file))


class _Rewriting:
    """Changes to an ONNX graph that do not change what it computes."""

    def __init__(self, graph: Any) -> None:
        from onnx import external_data_helper, numpy_helper

        self.graph = graph
        self.constants = {
            item.name: numpy_helper.to_array(item)
            for item in graph.initializer
            if not external_data_helper.uses_external_data(item)
        }
        self.makers = {name: node for node in graph.node for name in node.output}
        self.shapes = {
            item.name: [dim.dim_param or dim.dim_value for dim in item.type.tensor_type.shape.dim]
            for item in graph.value_info
        }

    def constant(self, value: np.ndarray) -> str:
        """Return the name of a constant, adding it to the graph if it is new."""
        from onnx import numpy_helper

        parts = (value.dtype, *np.ravel(value).tolist())
        name = "flaxner_" + "_".join(str(part).replace("-", "minus_") for part in parts)
        if name not in self.constants:
            self.constants[name] = value
            self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def one_by_one(self, node: Any) -> list[Any]:
        """Split an Unsqueeze of several axes into one node per axis."""
        from onnx import helper

        axes = np.sort(self.constants.get(node.input[1], np.asarray([0])))
        if (axes < 0).any():
            return [node]
        names = [f"{node.output[0]}_axis_{axis}" for axis in axes[:-1]]
        chain = [node.input[0], *names, node.output[0]]
        return [
            helper.make_node("Unsqueeze", [before, self.constant(np.asarray([axis]))], [after])
            for before, after, axis in zip(chain, chain[1:], axes, strict=False)
        ]

    def split_by_constants(self, node: Any) -> None:
        """Give a Reshape that keeps rows and positions a constant shape."""
        before, after = self.shapes.get(node.input[0]), self.shapes.get(node.output[0])
        maker = self.makers.get(node.input[1])
        if maker is None or maker.op_type != "Concat" or not before or not after:
            return
        if list(AXES) == before[:2] == after[:2] and all(isinstance(n, int) for n in after[2:]):
            node.input[1] = self.constant(np.asarray([0, 0, *after[2:]]))
            del node.attribute[:]  # allowzero, with which 0 would mean an empty axis

    def divide(self, node: Any) -> None:
        """Turn the multiplication of a matrix product by a number into a division."""
        factor, maker = self.constants.get(node.input[1]), self.makers.get(node.input[0])
        if factor is None or maker is None or maker.op_type != "MatMul":
            return
        if factor.size == 1 and factor.dtype == np.float32:
            node.op_type = "Div"
            node.input[1] = self.constant(np.float32(1) / factor)

    def replace(self, nodes: list[Any]) -> None:
        """Replace the graph's nodes with these, dropping nodes and constants that nothing uses."""
        outputs = {item.name for item in self.graph.output}
        while True:
            read = outputs.union(name for node in nodes for name in node.input)
            kept = [node for node in nodes if read.intersection(node.output)]
            if len(kept) == len(nodes):
                break
            nodes = kept
        constants = [item for item in self.graph.initializer if item.name in read]
        for field, items in ((self.graph.node, nodes), (self.graph.initializer, constants)):
            del field[:]
            field.extend(items)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silence advice about optional packages and torch's deprecation warnings about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "root", None)]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
