"""What is specific to DeBERTa: disentangled attention, relative positions, the convolution."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxner.models.deberta.config import DebertaConfig, DebertaV2Config
from flaxner.models.deberta.distances import by_columns, log_buckets, relative_rows
from flaxner.models.deberta.relative import RelativeTable
from flaxner.models.layers.blocks import norm
from flaxner.models.layers.compute import Compute
from tests.compare import assert_close, scaled_close
from tests.families import FAMILIES, packed_beside_alone

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.real_program


@pytest.mark.parametrize(
    ("kind", "changes"), [("deberta", {}), ("deberta-v2", {"conv_kernel_size": 5})]
)
def test_packing_does_not_change_the_logits(kind, changes):
    """Relative positions and the convolution do not cross segment boundaries."""
    _, ours, params = FAMILIES[kind].pair(initializer_range=0.06, **changes)
    assert_close("logits", *packed_beside_alone(ours, params, (13, 9)))


def test_only_the_first_layer_convolves_when_layers_are_scanned():
    _, ours, params = FAMILIES["deberta-v2"].pair(num_hidden_layers=3, conv_kernel_size=3)
    ids = np.random.default_rng(2).integers(1, 99, (1, 12)).astype(np.int32)
    scanned = dataclasses.replace(ours, compute=Compute(scan_layers=True, remat=True))
    places = np.arange(12, dtype=np.int32)[None]

    @functools.partial(jax.jit, static_argnums=0)
    def logits(model, params):
        return model.apply(params, ids, np.ones_like(ids), places)

    assert_close("logits", np.asarray(logits(scanned, params)), np.asarray(logits(ours, params)))


def test_biases_that_softmax_ignores_get_no_gradient():
    """Biases that add one number to all scores of a query: Adam would amplify rounding noise."""
    changes = {"share_att_key": False, "pos_att_type": ["c2p"], "num_hidden_layers": 1}
    _, ours, params = FAMILIES["deberta-v2"].pair(**changes)
    rng = np.random.default_rng(4)
    ids, weights = rng.integers(1, 99, (2, 12)).astype(np.int32), rng.normal(size=(2, 12, 5))

    def total(params):
        return (ours.apply(params, ids, np.ones_like(ids), np.zeros_like(ids)) * weights).sum()

    gradient = jax.jit(jax.grad(total))(params)
    silent = {path for path, values in gradient.items() if not np.asarray(values).any()}
    projections = "layers/0/attention/projections"
    assert silent == {
        "relative_norm/bias", f"{projections}/key/bias", f"{projections}/relative_key/bias"
    }  # fmt: skip


def test_with_dropout_the_norm_of_relative_positions_has_its_true_gradient():
    """Dropout zeroes its bias differently for each distance, so softmax is not invariant to it."""
    rng, D, L = np.random.default_rng(5), 8, 6
    table_RD, query_LD, weights_LL = (
        rng.normal(size=size).astype(np.float32) for size in ((10, D), (L, D), (L, L))
    )
    bias_D, rows_E = jnp.linspace(-1.0, 2.0, D), relative_rows(L, 5, -1, -1)

    def plain(table_RD, norm, rows_E):
        return RelativeTable(norm(table_RD), norm(table_RD), None, rows_E)

    def gradient(make):
        def total(bias_D):
            layer = norm(D, 1e-7, Compute(), nnx.Rngs(0))
            layer.bias = nnx.Param(bias_D)
            _, keys_ED = make(table_RD, layer, rows_E).by_distance(0.4, jax.random.key(2))
            probs_LL = jax.nn.softmax(by_columns(query_LD @ keys_ED.T))
            return (weights_LL * probs_LL).sum()

        return np.asarray(jax.grad(total)(bias_D))

    expected = gradient(plain)
    assert np.abs(expected).max() > 0.1
    scaled_close("packing", gradient(RelativeTable.of), expected)


@pytest.mark.parametrize(("buckets", "far"), [(256, 512), (32, 512), (8, 64), (256, 1024)])
def test_buckets_equal_those_of_transformers(buckets, far):
    """Up to the largest distance: the logarithm is rounded up."""
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    distances = np.arange(-far + 1, far)
    expected = make_log_bucket_position(torch.tensor(distances), buckets, far).long().numpy()
    np.testing.assert_array_equal(log_buckets(distances, buckets, far), expected)


def test_scores_by_distance_become_a_matrix():
    """Compared with the definition, item by item."""
    L = 5
    by_distance = np.random.default_rng(3).normal(size=(2, L, 2 * L - 1)).astype(np.float32)
    got = np.asarray(by_columns(by_distance))
    for i in range(L):
        for j in range(L):
            assert_close("exact", got[:, i, j], by_distance[:, i, j - i + L - 1])
    rows = relative_rows(L, 3, -1, -1)
    assert rows.tolist() == [5, 5, 5, 4, 3, 2, 1, 0, 0]  # query minus key = 4 ... -4, clipped


def test_no_array_is_gathered_by_query_and_key():
    """`transformers` gathers B x H x L x L items, forward and backward; we shift rows instead."""
    ours = FAMILIES["deberta-v2"].model()
    ids = np.ones((2, 24), np.int32)

    def total(params):
        return ours.apply(params, ids, ids, np.zeros_like(ids)).sum()

    text = jax.jit(jax.grad(total)).lower(ours.shapes).as_text()
    gathers = [line for line in text.splitlines() if "stablehlo.gather" in line]
    assert gathers
    assert not [line for line in gathers if "x24x24x" in line.split("->")[-1]]


@pytest.mark.parametrize(
    ("config", "fields", "told"),
    [
        (DebertaConfig, {"talking_head": True}, "talking_head=True"),
        (DebertaConfig, {"pos_att_type": "c2p|p2p"}, "pos_att_type may only contain"),
        (DebertaV2Config, {"conv_groups": 2}, "conv_groups=2"),
        (DebertaV2Config, {"conv_kernel_size": 4}, "must be odd"),
        (DebertaV2Config, {"attention_head_size": 32}, "attention_head_size must be"),
    ],
)
def test_unsupported_settings_are_named(config, fields, told):
    with pytest.raises(ValueError, match=told):
        config.from_hf(fields)
