"""Preflight for GPUs: names, sizes, memory; a compiled step if NVIDIA's compiler is installed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from flaxner.aot import nvidia
from flaxner.aot.chips import CHIPS, parse_topology
from flaxner.aot.costs import read_program
from flaxner.aot.gpus import GPUS, target_config
from flaxner.commands.preflight import main

ROOT = Path(__file__).resolve().parent.parent
ABSENT = [name for name in nvidia.WHEELS if nvidia._version(name) is None]
compiler = pytest.mark.skipif(bool(ABSENT), reason=f"no {', '.join(ABSENT)}")


@pytest.mark.parametrize(
    ("text", "name", "chips", "nodes"),
    [
        ("l4", "l4:1", 1, 1),
        ("A100", "a100-80:1", 1, 1),
        ("a100-40:4", "a100-40:4", 4, 1),
        ("h100:8", "h100:8", 8, 1),
        ("2*h100:8", "2*h100:8", 16, 2),
        ("h100-pcie:2", "h100-pcie:2", 2, 1),
    ],
)
def test_gpus_are_read(text, name, chips, nodes):
    topology = parse_topology(text)
    assert (topology.name, topology.chips, topology.slices) == (name, chips, nodes)
    assert topology.platform == "gpu"


@pytest.mark.parametrize("text", ["h100:9", "h100:0", "0*h100:8"])
def test_more_gpus_than_a_node_has_are_refused(text, capsys):
    assert main(["--topology", text, "--model", "flaxner:tiny"]) == 2
    error = capsys.readouterr().err
    assert "a node has 1 to 8 GPUs" in error
    assert error.count("\n") == 1


def test_peaks_agree_with_the_sizes():
    """A float32 unit does a multiply-add per cycle; TF32 runs at half of bfloat16's rate."""
    for gpu in GPUS.values():
        peak = 2 * gpu.cores * gpu.fpus * gpu.clock_ghz * 1e9
        assert gpu.float32 == pytest.approx(peak, rel=0.03), gpu.name
        if gpu.tf32 is not None:
            assert gpu.tf32 == pytest.approx(gpu.flops / 2, rel=0.01), gpu.name
        assert gpu.rate("float32") == gpu.float32 < gpu.rate("bfloat16") == gpu.flops
        assert f"core_count: {gpu.cores}\n" in target_config(gpu)
    assert CHIPS["v5e"].rate("float32") == pytest.approx(197e12 / 6)


def test_jax_takes_a_share_of_the_memory(monkeypatch):
    topology = parse_topology("h100")
    whole = topology.chip.hbm_bytes
    monkeypatch.delenv(nvidia.SHARE_VARIABLE, raising=False)
    assert nvidia.room(topology) == int(0.75 * whole)
    monkeypatch.setenv(nvidia.SHARE_VARIABLE, "1.0")
    assert nvidia.room(topology) == whole - nvidia.BESIDE
    monkeypatch.setenv(nvidia.SHARE_VARIABLE, "much")
    with pytest.raises(ValueError, match="must be above 0 and at most 1: got 'much'"):
        nvidia.room(topology)


def test_without_the_compiler_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(nvidia, "_version", lambda name: None)
    assert main(["--topology", "h100", "--model", "flaxner:tiny"]) == 2
    error = capsys.readouterr().err
    assert "pip install 'flaxner[preflight-gpu]'" in error
    assert error.count("\n") == 1


SCHEDULED = """
%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %s = f32[] add(%a, %b)
}

ENTRY %main (x: f32[64,1024]) -> f32[64,1024] {
  %x = f32[64,1024]{1,0} parameter(0)
  %one = f32[64,1024]{1,0} negate(%x), metadata={op_name="jit(f)/transpose(jvp(a))/dot_general"}
  %r1 = f32[64,1024]{1,0} all-reduce-start(%one), replica_groups={{0,1}}, to_apply=%sum
  %two = f32[64]{0} slice(%x), metadata={op_name="jit(f)/transpose(jvp(a))/dot_general"}
  %r2 = f32[256]{0} all-reduce-start(%two), replica_groups={{0,1}}, to_apply=%sum
  %three = f32[64]{0} slice(%x), metadata={op_name="jit(f)/transpose(jvp(a))/mul"}
  %four = f32[64]{0} slice(%x), metadata={op_name="jit(f)/transpose(jvp(a))/row_sums/dot_general"}
  ROOT %out = f32[64,1024]{1,0} all-reduce-done(%r1)
}
"""


def test_kernels_and_early_reductions_are_counted():
    kernels = read_program(SCHEDULED, 2).kernels
    assert (kernels.count, kernels.small) == (4, 3)
    assert (kernels.reduced, kernels.early) == (4 * (64 * 1024 + 256), 4 * 64 * 1024)


def run_script(tmp_path, topology, *flags, layers=2, hidden=128, code=0, **environment):
    """Return the script's JSON for a tiny BERT, and the assembly of its kernels."""
    sizes = {"model_type": "bert", "vocab_size": 2048, "hidden_size": hidden}
    sizes |= {"num_hidden_layers": layers, "num_attention_heads": hidden // 64}
    sizes |= {"intermediate_size": 2 * hidden}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(sizes))
    command = [sys.executable, "scripts/preflight.py", "--topology", topology, "--json"]
    command += ["--model-config", str(path), "--cache", "", "--no-search", *flags]
    flags = f"--xla_dump_to={tmp_path / 'dump'}"
    if jax.__version_info__ >= (0, 11):
        flags += " --xla_dump_emitter_re=.*"  # otherwise there is no assembly
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **environment}
    made = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert made.returncode == code, made.stderr[-2000:]
    assembly = "\n".join(file.read_text() for file in (tmp_path / "dump").glob("*.ptx"))
    assert ".entry" in assembly
    return json.loads(made.stdout), assembly


@compiler
@pytest.mark.slow
def test_a_step_for_two_gpus(tmp_path):
    made, assembly = run_script(tmp_path, "h100:2", layers=6)
    assert made["chips"] == 2
    assert made["fits"]
    collectives = made["train"]["collectives"]
    assert all(each["group"] == 2 for each in collectives)
    moved = {each["kind"]: 0 for each in collectives}
    for each in collectives:
        moved[each["kind"]] += each["bytes"]
    # Every gradient once in float32, plus a few scalars. Instead of the table's gradient, only the
    # word ids and gradients of the positions that read it: they are fewer.
    table = 2048 * 128
    assert set(moved) == {"all-reduce", "all-gather"}
    assert 0 <= moved["all-reduce"] - 4 * (made["parameters"] - table) < 64
    assert 0 < moved["all-gather"] < 2 * table
    kernels = made["train"]["kernels"]["count"]
    assert 6 * 30 < kernels < 110 + 6 * 60, kernels
    # Nothing is summed in a random order, and float32 parts (the head) do not use TF32.
    assert "mma" in assembly
    assert not re.search(r"\b(atom|red)\.[\w.]*(add|cas)", assembly)
    assert ".tf32" not in assembly


@compiler
@pytest.mark.slow
def test_most_of_the_reductions_of_eight_gpus_overlap_the_backward_pass(tmp_path):
    """Takes twelve layers: XLA reduces less than 30 MiB in one go, once all of it is known."""
    made, _ = run_script(tmp_path, "h100:8", layers=12, hidden=512)
    kernels = made["train"]["kernels"]
    # Every gradient but the table's, in float32; half of them before the last product.
    assert kernels["reduced"] > 3.9 * (made["parameters"] - 2048 * 512)
    assert kernels["early"] > 0.5 * kernels["reduced"], kernels


@compiler
@pytest.mark.slow
def test_a_crf_is_a_few_kernels(tmp_path):
    """About forty; a loop over the words of rows of 128 had 1,900."""
    counts = {}
    for decoder in ("softmax", "crf"):
        (folder := tmp_path / decoder).mkdir()
        made, assembly = run_script(folder, "h100", "--decoder", decoder, layers=1)
        counts[decoder] = made["train"]["kernels"]["count"]
        assert not re.search(r"\b(atom|red)\.[\w.]*(add|cas)", assembly)
    assert counts["crf"] - counts["softmax"] < 50, counts


@compiler
@pytest.mark.slow
def test_too_small_a_gpu_is_reported(tmp_path):
    share = {nvidia.SHARE_VARIABLE: "0.0001"}
    made, _ = run_script(tmp_path, "t4", code=1, **share)
    assert not made["fits"]
    assert made["train"]["memory"] > made["memory"]["available_to_the_compiler"]


@compiler
@pytest.mark.slow
def test_a_step_with_tiled_attention_is_one_graph(tmp_path):
    """With rows of 384, attention uses our own kernels, and the whole step is launched at once."""
    made, assembly = run_script(tmp_path, "h100", "--max-length", "384", "--row-length", "384")
    assert made["fits"]
    assert len(re.findall(r"\.entry attention(?:_to_queries|_to_keys)?\(", assembly)) >= 3
    assert not re.search(r"\b(atom|red)\.[\w.]*(add|cas)", assembly)
    # The norm keeps only the sums of a gradient, else the updates would not be merged; and word
    # ids are sorted, not their gradients' features.
    assert ".entry input_reduce" in assembly
    (program,) = (tmp_path / "dump").glob("*jit_train*gpu_after_optimizations.txt")
    kernels = re.findall(r"%([\w.]+) = .* fusion\(.*op_name=.*optimizer", program.read_text())
    assert any(kernel.startswith("input_reduce") for kernel in kernels)
    assert not [kernel for kernel in kernels if "multiply_reduce" in kernel]
    (order,) = (
        file.read_text()
        for file in (tmp_path / "dump").glob("*jit_train*thunk_sequence_after_thunk_passes.txt")
    )
    assert re.match(r"000: kCommandBuffer\s+\[source\s*\| sink\s*\]", order)
    assert not re.search(r"^\d+: ", order.split("\n", 1)[1], re.MULTILINE)
