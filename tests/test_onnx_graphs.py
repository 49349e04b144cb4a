"""The ONNX graph of every family gives the JAX program's logits on packed rows."""

import numpy as np
import pytest

from tests.compare import assert_close
from tests.families import LEADS, each_network, each_variant

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from flaxner.models.layers.graph import Graph
from flaxner.models.layers.graph_products import Range


def random_params(model, seed=0):
    """Return random values for every parameter, so that none is trivial."""
    rng = np.random.default_rng(seed)
    return {
        path: rng.normal(1.0 if path.endswith("scale") else 0.0, 0.2, leaf.shape).astype(np.float32)
        for path, leaf in model.shapes.items()
    }


def packed(model, lengths_of_rows, length, seed=1):
    """Return rows of several segments and some padding, with padding tokens inside a text, too."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths_of_rows), length)
    ids, segments, positions = (np.zeros(shape, np.int32) for _ in range(3))
    for row, lengths in enumerate(lengths_of_rows):
        place = 0
        for number, size in enumerate(lengths, 1):
            here = slice(place, place + size)
            ids[row, here] = rng.integers(0, model.config.vocab_size, size)
            segments[row, here], positions[row, here] = number, np.arange(size)
            place += size
    pad = getattr(model.config, "pad_token_id", None)
    if pad is not None:
        ids[0, 2] = ids[0, 7] = ids[-1, 3] = pad
    return ids, segments, positions


def run(folder, model, params, rows, **options):
    from flaxner.inference.onnx_engine import INPUTS, open_session

    graph = Graph(params, **options)
    logits = model.encoder.graph(graph, model.config)
    files = folder / "forward.onnx", folder / "weights.safetensors"
    graph.write(logits, model.config.num_labels, *files)
    return open_session(files[0]).run(None, dict(zip(INPUTS, rows, strict=True)))


def check(folder, family, changes):
    labels = changes.get("labels", 5)
    changes = {name: value for name, value in changes.items() if name != "labels"}
    model = family.model(None, labels, **changes)
    params = random_params(model)
    for lengths, length in (([[5, 9, 4], [17]], 19), ([[11]], 11)):
        rows = packed(model, lengths, length)
        expected = np.asarray(model.apply(params, *rows))
        (got,) = run(folder, model, params, rows)
        real = rows[1] > 0
        assert_close("logits", got[real], expected[real])


@each_network
def test_a_graph_gives_the_logits_of_the_jax_program(tmp_path, family):
    check(tmp_path, family, {})


def test_wide_models_compute_queries_keys_and_values_separately(tmp_path, monkeypatch):
    monkeypatch.setattr("flaxner.models.layers.graph.APART", 0)
    check(tmp_path, LEADS["bert"], {})


@pytest.mark.slow
@each_variant
def test_every_variant_gives_the_logits_of_the_jax_program(tmp_path, family, changes):
    check(tmp_path, family, changes)


def test_every_family_has_a_graph():
    from flaxner.models.encoders import ENCODERS

    assert [name for name, encoder in ENCODERS.items() if encoder.graph is None] == []
    assert LEADS


@each_network
def test_static_int8_products_use_observed_ranges(tmp_path, family):
    """The graph outputs its ranges; scaled by these it answers nearly as in float32."""
    model = family.model(None, 5)
    params = random_params(model)
    rows = packed(model, [[11], [11]], 11)
    expected, *seen = run(tmp_path, model, params, rows, weights="int8-static")
    assert_close("logits", expected, run(tmp_path, model, params, rows)[0])
    watched = Graph(params, weights="int8-static")
    model.encoder.graph(watched, model.config)
    names = [name.removesuffix("/low") for name in list(watched.also)[::2]]
    ranges = {name: Range(*pair) for name, *pair in zip(names, seen[::2], seen[1::2], strict=True)}
    assert all((one.low <= one.high).all() for one in ranges.values())
    (got,) = run(tmp_path, model, params, rows, weights="int8-static", seen=ranges)
    spread = expected.max() - expected.min()
    assert 0 < np.abs(got - expected).max() < 0.1 * spread


@each_network
def test_slower_fusions_stay_disabled(tmp_path, family, monkeypatch):
    """They are disabled by name, and a later ONNX Runtime may have renamed them."""
    import onnx
    from onnxruntime import SessionOptions

    made, model = tmp_path / "optimized.onnx", family.model(None, 5)

    def options():
        chosen = real()
        chosen.optimized_model_filepath = str(made)
        return chosen

    real = SessionOptions
    monkeypatch.setattr("onnxruntime.SessionOptions", options)
    run(tmp_path, model, random_params(model), packed(model, [[11]], 11))
    kinds = {node.op_type for node in onnx.load(made, load_external_data=False).graph.node}
    assert "LayerNormalization" in kinds
    assert not kinds & {"SkipLayerNormalization", "BiasGelu", "Gemm"}
