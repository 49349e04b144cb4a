"""PyTorch -> flaxner -> PyTorch, bit for bit, for BERTs of every make, and the same logits."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from flaxner.data.tags import LabelScheme
from flaxner.models.pretrained import load_pretrained
from flaxner.models.tensors import FLAX_MSGPACK, SAFETENSORS, SAFETENSORS_INDEX
from flaxner.publishing.hub_folder import export_folder
from tests.compare import assert_close
from tests.test_weights import flax_tree
from tests.tiny import SIZES
from tests.wordpiece import tiny_tokenizer

torch = pytest.importorskip("torch")


def whole(folder, model):
    model.save_pretrained(folder)


def sharded(folder, model):
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert (folder / SAFETENSORS_INDEX).is_file()


def rewritten(change):
    def save(folder, model):
        model.save_pretrained(folder)
        tensors = load_file(folder / SAFETENSORS)
        save_file(change(tensors), folder / SAFETENSORS, metadata={"format": "pt"})

    return save


@rewritten
def bare(tensors):
    return {name.removeprefix("bert."): tensor for name, tensor in tensors.items()}


@rewritten
def with_leftovers(tensors):
    """What an old fine-tuned pre-training checkpoint carries along."""
    table = tensors["bert.embeddings.word_embeddings.weight"]
    width = table.shape[1]
    return {
        **tensors,
        "bert.embeddings.position_ids": np.arange(64)[None],
        "bert.pooler.dense.weight": np.ones((width, width), np.float32),
        "bert.pooler.dense.bias": np.ones(width, np.float32),
        "cls.predictions.decoder.weight": table.copy(),
        "cls.predictions.bias": np.ones(len(table), np.float32),
        "cls.seq_relationship.weight": np.ones((2, width), np.float32),
    }


@rewritten
def of_2018(tensors):
    def old(name):
        if "LayerNorm" not in name:
            return name
        return name.replace(".weight", ".gamma").replace(".bias", ".beta")

    return {old(name): tensor for name, tensor in tensors.items()}


def msgpack(folder, model):
    from flax.serialization import to_bytes

    model.save_pretrained(folder)
    tensors = load_file(folder / SAFETENSORS)
    (folder / SAFETENSORS).unlink()
    (folder / FLAX_MSGPACK).write_bytes(to_bytes(flax_tree(tensors)))


@dataclasses.dataclass(frozen=True)
class Make:
    """A kind of BERT, and how it lies on the Hub."""

    fields: dict[str, Any]
    labels: int = 5
    save: Callable[..., None] = whole
    dtype: str = "float32"


MAKES = {
    "as usual": Make({"hidden_act": "gelu"}),
    "gelu_new, own dropout before the head, shards": Make(
        {"hidden_act": "gelu_new", "classifier_dropout": 0.3}, save=sharded
    ),
    "relu, no dropout, no prefix": Make(
        {
            "hidden_act": "relu",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "classifier_dropout": 0.0,
        },
        save=bare,
    ),
    "silu, one token type, 3 heads": Make(
        {"hidden_act": "silu", "type_vocab_size": 1, "hidden_size": 36, "num_attention_heads": 3}
    ),
    "5 heads, 2 labels": Make({"hidden_size": 40, "num_attention_heads": 5}, labels=2),
    "100 labels, one layer": Make({"num_hidden_layers": 1}, labels=100),
    "other heads and buffers beside": Make({"type_vocab_size": 4}, save=with_leftovers),
    "names of 2018, coarse layer norm": Make({"layer_norm_eps": 1e-5}, save=of_2018),
    "flax msgpack, tanh gelu, narrow": Make(
        {"hidden_act": "gelu_pytorch_tanh", "intermediate_size": 7}, save=msgpack
    ),
    "bfloat16, one head, shards": Make(
        {"num_attention_heads": 1, "hidden_act": "quick_gelu"}, save=sharded, dtype="bfloat16"
    ),
    "deep, 7 positions, relu2": Make(
        {"num_hidden_layers": 5, "max_position_embeddings": 7, "hidden_act": "relu2"}
    ),
}


def torch_model(make):
    from transformers import BertConfig, BertForTokenClassification

    torch.manual_seed(0)
    # wide enough that every activation is bent
    fields = {**SIZES, "initializer_range": 0.3, **make.fields}
    names = {i: f"L{i}" for i in range(make.labels)}
    config = BertConfig(**fields, id2label=names, label2id={v: k for k, v in names.items()})
    model = BertForTokenClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases and layer norms would all be 0 and 1
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.to(getattr(torch, make.dtype))


@pytest.mark.parametrize("name", MAKES)
def test_round_trip_hf(name, tmp_path):
    from transformers import BertForTokenClassification

    make = MAKES[name]
    reference = torch_model(make)
    make.save(tmp_path / "theirs", reference)
    loaded = load_pretrained(tmp_path / "theirs")
    assert not loaded.fresh
    scheme = LabelScheme(tuple(loaded.fields["id2label"].values()))
    folder = export_folder(
        tmp_path / "ours",
        loaded.model,
        loaded.params,
        scheme,
        tiny_tokenizer(),
        fields=loaded.fields,
        dtype=make.dtype,
    )
    again = BertForTokenClassification.from_pretrained(folder).eval()
    before, after = reference.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert after[key].dtype == tensor.dtype, key
        bits = torch.int16 if tensor.dtype == torch.bfloat16 else torch.int32
        if tensor.is_floating_point():
            assert torch.equal(after[key].view(bits), tensor.view(bits)), key
    for key, value in make.fields.items():
        assert getattr(again.config, key) == value
    assert again.config.num_labels == make.labels

    rng = np.random.default_rng(1)
    ids = rng.integers(0, 99, (2, 7))
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3])
    types = rng.integers(0, loaded.model.config.type_vocab_size, (2, 7))
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    with torch.no_grad():
        theirs = again.float()(**{k: torch.from_numpy(v) for k, v in inputs.items()}).logits
    positions = np.broadcast_to(np.arange(7), ids.shape)
    ours = jax.jit(loaded.model.apply)(loaded.params, ids, mask, positions, types)
    assert_close("logits", np.asarray(ours)[mask == 1], theirs.numpy()[mask == 1])


def test_a_pretraining_checkpoint_keeps_its_encoder(tmp_path):
    """BertForPreTraining, whose decoder is tied to the word table, gets a new head."""
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**SIZES))
    model.save_pretrained(tmp_path / "theirs")
    loaded = load_pretrained(tmp_path / "theirs", num_labels=3)
    assert loaded.fresh == ["classifier.bias", "classifier.weight"]
    scheme = LabelScheme(("O", "B-X", "I-X"))
    folder = export_folder(tmp_path / "ours", loaded.model, loaded.params, scheme, tiny_tokenizer())
    tensors = load_file(folder / SAFETENSORS)
    encoder = {k: v.numpy() for k, v in model.bert.state_dict().items() if "pooler" not in k}
    assert encoder.pop("embeddings.position_ids", None) is None
    assert {name.removeprefix("bert.") for name in tensors} == {
        *encoder,
        "classifier.weight",
        "classifier.bias",
    }
    for name, tensor in encoder.items():
        assert tensors[f"bert.{name}"].tobytes() == tensor.tobytes(), name
    assert json.loads((folder / "config.json").read_text())["architectures"] == [
        "BertForTokenClassification"
    ]
