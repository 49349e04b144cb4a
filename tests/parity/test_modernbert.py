"""What is specific to ModernBERT: two kinds of attention, RoPE, two forms of config.json."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from flaxner.models.layers.compute import Compute
from flaxner.models.layers.token_classifier import repetition
from flaxner.models.modernbert.config import FULL, SLIDING, ModernBertConfig, alternating
from tests.compare import assert_close
from tests.families import FAMILIES, packed_beside_alone

pytest.importorskip("torch")

from transformers import ModernBertConfig as TorchConfig

pytestmark = pytest.mark.real_program


def test_packing_does_not_change_the_logits():
    """The window and the rotations use distances within the segment."""
    _, ours, params = FAMILIES["modernbert"].pair()
    assert_close("packing", *packed_beside_alone(ours, params, (23, 17)))


@pytest.mark.parametrize("key", [None, 3])
def test_two_kinds_of_layers_are_scanned_by_period(key):
    _, ours, params = FAMILIES["modernbert"].pair(num_hidden_layers=8)
    ids = np.random.default_rng(2).integers(1, 99, (1, 24)).astype(np.int32)
    key = None if key is None else jax.random.key(key)
    scanned = dataclasses.replace(ours, compute=Compute(scan_layers=True, remat=True))
    places = np.arange(24, dtype=np.int32)[None]

    @functools.partial(jax.jit, static_argnums=0)
    def logits(model, params):
        return model.apply(params, ids, np.ones_like(ids), places, dropout_key=key)

    assert_close("logits", np.asarray(logits(scanned, params)), np.asarray(logits(ours, params)))


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


def test_both_forms_of_config_json_are_equivalent():
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
def test_unsupported_settings_are_named(fields, told):
    with pytest.raises(ValueError, match=told):
        ModernBertConfig.from_hf(fields)
