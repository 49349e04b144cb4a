"""A Hub folder -> its onnx/model.onnx, through PyTorch's exporter.

The folder `onnx` and the names of files, inputs and axes are those of Optimum and transformers.js.
The graph is one that ONNX Runtime's transformer optimizer (`onnxruntime.transformers.optimizer`)
recognises: it makes one Attention node of each layer's.
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

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
ONNX = "onnx/model.onnx"
QUANTIZED = "onnx/model_quantized.onnx"
EXAMPLE = (2, 7)  # rows and length of what the exporter traces
AXES = ("batch_size", "sequence_length")
TRACED = "traced_model"  # the model's name in what is traced


def write_onnx(folder: Path, positions: int) -> Path:
    """Write onnx/model.onnx, float32, any number of rows and any length up to the model's.

    Args:
      folder: config.json, tokenizer and weights, read by `transformers` with torch.
      positions: tokens of the longest input.

    Returns:
      the file.
    """
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model = AutoModelForTokenClassification.from_pretrained(
        str(folder), dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    )
    given = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False).model_input_names
    known = set(given) & set(inspect.signature(model.forward).parameters)
    # With a mask of ones alone the traced program has no mask, and padding would be attended to.
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
            _graph(model.eval(), inputs),
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
    """Write a graph with int8 weights beside another, as model_quantized.onnx.

    Of each weight 7 bits are used: with 8, processors without VNNI overflow in silence, and the
    scores would depend on the machine.

    Returns:
      the file.
    """
    onnxruntime()  # before a part of it is imported
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = file.with_name(Path(QUANTIZED).name)
    with _quietly():
        quantize_dynamic(
            file, quantized, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
        )
    return quantized


def _graph(model: Any, inputs: Mapping[str, Any]) -> Any:
    """What is traced: the model, with the mask as a sum where it takes one and that is equal.

    What `transformers` makes of a mask of ones and zeros is right, and recognised by no optimizer.
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
    except Exception:  # a model that takes no such mask may say so in any way
        return model
    return graph if difference <= 1e-5 else model


def _make_recognisable(file: Path) -> None:
    """Write what the exporter wrote in the words that optimizers look for; nothing else changes.

    Of the mask's two axes each gets its own node; heads are split by constant shapes (0, 0, heads,
    width of a head), in which 0 stands for the axis as it is; scores are divided by the root of
    the width, not multiplied by its inverse.
    """
    import onnx

    model = onnx.load(file)
    for item in model.graph.initializer:  # by the names that the weights have in the folder
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
    onnx.checker.check_model(model)
    onnx.save(model, file)


class _Rewriting:
    """Changes to an ONNX graph that leave what it computes as it is."""

    def __init__(self, graph: Any) -> None:
        from onnx import numpy_helper

        self.graph = graph
        self.constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.shapes = {
            item.name: [dim.dim_param or dim.dim_value for dim in item.type.tensor_type.shape.dim]
            for item in graph.value_info
        }

    def constant(self, value: np.ndarray) -> str:
        """The name of a constant, which is added if it is new."""
        from onnx import numpy_helper

        parts = (value.dtype, *np.ravel(value).tolist())
        name = "flaxner_" + "_".join(str(part).replace("-", "minus_") for part in parts)
        if name not in self.constants:
            self.constants[name] = value
            self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def one_by_one(self, node: Any) -> list[Any]:
        """An Unsqueeze of several axes as one of each."""
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
        """A Reshape that leaves rows and positions as they are, told so by constants."""
        before, after = self.shapes.get(node.input[0]), self.shapes.get(node.output[0])
        maker = self.makers.get(node.input[1])
        if maker is None or maker.op_type != "Concat" or not before or not after:
            return
        if list(AXES) == before[:2] == after[:2] and all(isinstance(n, int) for n in after[2:]):
            node.input[1] = self.constant(np.asarray([0, 0, *after[2:]]))
            del node.attribute[:]  # allowzero, by which 0 would mean an empty axis

    def divide(self, node: Any) -> None:
        """The product of a matrix product and a number as a division."""
        factor, maker = self.constants.get(node.input[1]), self.makers.get(node.input[0])
        if factor is None or maker is None or maker.op_type != "MatMul":
            return
        if factor.size == 1 and factor.dtype == np.float32:
            node.op_type = "Div"
            node.input[1] = self.constant(np.float32(1) / factor)

    def replace(self, nodes: list[Any]) -> None:
        """Take these nodes for the old ones, without what nobody reads."""
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
    """No word of packages that could be there, nor of torch's use of its own former names."""
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
