"""Our BERT against torch's, part by part and whole."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxner.models.auto import FlaxBertForTokenClassification
from flaxner.models.bert.config import BertConfig
from flaxner.models.layers.activations import ACTIVATIONS
from flaxner.models.layers.attention import segment_bias
from flaxner.models.layers.compute import Compute
from flaxner.models.network import Model
from flaxner.models.tensors import from_hf
from tests.compare import assert_close
from tests.tiny import SIZES

torch = pytest.importorskip("torch")

from transformers import BertConfig as TorchConfig  # noqa: E402
from transformers import BertForTokenClassification  # noqa: E402
from transformers.activations import ACT2FN  # noqa: E402

VARIANTS = {
    "plain": {},
    "relu": {"hidden_act": "relu"},
    "gelu_new": {"hidden_act": "gelu_new"},
    "silu": {"hidden_act": "silu"},
    "one token type": {"type_vocab_size": 1},
    "wide eps": {"layer_norm_eps": 1e-5},
    "odd heads": {"hidden_size": 30, "num_attention_heads": 3},
    "one head": {"num_attention_heads": 1},
    "deep": {"num_hidden_layers": 5},
    "hundred labels": {"num_labels": 100},
    "classifier dropout": {"classifier_dropout": 0.3},
    "wide init": {"initializer_range": 0.2},
}


def pair(seed=0, **changes):
    """The same random model in torch and here."""
    torch.manual_seed(seed)
    fields = {**SIZES, "num_labels": 5, **changes}
    theirs = BertForTokenClassification(TorchConfig(**fields)).eval()
    with torch.no_grad():  # biases and norms away from their trivial initial values
        for parameter in theirs.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = Model(BertConfig(**fields))
    tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    shapes = {path: leaf.shape for path, leaf in ours.shapes.items()}
    params = from_hf(tensors, ours.rules, shapes, source="torch", ignored=("bert.embeddings.pos",))
    return theirs, ours, params


def inputs(rng, batch=3, length=17, types=2):
    ids = rng.integers(1, 99, (batch, length)).astype(np.int32)
    mask = np.ones_like(ids)
    mask[1, length // 2 :] = 0
    token_types = rng.integers(0, types, ids.shape).astype(np.int32)
    return ids, mask, token_types


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_equal_torch(name):
    changes = VARIANTS[name]
    theirs, ours, params = pair(**changes)
    rng = np.random.default_rng(1)
    ids, mask, token_types = inputs(rng, types=changes.get("type_vocab_size", 2))
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            token_type_ids=torch.tensor(token_types),
        ).logits.numpy()
    positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
    got = ours.apply(params, ids, mask, positions, token_types)
    assert_close("logits", np.asarray(got)[mask == 1], expected[mask == 1])


def test_every_layer_equals_torch():
    theirs, ours, params = pair(num_hidden_layers=3)
    ids, mask, token_types = inputs(np.random.default_rng(2))
    with torch.no_grad():
        expected = theirs.bert(
            torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            token_type_ids=torch.tensor(token_types),
            output_hidden_states=True,
        ).hidden_states
    states = ours.bind(params).encode(ids, mask, token_type_ids=token_types, all_layers=True)
    assert len(states) == len(expected) == 4
    for state, reference in zip(states, expected, strict=True):
        assert_close("logits", np.asarray(state)[mask == 1], reference.numpy()[mask == 1])


def test_attention_block_equals_torch():
    theirs, ours, params = pair()
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 9, 32)).astype(np.float32)
    block = theirs.bert.encoder.layer[1]
    with torch.no_grad():
        attended = block.attention(torch.tensor(x))[0].numpy()
        out = block(torch.tensor(x))
        out = (out[0] if isinstance(out, tuple) else out).numpy()
    layer = ours.bind(params).layers[1]
    bias = segment_bias(jnp.ones((2, 9), jnp.int32))
    mixed = layer.attention(jnp.asarray(x), bias, None)
    assert_close("logits", layer.attention_norm(x + mixed), attended)
    assert_close("logits", layer(jnp.asarray(x), bias, None), out)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) & set(ACT2FN)))
def test_activation_equals_torch(name):
    x = np.linspace(-6, 6, 401, dtype=np.float32)
    expected = ACT2FN[name](torch.tensor(x)).numpy()
    assert_close("logits", ACTIVATIONS[name](jnp.asarray(x)), expected)


@pytest.mark.shared
def test_minilm_logits_equal_torch(minilm_folder):
    torch.manual_seed(0)
    theirs = BertForTokenClassification.from_pretrained(minilm_folder, num_labels=9).eval()
    tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    ours = Model(dataclasses.replace(BertConfig.from_hf(theirs.config.to_dict()), num_labels=9))
    shapes = {path: leaf.shape for path, leaf in ours.shapes.items()}
    params = from_hf(tensors, ours.rules, shapes, source="torch")
    rng = np.random.default_rng(4)
    ids = rng.integers(1000, 30000, (4, 48)).astype(np.int32)
    mask = np.ones_like(ids)
    mask[2, 20:] = 0
    with torch.no_grad():
        expected = theirs(torch.tensor(ids), attention_mask=torch.tensor(mask)).logits.numpy()
    positions = np.broadcast_to(np.arange(48, dtype=np.int32), ids.shape)
    got = jax.jit(ours.apply)(params, ids, mask, positions)
    assert_close("logits", np.asarray(got)[mask == 1], expected[mask == 1])


@pytest.mark.parametrize("name", VARIANTS)
def test_round_trip_hf(name, tmp_path):
    """torch -> ours -> torch, bit for bit, through files that torch itself reads."""
    from flaxner.data.tags import LabelScheme
    from flaxner.models.pretrained import load_pretrained
    from flaxner.publishing.hub_folder import export_folder
    from tests.wordpiece import tiny_tokenizer

    theirs, ours, _ = pair(**VARIANTS[name])
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = load_pretrained(tmp_path / "theirs")
    assert loaded.fresh == []
    assert loaded.model.config == ours.config
    tags = ["O", *(f"{p}-T{i:02}" for i in range(60) for p in "BI")][: ours.config.num_labels]
    export_folder(
        tmp_path / "ours",
        loaded.model,
        loaded.params,
        LabelScheme(tuple(tags)),
        tiny_tokenizer(),
        fields=loaded.fields,
    )
    again = BertForTokenClassification.from_pretrained(tmp_path / "ours")
    before, after = theirs.state_dict(), again.state_dict()
    assert set(before) == set(after)
    for key, tensor in before.items():
        assert torch.equal(tensor, after[key]), key
    assert again.config.id2label == dict(enumerate(tags))


def test_scanned_layers_equal_unrolled():
    _, ours, params = pair(num_hidden_layers=3)
    ids, mask, types = inputs(np.random.default_rng(5))
    positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
    key = jax.random.key(0)
    reference = ours.apply(params, ids, mask, positions, types, dropout_key=key)
    for compute in (
        Compute(scan_layers=True),
        Compute(remat=True),
        Compute(scan_layers=True, remat=True),
    ):
        other = dataclasses.replace(ours, compute=compute)
        assert other.shapes.keys() == ours.shapes.keys()
        got = other.apply(params, ids, mask, positions, types, dropout_key=key)
        assert_close("logits", got, reference)


def test_bfloat16_stays_near_float32():
    _, ours, params = pair()
    ids, mask, types = inputs(np.random.default_rng(6))
    positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
    half = dataclasses.replace(ours, compute=Compute(dtype="bfloat16"))
    got = half.apply(params, ids, mask, positions, types)
    reference = ours.apply(params, ids, mask, positions, types)
    assert got.dtype == jnp.float32
    error = np.abs(np.asarray(got) - np.asarray(reference)).max()
    assert 0 < error < 0.05 * np.abs(np.asarray(reference)).max() + 0.02


def test_module_is_a_plain_nnx_module():
    from flax import nnx

    model = FlaxBertForTokenClassification(BertConfig(**SIZES), rngs=nnx.Rngs(0))
    logits = model(jnp.ones((2, 7), jnp.int32))
    assert logits.shape == (2, 7, 2)
    assert logits.dtype == jnp.float32
