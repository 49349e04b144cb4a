"""ONNX Runtime as the engine: the same answers as JAX, the cache on disk, exports, and int8."""

import json
import logging
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from flaxner.inference.opening import load_exported, open_pipeline
from flaxner.inference.pipeline import pipeline
from flaxner.inference.rows import fitted_batches
from tests.conll import sentences, write_conll
from tests.pipelines import ODD, SCORES, largest_difference, make_folder
from tests.tokenizers_of_kinds import KINDS, tokenizer_of_kind
from tests.wordpiece import TEXTS

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

EVERY = [*TEXTS, *ODD, "", " ".join(TEXTS * 4)]
WORDS = [text.split() for text in TEXTS]
HEAVY = ("jax", "flax", "transformers", "huggingface_hub", "torch", "onnx", "datasets", "rich")


@pytest.fixture(scope="module")
def in_jax(folder):
    return pipeline("ner", model=folder, engine="jax")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Start with an empty cache; return a function that lists its graphs."""
    monkeypatch.setenv("FLAXNER_CACHE", str(tmp_path / "cache"))
    return lambda: sorted((tmp_path / "cache" / "onnx").glob("*/forward.onnx"))


def with_onnx(folder, **options):
    return pipeline("ner", model=folder, engine="onnx", **options)


def test_answers_equal_jaxs_and_the_graph_is_kept(folder, in_jax, cache):
    for _ in range(2):
        ner = with_onnx(folder)
        for call in (
            {"aggregation_strategy": "simple"},
            {"aggregation_strategy": "first", "stride": 7},
            {"aggregation_strategy": "word"},
            {"truncation": True},
        ):
            assert largest_difference(ner(EVERY, **call), in_jax(EVERY, **call)) < SCORES
        assert ner.predict_words(WORDS) == in_jax.predict_words(WORDS)
        assert largest_difference([ner(TEXTS[1])], [in_jax(TEXTS[1])]) < SCORES
    assert (len(cache()), str(ner.device), str(ner.dtype)) == (1, "cpu", "float32")
    assert ner.model.config.id2label == in_jax.model.config.id2label
    again = pickle.loads(pickle.dumps(ner))
    assert largest_difference(again(EVERY), in_jax(EVERY)) < SCORES


def test_a_kept_graph_answers_without_jax_and_transformers(folder, cache):
    program = f"""
import sys
from flaxner import pipeline
ner = pipeline("ner", model={str(folder)!r}, engine="onnx", aggregation_strategy="simple")
print(ner({TEXTS[1]!r}), [name for name in {HEAVY} if name in sys.modules])
"""
    with_onnx(folder)
    made = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    expected = with_onnx(folder, aggregation_strategy="simple")(TEXTS[1])
    assert made.stdout.strip() == f"{expected} []"


def test_a_changed_tokenizer_is_saved_with_the_model_of_a_kept_graph(folder, cache, tmp_path):
    with_onnx(folder)
    ner = with_onnx(folder)
    ner.tokenizer.model_max_length = 16
    ner.save_pretrained(tmp_path / "saved")
    assert with_onnx(tmp_path / "saved").tokenizer.model_max_length == 16


@pytest.mark.parametrize("name", ["forward.onnx", "weights.safetensors", "graph.json", "kept.json"])
def test_a_damaged_entry_is_rebuilt(folder, in_jax, cache, name):
    with_onnx(folder)
    (program,) = cache()
    path = program.with_name(name)
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    assert largest_difference(with_onnx(folder)(TEXTS), in_jax(TEXTS)) < SCORES
    left = [path for path in cache() if path != program]
    assert program in cache()
    # A damaged record no longer shows which files are ours: the whole entry is kept, renamed.
    assert [".left-" in str(path) for path in left] == [True] * (name == "kept.json")
    (program.with_name("kept.json")).unlink()
    assert with_onnx(folder)(TEXTS[0]) is not None


def test_without_a_writable_cache_the_graph_is_built_each_time(
    folder, in_jax, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("")
    for place in ("", str(tmp_path / "file" / "below")):
        monkeypatch.setenv("FLAXNER_CACHE", place)
        assert largest_difference(with_onnx(folder)(TEXTS), in_jax(TEXTS)) < SCORES


def test_other_weights_and_settings_get_their_own_graphs(folder, cache, tmp_path):
    other = make_folder(tmp_path / "other", layer_norm_eps=1e-3)
    for place in (folder, other):
        with_onnx(place)
    with_onnx(folder, weights="int8")
    assert len(cache()) == 3


def test_auto_uses_onnx_on_a_single_cpu_and_says_so(folder, monkeypatch, cache, caplog):
    def engine(**given):
        return type(pipeline("ner", model=folder, **given).predictor.engine).__name__

    monkeypatch.delenv("FLAXNER_ENGINE", raising=False)
    assert engine() == "JaxEngine", "the tests run with eight devices"
    monkeypatch.setenv("XLA_FLAGS", "")
    with caplog.at_level(logging.INFO, "flaxner"):
        assert engine() == "OnnxEngine"
    assert "ONNX Runtime runs" in caplog.text
    assert engine(device="cpu") == engine(device=-1) == "OnnxEngine"
    assert engine(dtype="bfloat16") == engine(engine="jax") == "JaxEngine"
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    from flaxner.inference.engines import Request, choose

    assert choose("auto", Request(folder), None) == "jax"
    assert choose("auto", Request(folder), "cpu") == "auto"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert choose("auto", Request(folder), "cpu") == "jax"
    with pytest.raises(ValueError, match=r"pip install 'flaxner\[onnxruntime\]'"):
        choose("onnx", Request(folder), None)


def test_what_onnx_runtime_cannot_do_is_refused(folder, in_jax):
    for given, said in (
        ({"engine": "tensorrt"}, "engine must be one of auto, jax, onnx"),
        ({"engine": "onnx", "dtype": "bfloat16"}, "computes in float32, not in bfloat16"),
        ({"engine": "onnx", "device": "cuda:0"}, "runs on the CPU, not on 'cuda:0'"),
        ({"engine": "jax", "weights": "int8"}, "weights='int8' needs ONNX Runtime"),
        ({"weights": "int4"}, "weights must be one of float32, int8"),
        ({"weights": "int8-static"}, "needs texts for calibration: export the model"),
    ):
        with pytest.raises(ValueError, match=said):
            pipeline("ner", model=folder, **given)
    model = in_jax.classifier.model.bind(in_jax.classifier.params)
    with pytest.raises(ValueError, match="not a model in memory"):
        pipeline("ner", model=model, tokenizer=in_jax.tokenizer, engine="onnx")


def test_an_export_for_onnx_runtime_answers_as_the_pipeline(in_jax, tmp_path):
    path = in_jax.export(tmp_path / "served", engine="onnx")
    assert largest_difference(load_exported(path)(EVERY), in_jax(EVERY)) < SCORES
    assert open_pipeline(path).predict_words(WORDS) == in_jax.predict_words(WORDS)
    small = in_jax.export(tmp_path / "small", engine="onnx", weights="int8")
    sizes = [(place / "weights.safetensors").stat().st_size for place in (path, small)]
    assert sizes[0] > 2.5 * sizes[1]
    known = "must be one of float32, int8, int8-static: got 'bfloat16'"
    with pytest.raises(ValueError, match=known):
        in_jax.export(tmp_path / "new", engine="onnx", weights="bfloat16")
    (path / "forward.onnx").write_bytes((small / "forward.onnx").read_bytes())
    with pytest.raises(ValueError, match="is not the file that was exported"):
        load_exported(path)


def test_a_graph_of_another_kind_is_refused(in_jax, tmp_path):
    """Its digest matches, because a stranger wrote both."""
    from flaxner.files.manifest import file_digest

    path = in_jax.export(tmp_path / "served", engine="onnx")
    about = json.loads((path / "flaxner.json").read_text())
    for content, said in ((b"no graph", "ONNX Runtime cannot load"), (None, "inputs and outputs")):
        program = path / "forward.onnx"
        if content is None:
            about["labels"] = about["labels"][:-1]
        else:
            whole = program.read_bytes()
        program.write_bytes(content or whole)
        about["files"]["forward.onnx"] = {
            "size": program.stat().st_size,
            "sha256": file_digest(program),
        }
        (path / "flaxner.json").write_text(json.dumps(about))
        with pytest.raises(ValueError, match=said):
            load_exported(path)


def test_an_int8_answer_does_not_depend_on_the_rest_of_the_batch(folder, cache):
    """Scales are per position; scales of a whole batch would make answers depend on the batch."""
    ner = with_onnx(folder, weights="int8")
    alone = [ner(text) for text in EVERY]
    assert largest_difference(ner(EVERY), alone) < SCORES


def test_static_scales_are_calibrated_on_sentences(folder, in_jax, tmp_path, capfd):
    """Answers do not depend on the rest of the batch, and are close to those of float32."""
    from flaxner.publishing.serving_export import export_model

    corpus = write_conll(tmp_path / "validation.conll", sentences(12))
    given = {"engine": "onnx", "weights": "int8-static"}
    made = export_model(folder, tmp_path / "static", calibration_file=corpus, **given)
    assert (made["sentences_calibrated"], capfd.readouterr().err) == (12, "")
    served = load_exported(tmp_path / "static")
    alone = [served(text) for text in EVERY]
    assert largest_difference(served(EVERY), alone) < SCORES
    words = [list(words) for words, _ in sentences(12)]
    pairs = zip(served.predict_words(words), in_jax.predict_words(words), strict=True)
    tags = [pair for ours, theirs in pairs for pair in zip(ours, theirs, strict=True)]
    assert np.mean([a == b for a, b in tags]) > 0.9
    for other, said in (
        ({}, "must be calibrated on sentences: give the validation split"),
        ({"engine": "jax", "calibration_file": corpus}, "need ONNX Runtime: use engine"),
        ({"weights": "int8", "calibration_file": corpus}, "calibration is only for int8-static"),
        ({"weights": "int8", "calibration_split": "test"}, "calibration is only for int8-static"),
        (
            {"calibration_file": corpus, "calibration_split": "test"},
            "cannot be combined with a file",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            export_model(folder, tmp_path / "none", **(given | other))
    with pytest.raises(ValueError, match="ranges seen on texts"):
        in_jax.export(tmp_path / "none", **given)
    with pytest.raises(ValueError, match="the ranges seen on texts belong to another model"):
        in_jax.export(tmp_path / "none", **given, seen={"another": None})
    assert not (tmp_path / "none").exists()


def test_too_large_a_loss_writes_nothing(folder, tmp_path, monkeypatch):
    from flaxner.publishing import serving_export
    from flaxner.publishing.serving_export import export_model

    def worse(*given):
        scores = honest(*given)
        return scores | {name: scores[name] + by for name, by in lost.items()}

    corpus = write_conll(tmp_path / "test.conll", sentences(12))
    given = {"engine": "onnx", "weights": "int8", "file": corpus}
    made = export_model(folder, tmp_path / "fine", max_f1_loss=1.0, **given)
    assert made["f1_loss"] == made["model_f1"] - made["overall_f1"]
    assert (tmp_path / "fine" / "forward.onnx").is_file()
    honest, lost = serving_export._scores, {"overall_f1": -0.5, "f1_loss": 0.5}
    monkeypatch.setattr(serving_export, "_scores", worse)
    with pytest.raises(ValueError, match=r"int8 weights lose .* nothing was written"):
        export_model(folder, tmp_path / "worse", max_f1_loss=0.1, **given)
    assert not (tmp_path / "worse").exists()
    with pytest.raises(ValueError, match="needs a corpus"):
        export_model(folder, tmp_path / "worse", max_f1_loss=0.005, engine="onnx")


def test_fitted_batches_hold_every_token_once():
    rng = np.random.default_rng(0)
    for count, longest, tokens in ((1, 9, 64), (3, 20, 64), (40, 30, 128), (300, 120, 1024)):
        lengths = rng.integers(2, longest, count)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.arange(1, starts[-1] + 1, dtype=np.int32)
        seen, cells = np.zeros(len(ids), int), 0
        for batch in fitted_batches(ids, starts, tokens=tokens):
            given, segments, positions = (x.ravel() for x in batch.inputs)
            seen[batch.places] += 1
            cells += given.size
            assert (given[batch.cells] == ids[batch.places]).all()
            assert (segments[batch.cells] > 0).all()
            owner = np.searchsorted(starts, batch.places, side="right") - 1
            assert (positions[batch.cells] == batch.places - starts[owner]).all()
        assert (seen == 1).all()
        if count == 300:
            assert cells < 1.05 * len(ids), "little padding"
        if starts[-1] <= 64:
            assert cells == len(ids), "no padding in a short request"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_tokenizer_equals_the_one_of_transformers(kind, tmp_path, monkeypatch):
    from flaxner.data.kept_tokenizer import NUMBERS, KeptTokenizer, open_tokenizer
    from flaxner.data.tokenizer import load_tokenizer

    monkeypatch.setenv("FLAXNER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    tokenizer_of_kind(kind).save_pretrained(folder)
    first, kept, whole = (open_tokenizer(folder), open_tokenizer(folder), load_tokenizer(folder))
    assert not isinstance(first, KeptTokenizer)
    assert isinstance(kept, KeptTokenizer)
    assert kept.backend_tokenizer.to_str() == whole.backend_tokenizer.to_str()
    assert {n: getattr(kept, n) for n in NUMBERS} == {n: getattr(whole, n, None) for n in NUMBERS}
    assert (len(kept), kept.get_vocab()) == (len(whole), whole.get_vocab())
    ids = list(range(len(whole)))
    assert kept.convert_ids_to_tokens(ids) == whole.convert_ids_to_tokens(ids)
    for tokens in (whole.tokenize(text) for text in EVERY):
        joined = whole.convert_tokens_to_string(tokens)
        assert kept.convert_tokens_to_string(tokens) == joined
    assert kept._whole is None, "transformers' own tokenizer was not loaded"
    assert kept("Berlin")["input_ids"] == whole("Berlin")["input_ids"]
    kept.whole().model_max_length = 12
    assert kept.model_max_length == 12, "changes made there apply here"


def test_a_changed_tokenizer_is_read_again(tmp_path, monkeypatch):
    from flaxner.data.kept_tokenizer import open_tokenizer

    monkeypatch.setenv("FLAXNER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    tokenizer_of_kind("wordpiece").save_pretrained(folder)
    before = open_tokenizer(folder).model_max_length
    settings = folder / "tokenizer_config.json"
    fields = json.loads(settings.read_text())
    settings.write_text(json.dumps(fields | {"model_max_length": 33}))
    assert (before == 33, open_tokenizer(folder).model_max_length) == (False, 33)


def test_onnx_runtime_sends_no_telemetry(tmp_path):
    """A plain import writes a usage database into the user's cache and sends it."""
    code = (
        "from flaxner.inference.onnx_runtime import onnxruntime; import os, sys; onnxruntime(); "
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    variables = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | home
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
    assert done.stderr == ""
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]
