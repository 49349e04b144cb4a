"""BERT's parts and a pretrained BERT against torch's; test_families has the common tests."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxner.models.bert.config import BertConfig
from flaxner.models.layers.activations import ACTIVATIONS
from flaxner.models.layers.attention import Within
from flaxner.models.network import Model
from flaxner.models.tensors import from_hf
from tests.compare import assert_close
from tests.families import FAMILIES

torch = pytest.importorskip("torch")

from transformers import BertForTokenClassification  # noqa: E402
from transformers.activations import ACT2FN  # noqa: E402

pytestmark = pytest.mark.real_program


def test_attention_block_equals_torch():
    theirs, ours, params = FAMILIES["bert"].pair()
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 9, 32)).astype(np.float32)
    block = theirs.bert.encoder.layer[1]
    with torch.no_grad():
        attended = block.attention(torch.tensor(x))[0].numpy()
        out = block(torch.tensor(x))
        out = (out[0] if isinstance(out, tuple) else out).numpy()
    layer = ours.bind(params).layers[1]
    bias = (Within.of(jnp.ones((2, 9), jnp.int32)),)
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
