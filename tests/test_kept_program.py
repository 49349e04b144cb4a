"""Traced programs that the JAX engine keeps on disk: none traced twice, none stale."""

import json
import logging

import pytest

pytest.importorskip("flatbuffers")

from flaxner.files.kept import SEAL
from flaxner.files.manifest import file_digest
from flaxner.inference import kept_program
from flaxner.inference.pipeline import pipeline
from flaxner.models.network import Model
from tests.wordpiece import TEXTS

ONE = TEXTS[1]


@pytest.fixture
def kept_at(monkeypatch, tmp_path):
    """The folder of kept programs, inside an empty cache."""
    monkeypatch.setenv("FLAXNER_CACHE", str(tmp_path))
    return tmp_path / kept_program.KIND


def answer(folder, **options):
    return pipeline("ner", model=folder, engine="jax", device="cpu", **options)(ONE)


def test_a_second_opening_traces_no_model(folder, kept_at, monkeypatch):
    first = answer(folder)
    assert first
    assert len(list(kept_at.glob("*/forward.stablehlo"))) == 1

    def refuse(*_, **__):
        raise AssertionError("the model is traced")

    monkeypatch.setattr(Model, "apply", refuse)
    ner = pipeline("ner", model=folder, engine="jax", device="cpu")
    assert ner(ONE) == first
    assert len(ner.predictor.traces) == 1
    with pytest.raises(AssertionError, match="is traced"):
        ner("Ada")  # a shorter row
    with pytest.raises(AssertionError, match="is traced"):
        answer(folder, dtype="bfloat16")
    monkeypatch.setattr(kept_program, "_sources", lambda: "another flaxner")
    with pytest.raises(AssertionError, match="is traced"):
        answer(folder)


@pytest.mark.parametrize("whole", [False, True], ids=["cut", "another file"])
def test_a_damaged_program_is_rebuilt_or_ignored(folder, kept_at, caplog, whole):
    first = answer(folder)
    [program] = kept_at.glob("*/forward.stablehlo")
    program.write_bytes(b"no program")
    if whole:  # the seal matches, so the content counts as what was written
        seal = {program.name: [program.stat().st_size, file_digest(program)]}
        (program.parent / SEAL).write_text(json.dumps(seal))
    with caplog.at_level(logging.INFO, "flaxner"):
        assert answer(folder) == first
    assert ("tracing the forward pass again" in caplog.text) == whole
    assert (program.read_bytes() == b"no program") == whole


def test_an_unwritable_cache_is_reported(folder, kept_at, caplog):
    kept_at.write_text("a file is in the way")
    with caplog.at_level(logging.INFO, "flaxner"):
        assert answer(folder)
    assert "a traced program is not kept" in caplog.text


def test_no_program_is_kept_for_unreadable_sources(folder, kept_at, monkeypatch, caplog):
    """An editor's dangling lock link has this effect."""

    def unreadable():
        raise FileNotFoundError(2, "No such file or directory", ".#network.py")

    monkeypatch.setattr(kept_program, "_sources", unreadable)
    with caplog.at_level(logging.INFO, "flaxner"):
        assert answer(folder)
    assert "no program is kept: cannot read .#network.py" in caplog.text
