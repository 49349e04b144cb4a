"""What is DeBERTa's own: disentangled attention, relative positions, the convolution."""

import dataclasses

import jax
import numpy as np
import pytest

from flaxner.models.deberta.config import DebertaConfig, DebertaV2Config
from flaxner.models.deberta.distances import by_columns, log_buckets, relative_rows
from flaxner.models.deberta.relative import RelativeTable
from flaxner.models.layers.compute import Compute
from flaxner.models.network import Model
from flaxner.models.tensors import from_hf
from tests.compare import assert_close, scaled_close

torch = pytest.importorskip("torch")

from transformers import AutoConfig, AutoModelForTokenClassification  # noqa: E402

pytestmark = pytest.mark.real_program

SIZES = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ["p2c", "c2p"],
    "num_labels": 5,
}
V3 = {"position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True}
VARIANTS = {
    ("deberta", "plain"): {},
    ("deberta", "c2p alone"): {"pos_att_type": ["c2p"]},
    ("deberta", "p2c alone, few distances"): {"pos_att_type": "p2c", "max_relative_positions": 6},
    ("deberta", "positions, types"): {"position_biased_input": True, "type_vocab_size": 2},
    ("deberta", "no relative attention"): {"relative_attention": False},
    ("deberta-v2", "version 3"): V3,
    ("deberta-v2", "own projections"): V3 | {"share_att_key": False},
    ("deberta-v2", "no buckets"): {"share_att_key": True, "max_relative_positions": 9},
    ("deberta-v2", "c2p alone"): V3 | {"share_att_key": False, "pos_att_type": ["c2p"]},
    ("deberta-v2", "convolution"): V3 | {"conv_kernel_size": 3, "conv_act": "gelu"},
    ("deberta-v2", "wide convolution"): V3 | {"conv_kernel_size": 5},
    ("deberta-v2", "narrow embeddings"): V3 | {"embedding_size": 20, "type_vocab_size": 2},
    ("deberta-v2", "no relative attention"): {"relative_attention": False},
}


def pair(kind, **changes):
    """The same random model in torch and here, its weights away from trivial values."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**SIZES, **changes})
    theirs = AutoModelForTokenClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.mul_(3)
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = Model.from_fields(config.to_dict())
    tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    shapes = {path: leaf.shape for path, leaf in ours.shapes.items()}
    return theirs, ours, from_hf(tensors, ours.rules, shapes, source="torch")


@pytest.mark.parametrize(("kind", "name"), VARIANTS)
def test_every_layer_equals_torch(kind, name):
    theirs, ours, params = pair(kind, **VARIANTS[kind, name])
    ids = np.random.default_rng(0).integers(1, 99, (2, 30)).astype(np.int32)
    mask = np.ones_like(ids)
    mask[1, 17:] = 0
    with torch.no_grad():
        there = theirs(torch.tensor(ids), torch.tensor(mask), output_hidden_states=True)
    states = ours.bind(params).encode(ids, mask, all_layers=True)
    here = mask == 1
    for state, expected in zip(states, there.hidden_states, strict=True):
        assert_close("logits", np.asarray(state)[here], expected.numpy()[here])
    logits = ours.bind(params)(ids, mask)
    assert_close("logits", np.asarray(logits)[here], there.logits.numpy()[here])


@pytest.mark.parametrize(
    ("kind", "name"), [("deberta", "plain"), ("deberta-v2", "wide convolution")]
)
def test_a_packed_row_gives_what_its_segments_give(kind, name):
    """Relative positions and the convolution end where the segment ends."""
    _, ours, params = pair(kind, **VARIANTS[kind, name])
    rng = np.random.default_rng(1)
    one, two = (rng.integers(1, 99, (1, size)).astype(np.int32) for size in (13, 9))
    row = np.concatenate([one, two], axis=1)
    places = [np.arange(x.shape[1], dtype=np.int32)[None] for x in (one, two)]
    marks = np.concatenate([np.full_like(one, 1), np.full_like(two, 2)], axis=1)
    packed = ours.apply(params, row, marks, np.concatenate(places, axis=1))
    alone = [
        ours.apply(params, x, np.ones_like(x), p) for x, p in zip((one, two), places, strict=True)
    ]
    assert_close("logits", np.asarray(packed), np.concatenate(alone, axis=1))


def test_the_first_layer_alone_convolves_when_layers_are_scanned():
    _, ours, params = pair("deberta-v2", **VARIANTS["deberta-v2", "convolution"])
    ids = np.random.default_rng(2).integers(1, 99, (1, 12)).astype(np.int32)
    scanned = dataclasses.replace(ours, compute=Compute(scan_layers=True, remat=True))
    places = np.arange(12, dtype=np.int32)[None]
    key = jax.random.key(1)
    expected, got = (
        np.asarray(m.apply(params, ids, np.ones_like(ids), places, dropout_key=key))
        for m in (ours, scanned)
    )
    assert_close("logits", got, expected)


def gradients(ours, params, key=None):
    """Of a sum that tells all logits apart."""
    rng = np.random.default_rng(4)
    ids = rng.integers(1, 99, (2, 12)).astype(np.int32)
    weights = rng.normal(size=(2, 12, 5)).astype(np.float32)
    places = np.tile(np.arange(12, dtype=np.int32), (2, 1))

    def total(params):
        return (ours.apply(params, ids, np.ones_like(ids), places, dropout_key=key) * weights).sum()

    return jax.device_get(jax.grad(total)(params))


def test_what_softmax_takes_no_notice_of_gets_no_gradient():
    """Biases that add one number to all scores of a query: noise there, and Adam learns it."""
    _, ours, params = pair("deberta-v2", **VARIANTS["deberta-v2", "c2p alone"])
    found = gradients(ours, params)
    silent = {path for path, gradient in found.items() if not gradient.any()}
    projections = ("projections/key/bias", "projections/relative_key/bias")
    keys = {f"layers/{i}/attention/{name}" for i in range(3) for name in projections}
    assert silent == {*keys, "relative_norm/bias"}


@pytest.mark.parametrize("kinds", [["c2p"], ["c2p", "p2c"]])
def test_under_dropout_every_bias_has_its_true_gradient(kinds, monkeypatch):
    """What dropout zeroes of the norm's bias differs by distance: softmax does take notice."""
    changes = V3 | {"pos_att_type": kinds, "share_att_key": False, "hidden_dropout_prob": 0.4}
    _, ours, params = pair("deberta-v2", **changes)
    found = gradients(ours, params, jax.random.key(2))

    def plain(table_RD, norm, rows_E):
        return RelativeTable(norm(table_RD), norm(table_RD), None, rows_E)

    monkeypatch.setattr(RelativeTable, "of", plain)
    expected = gradients(ours, params, jax.random.key(2))
    assert np.abs(expected["relative_norm/bias"]).max() > 0.01
    scaled_close("packing", found, expected)


@pytest.mark.parametrize(("buckets", "far"), [(256, 512), (32, 512), (8, 64), (256, 1024)])
def test_buckets_equal_those_of_transformers(buckets, far):
    """To the last distance: the logarithm is rounded up."""
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    distances = np.arange(-far + 1, far)
    expected = make_log_bucket_position(torch.tensor(distances), buckets, far).long().numpy()
    np.testing.assert_array_equal(log_buckets(distances, buckets, far), expected)


def test_scores_by_distance_are_laid_as_a_matrix():
    """Against the definition, item by item."""
    L = 5
    by_distance = np.random.default_rng(3).normal(size=(2, L, 2 * L - 1)).astype(np.float32)
    got = np.asarray(by_columns(by_distance))
    for i in range(L):
        for j in range(L):
            assert_close("exact", got[:, i, j], by_distance[:, i, j - i + L - 1])
    rows = relative_rows(L, 3, -1, -1)
    assert rows.tolist() == [5, 5, 5, 4, 3, 2, 1, 0, 0]  # query minus key = 4 ... -4, clipped


def test_no_array_is_gathered_by_query_and_key():
    """`transformers` gathers B x H x L x L items, forward and backward; here lines are shifted."""
    _, ours, params = pair("deberta-v2", **V3)
    ids = np.ones((2, 24), np.int32)

    def total(params):
        return ours.apply(params, ids, ids, np.zeros_like(ids)).sum()

    text = jax.jit(jax.grad(total)).lower(params).as_text()
    gathers = [line for line in text.splitlines() if "stablehlo.gather" in line]
    assert gathers
    assert not [line for line in gathers if "x24x24x" in line.split("->")[-1]]


@pytest.mark.parametrize(
    ("config", "fields", "told"),
    [
        (DebertaConfig, {"talking_head": True}, "talking_head=True"),
        (DebertaConfig, {"pos_att_type": "c2p|p2p"}, "pos_att_type must be of"),
        (DebertaV2Config, {"conv_groups": 2}, "conv_groups=2"),
        (DebertaV2Config, {"conv_kernel_size": 4}, "must be odd"),
        (DebertaV2Config, {"attention_head_size": 32}, "attention_head_size must be"),
    ],
)
def test_what_is_not_supported_is_named(config, fields, told):
    with pytest.raises(ValueError, match=told):
        config.from_hf(fields)
