"""`pytorch_model.bin` is read as torch reads it, and nothing in it is run."""

import copy
import io
import json
import os
import pickle
import random
import struct
import zipfile

import numpy as np
import pytest

from flaxner.models import pickles
from flaxner.models.pretrained import load_pretrained
from flaxner.models.shards import INDEX
from flaxner.models.tensors import to_hf
from flaxner.models.torch_files import BIN, read_bin_file
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
    parameter = torch.nn.Parameter(base[1])
    parameter._is_hf_initialized = True
    return table | {"parameter": torch.nn.Parameter(base[0]), "with attribute": parameter}


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


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod."])
def test_a_model_in_one_file_or_in_shards(tmp_path, wrapper):
    """`DataParallel` and `torch.compile` put a prefix before every name."""
    family = FAMILIES["bert"]
    model = family.model()
    params = {path: np.asarray(value) for path, value in model.init(7).items()}
    table = to_hf(params, model.rules)
    names = {f"{wrapper}{name}": torch.tensor(value) for name, value in table.items()}
    (tmp_path / "config.json").write_text(json.dumps(family.fields()))
    torch.save(names, tmp_path / BIN)
    assert_close("exact", load_pretrained(tmp_path).params, params)
    (tmp_path / BIN).unlink()
    shards = {"a.bin": list(names)[::2], "b.bin": list(names)[1::2]}
    for shard, members in shards.items():
        torch.save({name: names[name] for name in members}, tmp_path / shard)
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    (tmp_path / f"{BIN}{INDEX}").write_text(json.dumps({"weight_map": weight_map}))
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
    "negated": ({"a": (torch.ones(2) * 1j).conj().imag}, "has more than its numbers"),
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
    path.write_bytes(whole[:-50])
    with pytest.raises(ValueError, match="download may be incomplete"):
        read_bin_file(path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="was not written by torch"):
        read_bin_file(path)
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


def number(value):
    return b"J" + struct.pack("<i", value)


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def put(place):
    return b"r" + struct.pack("<I", place)


def get(place):
    return b"j" + struct.pack("<I", place)


def storage(kind="Float", key="0", size=4):
    name = f"ctorch\n{kind}Storage\n".encode()
    return b"(" + text("storage") + name + text(key) + text("cpu") + number(size) + b"tQ"


def tensor(view_of, shape=b"K\x04\x85", steps=b"K\x01\x85"):
    return b"ctorch._utils\n_rebuild_tensor\n(" + view_of + b"K\0" + shape + steps + b"tR"


def table(*tensors):
    members = [text(str(i)) + each for i, each in enumerate(tensors)]
    return b"\x80\x02}(" + b"".join(members) + b"u."


def zipped(path, pickled, storages=(bytes(16),), **more):
    members = {"data.pkl": pickled, **more}
    members |= {f"data/{key}": data for key, data in enumerate(storages)}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"x/{name}", data)
    return path


def old(path, pickled, keys, rest):
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + pickled + keys + rest)
    return path


DOUBLED = b"".join(get(0) * 2 + b"\x93" + put(0) for _ in range(60))
MANY = b"(" + number(2**31 - 1) * 65 + b"t"
HUGE = b"\x8b\xe8\x03\0\0" + b"\x7f" * 1000 + b"\x85"  # an integer of 8,000 bits
COSTLY = {  # small, but each could ask for memory or time without end
    "a name of names": (text("a") + put(0) + DOUBLED + b".", "by other than text"),
    "a long name": (text("a" * 151) * 2 + b"\x93.", "more than 300 characters"),
    "a long key": (b"}" + text("a" * 301) + b"Ns.", "more than 300 characters"),
    "many dimensions": (table(tensor(storage(), MANY, MANY)), "no valid shape"),
    "a huge dimension": (table(tensor(storage(), HUGE)), "no valid shape"),
    "a shape that is a list": (table(tensor(storage(), b"](K\x04e")), "no valid shape"),
    "a negative size": (table(tensor(storage(size=-1))), "no valid size"),
    "two types": (table(tensor(storage()), tensor(storage("Int"))), "two sizes or types"),
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_small_file_cannot_ask_for_much(name, tmp_path):
    pickled, message = COSTLY[name]
    with pytest.raises(ValueError, match=message) as caught:
        read_bin_file(zipped(tmp_path / "x.bin", pickled))
    assert len(str(caught.value)) < 600


@each_format
def test_a_table_has_a_limit(kind, tmp_path, monkeypatch):
    path = saved(tmp_path / "x.bin", tensors(), kind)
    monkeypatch.setattr(pickles, "TABLE_LIMIT", 1000)
    with pytest.raises(ValueError, match="its table is too large"):
        read_bin_file(path)


def test_views_take_no_memory_of_their_own(tmp_path):
    found = read_bin_file(saved(tmp_path / "x.bin", tensors(), "zip"))
    assert all(np.shares_memory(found["base"], found[name]) for name in ("turned", "part"))


def test_members_that_overlap_are_refused(tmp_path):
    path = zipped(tmp_path / "x.bin", table(tensor(storage())), [bytes(1000)])
    with zipfile.ZipFile(path, "a") as archive:
        for key in range(1, 4):
            info = copy.copy(archive.infolist()[-1])
            info.filename = f"x/data/{key}"
            archive.filelist.append(info)
        archive.comment = b"written anew"
    with pytest.raises(ValueError, match="its members overlap"):
        read_bin_file(path)


DEEP = b")" + b"\x85" * 10**6 + b"\x85."
TWICE = b")" + put(0) + b"".join(get(i) * 2 + b"\x86" + put(i + 1) for i in range(60)) + b"\x85."
KEYS = {  # the older format: keys of the storages, their counts of elements and the elements
    "a deep tuple": (DEEP, b"", "nothing uses"),
    "a tuple of all its parts twice": (TWICE, b"", "nothing uses"),
    "too few elements": (pickle.dumps(["0"], 2), bytes(8 + 16), "does not have 4 elements"),
    "cut off": (pickle.dumps(["0"], 2), b"\4" + bytes(7 + 15), "ends too early"),
}


@pytest.mark.parametrize("name", KEYS)
def test_storages_of_the_older_format_are_as_described(name, tmp_path):
    keys, rest, message = KEYS[name]
    with pytest.raises(ValueError, match=message):
        read_bin_file(old(tmp_path / "x.bin", table(tensor(storage())), keys, rest))


ORDERED = b"ccollections\nOrderedDict\n"


def test_a_table_as_python_2_wrote_it(tmp_path):
    """A list of pairs; it makes one table, lest a million pairs make a million tables."""
    pairs = b"](](U\x01a" + tensor(storage()) + b"ee"
    python_2 = b"\x80\x02" + ORDERED + pairs + put(0) + b"\x85R"
    keys, rest = pickle.dumps(["0"], 2), b"\4" + bytes(7) + np.arange(4, dtype="<f4").tobytes()
    found = read_bin_file(old(tmp_path / "x.bin", python_2 + b"}b.", keys, rest))
    np.testing.assert_array_equal(found["a"], [0, 1, 2, 3])
    again = ORDERED + get(0) + b"\x85R."
    with pytest.raises(ValueError, match="no names and tensors"):
        read_bin_file(old(tmp_path / "x.bin", python_2 + again, keys, rest))


@pytest.mark.parametrize("kind", ["Float", "BFloat16", "Long"])
def test_a_machine_of_the_other_byte_order(kind, tmp_path):
    size = {"Float": 4, "BFloat16": 2, "Long": 8}[kind]
    found = {}
    for order in ("big", "little"):
        data = b"".join((16256 << 8 * (size - 2)).to_bytes(size, order) for _ in range(4))
        pickled = table(tensor(storage(kind)))
        path = zipped(tmp_path / "x.bin", pickled, [data], byteorder=order.encode())
        found[order] = read_bin_file(path)["0"]
        assert found[order].dtype.isnative
    np.testing.assert_array_equal(found["big"], found["little"])


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
