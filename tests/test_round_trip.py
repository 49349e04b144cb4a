"""PyTorch -> flaxner -> PyTorch, for every family and file format: same bits, same logits."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from flaxner.data.labels import LabelScheme
from flaxner.models.flax_files import MSGPACK as FLAX_MSGPACK
from flaxner.models.pretrained import load_pretrained
from flaxner.models.shards import INDEX
from flaxner.models.tensors import SAFETENSORS, read_tensors
from flaxner.publishing.hub_folder import export_folder
from tests.compare import assert_close
from tests.families import apply, each_family, each_network, each_variant, torch_inputs
from tests.old_names import flax_tree, of_2018
from tests.wordpiece import tiny_tokenizer

torch = pytest.importorskip("torch")

from safetensors.torch import load_file as load_torch  # noqa: E402


def whole(family, folder, model):
    model.save_pretrained(folder)


def sharded(family, folder, model):
    model.save_pretrained(folder, max_shard_size="10KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert (folder / f"{SAFETENSORS}{INDEX}").is_file()


def rewritten(change):
    def save(family, folder, model):
        model.save_pretrained(folder)
        tensors = load_file(folder / SAFETENSORS)
        save_file(change(family, tensors), folder / SAFETENSORS, metadata={"format": "pt"})

    return save


@rewritten
def bare(family, tensors):
    return {name.removeprefix(family.names.prefix): tensor for name, tensor in tensors.items()}


@rewritten
def with_leftovers(family, tensors):
    """Add what an old fine-tuned pre-training checkpoint carries along."""
    return {**tensors, **family.leftovers(99, 32)}


@rewritten
def with_old_names(family, tensors):
    return of_2018(tensors)


def msgpack(family, folder, model):
    from flax.serialization import to_bytes

    model.save_pretrained(folder)
    tensors = load_file(folder / SAFETENSORS)
    (folder / SAFETENSORS).unlink()
    (folder / FLAX_MSGPACK).write_bytes(to_bytes(flax_tree(tensors)))


def round_trip(family, tmp_path, save, dtype="float32", labels=5, **changes):
    """Save with torch, read, write, read with torch: bits, settings and logits are equal."""
    # wide enough for every activation to leave its linear range
    changes = {"initializer_range": 0.25, **changes}
    reference = family.torch_model(labels=labels, **changes).to(getattr(torch, dtype))
    save(family, tmp_path / "theirs", reference)
    loaded = load_pretrained(tmp_path / "theirs")
    assert not loaded.fresh
    assert loaded.model.config == family.model(labels=labels, **changes).config
    tags = ["O", *(f"{p}-T{i:02}" for i in range(60) for p in "BI")][:labels]
    folder = export_folder(
        tmp_path / "ours",
        loaded.model,
        loaded.params,
        LabelScheme(tuple(tags)),
        tiny_tokenizer(),
        fields=loaded.fields,
        dtype=dtype,
    )
    again = type(reference).from_pretrained(folder).eval()
    before, written = reference.state_dict(), load_torch(folder / SAFETENSORS)
    assert before.keys() == again.state_dict().keys()
    for key, tensor in before.items():
        if tensor.is_floating_point():  # DeBERTa 1 reads some as float32, so look at the file
            assert written[key].dtype == tensor.dtype, key
            bits = torch.int16 if tensor.dtype == torch.bfloat16 else torch.int32
            assert torch.equal(written[key].view(bits), tensor.view(bits)), key
    asked, got = reference.config.to_dict(), again.config.to_dict()
    for key in (*changes, "layer_types", "rope_parameters"):  # converted from old names
        assert got.get(key) == asked.get(key), key
    assert again.config.id2label == dict(enumerate(tags))

    inputs = family.inputs(loaded.model, length=7)
    with torch.no_grad():
        theirs = again.float()(**torch_inputs(inputs)).logits.numpy()
    here = inputs["attention_mask"] == 1
    ours = apply(loaded.model, loaded.params, inputs)
    assert_close("logits", np.asarray(ours)[here], theirs[here])


@each_variant
def test_round_trip_of_every_variant(family, changes, tmp_path):
    round_trip(family, tmp_path, whole, **changes)


@pytest.mark.parametrize("save", [bare, with_leftovers, with_old_names, msgpack])
@each_network
def test_round_trip_of_every_format(family, save, tmp_path):
    if save is msgpack and not family.flax:
        pytest.skip("this family never had such files")
    round_trip(family, tmp_path, save)


@each_family
def test_round_trip_of_shards_in_bfloat16(family, tmp_path):
    round_trip(family, tmp_path, sharded, "bfloat16")


def test_a_whole_file_takes_precedence_over_shards(tmp_path):
    """As in transformers, whose `save_pretrained` leaves the index of older shards behind."""
    shard = "model-00001-of-00002.safetensors"
    index = {"weight_map": {"w": shard}}
    (tmp_path / f"{SAFETENSORS}{INDEX}").write_text(json.dumps(index))
    save_file({"w": np.ones(3, np.float32)}, tmp_path / SAFETENSORS, metadata={"format": "pt"})
    assert read_tensors(tmp_path)["w"].sum() == 3, "the shards are gone"
    save_file({"w": np.zeros(3, np.float32)}, tmp_path / shard, metadata={"format": "pt"})
    assert read_tensors(tmp_path)["w"].sum() == 3, "the shards are older"
    (tmp_path / SAFETENSORS).unlink()
    assert read_tensors(tmp_path)["w"].sum() == 0


@each_family
def test_a_pretraining_checkpoint_keeps_its_encoder(family, tmp_path):
    """A pre-training model, whose decoder is tied to the word embeddings, gets a new head."""
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, family.pretraining)(family.torch_config())
    model.save_pretrained(tmp_path / "theirs")
    loaded = load_pretrained(tmp_path / "theirs", num_labels=3)
    theirs = {rule.ours: rule.theirs for rule in loaded.model.rules}
    heads = [name for path, name in theirs.items() if path.startswith(family.names.head)]
    assert sorted(loaded.fresh) == sorted(heads)
    scheme = LabelScheme(("O", "B-X", "I-X"))
    folder = export_folder(tmp_path / "ours", loaded.model, loaded.params, scheme, tiny_tokenizer())
    tensors = load_file(folder / SAFETENSORS)
    kept = {k: v.numpy() for k, v in model.state_dict().items() if k in theirs.values()}
    prefix = family.names.prefix
    encoder = {f"{prefix}{k}" for k in model.base_model.state_dict() if "pooler" not in k}
    assert encoder <= kept.keys()
    assert tensors.keys() == {*kept, *heads}
    for name, tensor in kept.items():
        assert tensors[name].tobytes() == tensor.tobytes(), name
    written = json.loads((folder / "config.json").read_text())
    assert written["architectures"] == [family.architecture]
    assert written["model_type"] == family.model_type
