"""The benchmarks: the figures measure what they claim, and add up."""

import argparse
import copy
import itertools
import json
import os
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from flaxner.aot.workload import known_models
from flaxner.benchmark import first_answer, machine, random_sizes, train
from flaxner.benchmark.flat import attend_within
from flaxner.benchmark.torch_loop import Peer, TorchLoop, decay_groups, torch_model
from flaxner.commands import benchmark
from flaxner.config.train import TrainConfig
from flaxner.models.network import Model
from flaxner.models.scratch import SCRATCH
from flaxner.training.preparation import Prepared, prepare
from tests.conll import sentences, write_conll
from tests.families import each_family
from tests.tiny import SIZES, random_segments, tiny_config
from tests.wordpiece import tiny_tokenizer


def main(words):
    """Run `benchmark.py train`, letting errors through."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return train.run(parser.parse_args(words))


def figures(printed):
    return [json.loads(line) for line in printed.splitlines()]


def test_training_contenders_take_turns(capsys):
    pytest.importorskip("torch")
    few = ["--steps", "2", "--turns", "2", "--batch-size", "4", "--max-length", "64"]
    main([*few, "--compilation-cache", "", "--against", "torch-grouped"])
    made = figures(capsys.readouterr().out)
    kinds = ["machine", *["ready", "turn"] * 2, *["turn"] * 2, "train", "train"]
    assert [each["figure"] for each in made] == kinds  # as soon as each is known
    machine, *_, ours, theirs = made
    assert set(machine["matmul_gflops"]) == {"jax", "torch"}
    assert (ours["contender"], theirs["contender"]) == ("flaxner", "torch-grouped")
    assert ours["ratios"] == [1.0, 1.0]
    assert len(theirs["ratios"]) == 2
    assert min(theirs["ratios"]) > 0
    assert 0 < ours["fill"] <= 1
    assert 0 < theirs["fill"] <= 1


def test_sizes_of_a_well_known_model(monkeypatch):
    """Random weights, and a tokenizer with a small vocabulary, of the same family."""
    assert random_sizes.tiny_of("google-bert/bert-base-cased") == "flaxner:tiny"
    assert random_sizes.tiny_of("xlm-roberta-base") == "flaxner:tiny-xlm-roberta"
    with pytest.raises(ValueError, match="'bert-huge' are not built in; choose from: bert-base-c"):
        main(["--sizes", "bert-huge"])
    with pytest.raises(ValueError, match="leave --model out"):
        main(["--sizes", "bert-base-cased", "--model", "flaxner:tiny"])
    monkeypatch.setattr(Model, "init", lambda model, seed: model.shapes)
    model = Model(tiny_config())
    prepared = Prepared(TrainConfig(train_file="x"), {}, None, None, model, {}, {}, [], {})
    made = random_sizes.resized(prepared, "bert-base-cased")
    assert made.params["embeddings/word_embeddings/embedding"].shape == (28996, 768)
    assert made.model.config.num_labels == model.config.num_labels


def test_all_sizes_of_well_known_models_are_used(monkeypatch):
    """Also those that the family's defaults give, and those under names of its own."""
    monkeypatch.setattr(Model, "init", lambda model, seed: {})
    for name, (config, fields) in known_models().items():
        if name in SCRATCH:
            continue
        kind, tiny = SCRATCH[random_sizes.tiny_of(name)]
        model = Model(config.from_hf({"model_type": kind, **tiny, "vocab_size": 800}, 5))
        prepared = Prepared(TrainConfig(train_file="x"), {}, None, None, model, {}, {}, [], {})
        made = random_sizes.resized(prepared, name)
        assert made.model.config == config.from_hf(fields, 5)


def test_cores_are_counted_without_affinity(monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine.device_name().endswith(f", {os.cpu_count()} cores")


def test_memory_is_measured_however_the_command_was_called(capfd):
    """Measured in a process with the same flags, wherever they are on the command line."""
    flags = ["--steps", "1", "--turns", "1", "--batch-size", "2", "--max-length", "32"]
    assert benchmark.main(["train", *flags, "--against", "--memory"], "flaxner benchmark") == 0
    *_, memory = figures(capfd.readouterr().out)
    assert (memory["figure"], memory["contender"]) == ("memory", "flaxner")
    assert memory["host_peak_mb"] >= memory["host_before_mb"] > 0


@pytest.mark.parametrize("seconds", [1.0, 0.1, -3.0])
def test_turns_end_in_time(seconds, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(train, "time", types.SimpleNamespace(monotonic=lambda: clock[0]))

    def contender(step):
        return types.SimpleNamespace(warm=lambda: clock.__setitem__(0, clock[0] + step))

    steps, turns = train.fitting([contender(0.005), contender(0.015)], 10, 3, seconds)
    assert (turns, steps) == {1.0: (3, 10), 0.1: (2, 1), -3.0: (1, 1)}[seconds]


def test_an_unknown_peer_is_refused():
    with pytest.raises(ValueError, match="unknown peer 'torch-slow'; choose from: torch, torch-fu"):
        main(["--against", "torch-slow"])


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("train --steps 1", "--against"),
        ("pipeline --model m --file f", "--batch-sizes"),
        ("pipeline --model m --file f --batch-sizes --torch-compile", "--torch-compile"),
        ("pipeline --model m --file f --batch-sizes --onnx-runtime", "--onnx-runtime"),
        ("quality --model m --train-file f --test-file f", "--sides torch"),
    ],
)
def test_a_missing_package_is_named_before_anything_is_measured(words, flag, monkeypatch, capsys):
    monkeypatch.setattr("flaxner.publishing.verification.find_spec", lambda name: None)
    assert benchmark.main(words.split()) == 2
    told = capsys.readouterr().err
    assert re.search(rf"{flag} needs torch\b.*: pip install torch", told)
    assert len(told.splitlines()) == 1


def torch_bert(labels=5):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    return transformers.BertForTokenClassification(
        transformers.BertConfig(**{**SIZES, "max_position_embeddings": 128}, num_labels=labels)
    )


def test_torch_uses_the_padding_token_of_a_small_vocabulary(tmp_path):
    """ModernBERT's own padding token has the id 50,283, beyond a small vocabulary."""
    pytest.importorskip("torch")
    corpus = write_conll(tmp_path / "train.conll", sentences(8))
    prepared = prepare(TrainConfig(model="flaxner:tiny-modernbert", train_file=str(corpus)))
    assert torch_model(prepared).config.pad_token_id == prepared.tokenizer.pad_token_id


def test_weight_decay_applies_where_the_trainer_applies_it():
    model = torch_bert()
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, rest = ({names[id(p)] for p in group["params"]} for group in decay_groups(model, 0.01))
    assert decayed | rest == set(names.values())
    assert decayed == {name for name, p in model.named_parameters() if p.ndim == 2}


def test_accumulated_parts_equal_the_whole_batch():
    """`--accumulate` applies to both sides: the same loss and gradient, in equally many parts."""
    lengths = np.random.default_rng(0).integers(3, 60, 8)
    segments, model = random_segments(np.random.default_rng(1), lengths), torch_bert()
    steps = []
    for parts in (1, 3):
        config = TrainConfig(dataset="flaxner:embedded", batch_size=8, accumulate=parts)
        loop = TorchLoop(copy.deepcopy(model), segments, config, 10, Peer())
        loop.model.eval()  # no dropout
        seen = []
        loop.model.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        steps.append(loop.step(np.arange(8)))
        assert len(seen) == parts
    for name in ("loss", "grad_norm"):
        one, three = (float(getattr(step, name)) for step in steps)
        assert three == pytest.approx(one, rel=1e-5)
    assert steps[0].slots > steps[1].slots >= lengths.sum()


@each_family
def test_a_flat_row_equals_the_padded_batch(family):
    pytest.importorskip("torch")
    lengths = np.random.default_rng(0).integers(3, 24, 8)
    segments, model = random_segments(np.random.default_rng(1), lengths), family.torch_model()
    if family.model_type in ("deberta", "deberta-v2", "modernbert"):
        with pytest.raises(ValueError, match=f"torch-flat cannot train {family.model_type}"):
            attend_within(model)
        return
    config, steps = TrainConfig(dataset="flaxner:embedded", batch_size=8), []
    for peer in (Peer(), Peer(flat=True)):
        loop = TorchLoop(copy.deepcopy(model), segments, config, 10, peer)
        loop.model.eval()  # no dropout
        steps.append(loop.step(np.arange(8)))
    for name in ("loss", "grad_norm"):
        whole, flat = (float(getattr(step, name)) for step in steps)
        assert flat == pytest.approx(whole, rel=1e-5)
    assert steps[1].slots == lengths.sum()


def test_epochs_are_grouped_as_the_trainer_groups_them():
    """A small corpus still has megabatches of a quarter each, not one sorted pass over it all."""
    lengths = np.random.default_rng(0).integers(3, 60, 160)
    segments = random_segments(np.random.default_rng(1), lengths)
    config = TrainConfig(dataset="flaxner:embedded", batch_size=8)
    loop = TorchLoop(torch_bert(), segments, config, 40, Peer(grouped=True))
    first, second = loop.epoch(), loop.epoch()
    for epoch in (first, second):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(160))
    assert [b.tolist() for b in first] != [b.tolist() for b in second]
    widest = [int(lengths[batch].max()) for batch in first]
    assert widest[0] == lengths.max()  # the Trainer puts the longest first
    rises = sum(a < b for a, b in itertools.pairwise(widest))
    assert rises == 3  # four megabatches of five batches, each from long to short


def test_a_stopped_quality_run_promises_nothing(monkeypatch):
    """Its folder is deleted: nothing is saved, and there is nothing to resume."""
    from flaxner.benchmark import quality
    from flaxner.config.command_line import Parser
    from flaxner.training.stopping import RunStopped

    def stopped(config, *, console):
        raise RunStopped("SIGINT: stopped; saved up to step 3; resume with: train.py")

    monkeypatch.setattr(quality, "train", stopped)
    parser = Parser()
    quality.add_arguments(parser)
    with pytest.raises(KeyboardInterrupt):
        quality.run(parser.parse_args(["--model", "m", "--train-file", "f"]))


@pytest.mark.slow
def test_quality_of_both_sides(tmp_path, capsys):
    """Both train from the same folder and corpora; one line per run."""
    from flaxner.benchmark.quality import add_arguments, run
    from flaxner.config.command_line import Parser

    for split, count in (("train", 24), ("test", 8)):
        write_conll(tmp_path / f"{split}.conll", sentences(count))
    torch_bert().save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    parser = Parser()
    add_arguments(parser)
    words = ["--model", f"{tmp_path}/model", "--epochs", "1", "--batch-size", "8", "--seeds", "1"]
    words += ["--train-file", f"{tmp_path}/train.conll", "--test-file", f"{tmp_path}/test.conll"]
    assert run(parser.parse_args(words)) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()[:2]]
    assert [line["side"] for line in lines] == ["flaxner", "torch"]
    assert all(0 <= line["f1"]["test"] <= 1 for line in lines)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak is read with getrusage")
def test_peak_memory_excludes_the_parent_process():
    ballast = bytearray(1_000_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    code = "from flaxner.benchmark.machine import peak_memory; print(peak_memory()['host_peak_mb'])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50 < float(ran.stdout) < 900
    start = first_answer.start_of("p = lambda texts, **given: texts", ["x"])
    assert 1 < start.peak_mb <= start.peak_mb_of_all < 500
    assert len(ballast) == 1_000_000_000


def test_a_process_without_an_answer_is_reported_by_its_last_line():
    """However much it has to read, and however much it writes to stderr."""
    complaint = "import sys; sys.stderr.write('x' * 100_000 + chr(10)); sys.exit('no such model')"
    with pytest.raises(ValueError, match="ended without an answer: no such model"):
        first_answer.start_of(complaint, ["x" * 200_000])


def test_texts_for_the_server_are_mixed():
    from flaxner.benchmark.serve import mixed

    texts = mixed([str(i) for i in range(14)])
    assert texts == ["0", "1", "2 3", "4 5 6 7 8 9 10 11", "12", "13"]


@pytest.mark.slow
def test_servers_take_turns(tmp_path, capsys):
    """Both servers give the same entities, and every requested combination has figures."""
    import shutil

    from flaxner.benchmark.serve import add_arguments, run
    from flaxner.config.command_line import Parser
    from tests.pipelines import make_folder

    pytest.importorskip("fastapi")
    pytest.importorskip("torch")
    if shutil.which("wrk") is None:
        pytest.skip("the load generator wrk is not installed")
    parser = Parser(prog="serve")
    add_arguments(parser)
    # Texts of eight sentences fit, so that neither reads windows nor truncates.
    folder = make_folder(tmp_path / "hub", max_position_embeddings=512)
    corpus = write_conll(tmp_path / "test.conll", sentences(24))
    given = ["--model", str(folder), "--file", str(corpus), "--connections", "1", "8"]
    assert run(parser.parse_args([*given, "--seconds", "1"])) == 0
    made = figures(capsys.readouterr().out)
    assert [(m["texts"], m["connections"], m["contender"]) for m in made] == [
        (kind, connections, name)
        for kind in ("short", "mixed")
        for connections in (1, 8)
        for name in ("flaxner", "torch")
    ]
    assert all(m["same_entities"] and m["errors"] == 0 for m in made)
    assert all(0 < m["p50_ms"] <= m["p95_ms"] <= m["p99_ms"] for m in made)


def test_engines_take_turns(tmp_path, capsys):
    """Both engines give the same entities, in bulk and one text at a time."""
    from flaxner.benchmark.pipeline import add_arguments, run
    from flaxner.config.command_line import Parser
    from tests.pipelines import make_folder

    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    parser = Parser(prog="pipeline")
    add_arguments(parser)
    folder = make_folder(tmp_path / "hub")
    corpus = write_conll(tmp_path / "test.conll", sentences(12))
    given = ["--model", str(folder), "--file", str(corpus), "--batch-sizes"]
    names = ["flaxner", "flaxner, onnx"]
    more = ["--engines", "jax", "onnx", "--one-at-a-time", "12", "--turns", "2"]
    assert run(parser.parse_args([*given, *more, "--no-first-answer"])) == 0
    made = figures(capsys.readouterr().out)
    assert [m["contender"] for m in made] == names * 3
    assert [m.get("turn") for m in made] == [1, 1, 2, 2, None, None]
    assert all(m["same_entities"] and m["texts_with_the_same"] == 12 for m in made[:4])
    assert all(m["answers"] == 12 and 0 < m["p50_ms"] <= m["p99_ms"] for m in made[4:])
    with pytest.raises(ValueError, match="name a contender"):
        run(parser.parse_args([*given, "--engines"]))


@pytest.mark.slow
def test_the_sizes_of_a_well_known_model_answer(tmp_path, capsys):
    """Also in static int8; first answers come with their peak memory."""
    from flaxner.benchmark.pipeline import add_arguments, run
    from flaxner.config.command_line import Parser

    for package in ("onnx", "onnxruntime", "torch"):
        pytest.importorskip(package)
    parser = Parser(prog="pipeline")
    add_arguments(parser)
    corpus = write_conll(tmp_path / "test.conll", sentences(6))
    given = ["--sizes", "bert_uncased_L-2_H-128_A-2", "--file", str(corpus)]
    static = "onnx-int8-static"
    more = ["--batch-sizes", "4", "--engines", "onnx", static]
    assert run(parser.parse_args([*given, *more])) == 0
    made = figures(capsys.readouterr().out)
    bulk = {m["contender"]: m["same_entities"] for m in made if "texts" in m}
    assert {f"flaxner, {static}", "torch, batch 4"} < set(bulk)
    assert bulk["torch, batch 4"]
    starts = [m for m in made if "peak_mb" in m]
    assert [m["contender"] for m in starts] == ["flaxner, onnx", f"flaxner, {static}", "torch"]
    assert all(0 < m["peak_mb"] <= m["peak_mb_of_all_texts"] for m in starts)


def test_torch_compile_is_left_out_without_a_compiler(monkeypatch, capsys):
    from flaxner.benchmark import answers

    torch = pytest.importorskip("torch")

    def fail(*given, **more):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

    model = types.SimpleNamespace(forward=None)
    monkeypatch.setattr(torch, "compile", lambda forward, **given: fail)
    monkeypatch.setattr(answers, "_theirs", lambda *given: (Theirs(model), None))
    assert answers._compiled(types.SimpleNamespace(batch_sizes=[4]), ["a", "b"]) == {}
    assert "torch.compile is left out: InvalidCxx" in capsys.readouterr().err


class Theirs:
    """A pipeline that calls its model."""

    def __init__(self, model):
        self.model = model

    def __call__(self, texts, **given):
        return self.model.forward(texts)
