"""F1 of our training and of a PyTorch loop with the same settings, seed by seed."""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flaxner.benchmark.torch_loop import Peer, TorchLoop, torch_model
from flaxner.config.command_line import Parser, at_least
from flaxner.config.train import SPLITS, TrainConfig
from flaxner.evaluation.metrics import spread
from flaxner.inference.onnx_engine import cores
from flaxner.publishing.verification import require
from flaxner.training.prediction import score_labels
from flaxner.training.preparation import prepare
from flaxner.training.run import train
from flaxner.training.stopping import RunStopped
from flaxner.wording import number_of

SIDES = ("flaxner", "torch")
Scores = dict[str, dict[str, list[float]]]  # side -> split -> F1 per seed


def add_arguments(parser: Parser) -> None:
    """Add the flags of `benchmark.py quality`."""
    parser.add_argument("--model", required=True, help="BERT to start from: folder or Hub name")
    parser.add_argument("--train-file", required=True, help="training corpus")
    parser.add_argument("--validation-file", help="validation corpus")
    parser.add_argument("--test-file", help="test corpus")
    parser.add_argument(
        "--epochs", type=at_least(1), default=5, help="number of epochs (default: 5)"
    )
    parser.add_argument(
        "--batch-size", type=at_least(1), default=32, help="sentences per step (default: 32)"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=1e-4, help="peak learning rate (default: 1e-4)"
    )
    parser.add_argument(
        "--seeds", type=at_least(1), default=3, help="number of seeds: 0, 1, ... (default: 3)"
    )
    parser.add_argument(
        "--sides",
        nargs="+",
        choices=SIDES,
        default=list(SIDES),
        help="sides to train (default: both)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Train both sides with every seed; print one JSON line per run, then a table.

    Raises:
      ValueError: the settings or corpora cannot be used, or torch is missing.
    """
    if "torch" in arguments.sides:
        require("--sides torch", ("torch",))
    scores: Scores = {side: {} for side in arguments.sides}
    for seed in range(arguments.seeds):
        for side in arguments.sides:
            config = _config(arguments, seed)
            by_split = _ours(config) if side == "flaxner" else _theirs(config)
            for split, f1 in by_split.items():
                scores[side].setdefault(split, []).append(f1)
            print(json.dumps({"side": side, "seed": seed, "f1": by_split}), flush=True)
    Console().print(_table(arguments, scores))
    return 0


def _config(arguments: argparse.Namespace, seed: int) -> TrainConfig:
    return TrainConfig(
        model=arguments.model,
        train_file=arguments.train_file,
        validation_file=arguments.validation_file,
        test_file=arguments.test_file,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        warmup_ratio=0.0,
        select="last",
        precision="float32",
        seed=seed,
    )


def _ours(config: TrainConfig) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        config = config.replace(output_dir=str(Path(folder) / "run"))
        try:
            results = train(config, console=Console(quiet=True)).results
        except RunStopped as stop:  # its message names the run, which is deleted here
            raise KeyboardInterrupt from stop
    return {split: results[split]["overall_f1"] for split in SPLITS[1:] if split in results}


def _theirs(config: TrainConfig) -> dict[str, float]:
    prepared = prepare(config)
    model = torch_model(prepared)  # with the same initial head as ours
    segments, epochs = prepared.segments["train"], int(config.epochs)
    num_steps = -(-len(segments) // config.batch_size) * epochs
    loop = TorchLoop(model, segments, prepared.config, num_steps, Peer(grouped=True, fused=True))
    for _ in range(epochs):
        for members in loop.epoch():
            loop.step(members)
    scores = {}
    for split in SPLITS[1:]:
        if split not in prepared.corpora:
            continue
        labels = loop.predict(prepared.segments[split])
        report, _ = score_labels(labels, prepared.corpora[split], prepared.scheme.tags)
        scores[split] = report.overall_f1
    return scores


def _table(arguments: argparse.Namespace, scores: Scores) -> Table:
    machine = f"{platform.machine()}, {cores()} cores"
    table = Table(
        title=f"entity F1, {number_of(arguments.epochs, 'epochs')}, batch {arguments.batch_size}, "
        f"learning rate {arguments.learning_rate:g}, {number_of(arguments.seeds, 'seeds')} "
        f"({machine})",
        title_justify="left",
    )
    for name in ("", "split", "mean", "lowest", "highest", "standard deviation"):
        table.add_column(name, justify="right" if name not in ("", "split") else "left")
    for side, splits in scores.items():
        for split, f1 in splits.items():
            mean, deviation = spread(f1)
            numbers = (mean, min(f1), max(f1), deviation)
            table.add_row(side, split, *(f"{number:.4f}" for number in numbers))
    return table
