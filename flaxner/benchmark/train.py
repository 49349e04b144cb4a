"""`benchmark.py train`: training steps of flaxner and torch, in turns."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress

from flaxner.benchmark.contender import Contender, Slice, in_turns
from flaxner.config.command_line import add_settings, path
from flaxner.config.train import TrainConfig

SETTINGS = (
    "model",
    "batch_size",
    "max_length",
    "row_length",
    "precision",
    "accumulate",
    "scan_layers",
    "remat",
    "seed",
    "compilation_cache",
)
MODEL = "flaxner:tiny"  # unless --model or --sizes names another
MOST_STEPS = 10  # per turn, if --steps is not given
ENOUGH_SECONDS = 150.0  # for all turns in that case, including reading and compiling
DEFAULT_PEERS = ("torch", "torch-grouped", "torch-grouped-fused", "torch-padded")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `benchmark.py train`."""
    parser.add_argument("--file", type=path, help="training corpus (default: the embedded one)")
    parser.add_argument(
        "--steps",
        type=int,
        help=f"steps per turn; 0: an epoch (default: up to {MOST_STEPS}, so that everything ends "
        "within three minutes)",
    )
    parser.add_argument("--turns", type=int, default=3, help="turns per contender (default: 3)")
    parser.add_argument(
        "--against",
        nargs="*",
        default=list(DEFAULT_PEERS),
        metavar="PEER",
        help="loops to compare with: torch, torch-fused, torch-grouped, torch-grouped-fused, "
        "torch-compiled, torch-padded, torch-flat, torch-flat-compiled (default: "
        f"{' '.join(DEFAULT_PEERS)})",
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        help="also measure peak memory, in one more process per contender",
    )
    parser.add_argument(
        "--sizes",
        metavar="NAME",
        help="train a model with random weights in the sizes of a well-known one, such as "
        "bert-base-cased or xlm-roberta-base, with a tokenizer trained on the corpus: nothing is "
        "downloaded",
    )
    parser.set_defaults(only=None)  # the contender whose memory this process measures
    add_settings(parser, SETTINGS, defaults={"model": MODEL})


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the figures, and return the exit code.

    Raises:
      ValueError: the settings, file or model cannot be used, or torch is missing.
    """
    from flaxner.benchmark.torch_loop import PEERS
    from flaxner.publishing.verification import require

    for peer in arguments.against:
        if peer not in PEERS and peer != "flaxner":
            raise ValueError(f"unknown peer {peer!r}; choose from: {', '.join(PEERS)}")
    if set(arguments.against) - {"flaxner"}:
        require("--against", ("torch",))
    if (arguments.steps or 0) < 0 or arguments.turns < 1:
        raise ValueError("--steps must be at least 0 and --turns at least 1")
    given = {name: vars(arguments)[name] for name in SETTINGS if name in vars(arguments)}
    source = {"train_file": arguments.file} if arguments.file else {"dataset": "flaxner:embedded"}
    if arguments.sizes:
        from flaxner.benchmark.random_sizes import tiny_of

        if "model" in given:
            raise ValueError("--sizes already names a model: leave --model out")
        given["model"] = tiny_of(arguments.sizes)
    config = TrainConfig(**{"model": MODEL, **given, **source})
    if arguments.only:
        return _alone(config, arguments)
    return _compare(config, arguments)


def _prepared(config: TrainConfig, sizes: str | None) -> Any:
    from flaxner.devices.allocator import keep_freed_memory, run_where_dispatched
    from flaxner.devices.compilation_cache import use_compilation_cache
    from flaxner.training.preparation import prepare

    run_where_dispatched()
    keep_freed_memory()  # for the peers too: the whole process shares one malloc
    use_compilation_cache(config.compilation_cache)
    if sizes is None:
        return prepare(config)
    from flaxner.benchmark.random_sizes import resized, vocabulary_of

    return resized(prepare(config, vocabulary_of(sizes)), sizes)


def _contender(name: str, prepared: Any, turns: int, steps: int) -> Contender:
    from flaxner.benchmark.contenders import Ours, Torch

    if name == "flaxner":
        return Ours(prepared, turns, steps)
    return Torch(name, prepared, turns, steps)


def _ready(name: str, prepared: Any, turns: int, steps: int) -> Contender:
    """Create a contender, and say how long that took: compiling may take minutes."""
    begin = time.monotonic()
    made = _contender(name, prepared, turns, steps)
    _print(figure="ready", contender=name, seconds=round(time.monotonic() - begin, 1))
    return made


def _steps(prepared: Any, steps: int | None) -> int:
    """Maximum number of steps per turn."""
    steps = MOST_STEPS if steps is None else steps
    sentences = prepared.segments["train"].num_sentences
    per_epoch = -(-sentences // prepared.config.batch_size)
    return min(steps, per_epoch) if steps else per_epoch


def _compare(config: TrainConfig, arguments: argparse.Namespace) -> int:
    from flaxner.benchmark.machine import device_name

    begin = time.monotonic()
    prepared = _prepared(config, arguments.sizes)
    steps, turns = _steps(prepared, arguments.steps), arguments.turns
    names = ["flaxner", *(name for name in arguments.against if name != "flaxner")]
    rates = _matmul_rates(prepared.config.precision, torch=len(names) > 1)
    _print(
        figure="machine",
        device=device_name(),
        precision=prepared.config.precision,
        model=arguments.sizes or config.model,
        file=arguments.file or "flaxner:embedded",
        sentences_per_step=min(config.batch_size, prepared.segments["train"].num_sentences),
        matmul_gflops={name: round(rate / 1e9, 1) for name, rate in rates.items()},
    )
    contenders: Iterable[Contender] = (_ready(name, prepared, turns, steps) for name in names)
    if arguments.steps is None:
        contenders = list(contenders)
        steps, turns = fitting(contenders, steps, turns, begin + ENOUGH_SECONDS - time.monotonic())
    slices = _measure(contenders, steps, turns, len(names))
    for contender in slices:
        _report(contender, slices, prepared.model.config, max(rates.values()), steps)
    if arguments.memory:
        for name in names:
            _measure_memory(name, arguments)
    return 0


def fitting(
    contenders: Sequence[Contender], steps: int, turns: int, seconds: float
) -> tuple[int, int]:
    """Return the steps per turn and the turns that fit into `seconds`; at least one of each."""
    begin = time.monotonic()
    for contender in contenders:
        contender.warm()
    each = time.monotonic() - begin  # one step of the largest size of every contender
    affordable = int(max(seconds, 0.0) / max(each, 1e-9)) - 1
    turns = max(min(turns, affordable // 2), 1)  # each starts with a step that does not count
    return max(min(steps, affordable // turns - 1), 1), turns


def _measure(
    contenders: Iterable[Contender], steps: int, turns: int, count: int
) -> dict[Contender, list[Slice]]:
    """Run the contenders in turns, with a progress bar on a terminal; return what they took.

    Each slice is printed at once, so that a run that is cut short has measured something.
    """
    slices: dict[Contender, list[Slice]] = {}
    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("getting ready", total=turns * steps * count)
        for turn, contender in in_turns(contenders, turns):
            name = contender.name
            bar.update(task, description=f"{name}, turn {turn + 1} of {turns}")
            contender.warm()
            taken = contender.run(turn, turns, steps, lambda: bar.advance(task))
            slices.setdefault(contender, []).append(taken)
            speed = round(taken.tokens / taken.seconds, 1)
            _print(figure="turn", contender=name, turn=turn + 1, tokens_per_second=speed)
    return slices


def _matmul_rates(precision: str, torch: bool) -> dict[str, float]:
    from flaxner.benchmark.machine import jax_matmul_rate
    from flaxner.benchmark.torch_loop import torch_matmul_rate

    rates = {"jax": jax_matmul_rate(precision)}
    if torch:
        rates["torch"] = torch_matmul_rate(precision)
    return rates


def model_flops(sizes: Any, tokens: int, squares: int) -> float:
    """FLOPs of forward and backward pass over real tokens: matrix products, attention included."""
    width, hidden = sizes.hidden_size, sizes.intermediate_size
    layer = 4 * width * width + 2 * width * hidden
    weights = sizes.num_hidden_layers * layer + width * sizes.num_labels
    return 6.0 * weights * tokens + 12.0 * sizes.num_hidden_layers * width * squares


def _report(
    contender: Contender,
    slices: dict[Contender, list[Slice]],
    sizes: Any,
    peak: float,
    steps: int,
) -> None:
    mine, ours = slices[contender], next(iter(slices.values()))  # ours is the first
    speeds = [part.tokens / part.seconds for part in mine]
    ratios = [a.tokens / a.seconds / speed for a, speed in zip(ours, speeds, strict=True)]
    use = [model_flops(sizes, part.tokens, part.squares) / part.seconds / peak for part in mine]
    _print(
        figure="train",
        contender=contender.name,
        tokens_per_second=round(statistics.median(speeds), 1),
        sentences_per_second=round(statistics.median(p.sentences / p.seconds for p in mine), 1),
        fill=round(sum(p.tokens for p in mine) / sum(p.slots for p in mine), 4),
        flops_utilisation=round(statistics.median(use), 4),
        flaxner_is_faster_by=round(statistics.median(ratios), 3),
        ratios=[round(ratio, 3) for ratio in ratios],
        seconds=[round(part.seconds, 2) for part in mine],
        steps_a_turn=steps,
        compile_seconds=round(contender.compile_seconds, 2),
        loss=round(mine[-1].loss, 4),
    )


def _measure_memory(name: str, arguments: argparse.Namespace) -> None:
    """Train a few steps in a separate process, which prints its peak memory."""
    given = {**vars(arguments), "only": name, "steps": 5}
    code = (
        "import argparse, json, sys; from flaxner.benchmark.train import run; "
        "sys.exit(run(argparse.Namespace(**json.loads(sys.argv[1]))))"
    )
    subprocess.run([sys.executable, "-c", code, json.dumps(given)], check=True)


def _alone(config: TrainConfig, arguments: argparse.Namespace) -> int:
    from flaxner.benchmark.machine import peak_memory

    prepared = _prepared(config, arguments.sizes)
    steps = _steps(prepared, arguments.steps)
    before = peak_memory()
    contender = _contender(arguments.only, prepared, 1, steps)
    contender.run(0, 1, steps, lambda: None)
    _print(
        figure="memory",
        contender=arguments.only,
        **peak_memory(),
        host_before_mb=before["host_peak_mb"],
    )
    return 0


def _print(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)
