"""The ONNX graph: what optimizers make of it, its quantised form, and the loss of accuracy."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest

from flaxner.config.command_line import Parser
from flaxner.data.labels import LabelScheme
from flaxner.evaluation.predictions import Predicted
from flaxner.publishing import quantization
from flaxner.publishing.conversion import Extras
from flaxner.publishing.quantization import measure
from tests.compare import assert_close
from tests.families import each_family
from tests.tiny import SIZES
from tests.wordpiece import tiny_tokenizer

LAYERS = SIZES["num_hidden_layers"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    for package in ("torch", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import torch
    from transformers import BertConfig, BertForTokenClassification

    from flaxner.publishing.onnx import write_onnx, write_quantized

    made = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    model = BertForTokenClassification(BertConfig(**SIZES, num_labels=5, initializer_range=0.2))
    for name, weight in model.named_parameters():  # PyTorch initialises them to zero
        if name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(made)
    tiny_tokenizer().save_pretrained(made)
    write_quantized(write_onnx(made, SIZES["max_position_embeddings"]))
    return made


def batch(rows, length, seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 99, (rows, length))
    mask = (np.arange(length) < rng.integers(1, length + 1, (rows, 1))).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def answers(file, feed):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], feed)[0]


def test_the_optimizer_fuses_every_attention(folder, tmp_path):
    from onnxruntime.transformers import optimizer

    from flaxner.publishing.verification import in_torch

    made = optimizer.optimize_model(
        str(folder / "onnx" / "model.onnx"), model_type="bert", opt_level=0
    )  # neither heads nor width are given: the graph determines them
    names = {item.name for item in made.model.graph.initializer}
    assert "classifier.bias" in names
    fused = made.get_fused_operator_statistics()
    assert fused["Attention"] == LAYERS
    assert fused["SkipLayerNormalization"] == 2 * LAYERS
    assert fused["BiasGelu"] == LAYERS
    made.save_model_to_file(str(tmp_path / "fused.onnx"))
    expected = in_torch(folder)
    for rows, length in ((1, 1), (3, 11), (2, SIZES["max_position_embeddings"])):
        feed = batch(rows, length)
        real = feed["attention_mask"] == 1
        for file in (folder / "onnx" / "model.onnx", tmp_path / "fused.onnx"):
            difference = np.abs(answers(file, feed) - expected(feed))[real].max()
            assert difference < 1e-5, (rows, length, file)


def test_the_quantised_graph_is_smaller_and_close(folder):
    file, small = (folder / "onnx" / name for name in ("model.onnx", "model_quantized.onnx"))
    import onnx

    weights = onnx.load(small).graph.initializer
    whole = {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    matrices = [w for w in weights if len(w.dims) == 2 and w.data_type in whole]
    assert len(matrices) == 3 + 6 * LAYERS + 1  # embeddings, layers, head
    assert small.stat().st_size < file.stat().st_size
    feed = batch(4, 20)
    real = feed["attention_mask"] == 1
    ours, theirs = (answers(path, feed)[real] for path in (small, file))
    assert 0 < np.abs(ours - theirs).max() < 0.1 * np.abs(theirs).max()


def test_weights_beside_a_graph_stay_there(folder, tmp_path):
    """As torch puts those of a model of more than 2 GB, which no ONNX file can hold."""
    import onnx

    from flaxner.publishing.onnx import _make_recognisable

    whole, file = folder / "onnx" / "model.onnx", tmp_path / "model.onnx"
    beside = {"save_as_external_data": True, "location": "model.onnx.data"}
    onnx.save(onnx.load(whole), file, **beside)
    _make_recognisable(file)
    weights = onnx.load(file, load_external_data=False).graph.initializer
    outside = [w.name for w in weights if onnx.external_data_helper.uses_external_data(w)]
    assert "bert.embeddings.word_embeddings.weight" in outside
    feed = batch(4, 20)
    np.testing.assert_array_equal(answers(file, feed), answers(whole, feed))


SCHEME = LabelScheme.from_types(["LOC"])
WORDS = ("Angela", "Merkel", "met", "Chelsea", "in", "Berlin", "on", "Tuesday", ".")


def test_every_word_is_measured_once(monkeypatch):
    """A stub that labels "Berlin" B-LOC (in float32 only), on sentences of several windows."""
    tokenizer = tiny_tokenizer()
    berlin = tokenizer(["Berlin"], is_split_into_words=True)["input_ids"][1:-1]
    assert len(berlin) >= 1
    seen = []

    def in_onnx_runtime(file):
        def answer(feed):
            seen.append(feed["input_ids"].shape)
            logits = np.zeros((*feed["input_ids"].shape, len(SCHEME)))
            logits[..., 0] = 0.5
            if "quantized" not in file:
                logits[..., SCHEME.label2id["B-LOC"]] = feed["input_ids"] == berlin[0]
            return logits

        return answer

    monkeypatch.setattr(quantization, "in_onnx_runtime", in_onnx_runtime)
    gold = tuple("B-LOC" if word == "Berlin" else "O" for word in WORDS * 3)
    sentences = [Predicted(WORDS * 3, gold, gold)] * 4
    files = ("float", "quantized")
    cost = measure(files, sentences, tokenizer, SCHEME, 16, scored=False)
    assert (cost.f1, cost.float_f1) == (0.0, 1.0)
    assert str(cost) == ("F1 on validation (4 sentences): int8 0.0000, float32 1.0000, 1.0000 lost")
    assert max(length for _, length in seen) <= 16
    assert {rows for rows, _ in seen} == {1}
    before = len(seen)
    measure(files, sentences, tokenizer, SCHEME, 16, scored=True)
    assert len(seen) - before == before // 2  # known scores are not computed again
    monkeypatch.setattr(quantization, "SENTENCES", 2)
    assert "(2 of 4 sentences)" in str(
        measure(files, sentences, tokenizer, SCHEME, 16, scored=True)
    )
    assert "not measured" in str(measure(files, [], tokenizer, SCHEME, 16, scored=True))


@pytest.mark.parametrize(
    ("precision", "crf", "in_documents", "alike"),
    [
        ("float32", False, False, True),
        ("bfloat16", False, False, False),
        ("float32", True, False, False),
        ("float32", False, True, False),
    ],
)
def test_float32_is_measured_anew_unless_the_run_scored_as_graphs_do(
    precision, crf, in_documents, alike
):
    saved = SimpleNamespace(model=SimpleNamespace(crf=crf))
    config = SimpleNamespace(in_documents=in_documents)
    results = {"train": {"precision": precision}}
    extras = Extras(saved, config, {}, "float32", results, {}, False, "int8", None, [])
    assert extras._scored_like_a_graph() == alike
    extras.results = None
    assert not extras._scored_like_a_graph()


@pytest.mark.parametrize(
    ("words", "onnx"),
    [
        (["--onnx", "runs/x"], "float32"),
        (["runs/x", "--onnx", "int8"], "int8"),
        (["--onnx", "int8", "runs/x"], "int8"),
        (["runs/x", "--onnx"], "float32"),
        (["--onnx=int8", "runs/x"], "int8"),
        (["runs/x"], False),
    ],
)
def test_the_onnx_flag_needs_no_value(words, onnx):
    parser = Parser(prog="convert_and_push.py")
    parser.add_argument("run_dir")
    parser.add_switch("--onnx", ("float32", "int8"), help="")
    given = parser.parse_args(words)
    assert (given.run_dir, given.onnx) == ("runs/x", onnx)


@pytest.mark.slow
@each_family
def test_every_family_answers_as_in_torch(family, tmp_path):
    """Includes positions that count tokens, and models that take no token types."""
    for package in ("torch", "onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    import torch

    from flaxner.publishing.onnx import write_onnx

    model = family.torch_model(initializer_range=0.2)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    file = write_onnx(tmp_path, family.model().config.positions)
    for rows, length in ((3, 9), (1, 33)):
        feed = batch(rows, length)
        feed["input_ids"][feed["attention_mask"] == 0] = model.config.pad_token_id
        if "token_type_ids" not in inspect.signature(model.forward).parameters:
            feed.pop("token_type_ids")  # DeBERTa 3 has no types, and yet takes them
        with torch.no_grad():
            expected = model(**{k: torch.from_numpy(v) for k, v in feed.items()}).logits.numpy()
        here = feed["attention_mask"] == 1
        assert_close("logits", answers(file, feed)[here], expected[here])
