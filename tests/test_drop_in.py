"""What programs written for `transformers.pipeline` pass to it and read from it."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from flaxner.inference.ner_pipeline import NerPipeline
from flaxner.inference.opening import load_exported
from flaxner.inference.pipeline import pipeline
from flaxner.inference.precision import file_dtype
from flaxner.models.pretrained import load_pretrained
from flaxner.models.tensors import read_tensor_file
from flaxner.publishing.hub_folder import export_folder
from tests.hub_server import FakeHub
from tests.pipelines import (
    SCORES,
    TAGS,
    edited,
    largest_difference,
    torch_pipeline,
)
from tests.wordpiece import TEXTS


class MapStyle:
    """A map-style torch data set: it has a length and items, but never raises IndexError."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index % len(self.items)]


def test_torch_data_sets(ours, theirs):
    pytest.importorskip("torch")
    datasets = pytest.importorskip("datasets")
    from transformers.pipelines.pt_utils import KeyDataset

    table = datasets.Dataset.from_dict({"text": list(TEXTS)})
    expected = ours(list(TEXTS))
    made = KeyDataset(table, "text")
    answers, other = ours(made), theirs(made)
    assert len(answers) == len(other) == len(TEXTS)
    assert not isinstance(answers, list)
    assert largest_difference(list(answers), list(other)) < SCORES
    for many in (
        MapStyle(list(TEXTS)),
        table["text"],
        np.asarray(TEXTS),
        dict.fromkeys(TEXTS).keys(),
    ):
        assert list(ours(many)) == expected
        assert list(ours.stream(many)) == expected
    with pytest.raises(TypeError, match="unknown length"):
        len(ours(iter(TEXTS)))
    words = MapStyle([text.split() for text in TEXTS])
    assert list(ours(words, is_split_into_words=True)) == ours(
        words.items, is_split_into_words=True
    )
    with pytest.raises(ValueError, match="a text must be a string: got dict"):
        list(ours(table))


def test_a_string_of_ignore_labels_is_one_label(ours):
    """In torch's pipeline, substrings of it count as labels too, or the call fails."""
    texts, call = list(TEXTS), {"aggregation_strategy": "simple"}
    some = ours(texts, **call, ignore_labels="LOCATION")
    assert "LOC" in {e["entity_group"] for es in some for e in es}  # substrings do not count
    assert some == ours(texts, **call, ignore_labels=["LOCATION"])
    assert ours(texts, ignore_labels="O") == ours(texts)
    folder = ours.classifier.folder
    assert pipeline("ner", model=folder, ignore_labels="LOCATION", **call)(texts) == some


NOTHING_CHANGED = {
    "use_fast": True,
    "trust_remote_code": False,
    "framework": "pt",
    "device_map": None,
    "token": "secret",  # unused for a folder
    "local_files_only": True,
    "feature_extractor": None,
    "processor": None,
    "binary_output": False,
    "grouped_entities": False,
    "torch_dtype": "float32",
    "model_kwargs": {"attn_implementation": "sdpa", "cache_dir": "x", "torch_dtype": "float32"},
    "batch_size": 8,
    "num_workers": 0,
}


def test_arguments_that_change_nothing_are_accepted(folder, ours):
    given = pipeline("ner", str(folder), str(folder), str(folder), **NOTHING_CHANGED)
    assert given(list(TEXTS)) == ours(list(TEXTS))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"use_fast": False}, "use_fast=False is not supported: only fast tokenizers"),
        ({"grouped_entities": True}, 'is not supported: use aggregation_strategy="simple"'),
        ({"trust_remote_code": True}, "never runs code that comes with a model"),
        ({"config": {"id2label": {}}}, "config is always the model's own"),
        ({"framework": "tf"}, "the pipeline runs on JAX"),
        ({"device_map": {"": 0}}, "choose the device with device="),
        ({"processor": "x"}, "processor='x' is not supported: a token classifier has none"),
        ({"model_kwargs": 3}, "model_kwargs must be a dict: got 3"),
        ({"model_kwargs": {"num_labels": 3}}, "unknown name 'num_labels' in model_kwargs; choose"),
        ({"model_kwargs": {"trust_remote_code": True}}, "never runs code that comes with a model"),
        ({"model_kwargs": {"attn_implementation": "flex"}}, "attention is flaxner's own"),
        ({"dtype": "float32", "torch_dtype": "bfloat16"}, "twice with different values: bfloat16"),
        ({"dtype": "int8"}, "dtype must be one of auto, float32, float, bfloat16"),
        ({"dtype": np.float64}, "dtype must be one of auto"),
        ({"dtype": 7}, "dtype must be one of auto, float32, .* got 7"),
        ({"temperature": 1}, "unknown pipeline option 'temperature'"),
    ],
)
def test_arguments_that_would_change_something_are_refused(folder, given, message):
    with pytest.raises(ValueError, match=message):
        pipeline("ner", model=folder, **given)


def test_hub_arguments_are_refused_for_hub_models():
    for given, message in (
        ({"token": "secret"}, r"token=\.\.\. is not supported: log in with"),
        ({"local_files_only": True}, "set HF_HUB_OFFLINE=1"),
        ({"model_kwargs": {"cache_dir": "x"}}, "set HF_HUB_CACHE"),
    ):
        with pytest.raises(ValueError, match=message):
            pipeline("ner", model="user/name", **given)


def test_every_name_of_a_dtype_is_accepted(folder, ours):
    torch = pytest.importorskip("torch")
    for name, given in {
        "float32": (None, "float32", "float", "auto", torch.float32, np.float32, jnp.float32),
        "bfloat16": ("bfloat16", torch.bfloat16, jnp.bfloat16),
        "float16": ("float16", "half", torch.half, np.dtype("float16")),
    }.items():
        made = [pipeline("ner", model=folder, dtype=dtype) for dtype in given]
        assert {str(ner.dtype) for ner in made} == {name}
        assert {str(ner.torch_dtype) for ner in made} == {name}
    with pytest.raises(ValueError, match="dtype must be one of"):
        pipeline("ner", model=folder, dtype=torch.float64)
    assert pipeline("ner", model=folder, dtype="auto")(list(TEXTS)) == ours(list(TEXTS))


def test_auto_is_the_dtype_in_the_file(folder, ours, tmp_path):
    """As in `transformers` 5: the one in config.json, or else that of the first weights."""
    pytest.importorskip("torch")
    loaded = load_pretrained(folder)
    half = export_folder(
        tmp_path / "half",
        loaded.model,
        loaded.params,
        _scheme(),
        ours.tokenizer,
        dtype="bfloat16",
    )
    silent = edited(half, tmp_path / "silent", lambda fields: fields.pop("dtype"))
    older = edited(silent, tmp_path / "older", lambda f: f.update(torch_dtype="float16"))
    for made, name in ((half, "bfloat16"), (silent, "bfloat16"), (older, "float16")):
        ner, theirs = pipeline("ner", model=made, dtype="auto"), torch_pipeline(made)
        assert str(theirs.dtype) == f"torch.{name}"
        assert str(ner.dtype) == name
        a, b = ([e["entity"] for e in p(TEXTS[0], ignore_labels=[])] for p in (ner, theirs))
        assert np.mean([x == y for x, y in zip(a, b, strict=True)]) > 0.8
    wide = edited(silent, tmp_path / "wide", lambda f: f.update(dtype="float64"))
    with pytest.raises(ValueError, match=r"stored in 'float64'.*use dtype='float32'"):
        pipeline("ner", model=wide, dtype="auto")
    saved = tmp_path / "saved"
    pipeline("ner", model=half).save_pretrained(saved)
    assert read_tensor_file(saved / "model.safetensors")["classifier.bias"].dtype == jnp.bfloat16


@pytest.mark.parametrize("engine", ["jax", "onnx"])
@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 20, b"\x02" + b"\0" * 7 + b"[]", b"\x02" + b"\0" * 7 + b"{'"],
    ids=["empty", "huge", "list", "cut"],
)
def test_auto_refuses_a_damaged_file(folder, tmp_path, engine, content):
    """Whichever code reads its header first."""
    if engine == "onnx":
        pytest.importorskip("onnxruntime")
    made = edited(folder, tmp_path / "hub", lambda fields: fields.pop("dtype", None))
    (made / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is not a"):
        pipeline("ner", model=made, dtype="auto", engine=engine, device="cpu")


def test_a_header_without_offsets_is_refused(tmp_path):
    header = json.dumps({name: {"dtype": "F32", "shape": [0]} for name in "ab"}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"model\.safetensors is not a"):
        file_dtype({}, tmp_path)


def _scheme():
    from flaxner.data.labels import LabelScheme

    return LabelScheme(TAGS)


def test_float16_answers_as_torch_does(folder):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.pipeline("ner", model=str(folder), dtype=torch.float16)
    ner = pipeline("ner", model=folder, dtype=torch.float16)
    call = {"ignore_labels": []}
    # Both sides lose digits in float16, since they sum in different orders.
    assert largest_difference(ner(list(TEXTS), **call), theirs(list(TEXTS), **call)) < 1e-2


def test_attributes_are_those_of_transformers(ours, theirs, folder):
    assert (ours.task, theirs.task) == ("ner", "ner")
    assert pipeline("token-classification", model=folder).task == "token-classification"
    assert pipeline(model=folder).task == "token-classification"
    assert str(ours.device) == str(theirs.device) == "cpu"
    assert (ours.device.type, ours.device.index) == (theirs.device.type, theirs.device.index)
    assert ours.model.device == ours.device
    assert ours.model.eval() is ours.model
    config = ours.model.config
    assert type(config) is type(theirs.model.config)
    for name in ("id2label", "label2id", "num_labels", "hidden_size", "model_type"):
        assert getattr(config, name) == getattr(theirs.model.config, name)
    assert config.id2label[4] == "I-PER"
    assert ours.transform(list(TEXTS)) == ours.predict(list(TEXTS)) == ours(list(TEXTS))


def test_exports_have_these_attributes_too(ours, tmp_path):
    loaded = load_exported(ours.export(tmp_path / "served"))
    assert loaded.model.config.id2label == dict(enumerate(TAGS))
    assert (loaded.task, str(loaded.device), str(loaded.dtype)) == (
        "token-classification",
        "cpu",
        "float32",
    )
    with pytest.raises(ValueError, match="an exported pipeline cannot be saved"):
        loaded.save_pretrained(tmp_path / "again")


def test_a_saved_pipeline_is_loaded_by_both(folder, ours, tmp_path):
    names = ("O", "B-ORT", "I-ORT", "B-MENSCH", "I-MENSCH")
    ner = pipeline("ner", model=folder, id2label=names)
    ner.save_pretrained(tmp_path / "saved")
    again, theirs = pipeline("ner", model=tmp_path / "saved"), torch_pipeline(tmp_path / "saved")
    assert again.labels == names
    assert again(list(TEXTS)) == ner(list(TEXTS))
    assert largest_difference(again(list(TEXTS)), theirs(list(TEXTS))) < SCORES
    memory = pipeline("ner", model=load_pretrained(folder).model.bind(ours.classifier.params),
                      tokenizer=ours.tokenizer, id2label=TAGS)  # fmt: skip
    memory.save_pretrained(str(tmp_path / "memory"))
    assert pipeline("ner", model=tmp_path / "memory")(list(TEXTS)) == memory(list(TEXTS))
    memory.save_pretrained(str(tmp_path / "memory"))  # replaces its own files
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json"):
        ner.save_pretrained(tmp_path / "mine")
    assert (tmp_path / "mine" / "config.json").read_text() == "{}"
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["config.json"]


def test_a_pipeline_is_pushed(folder, tmp_path):
    code = """
import sys
from flaxner import pipeline
print(pipeline("ner", model=sys.argv[1]).push_to_hub("user/x", private=True))
"""
    with FakeHub() as hub:
        done = hub.run(tmp_path / "home", code, str(folder))
        assert done.returncode == 0, done.stderr[-2000:]
        files = hub.repo("user/x").files("main")
        assert hub.repo("user/x").private
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    assert json.loads(files["config.json"].data)["id2label"]["4"] == "I-PER"
    assert NerPipeline.push_to_hub.__doc__
