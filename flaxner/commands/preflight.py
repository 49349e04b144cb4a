"""Estimate what a run needs on accelerators, without having one."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

# Set before JAX is imported: this program compiles for accelerators but never uses one.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from rich.text import Text

from flaxner import terminal
from flaxner.aot.chips import known_topologies
from flaxner.aot.preflight import CACHE, preflight
from flaxner.config.command_line import (
    Parser,
    add_base,
    add_settings,
    at_least,
    over_base,
    path,
)
from flaxner.data.readers import READING

if TYPE_CHECKING:
    from flaxner.aot.report import PreflightReport

SETTINGS = (
    *("model", "epochs", "batch_size", "accumulate", "max_length", "row_length", "precision"),
    *("scan_layers", "remat", "fsdp", "eval_batch_size", "seed", "max_grad_norm"),
    *("seeds", "seeds_at_once"),
    *("decoder", "ema", "average_last"),
    *("train_file", "dataset", *READING, "train_fraction", "data_seed", "revision"),
)


def parser(prog: str = "preflight.py") -> Parser:
    """Return the command's parser."""
    flags = Parser(
        prog=prog,
        description="Compile a run for TPUs or GPUs without having them, and report memory, speed "
        "bounds and cost.",
    )
    flags.add_argument(
        "--topology", required=True, help=f"accelerators to compile for; {known_topologies()}"
    )
    add_base(flags)
    flags.add_argument(
        "--model-config",
        type=path,
        metavar="FILE",
        help="config.json of a model whose sizes are not built in",
    )
    flags.add_argument(
        "--labels", type=at_least(1), help="number of tags (default: those of the corpus, else 9)"
    )
    flags.add_argument(
        "--price-per-chip-hour", type=float, help="price of a chip per hour, to estimate the cost"
    )
    flags.add_argument(
        "--no-search", action="store_true", help="do not search for the largest batch that fits"
    )
    flags.add_argument(
        "--cache",
        type=lambda text: text and path(text),
        default=CACHE,
        help=f"folder in which to cache results; empty: none (default: {CACHE})",
    )
    flags.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_settings(flags, only=SETTINGS)
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "preflight.py") -> int:
    """Compile the run and print the report; return 1 if the run does not fit."""
    flags = parser(prog)
    given = flags.parse_args(arguments)
    changes = {name: getattr(given, name) for name in SETTINGS if hasattr(given, name)}

    def work() -> int:
        config = over_base(given.preset, given.config, changes)
        wait = f"compiling for {given.topology}; a large model takes minutes"
        with terminal.console(stderr=True).status(Text(terminal.shown(wait))):
            report = _interruptible(
                lambda: preflight(
                    config,
                    given.topology,
                    model_config=given.model_config,
                    labels=given.labels,
                    price=given.price_per_chip_hour,
                    search=not given.no_search,
                    read_corpus="dataset" in changes or config.train_file is not None,
                    cache=given.cache or None,
                )
            )
        print(json.dumps(report.to_dict(), indent=2) if given.json else report)
        return 0 if report.fits else 1

    return flags.run(work)


def _interruptible(work: Callable[[], PreflightReport]) -> PreflightReport:
    """Work in a thread of its own, so that Ctrl-C ends the process while the compiler is busy."""
    outcome: Future[PreflightReport] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return outcome.result()
    except KeyboardInterrupt as error:
        raise terminal.Stopped("interrupted", 130, at_once=True) from error
