"""What is ModernBERT's own: two kinds of attention, rotary positions, two forms of config.json."""

import dataclasses

import jax
import numpy as np
import pytest

from flaxner.models.layers.compute import Compute
from flaxner.models.layers.token_classifier import repetition
from flaxner.models.modernbert.config import FULL, SLIDING, ModernBertConfig, alternating
from flaxner.models.network import Model
from flaxner.models.tensors import from_hf
from tests.compare import assert_close

torch = pytest.importorskip("torch")

from transformers import ModernBertConfig as TorchConfig  # noqa: E402
from transformers import ModernBertForTokenClassification  # noqa: E402

pytestmark = pytest.mark.real_program

SIZES = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "local_attention": 8,
    "num_labels": 5,
    **{f"{name}_token_id": 0 for name in ("pad", "bos", "eos", "cls", "sep")},
}
BIASES = dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), True)
THETAS = {
    FULL: {"rope_type": "default", "rope_theta": 1000.0},
    SLIDING: {"rope_type": "default", "rope_theta": 50.0},
}
VARIANTS = {
    "plain": {},
    "biases": BIASES,
    "other kinds of layers": {
        "layer_types": [FULL, SLIDING, SLIDING, FULL, FULL],
        "rope_parameters": THETAS,
    },
    "old names": {"global_attn_every_n_layers": 2, "global_rope_theta": 300.0},
    "activations": {"hidden_activation": "silu", "classifier_activation": "tanh"},
}


def pair(**changes):
    """The same random model in torch and here, its weights away from trivial values."""
    torch.manual_seed(0)
    theirs = ModernBertForTokenClassification(TorchConfig(**{**SIZES, **changes})).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.mul_(2)
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = Model.from_fields(theirs.config.to_dict())
    tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    shapes = {path: leaf.shape for path, leaf in ours.shapes.items()}
    return theirs, ours, from_hf(tensors, ours.rules, shapes, source="torch")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_layer_equals_torch(name):
    """At 40 tokens, five times the window of local attention, one row half padding."""
    theirs, ours, params = pair(**VARIANTS[name])
    ids = np.random.default_rng(0).integers(1, 99, (2, 40)).astype(np.int32)
    mask = np.ones_like(ids)
    mask[1, 20:] = 0
    with torch.no_grad():
        there = theirs(torch.tensor(ids), torch.tensor(mask), output_hidden_states=True)
    states = ours.bind(params).encode(ids, mask, all_layers=True)
    here = mask == 1
    for state, expected in zip(states, there.hidden_states, strict=True):
        assert_close("logits", np.asarray(state)[here], expected.numpy()[here])
    logits = ours.bind(params)(ids, mask)
    assert_close("logits", np.asarray(logits)[here], there.logits.numpy()[here])


def test_a_packed_row_gives_what_its_segments_give():
    """Distances are those within the segment, for the window and for the rotations."""
    _, ours, params = pair()
    rng = np.random.default_rng(1)
    one, two = (rng.integers(1, 99, (1, size)).astype(np.int32) for size in (23, 17))
    row = np.concatenate([one, two], axis=1)
    places = [np.arange(x.shape[1], dtype=np.int32)[None] for x in (one, two)]
    marks = np.concatenate([np.full_like(one, 1), np.full_like(two, 2)], axis=1)
    packed = ours.apply(params, row, marks, np.concatenate(places, axis=1))
    alone = [
        ours.apply(params, x, np.ones_like(x), p) for x, p in zip((one, two), places, strict=True)
    ]
    assert_close("packing", np.asarray(packed), np.concatenate(alone, axis=1))


@pytest.mark.parametrize("key", [None, 3])
def test_layers_of_two_kinds_are_scanned_by_periods(key):
    _, ours, params = pair(num_hidden_layers=8)
    ids = np.random.default_rng(2).integers(1, 99, (1, 24)).astype(np.int32)
    key = None if key is None else jax.random.key(key)
    scanned = dataclasses.replace(ours, compute=Compute(scan_layers=True, remat=True))
    places = np.arange(24, dtype=np.int32)[None]
    expected, got = (
        np.asarray(m.apply(params, ids, np.ones_like(ids), places, dropout_key=key))
        for m in (ours, scanned)
    )
    assert_close("logits", got, expected)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("aaaa", (0, 1, 4)),
        ("nsslsslss", (1, 3, 2)),
        ("nsslssl", (1, 3, 2)),
        ("abc", (0, 1, 1)),
        ("abab", (0, 2, 2)),
        ("a", (0, 1, 1)),
    ],
)
def test_the_longest_repetition(kinds, expected):
    assert repetition(kinds) == expected


def test_both_forms_of_config_json_say_the_same():
    old = {"num_hidden_layers": 4, "global_attn_every_n_layers": 2, "local_rope_theta": 7.0}
    ours = ModernBertConfig.from_hf(old)
    assert ours.layer_types == alternating(4, 2) == (FULL, SLIDING, FULL, SLIDING)
    written = ours.to_hf()
    assert written["global_attn_every_n_layers"] == 2
    assert written["rope_parameters"][SLIDING]["rope_theta"] == 7.0
    assert ModernBertConfig.from_hf(written) == ours
    theirs = TorchConfig(**written)
    assert tuple(theirs.layer_types) == ours.layer_types
    assert theirs.rope_parameters == written["rope_parameters"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"layer_types": [FULL]}, "each of the 22 layers"),
        ({"global_attn_every_n_layers": 0}, "at least 1"),
        ({"rope_parameters": {FULL: {"rope_type": "yarn"}}}, "'yarn' is not supported"),
        ({"hidden_activation": "snake"}, "hidden_activation must be one of"),
        ({"head_dim": 32}, "head_dim=32"),
        ({"num_attention_heads": 7}, "multiple of num_attention_heads"),
    ],
)
def test_what_is_not_supported_is_named(fields, told):
    with pytest.raises(ValueError, match=told):
        ModernBertConfig.from_hf(fields)
