"""Model folders that an attacker may produce: each case damages a copy of an intact one.

`CASES` maps a name to (function that damages the folder, part of the expected error); if the part
is None, the folder must still work.
"""

import json
import shutil
import struct

import numpy as np
from safetensors.numpy import load_file, save_file

WEIGHT = "bert.encoder.layer.0.output.dense.weight"
NORM = "bert.embeddings.LayerNorm.weight"
PYTHON = "import pathlib\npathlib.Path({mark!r}).write_text('ran')\n"
OUTSIDE = "../outside.safetensors"
# A class for every way in which transformers would load one from the folder.
OWN_CLASSES = """
class Config(PretrainedConfig): model_type = "bert"
class Tokenizer(PreTrainedTokenizerFast): pass
class Model(PreTrainedModel): config_class = Config
"""


def config(**changes):
    """Change fields of config.json; None is written as null."""

    def damage(folder):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def file(name, content):
    """Write a file."""

    def damage(folder):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def settings(**changes):
    """Change fields of tokenizer_config.json."""

    def damage(folder):
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return damage


def tokenizer(change):
    """Change tokenizer.json."""

    def damage(folder):
        path = folder / "tokenizer.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def weights(change):
    """Change the tensors; `change` edits a dictionary in place or returns another."""

    def damage(folder):
        path = folder / "model.safetensors"
        tensors = {name: array.copy() for name, array in load_file(path).items()}
        save_file(change(tensors) or tensors, path, metadata={"format": "pt"})

    return damage


def header(change):
    """Change the text of the safetensors header."""

    def damage(folder):
        path = folder / "model.safetensors"
        data = path.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        text = change(data[8 : 8 + size].decode()).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])

    return damage


def shards(index):
    """Replace the weights by an index of shards; the file itself is moved outside the folder."""

    def damage(folder):
        names = load_file(folder / "model.safetensors")
        shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
        text = json.dumps(index(names, folder))
        (folder / "model.safetensors.index.json").write_text(text)

    return damage


def own_code(mark):
    """Make config.json and tokenizer_config.json request the folder's Python through auto_map."""

    def damage(folder):
        code = "from transformers import *\n" + PYTHON.format(mark=str(mark)) + OWN_CLASSES
        (folder / "own.py").write_text(code)
        for name in ("config.json", "tokenizer_config.json"):
            path = folder / name
            content = json.loads(path.read_text()) if path.exists() else {}
            content["auto_map"] = {
                "AutoConfig": "own.Config",
                "AutoTokenizer": ["own.Tokenizer", "own.Tokenizer"],
                "AutoModelForTokenClassification": "own.Model",
            }
            content |= {"tokenizer_class": "Own"} if name.startswith("tok") else {}
            path.write_text(json.dumps(content))

    return damage


def _twice(text):
    """Repeat the first tensor's entry at the start of the header."""
    name = next(key for key in json.loads(text) if key != "__metadata__")
    row = json.dumps(json.loads(text)[name])
    return "{" + f"{json.dumps(name)}:{row}," + text.lstrip()[1:]


def _set(name, value):
    def change(tensors):
        tensors[name].flat[3] = value

    return weights(change)


def _as(name, dtype):
    return weights(lambda t: {**t, name: (t[name] * 9).astype(dtype)})


DEEP = "[" * 100_000 + "]" * 100_000
BIG = "must be a whole number from"
KIND = "must be a whole number: got"
CASES = {
    "whole": (lambda folder: None, None),
    # config.json
    "config is a list": (file("config.json", "[1, 2]"), "must hold a JSON object"),
    "config is null": (file("config.json", "null"), "must hold a JSON object"),
    "config is empty": (file("config.json", ""), "not valid JSON"),
    "config is binary": (file("config.json", b"\xff\xfe\0\1"), "not UTF-8"),
    "config is deep": (file("config.json", '{"a":' + DEEP + "}"), "nested too deep"),
    "model_type is a list": (config(model_type=["bert"]), "flaxner supports"),
    "layers a string": (config(num_hidden_layers="2"), KIND),
    "layers a float": (config(num_hidden_layers=2.5), KIND),
    "layers null": (config(num_hidden_layers=None), KIND),
    "layers true": (config(num_hidden_layers=True), KIND),
    "layers zero": (config(num_hidden_layers=0), BIG),
    "a million layers": (config(num_hidden_layers=10**6), BIG),
    "a thousand layers": (config(num_hidden_layers=1000), "but the model has only"),
    "no heads": (config(num_attention_heads=0), BIG),
    "width a list": (config(hidden_size=[128]), KIND),
    "width negative": (config(hidden_size=-128), BIG),
    "width huge": (config(hidden_size=2**19), "its largest tensor has only"),
    "vocabulary huge": (config(vocab_size=10**12), BIG),
    "positions huge": (config(max_position_embeddings=10**12), BIG),
    "labels huge": (config(num_labels=10**8, id2label=None), BIG),
    "labels a list": (config(id2label=["O", "B-PER"]), "id2label"),
    "architectures a string": (config(architectures="Bert"), "must be a list"),
    "architectures of numbers": (config(architectures=[1]), "must be a list of strings"),
    "activation a list": (config(hidden_act=["gelu"]), "hidden_act"),
    "dropout NaN": (config(hidden_dropout_prob=float("nan")), "hidden_dropout_prob"),
    "dropout two": (config(hidden_dropout_prob=2.0), "hidden_dropout_prob"),
    "epsilon a string": (config(layer_norm_eps="1e-12"), "layer_norm_eps"),
    # tokenizer
    "settings a list": (file("tokenizer_config.json", "[]"), "must hold a JSON object"),
    "settings deep": (file("tokenizer_config.json", '{"a":' + DEEP + "}"), "nested too deep"),
    "class a number": (settings(tokenizer_class=3), "tokenizer_class"),
    "length a string": (settings(model_max_length="512"), "model_max_length"),
    "length tiny": (settings(model_max_length=1), "model_max_length"),
    "length negative": (settings(model_max_length=-1), "model_max_length"),
    "tokenizer empty": (file("tokenizer.json", ""), "tokenizer"),
    "tokenizer a list": (file("tokenizer.json", "[]"), "tokenizer"),
    "tokenizer deep": (file("tokenizer.json", '{"a":' + DEEP + "}"), "tokenizer"),
    "tokenizer of a bad expression": (
        tokenizer(lambda t: t.update(pre_tokenizer={
            "type": "Split", "pattern": {"Regex": "((("}, "behavior": "Isolated", "invert": False,
        })),
        "tokenizer",
    ),
    "tokens beyond the table": (
        tokenizer(lambda t: t["model"]["vocab"].update(Zz=10**6)),
        "belong to different models",
    ),
    # weights
    "weights empty": (file("model.safetensors", b""), "not a valid safetensors file"),
    "header too long": (file("model.safetensors", b"\xff" * 64), "not a valid safetensors file"),
    "header no JSON": (header(lambda text: text[:-40] + " " * 40), "not a valid safetensors file"),
    "a name twice in the header": (header(_twice), "twice"),
    "float8": (header(lambda text: text.replace('"F32"', '"F8_E4M3"', 1)), "safetensors"),
    "NaN": (_set(WEIGHT, np.nan), f"{WEIGHT} holds NaN"),
    "infinity": (_set(WEIGHT, -np.inf), f"{WEIGHT} holds NaN or infinity"),
    "int8": (_as(WEIGHT, np.int8), f"{WEIGHT} is int8"),
    "bool": (_as(WEIGHT, np.bool_), f"{WEIGHT} is bool"),
    "complex": (_as(WEIGHT, np.complex64), WEIGHT),
    "gamma and weight": (
        weights(lambda t: {**t, NORM.replace("weight", "gamma"): t[NORM] + 1}), "twice"),
    "with and without the prefix": (
        weights(lambda t: {**t, WEIGHT.removeprefix("bert."): t[WEIGHT] + 1}), "twice"),
    "half precision": (
        weights(lambda t: {name: array.astype(np.float16) for name, array in t.items()}), None),
    # indices
    "index outside": (
        shards(lambda names, folder: {"weight_map": dict.fromkeys(names, OUTSIDE)}),
        "files in its own folder"),
    "index absolute": (
        shards(lambda names, folder: {
            "weight_map": dict.fromkeys(names, str(folder.parent / "outside.safetensors"))}),
        "files in its own folder"),
    "index of numbers": (
        shards(lambda names, folder: {"weight_map": dict.fromkeys(names, 3)}),
        "files in its own folder"),
    "index a list": (shards(lambda names, folder: [1]), "must hold a JSON object"),
    "index without a table": (shards(lambda names, folder: {"weight_map": None}), "weight_map"),
    "index of a shard that is not there": (
        shards(lambda names, folder: {"weight_map": dict.fromkeys(names, "b")}), "lacks"),
}  # fmt: skip


def about(**changes):
    """Change fields of an exported folder's flaxner.json and remove its list of files."""

    def damage(folder):
        path = folder / "flaxner.json"
        content = json.loads(path.read_text())
        content.pop("files")
        path.write_text(json.dumps({**content, **changes}))

    return damage


def cut(name, keep):
    """Truncate a file, and remove the list of files from flaxner.json."""

    def damage(folder):
        about()(folder)
        path = folder / name
        path.write_bytes(path.read_bytes()[:keep])

    return damage


def other_program(function, *inputs):
    """Replace the classifier's program by one of another kind."""

    def damage(folder):
        import jax
        import jax.export

        about()(folder)
        exported = jax.export.export(jax.jit(function))(*inputs)
        (folder / "forward.stablehlo").write_bytes(bytes(exported.serialize()))

    return damage


def _calls_lapack(x):
    import jax.numpy as jnp

    return jnp.linalg.cholesky(x)


EXPORTED = {
    "whole": (lambda folder: None, None),
    "of the version before": (about(), None),
    "about a list": (file("flaxner.json", "[]"), "must hold a JSON object"),
    "about deep": (file("flaxner.json", '{"a":' + DEEP + "}"), "nested too deep"),
    "labels a number": (about(labels=3), "labels in"),
    "limit a string": (about(limit="512"), "limit in"),
    "limit zero": (about(limit=0), "limit in"),
    "window huge": (about(window=10**12), "window in"),
    "scheme unknown": (about(scheme="XYZ"), "scheme in"),
    "files outside": (about(files={"../x": {}}), "files in"),
    "a file is another": (file("weights.safetensors", b"other"), "not the file that was exported"),
    "program cut": (cut("forward.stablehlo", 1000), "not a complete jax.export program"),
    "program empty": (cut("forward.stablehlo", 0), "not a complete jax.export program"),
    "program of another kind": (
        other_program(lambda x: x + 1, np.ones(3, np.float32)), "not have a classifier's inputs"),
    "program that calls out": (
        other_program(_calls_lapack, np.eye(3, dtype=np.float32)), "it calls lapack"),
}  # fmt: skip
