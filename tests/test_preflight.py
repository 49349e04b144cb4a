"""Preflight: topology names, the plan, bounds, and the reader of compiled programs."""

import dataclasses
import json
import signal
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxner.aot import libtpu as tpu_compiler
from flaxner.aot.chips import CHIPS, parse_topology
from flaxner.aot.compiler import Compiled
from flaxner.aot.corpus_lengths import measure_corpus
from flaxner.aot.costs import Collective, Kernels, read_program
from flaxner.aot.counts import matmul_flops
from flaxner.aot.libtpu import out_of_memory
from flaxner.aot.parts import PARTS, part_of
from flaxner.aot.preflight import preflight
from flaxner.aot.printing import _price, _time
from flaxner.aot.report import PreflightReport, Together
from flaxner.aot.roofline import Roofline, link_bytes, roofline
from flaxner.aot.traffic import Cost
from flaxner.aot.workload import (
    CONLL_P99,
    CONLL_TOKENS,
    conll_lengths,
    model_sizes,
    plan,
    rows_together,
    segments_of,
)
from flaxner.commands.preflight import main
from flaxner.config.files import load_preset
from flaxner.config.train import TrainConfig
from flaxner.data.tag_rules import rules
from flaxner.models.encoders import ENCODERS
from flaxner.models.layers.compute import Compute
from flaxner.models.network import Model
from flaxner.models.scratch import scratch_fields
from flaxner.training.crf import Crf
from flaxner.training.program import make_program
from flaxner.training.used_rows import STEP
from tests.conll import sentences, write_conll
from tests.hostile import trees
from tests.tokenizers_of_kinds import tokenizer_of_kind

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("text", "shape", "slices", "chips"),
    [
        ("v5e:2x4", (2, 4), 1, 8),
        ("v5e:1x1", (1, 1), 1, 1),
        ("v5litepod-8", (2, 4), 1, 8),
        ("v5e-1", (1, 1), 1, 1),
        ("v5litepod-256", (16, 16), 1, 256),
        ("v4-8", (2, 2, 1), 1, 4),
        ("v4-16", (2, 2, 2), 1, 8),
        ("v6e-8", (2, 4), 1, 8),
        ("2*v5e:16x16", (16, 16), 2, 512),
    ],
)
def test_topologies_are_read(text, shape, slices, chips):
    topology = parse_topology(text)
    assert (topology.shape, topology.slices, topology.chips) == (shape, slices, chips)


@pytest.mark.parametrize(
    "text",
    ["", "v5e", "v5e:", "v9:2x2", "v5e:2x2x2", "v4:2x2", "v5e-7", "v4-2", "v5e:3x5", "0*v5e"],
)
def test_an_unknown_topology_lists_the_known_chips(text):
    with pytest.raises(ValueError, match="known chips: v4, v5e, v5p, v6e"):
        parse_topology(text)


def test_the_clock_follows_from_the_peak():
    """Peak = 2 x 128 x 128 x matrix units x clock."""
    for name, units in (("v4", 8), ("v5e", 4), ("v5p", 8)):
        chip = CHIPS[name]
        assert chip.clock is not None
        assert chip.flops == pytest.approx(2 * 128 * 128 * units * chip.clock, rel=0.005)


# Parameters of the bare model as PyTorch counts them, and those of its pooler.
BASE, LARGE = 768 * 769, 1024 * 1025


@pytest.mark.parametrize(
    ("name", "count", "pooler", "width"),
    [
        ("google-bert/bert-base-cased", 108_310_272, BASE, 768),
        ("bert-large-cased", 333_579_264, LARGE, 1024),
        ("roberta-base", 124_645_632, BASE, 768),
        ("FacebookAI/roberta-large", 355_359_744, LARGE, 1024),
        ("xlm-roberta-base", 278_043_648, BASE, 768),
        ("xlm-roberta-large", 559_890_432, LARGE, 1024),
        ("camembert-base", 110_621_952, BASE, 768),
        ("distilbert-base-uncased", 66_362_880, 0, 768),
        ("distilbert-base-cased", 65_190_912, 0, 768),
        ("distilbert-base-multilingual-cased", 134_734_080, 0, 768),
        ("electra-small-discriminator", 13_483_008, 0, 256),
        ("electra-base-discriminator", 108_891_648, 0, 768),
        ("electra-large-discriminator", 334_092_288, 0, 1024),
    ],
)
def test_sizes_of_known_models(name, count, pooler, width):
    sizes = model_sizes(name)
    shapes = Model(sizes).shapes.values()
    found = sum(int(np.prod(leaf.shape)) for leaf in shapes)
    assert found == count - pooler + 9 * (width + 1)
    assert sizes.positions == 512


@pytest.mark.parametrize("model_type", ENCODERS)
def test_tiny_sizes_of_every_family_are_known(model_type):
    name = f"flaxner:tiny-{model_type}".removesuffix("-bert")
    assert model_sizes(name, labels=5, vocabulary=300).vocab_size == 300


def test_a_model_from_random_weights_has_its_size_in_training(tmp_path):
    from flaxner.training.preparation import prepare

    quick = prepare(TrainConfig(**load_preset("quickstart")))
    assert model_sizes("flaxner:tiny", labels=len(quick.scheme)) == quick.model.config
    path = tmp_path / "train.conll"
    path.write_text(CORPUS)
    config = TrainConfig(train_file=str(path), model="flaxner:tiny")
    vocabulary = measure_corpus(config).vocabulary
    assert vocabulary < 800  # so few words yield no more pieces
    sizes = model_sizes("flaxner:tiny", labels=5, vocabulary=vocabulary)
    assert sizes == prepare(config).model.config


def test_a_model_config_is_read_or_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "bert", "hidden_size": 96, "vocab_size": 7}))
    assert model_sizes("x", path, 3).hidden_size == 96
    assert model_sizes(str(tmp_path)).vocab_size == 7
    path.write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ValueError, match="of type 'gpt2'; flaxner supports bert"):
        model_sizes("x", path)
    path.write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        model_sizes("x", path)
    with pytest.raises(ValueError, match="cannot read"):
        model_sizes("x", tmp_path / "absent")
    with pytest.raises(ValueError, match=r"give its config\.json with --model-config"):
        model_sizes("someone/else")


def test_modelled_lengths_have_the_measured_counts():
    lengths = conll_lengths()
    assert lengths.sum() == CONLL_TOKENS
    assert abs(np.percentile(lengths, 99) - CONLL_P99) <= 1


def test_the_plan_equals_that_of_the_run():
    config = TrainConfig(dataset="x", batch_size=4, max_length=16, epochs=2)
    work = plan(config, 2, np.full(10, 8))
    assert (work.rows, work.length, work.steps, work.steps_per_epoch) == (2, 16, 6, 3)
    assert work.fill == pytest.approx(80 / (3 * 2 * 16))
    assert plan(config.replace(eval_batch_size=5), 4, np.full(10, 8)).evaluation_rows == 8


def test_long_sentences_become_windows():
    made = segments_of(np.asarray([5, 40]), 16)
    assert made.num_sentences == 2
    assert made.sentences.tolist()[:2] == [0, 1]
    assert made.lengths.max() == 16
    assert made.lengths[1:].sum() - 2 * (len(made) - 1) > 38  # the windows overlap
    config = TrainConfig(dataset="x", batch_size=2, max_length=16, epochs=1)
    work = plan(config, 1, np.asarray([5, 40]))
    assert (work.tokens, work.steps) == (made.lengths.sum(), 1)


def test_a_crf_is_as_wide_as_in_the_run():
    """The most words in a row of the corpus, or an estimate from CoNLL-2003's tokens per word."""
    assert 80 <= plan(TrainConfig(dataset="x"), 1).words <= 104  # in 128 tokens
    words = np.tile([-1, 0, 0, -1, -1, 0, -1], 4)  # 7 tokens, 3 words
    made = dataclasses.replace(segments_of(np.full(4, 7), 16), words=words.astype(np.int32))
    config = TrainConfig(dataset="x", max_length=32, decoder="crf")
    work = plan(config, 1, corpus=(made, "here"))
    assert work.words == 16  # 12 and part of a fifth segment's, rounded up to a multiple of 8
    model = Model(tiny_sizes("bert"), Compute(), crf=True)
    decoder = Crf(
        rules(("O", "B-A", "I-A", "B-B", "I-B"), "IOB2"), np.zeros(0, np.int8), work.words
    )
    batch = make_program(config, model, 10, decoder=decoder).abstract_batch(8, 32, labelled=True)
    assert {name: array.shape for name, array in batch.items()} == {
        **dict.fromkeys(("input_ids", "segment_ids", "position_ids", "labels"), (8, 32)),
        **dict.fromkeys(("places", "links"), (8, 16)),
    }


CORPUS = "Ada B-PER\nlives O\n\nIn O\nRome B-LOC\n, O\nBob B-PER\n" + "waits O\n" * 30 + "\n"


def test_the_plan_is_of_the_part_that_a_run_trains_on(tmp_path):
    corpus = write_conll(tmp_path / "train.conll", sentences(120))
    common = {"model": "flaxner:tiny", "batch_size": 8, "max_length": 128}
    for settings, share in (
        ({"cross_validation": 3, "fold": 2}, 2 / 3),
        ({"train_fraction": 0.5, "held_out": 0.2}, 0.4),
    ):
        config = TrainConfig(train_file=str(corpus), **common, **settings)
        train = measure_corpus(config).segments
        assert train.num_sentences < 100
        assert plan(config, 1, corpus=(train, "")).sentences == train.num_sentences
        assert plan(config, 1, np.full(120, 20)).sentences == round(120 * share)
    assert plan(TrainConfig(dataset="x", train_fraction=0.1), 1).sentences == 1404
    few = plan(TrainConfig(dataset="x", few_shot=5), 1)
    assert few.source.endswith("; few_shot is not counted")


def test_lengths_come_from_the_corpus(tmp_path):
    """Measured with the run's tokenizer, or estimated from words if that is not available."""
    path = tmp_path / "train.conll"
    path.write_text(CORPUS)
    config = TrainConfig(train_file=str(path), model="flaxner:tiny", max_length=128)
    made = measure_corpus(config)
    assert made.labels == 5
    assert made.segments.num_sentences == 2
    assert made.segments.lengths.min() >= 4  # two words and [CLS], [SEP]
    assert made.source == f"2 sentences of {path}, tokenised for flaxner:tiny"
    absent = measure_corpus(config.replace(model=str(tmp_path / "absent")))
    assert absent.segments.lengths.tolist() == [2 + round(2 * 1.238), 2 + round(34 * 1.238)]
    assert "is not at hand" in absent.source
    with pytest.raises(ValueError, match="none"):
        measure_corpus(config.replace(train_file=str(tmp_path / "none")))


def test_links_carry_what_the_algorithms_send():
    assert link_bytes(Collective("all-reduce", 800, 8, 1)) == 2 * 800 * 7 / 8
    assert link_bytes(Collective("all-gather", 800, 8, 3)) == 3 * 800 * 7 / 8
    assert link_bytes(Collective("reduce-scatter", 100, 8, 1)) == 800 * 7 / 8
    assert link_bytes(Collective("all-reduce", 800, 1, 1)) == 0


def test_the_longest_time_is_the_bound():
    topology = parse_topology("v5e:2x4")
    reduced = [Collective("all-reduce", 4e8, 8, 1)]
    made = roofline(topology, 1.97e12, Cost(hbm_bytes=819e7, cycles=1.5e9), reduced)
    assert made.compute == pytest.approx(0.01)
    assert made.memory == pytest.approx(0.01)
    assert made.interconnect == pytest.approx(7e8 / 200e9)
    assert made.compiler == pytest.approx(1.0)
    assert made.network == 0
    two = roofline(parse_topology("2*v5e:2x4"), 1.0, Cost(), [Collective("all-reduce", 4e8, 16, 1)])
    assert two.bound == "network between slices"
    assert two.network == pytest.approx(4e8 / 8 / 3.125e9)


def test_matrix_products_are_counted_in_loops():
    def f(x):
        def body(carry, _):
            return jnp.tanh(carry @ carry), None

        return jax.lax.scan(body, x, None, length=5)[0] @ x

    assert matmul_flops(jax.make_jaxpr(f)(jnp.zeros((4, 4))).jaxpr) == 6 * 2 * 4**3


def test_only_products_of_the_platform_are_counted():
    def f(x):
        return jax.lax.platform_dependent(
            x, cuda=lambda x: x @ x @ x, tpu=lambda x: x + 1, default=lambda x: x @ x
        )

    program = jax.make_jaxpr(f)(jnp.zeros((4, 4))).jaxpr
    counted = [matmul_flops(program, name) for name in ("cuda", "tpu", "cpu", None)]
    assert counted == [n * 2 * 4**3 for n in (2, 0, 1, 2)]


PROGRAM = """HloModule test

%taken (p.0: f32[10,100], p.1: s32[]) -> f32[1,100] {
  %p.0 = f32[10,100]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %s = f32[1,100]{1,0} dynamic-slice(%p.0, %p.1, %zero), dynamic_slice_sizes={1,100}
}

%body (p: (s32[], f32[1,100])) -> (s32[], f32[1,100]) {
  %p = (s32[], f32[1,100]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[1,100]{1,0} get-tuple-element(%p), index=1
  %y = f32[1,100]{1,0} negate(%x), metadata={op_name="jvp(attention)"}, b={"estimated_cycles":"7"}
  %sum = f32[1,100]{1,0} all-reduce(%y), replica_groups={{0,1},{2,3}}, to_apply=%add
  ROOT %t = (s32[], f32[1,100]{1,0}) tuple(%i, %sum)
}

%condition (q: (s32[], f32[1,100])) -> pred[] {
  %q = (s32[], f32[1,100]{1,0}) parameter(0)
  %n = s32[] constant(3)
  %j = s32[] get-tuple-element(%q), index=0
  ROOT %less = pred[] compare(%j, %n), direction=LT
}

ENTRY %main (a: f32[10,100], b: s32[]) -> f32[1,100] {
  %a = f32[10,100]{1,0} parameter(0)
  %b = s32[] parameter(1)
  %f = f32[1,100]{1,0:T(8,128)S(1)} fusion(%a, %b), calls=%taken, metadata={op_name="layer_norm"}
  %init = (s32[], f32[1,100]{1,0}) tuple(%b, %f)
  %loop = (s32[], f32[1,100]{1,0}) while(%init), condition=%condition, body=%body
  ROOT %out = f32[1,100]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_a_program_is_read():
    made = read_program(PROGRAM, 4)
    assert made.loops == [3]
    assert made.collectives == [Collective("all-reduce", 400.0, 2, 3)]
    attention = made.parts["attention"]  # read and written in HBM, three times
    assert (attention.hbm_bytes, attention.cycles) == (3 * 800, 21)
    norm = made.parts["layer norm"]  # one row and an index are read; VMEM is written
    assert (norm.hbm_bytes, norm.all_bytes) == (404, 804)


def test_what_is_permuted_counts_once():
    """The type of its start has its operand, its result and two counters."""
    result = "(f32[100]{0}, f32[100]{0}, u32[]{:S(2)}, u32[]{:S(2)})"
    start = f"  %p = {result} collective-permute-start(%y), source_target_pairs={{{{0,1}},{{1,0}}}}"
    made = read_program(f"ENTRY %main (y: f32[100]) -> f32[100] {{\n{start}\n}}\n", 2)
    assert made.collectives == [Collective("collective-permute", 400.0, 2, 1)]
    assert made.parts["collectives"].hbm_bytes == 800
    assert made.parts["collectives"].all_bytes == 800


@pytest.mark.parametrize(
    ("result", "operands", "moved"),
    [
        ("(f32[1,100]{1,0}, f32[4,100]{1,0})", "%y", 1600.0),
        ("((f32[1,100]{1,0}, f32[5]{0}), (f32[4,100]{1,0}, f32[20]{0}))", "%y, %z", 1680.0),
    ],
)
def test_gathered_arrays_are_counted_once(result, operands, moved):
    """The type of an asynchronous gather lists its operands before its results."""
    start = f"  %g = {result} all-gather-start({operands}), replica_groups={{{{0,1,2,3}}}}"
    made = read_program(f"ENTRY %main (y: f32[1,100]) -> f32[4,100] {{\n{start}\n}}\n", 4)
    assert made.collectives == [Collective("all-gather", moved, 4, 1)]
    assert made.parts["collectives"].hbm_bytes == moved * 5 / 4


FUSED = """HloModule test

%all-reduce-scatter.1 (input: f32[8,100]) -> f32[4,100] {
  %input = f32[8,100]{1,0} parameter(0)
  %sum = f32[8,100]{1,0} all-reduce(%input), channel_id=1, replica_groups={{0,1}}, to_apply=%add
  %i = u32[] partition-id()
  %zero = u32[] constant(0)
  ROOT %own = f32[4,100]{1,0} dynamic-slice(%sum, %i, %zero), dynamic_slice_sizes={4,100}
}

%async_collective_fusion.1 (p: f32[4,100]) -> f32[8,100] {
  %p = f32[4,100]{1,0} parameter(0)
  ROOT %g = f32[8,100]{1,0} all-gather(%p), channel_id=7, replica_groups={{0,1}}, dimensions={0}
}

%async_collective_fusion.2 (p.2: f32[4,100]) -> f32[8,100] {
  %p.2 = f32[4,100]{1,0} parameter(0)
  ROOT %g.2 = f32[8,100]{1,0} all-gather(%p.2), channel_id=7, replica_groups={{0,1}}, dimensions={0}
}

ENTRY %main (a: f32[8,100]) -> f32[8,100] {
  %a = f32[8,100]{1,0} parameter(0)
  %own.1 = f32[4,100]{1,0} fusion(%a), kind=kCustom, calls=%all-reduce-scatter.1
  %begun = f32[8,100]{1,0} fusion(%own.1), kind=kCustom, calls=%async_collective_fusion.1
  ROOT %done = f32[8,100]{1,0} fusion(%own.1), kind=kCustom, calls=%async_collective_fusion.2
}
"""


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("{{0,1,2,3},{4,5,6,7}}", 4),
        ("[4,2]<=[8]", 2),
        ("mesh['a'=8,'b'=1] {'a','b'}", 8),
        ("mesh['a'=4,'b'=1,'c'=2], device_ids=([2,4]T(1,0)) {'c'}", 2),
        ("mesh['a'=1,'b'=4,'c'=2], device_ids=([8]) {'b'}", 4),
    ],
)
def test_replica_groups_are_read_in_every_notation(groups, size):
    text = PROGRAM.replace("replica_groups={{0,1},{2,3}}", f"replica_groups={groups}")
    assert read_program(text, 8).collectives == [Collective("all-reduce", 400.0, size, 3)]


def test_a_collective_split_over_two_fusions_is_asynchronous():
    product = 'op_name="jit(f)/transpose(jvp(a))/dot_general"'
    step = "  %mul = f32[4]{0} negate(%own.1), metadata={" + product + "}\n"
    at = "  ROOT %done = "
    kernels = read_program(FUSED.replace(at, step + at), 2).kernels
    assert (kernels.reduced, kernels.early) == (1600 + 3200, 3200)
    assert read_program(FUSED, 2).kernels.early == 0  # no product follows


def test_collectives_inside_fusions_are_counted_once():
    assert read_program(FUSED, 2).collectives == [
        Collective("reduce-scatter", 1600.0, 2, 1),
        Collective("all-gather", 3200.0, 2, 1),
    ]


def test_the_out_of_memory_error_is_read():
    error = RuntimeError(
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (21.93G) exceeds available HBM (15.75G)."
    )
    asked, available = out_of_memory(error)
    assert (asked / 2**30, available / 2**30) == pytest.approx((21.93, 15.75))
    with pytest.raises(RuntimeError, match="else"):
        out_of_memory(RuntimeError("something else"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--topology", "v9:2x2"], "known chips"),
        (["--topology", "v5e:2x2", "--model", "no/one"], "give its config.json"),
        (["--topology", "v5e:2x2", "--price-per-chip-hour", "-1"], "at least 0"),
        (["--topology", "v5e:2x2", "--fsdp", "3"], "fsdp must divide"),
        (["--topology", "v5e:2x2", "--tpology"], "did you mean --topology"),
        ([], "--topology"),
    ],
)
def test_errors_are_one_sentence(arguments, words, capsys):
    if "fsdp" in words:
        pytest.importorskip("libtpu")
    try:
        code = main(arguments)
    except SystemExit as stop:  # argparse refuses a flag
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_preflight_is_a_public_function():
    import flaxner

    assert flaxner.preflight is preflight
    with pytest.raises(ValueError, match="known chips"):
        flaxner.preflight(TrainConfig(dataset="x"), "v9:2x2")


def test_without_libtpu_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(tpu_compiler.importlib.util, "find_spec", lambda name: None)
    assert main(["--topology", "v5e:2x2", "--model", "flaxner:tiny"]) == 2
    assert "pip install 'flaxner[preflight]'" in capsys.readouterr().err


def run_script(tmp_path, topology, *flags, code=0, search=False, **sizes_):
    """Return the script's JSON for a tiny BERT, compiled in a separate process."""
    pytest.importorskip("libtpu")
    sizes = {"model_type": "bert", "vocab_size": 512, "hidden_size": 128, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 256, **sizes_}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(sizes))
    command = [sys.executable, "scripts/preflight.py", "--topology", topology, "--json"]
    command += ["--model-config", str(path), "--cache", str(tmp_path / "kept")]
    command += [] if search else ["--no-search"]
    made = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert made.returncode == code, made.stderr[-2000:]
    return json.loads(made.stdout)


@pytest.mark.slow
def test_several_seeds_at_once_are_compiled_next_to_one(tmp_path):
    made = run_script(tmp_path, "v5e:1x1", "--seeds", "3")
    both = made["together"]
    assert both["seeds"] == 3
    assert both["rows"] >= made["workload"]["rows"]
    assert both["train"]["fits"]
    assert both["train"]["flops"] == pytest.approx(
        3 * made["train"]["flops"] * both["rows"] / made["workload"]["rows"], rel=0.01
    )
    held = made["memory"]["parameters"] + made["memory"]["optimizer_state"]
    assert 3 * held < both["train"]["arguments"] < 3 * made["train"]["arguments"] * 1.1
    assert (
        run_script(tmp_path, "v5e:1x1", "--seeds", "3", "--seeds-at-once", "1")["together"] is None
    )


def test_seeds_at_once_use_the_rows_of_the_fullest():
    config = TrainConfig(dataset="x", seeds=3, seed=1)
    lengths = np.random.default_rng(0).integers(4, 60, 200)
    own = [plan(config.replace(seed=seed), 1, lengths).rows for seed in (1, 2, 3)]
    assert rows_together(config, 1, lengths) == max(own)


@pytest.mark.parametrize(
    ("settings", "together", "seconds", "told"),
    [
        ({}, None, 2.0, "per second: at least"),
        ({"seeds": 5, "seeds_at_once": 1}, None, 10.0, "for 5 seeds, 1 at once"),
        ({"seeds": 5}, (5, 6.0), 6.0, "for 5 seeds, 5 at once"),
        ({"seeds": 6, "seeds_at_once": 3}, (3, 5.0), 10.0, "for 6 seeds, 3 at once"),
        ({"seeds": 3}, (3, None), 6.0, "for 3 seeds, 1 at once"),
        ({"cross_validation": 4}, None, 6.0, "3 times for 4 folds"),
        ({"cross_validation": 4, "fold": 2}, None, 2.0, "per second: at least"),
    ],
)
def test_hours_and_cost_cover_everything_that_is_trained(settings, together, seconds, told):
    config = TrainConfig(dataset="x", **settings)
    work = plan(config, 1, np.full(64, 20))
    step = Compiled(True, None, 1, 1, 1, 1, 1e12, {"x": Cost(1e9, 1e9, 1e6)}, [], Kernels(), {}, 1)
    bounds = [
        None if s is None else Roofline(s, 0, 0, 0, None) for s in (2.0, (together or (0, 0))[1])
    ]
    made = PreflightReport(
        config, parse_topology("v5e:1x1"), work, 1, 1, 1, step, step, bounds[0], None, 3600.0,
        together and Together(together[0], work.rows, step, bounds[1]),
    )  # fmt: skip
    assert made.hours == pytest.approx(seconds * work.steps / 3600)
    assert made.cost == pytest.approx(seconds * work.steps)
    assert told in next(line for line in str(made).splitlines() if "run (a bound)" in line)
    assert made.to_dict()["model"] == config.model
    other = dataclasses.replace(made, sizes="mine/config.json")
    assert str(other).startswith("mine/config.json on v5e:1x1")
    large = dataclasses.replace(step, fits=False, temporaries=40 * 2**30)
    without = dataclasses.replace(made, predict=large)
    assert (made.fits, without.fits, without.to_dict()["fits"]) == (True, False, False)
    assert "64 rows of evaluation do NOT fit" in str(without)
    if made.together is not None:
        many = dataclasses.replace(made, together=dataclasses.replace(made.together, train=large))
        assert many.fits == (config.seeds_at_once == 0)


@pytest.mark.parametrize(
    ("hours", "text"), [(2, "120.0 minutes"), (0.01, "36.0 seconds"), (1e-6, "3.60 ms")]
)
def test_a_short_run_does_not_take_0_seconds(hours, text):
    assert _time(hours) == text


@pytest.mark.parametrize(
    ("cost", "text"),
    [(1234.5, "1234.5000"), (0.012, "0.0120"), (2.34e-6, "0.00000234"), (0, "0.0000")],
)
def test_a_short_run_is_not_free(cost, text):
    assert _price(cost) == text


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run_script(tmp_path_factory.mktemp("alone"), "v5e:1x1")


@pytest.mark.slow
@pytest.mark.parametrize(("topology", "chips"), [("v5e:2x2", 4), ("v4:2x2x2", 8)])
def test_data_parallel_reduces_gradients_only(tmp_path, alone, topology, chips):
    made = run_script(tmp_path, topology)
    assert made["chips"] == chips
    assert made["fits"]
    collectives = made["train"]["collectives"]
    assert {each["kind"] for each in collectives} == {"all-reduce"}
    assert all(each["group"] == chips and each["times"] == 1 for each in collectives)
    # Every gradient once in float32, except the keys' biases (gradient 0); plus a few scalars.
    moved = sum(each["bytes"] for each in collectives)
    assert 0 <= moved - 4 * (made["parameters"] - 2 * 128) < 64
    assert len([each for each in collectives if each["bytes"] > 1e5]) <= 4
    assert made["memory"]["parameters"] == 4 * made["parameters"]
    assert made["memory"]["optimizer_state"] == 8 * made["parameters"] + 4  # plus the step count
    assert 12 < made["train"]["arguments"] / made["parameters"] < 12.1  # plus a batch
    # No array reaches 300 KB; the rest is the compiler's own, and a single chip needs as much.
    assert made["train"]["temporaries"] < alone["train"]["temporaries"]


@pytest.mark.slow
def test_half_of_the_reductions_overlap_the_backward_pass(tmp_path):
    """By default the compiler reduces everything at once, after the backward pass."""
    sizes = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048}
    made = run_script(tmp_path, "v5e:2x4", num_hidden_layers=4, **sizes)
    kernels = made["train"]["kernels"]
    assert kernels["reduced"] > 3.9 * made["parameters"]
    assert kernels["early"] > 0.5 * kernels["reduced"], kernels


@pytest.mark.slow
@pytest.mark.parametrize("topology", ["v5e:2x2", "v4:2x2x2"])
def test_fsdp_gathers_parameters_and_scatters_gradients(tmp_path, topology):
    made = run_script(tmp_path, topology, "--fsdp", "4")
    moved: dict[str, float] = {}
    for each in made["train"]["collectives"]:
        moved[each["kind"]] = moved.get(each["kind"], 0) + each["bytes"] * each["times"]
    assert set(moved) == {"all-gather", "reduce-scatter", "all-reduce"}
    # A quarter of every gradient: embedding tables in float32, kernels before or after the
    # compiler widens them.
    kernels, tables = 2 * 2 * (4 * 128 * 128 + 2 * 128 * 256), 2 * 512 * 128  # two bytes each
    assert moved["reduce-scatter"] in ((kernels + 4 * tables) / 4, (2 * kernels + 4 * tables) / 4)
    assert moved["all-gather"] >= kernels + 4 * tables  # and some again for the backward pass
    assert made["memory"]["parameters"] < 1.2 * 4 * made["parameters"] / 4
    assert made["train"]["memory"] < 24 * 2**20


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ENCODERS)
def test_every_family_compiles_for_tpus_and_trains_only_the_rows_read(tmp_path, model_type):
    pytest.importorskip("libtpu")
    vocabulary, folder = 4096, tmp_path / "model"
    tokenizer = tokenizer_of_kind(ENCODERS[model_type].tokenizer)
    tokenizer.save_pretrained(folder)
    sizes = {**ENCODERS[model_type].tiny, "vocab_size": vocabulary, "model_type": model_type}
    sizes |= scratch_fields(tokenizer)
    (folder / "config.json").write_text(json.dumps(sizes))
    corpus = write_conll(tmp_path / "train.conll", sentences(200))
    command = [sys.executable, "scripts/preflight.py", "--topology", "v5e:1x1", "--json"]
    command += ["--model", str(folder), "--train-file", str(corpus), "--no-search", "--cache", ""]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert made.returncode == 0, made.stderr[-2000:]
    report = json.loads(made.stdout)
    assert report["fits"]
    assert report["bounds"]["estimate"] > 0
    width = sizes.get("embedding_size") or sizes.get("hidden_size") or sizes["dim"]
    unread = (vocabulary - STEP * -(-len(tokenizer) // STEP)) * width
    memory, trained = report["memory"], report["parameters"] - unread
    assert memory["optimizer_state"] <= 8 * trained + 4
    assert memory["parameters"] <= 4 * trained + 4


@pytest.mark.slow
def test_a_scanned_program_counts_every_layer(tmp_path):
    """Loops are counted: a scanned program has as many matrix-product FLOPs as the unrolled one."""
    scanned = run_script(tmp_path, "v5e:2x2", "--scan-layers")
    unrolled = run_script(tmp_path, "v5e:2x2")
    assert scanned["train"]["flops"] == unrolled["train"]["flops"]
    for made in (scanned, unrolled):
        cycles = {name: part["cycles"] for name, part in made["train"]["parts"].items()}
        assert cycles["attention"] > 0 < cycles["feed-forward"]
        assert cycles.get("other", 0) < 0.01 * sum(cycles.values())
    raw = unrolled["train"]["raw"]["flops"]  # also counts element-wise operations
    assert 0.8 * raw < unrolled["train"]["flops"] <= 1.01 * raw


@pytest.mark.slow
def test_a_program_that_does_not_fit_reports_the_largest_that_does(tmp_path):
    sizes = {"num_hidden_layers": 24}
    flags = ["--scan-layers", "--max-length", "512", "--batch-size", "14041"]
    made = run_script(tmp_path, "v5e:1x1", *flags, code=1, search=True, **sizes)
    assert not made["fits"]
    assert made["bounds"] is None
    memory, largest = made["memory"], made["largest"]
    assert memory["temporaries"] > memory["available_to_the_compiler"] > 15 * 2**30
    assert 0 < largest["rows"] < largest["refused"] <= made["workload"]["rows"]
    assert largest["memory"] < memory["available_to_the_compiler"]
    again = run_script(tmp_path, "v5e:1x1", *flags, code=1, search=True, **sizes)
    assert again == made


def test_the_folder_of_earlier_results_is_shared_with_others(tmp_path, monkeypatch):
    """Only the entry of the same program is written, and it is read again."""
    from flaxner.aot import compiler as module

    made = []

    def compiled(self, lowered, flops):
        made.append(module.Compiled(True, 1, 2, 3, 4, 5, flops, {}, [], module.Kernels(), {}, 0.1))
        return made[-1]

    monkeypatch.setattr(module.Compiler, "_compile_now", compiled)
    monkeypatch.setattr(module, "_door", lambda topology: (jax.devices()[:1], "x", None))
    config, topology = TrainConfig(dataset="flaxner:embedded"), parse_topology("v5e:1x1")
    work, kept = types.SimpleNamespace(steps=10, words=8), tmp_path / "kept"
    trees.plant(kept)
    for length, count in ((32, 1), (32, 1), (16, 2)):
        with trees.unchanged(kept):
            compiler = module.Compiler(config, tiny_sizes("bert"), topology, work, kept)
            found = compiler.train(8, length)
        assert found == made[-1]
        assert len(made) == count
    own = [path for path in kept.glob("*.json") if len(path.stem) == 40]
    assert len(own) == 2
    own[0].write_text("{damaged")
    with trees.unchanged(*(path for path in trees.all_files(kept) if path != own[0])):
        for length in (32, 16):
            module.Compiler(config, tiny_sizes("bert"), topology, work, kept).train(8, length)
    assert len(made) == 3
    file = tmp_path / "a file"
    file.write_text("mine")
    with trees.unchanged(tmp_path):  # a folder that cannot exist: nothing is kept
        module.Compiler(config, tiny_sizes("bert"), topology, work, file).train(8, 32)
    assert len(made) == 4


def tiny_sizes(model_type):
    encoder = ENCODERS[model_type]
    return encoder.config.from_hf({"model_type": model_type, **encoder.tiny}, 5)


def hlo_of_a_step(sizes, scan):
    """Return the HLO of a training step before any compiler pass."""
    config = TrainConfig(dataset="flaxner:embedded", scan_layers=scan)
    program = make_program(config, Model(sizes, Compute(scan_layers=scan)), 10)
    batch = program.abstract_batch(8, 32, labelled=True)
    lowered = program.steps.train.trace(program.abstract_state(), batch).lower()
    return lowered.compiler_ir("hlo").as_hlo_module().to_string()


@pytest.mark.parametrize("model_type", ENCODERS)
@pytest.mark.parametrize("scan", [False, True])
def test_every_part_of_every_family_is_found(model_type, scan):
    sizes = tiny_sizes(model_type)
    lines = [line for line in hlo_of_a_step(sizes, scan).splitlines() if " = " in line]
    expected = set(PARTS.values()) - (set() if scan else {PARTS["stacking"]})
    rates = [value for name, value in dataclasses.asdict(sizes).items() if "dropout" in name]
    if not any(rates):  # ModernBERT's default dropout rates are all 0
        expected.remove("dropout")
    assert {part_of(line) for line in lines} - {None} == expected
    products = [part_of(line) for line in lines if " dot(" in line]
    # Embeddings narrower than the layers are projected to their width.
    narrow = getattr(sizes, "embedding_size", 0) or sizes.hidden_size
    projects = narrow != sizes.hidden_size
    expected = {"attention", "feed-forward", "head"} | ({"embeddings"} if projects else set())
    assert set(products) == expected
    assert products.count("attention") > products.count("feed-forward") > products.count("head")


BUSY = """
import hashlib, sys
from flaxner.commands import preflight

def compiling(*arguments, **settings):
    print("compiling", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)  # native, for minutes

preflight.preflight = compiling
sys.exit(preflight.main(["--topology", "v5e:1x1", "--model", "flaxner:tiny"]))
"""


def test_ctrl_c_ends_a_compilation():
    """Python's handlers run only when the compiler returns, which may take minutes."""
    command = [sys.executable, "-c", BUSY]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            assert process.stdout.readline() == "compiling\n"
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert told.endswith("preflight.py: interrupted\n")
