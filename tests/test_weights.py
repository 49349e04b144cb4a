"""Reading and writing weights: names of every age, shards, msgpack, and what is refused."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from flaxner.hub import fetch_file, fetch_model
from flaxner.models.auto import FlaxBertForTokenClassification
from flaxner.models.checks import read_header
from flaxner.models.flax_files import MSGPACK as FLAX_MSGPACK
from flaxner.models.network import Model
from flaxner.models.pretrained import load_pretrained
from flaxner.models.shards import INDEX
from flaxner.models.tensors import SAFETENSORS, to_hf
from tests.compare import assert_close
from tests.families import FAMILIES, each_family
from tests.old_names import flax_tree, of_2018
from tests.tiny import tiny_config


@pytest.fixture
def source(tmp_path):
    """A model folder with only a config.json, plus the parameters and their PyTorch names."""
    return bare_folder(FAMILIES["bert"], tmp_path)


def bare_folder(family, folder):
    model = family.model()
    params = {path: np.asarray(value) for path, value in model.init(7).items()}
    (folder / "config.json").write_text(json.dumps(family.fields()))
    return folder, params, to_hf(params, model.rules)


@each_family
def test_with_and_without_prefix(family, tmp_path):
    folder, params, tensors = bare_folder(family, tmp_path)
    save_file(tensors, folder / SAFETENSORS)
    assert_close("exact", load_pretrained(folder).params, params)
    prefix = family.names.prefix
    bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    assert bare.keys() != tensors.keys()
    save_file(bare, folder / SAFETENSORS)
    assert_close("exact", load_pretrained(folder).params, params)


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_a_new_head_equals_that_of_a_whole_new_model(name, tmp_path):
    """Only the head of the new model is computed."""
    folder, params, tensors = bare_folder(FAMILIES[name], tmp_path)
    save_file(tensors, folder / SAFETENSORS)
    read = load_pretrained(folder, new_head=True, num_labels=5, seed=8)
    fresh = FAMILIES[name].model().init(8)
    absent = {rule.ours for rule in read.model.rules if rule.theirs in read.fresh}
    assert any(path.startswith("classifier/") for path in absent)
    chosen = {path: (fresh if path in absent else params)[path] for path in params}
    assert_close("exact", read.params, chosen)


def test_sharded(source):
    folder, params, tensors = source
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, members in shards.items():
        save_file({name: tensors[name] for name in members}, folder / shard)
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    (folder / f"{SAFETENSORS}{INDEX}").write_text(json.dumps({"weight_map": weight_map}))
    assert_close("exact", load_pretrained(folder).params, params)
    (folder / "b.safetensors").unlink()
    with pytest.raises(ValueError, match=r"lacks \['b.safetensors'\]"):
        load_pretrained(folder)


def test_flax_msgpack(source):
    from flax.serialization import to_bytes

    folder, params, tensors = source
    (folder / FLAX_MSGPACK).write_bytes(to_bytes(flax_tree(tensors)))
    assert_close("exact", load_pretrained(folder).params, params)
    (folder / FLAX_MSGPACK).write_bytes(to_bytes(flax_tree(tensors))[:-999])
    with pytest.raises(ValueError, match="is not a valid flax msgpack file"):
        load_pretrained(folder)


@each_family
def test_names_of_2018(family, tmp_path):
    folder, params, tensors = bare_folder(family, tmp_path)
    old = of_2018(tensors)
    assert any(name.endswith(".gamma") for name in old)
    save_file(old, folder / SAFETENSORS)
    assert_close("exact", load_pretrained(folder).params, params)


def test_other_heads_are_ignored_and_ours_is_drawn(source):
    folder, _, tensors = source
    encoder = {name: t for name, t in tensors.items() if not name.startswith("classifier")}
    extra = np.zeros((2, 2), np.float32)
    save_file(
        {**encoder, "cls.predictions.bias": extra, "bert.pooler.dense.weight": extra},
        folder / SAFETENSORS,
    )
    loaded = load_pretrained(folder, num_labels=3, seed=1)
    assert loaded.fresh == ["classifier.bias", "classifier.weight"]
    assert loaded.params["classifier/kernel"].shape == (32, 3)
    assert loaded.params["classifier/kernel"].std() > 0
    again = load_pretrained(folder, num_labels=3, seed=1)
    other = load_pretrained(folder, num_labels=3, seed=2)
    assert_close("exact", loaded.params, again.params)
    assert (loaded.params["classifier/kernel"] != other.params["classifier/kernel"]).any()
    with pytest.warns(UserWarning, match=r"no classifier.bias, classifier.weight for 5 labels: "):
        FlaxBertForTokenClassification.from_pretrained(folder)


def test_all_mismatches_are_reported_at_once(source):
    folder, _, tensors = source
    del tensors["bert.encoder.layer.1.output.dense.bias"]
    tensors["bert.encoder.layer.0.output.dense.bias"] = np.zeros(7, np.float32)
    tensors["bert.surprise"] = np.zeros(2, np.float32)
    save_file(tensors, folder / SAFETENSORS)
    with pytest.raises(ValueError, match="do not fit the model") as caught:
        load_pretrained(folder)
    message = str(caught.value)
    assert "unknown: bert.surprise" in message
    assert "missing: bert.encoder.layer.1.output.dense.bias" in message
    assert "bert.encoder.layer.0.output.dense.bias is (7,), expected (32,)" in message


def test_half_precision_files_become_float32(source):
    import ml_dtypes

    folder, params, tensors = source
    save_file({k: v.astype(ml_dtypes.bfloat16) for k, v in tensors.items()}, folder / SAFETENSORS)
    loaded = load_pretrained(folder).params
    expected = {k: v.astype(ml_dtypes.bfloat16).astype(np.float32) for k, v in params.items()}
    assert_close("exact", loaded, expected)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"holds no weights: expected model\.safetensors, flax_model\.msgpack or pytorch_mod"),
        ({"tf_model.h5": b"x"}, r"only as tf_model\.h5, which transformers before 5 can convert"),
        ({"pytorch_model.bin": b"x"}, r"pytorch_model\.bin is not a table of weights"),
        ({SAFETENSORS: b"garbage"}, "is not a valid safetensors file"),
    ],
)
def test_folders_without_usable_weights(source, files, message):
    folder, _, _ = source
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_pretrained(folder)


def test_weights_that_cannot_be_read_are_not_called_damaged(tmp_path):
    with pytest.raises(ValueError, match=r"^cannot read .*/model\.safetensors: No such file"):
        read_header(tmp_path / SAFETENSORS)


def test_folders_that_are_no_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"it has no config\.json$"):
        load_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"it has no config\.json; merge the adapter into"):
        load_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        load_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "albert"}')
    with pytest.raises(ValueError, match="is a model of type 'albert'; flaxner supports bert"):
        load_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"there is no model folder './nowhere/at/all'"):
        load_pretrained("./nowhere/at/all")


class TransportError(Exception):
    """Named as in httpx and httpx2, where it is not an OSError."""


class ReadError(TransportError):
    """A connection that broke."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ReadError(), "the connection to the Hub failed or was lost"),
        (OSError(), "OSError"),
    ],
)
def test_an_interrupted_download_is_one_sentence(monkeypatch, error, message):
    import huggingface_hub

    def broken(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    for fetch in (fetch_model, lambda name: fetch_file(name, "config.json")):
        with pytest.raises(ValueError, match=f"cannot get the model 'user/model': {message}$"):
            fetch("user/model")


def test_offline_mode_is_named_as_the_cause(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for fetch in (fetch_model, lambda name: fetch_file(name, "config.json")):
        with pytest.raises(ValueError, match=r"local cache, and HF_HUB_OFFLINE is set$"):
            fetch("user/model")


def test_missing_parameters_are_refused():
    model = Model(tiny_config())
    params = {path: np.zeros(leaf.shape, np.float32) for path, leaf in model.shapes.items()}
    with pytest.raises(ValueError, match="classifier/bias"):
        to_hf({k: v for k, v in params.items() if k != "classifier/bias"}, model.rules)


def flax_names(tensors):
    """Return the names of flax_tree, dotted instead of nested."""
    from flax.traverse_util import flatten_dict

    return flatten_dict(flax_tree(tensors), sep=".")


def in_shards(folder, flat, wrap=lambda tree: tree):
    """Write shards as `save_pretrained(max_shard_size=...)` of the former Flax classes did."""
    from flax.serialization import to_bytes
    from flax.traverse_util import unflatten_dict

    names = sorted(flat)
    shards = {
        "flax_model-00001-of-00002.msgpack": names[::2],
        "flax_model-00002-of-00002.msgpack": names[1::2],
    }
    for shard, members in shards.items():
        tree = unflatten_dict({tuple(name.split(".")): flat[name] for name in members})
        (folder / shard).write_bytes(to_bytes(wrap(tree)))
    table = {name.replace(".", "/"): shard for shard, names in shards.items() for name in names}
    index = {"metadata": {"total_size": 1}, "weight_map": table}
    (folder / f"{FLAX_MSGPACK}{INDEX}").write_text(json.dumps(index))


def test_flax_msgpack_in_shards(source):
    folder, params, tensors = source
    in_shards(folder, flax_names(tensors))
    assert_close("exact", load_pretrained(folder).params, params)
    in_shards(folder, flax_names(tensors), lambda tree: {"params": tree})
    assert_close("exact", load_pretrained(folder).params, params)
    last = folder / "flax_model-00002-of-00002.msgpack"
    last.unlink()
    lacks = r"lacks \['flax_model-00002-of-00002.msgpack'\], listed in"
    with pytest.raises(ValueError, match=lacks):
        load_pretrained(folder)
    last.write_bytes((folder / "flax_model-00001-of-00002.msgpack").read_bytes())
    with pytest.raises(ValueError, match=r"twice, the second time in flax_model-00002"):
        load_pretrained(folder)


@pytest.mark.parametrize("metadata", [{"format": "flax"}, None])
@pytest.mark.parametrize("wrapper", ["", "params."])
def test_safetensors_in_flax_names(source, metadata, wrapper):
    folder, params, tensors = source
    flat = {wrapper + name: tensor for name, tensor in flax_names(tensors).items()}
    save_file(flat, folder / SAFETENSORS, metadata=metadata)
    assert_close("exact", load_pretrained(folder).params, params)


@pytest.mark.parametrize("beside", [{}, {"step": np.int32(3), "opt_state": {"0": {}}}])
def test_a_tree_wrapped_in_params(source, beside):
    from flax.serialization import to_bytes

    folder, params, tensors = source
    tree = {"params": flax_tree(tensors), **beside}
    (folder / FLAX_MSGPACK).write_bytes(to_bytes(tree))
    assert_close("exact", load_pretrained(folder).params, params)


def test_flax_files_that_are_not_weights_are_refused(source):
    from flax.serialization import to_bytes

    folder, _, tensors = source
    (folder / FLAX_MSGPACK).write_bytes(to_bytes({"params": flax_tree(tensors), "b": np.ones(2)}))
    with pytest.raises(ValueError, match="holds weights both inside and outside 'params': b"):
        load_pretrained(folder)
    (folder / FLAX_MSGPACK).write_bytes(to_bytes(np.ones(2)))
    with pytest.raises(ValueError, match="must hold a tree of weights"):
        load_pretrained(folder)
    twice = flax_tree(tensors)
    twice["classifier"]["weight"] = twice["classifier"]["kernel"]
    (folder / FLAX_MSGPACK).write_bytes(to_bytes(twice))
    with pytest.raises(ValueError, match=r"holds classifier.weight twice"):
        load_pretrained(folder)
