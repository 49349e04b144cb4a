"""`pytorch_model.bin` is read as torch reads it, and nothing in it is run."""

import io
import json
import os
import random
import zipfile

import numpy as np
import pytest

from flaxner.models.pretrained import load_pretrained
from flaxner.models.tensors import to_hf
from flaxner.models.torch_files import BIN, BIN_INDEX, read_bin_file
from tests.compare import assert_close
from tests.families import FAMILIES
from tests.hub_server import FakeHub

torch = pytest.importorskip("torch")

# Keyword arguments of torch.save: the two formats, and pickles of two ages.
FORMATS = {
    "zip": {},
    "zip, protocol 4": {"pickle_protocol": 4},
    "before 1.6": {"_use_new_zipfile_serialization": False},
    "before 1.6, protocol 4": {"_use_new_zipfile_serialization": False, "pickle_protocol": 4},
}
each_format = pytest.mark.parametrize("kind", FORMATS)


def saved(path, table, kind):
    torch.save(table, path, **FORMATS[kind])
    return path


def tensors():
    """One of each dtype that is read, and views of one storage."""
    base = torch.arange(63, dtype=torch.float32).reshape(7, 9)
    table = {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES}
    table |= {"base": base, "turned": base.t(), "part": base[2:, 3:5], "flat": base.view(-1)[5:9]}
    table |= {"scalar": torch.tensor(3.0), "empty": torch.zeros(0, 4)}
    return table | {"parameter": torch.nn.Parameter(base[0])}


DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32]
DTYPES += [torch.int16, torch.int8, torch.uint8, torch.bool]


@each_format
def test_every_tensor_equals_torchs(kind, tmp_path):
    table = tensors()
    found = read_bin_file(saved(tmp_path / "x.bin", table, kind))
    assert list(found) == list(table)
    for name, tensor in table.items():
        wide = tensor.detach().double().numpy()
        assert found[name].dtype.name == str(tensor.dtype).removeprefix("torch."), name
        assert found[name].shape == wide.shape, name
        np.testing.assert_array_equal(found[name].astype(np.float64), wide, err_msg=name)


@each_format
def test_a_modules_state_dict(kind, tmp_path):
    """It is an OrderedDict that carries the versions of its modules as an attribute."""
    layer = torch.nn.LayerNorm(4)
    found = read_bin_file(saved(tmp_path / "x.bin", layer.state_dict(), kind))
    assert {name: value.shape for name, value in found.items()} == {"weight": (4,), "bias": (4,)}


def test_a_model_in_one_file_or_in_shards(tmp_path):
    family = FAMILIES["bert"]
    model = family.model()
    params = {path: np.asarray(value) for path, value in model.init(7).items()}
    names = {name: torch.tensor(value) for name, value in to_hf(params, model.rules).items()}
    (tmp_path / "config.json").write_text(json.dumps(family.fields()))
    torch.save(names, tmp_path / BIN)
    assert_close("exact", load_pretrained(tmp_path).params, params)
    (tmp_path / BIN).unlink()
    shards = {"a.bin": list(names)[::2], "b.bin": list(names)[1::2]}
    for shard, members in shards.items():
        torch.save({name: names[name] for name in members}, tmp_path / shard)
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    (tmp_path / BIN_INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert_close("exact", load_pretrained(tmp_path).params, params)


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@each_format
@pytest.mark.parametrize("place", ["alone", "inside", "as a key"])
def test_a_pickle_that_would_run_something_is_refused(kind, place, tmp_path):
    bomb = Bomb(tmp_path / "ran")
    weight = torch.ones(2)
    table = {"alone": bomb, "inside": {"a": weight, "b": bomb}, "as a key": {bomb: weight}}[place]
    path = saved(tmp_path / "x.bin", table, kind)
    with pytest.raises(ValueError, match=r"it would call posix\.mkdir, which weights do not need"):
        read_bin_file(path)
    assert not bomb.mark.exists()
    torch.load(path, weights_only=False)
    assert bomb.mark.exists()


OTHER = {
    "a list": ([torch.ones(2)], "holds no names and tensors"),
    "nothing": ({}, "holds no names and tensors"),
    "a training state": ({"state_dict": {"a": torch.ones(2)}}, "'state_dict' is no tensor"),
    "a number": ({"a": 1}, "'a' is no tensor"),
    "a module": (torch.nn.Linear(2, 2), "which weights do not need|a whole module"),
    "sparse": ({"a": torch.ones(2).to_sparse()}, "would call torch.serialization._get_layout"),
    "complex": ({"a": torch.ones(2) * 1j}, "weights of the kind torch.ComplexFloatStorage"),
}


@each_format
@pytest.mark.parametrize("name", OTHER)
def test_anything_but_a_table_of_weights_is_refused(kind, name, tmp_path):
    content, message = OTHER[name]
    path = saved(tmp_path / "x.bin", content, kind)
    with pytest.raises(ValueError, match=f"^{path} is not a table of weights .*({message}).*;"):
        read_bin_file(path)


@each_format
def test_damage_is_an_error_in_one_sentence(kind, tmp_path):
    """300 files with changed, missing or additional bytes, most of them in the table."""
    buffer = io.BytesIO()
    saved(buffer, tensors(), kind)
    whole, draw, errors = buffer.getvalue(), random.Random(0), []
    path = tmp_path / "x.bin"
    for i in range(300):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 5)):
            data[draw.randrange(min(len(data), 3000))] = draw.randrange(256)
        path.write_bytes(bytes(data[: draw.randrange(len(data))] if i % 3 == 0 else data))
        try:
            read_bin_file(path)
        except ValueError as error:
            errors.append(str(error))
    assert len(errors) > 200
    assert all(error.startswith(f"{path} is not a table of weights") for error in errors)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is not a table of weights"):
        read_bin_file(path)


def test_a_deep_structure_does_not_exhaust_the_stack(tmp_path):
    """As a key, a function, and a value: a million tuples, each in the next."""
    start, deep = b"\x80\x02", b")" + b"\x85" * 10**6
    endings = {b"}%bNs.": "names that are no text", b"%b)R.": "has no name", b"%b.": "no names and"}
    for ending, message in endings.items():
        path = tmp_path / "x.bin"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", start + ending % deep)
        with pytest.raises(ValueError, match=message):
            read_bin_file(path)


FETCH = """
import os, sys
from flaxner.hub import fetch_model
for name in sys.argv[1:]:
    print(*sorted(os.listdir(fetch_model(name))))
"""


def test_old_weights_are_fetched_only_if_there_are_no_others(tmp_path):
    old = {"pytorch_model.bin": b"x", "pytorch_model.generator.bin": b"x", "tf_model.h5": b"x"}
    with FakeHub() as hub:
        hub.add("user/old", {"config.json": b"{}", **old})
        hub.add("user/new", {"config.json": b"{}", "model.safetensors": b"x", **old})
        hub.add("user/shards", {"config.json": b"{}", "pytorch_model-1-of-1.bin": b"x"})
        done = hub.run(tmp_path / "home", FETCH, "user/old", "user/new", "user/shards")
    assert done.stdout.splitlines() == [
        "config.json pytorch_model.bin",
        "config.json model.safetensors",
        "config.json pytorch_model-1-of-1.bin",
    ], done.stderr[-2000:]
