"""The command line of preflight."""

from __future__ import annotations

import json
from collections.abc import Sequence

from flaxner.aot.chips import known_topologies
from flaxner.aot.preflight import CACHE, preflight
from flaxner.config.command_line import Parser, add_settings, path
from flaxner.config.files import DEFAULT_PRESET, laid_over, load_preset, load_settings, preset_names
from flaxner.config.train import TrainConfig
from flaxner.data.readers import READING

SETTINGS = (
    *("model", "epochs", "batch_size", "accumulate", "max_length", "row_length", "precision"),
    *("scan_layers", "remat", "fsdp", "eval_batch_size", "seed", "max_grad_norm"),
    *("decoder", "ema", "average_last"),
    *("train_file", "dataset", *READING, "train_fraction", "data_seed", "revision"),
)


def parser(prog: str = "preflight.py") -> Parser:
    """The flags."""
    parser = Parser(
        prog=prog,
        description="Compile a run for TPUs or GPUs that are not there: memory, bounds, cost.",
    )
    parser.add_argument("--topology", required=True, help=known_topologies())
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--preset", choices=preset_names(), help="a named set of settings")
    source.add_argument("--config", type=path, metavar="FILE", help="a TOML file of settings")
    parser.add_argument(
        "--model-config", type=path, metavar="FILE", help="config.json of another BERT"
    )
    parser.add_argument("--labels", type=int, help="tags of the corpus (default: its own, else 9)")
    parser.add_argument("--price-per-chip-hour", type=float, help="to reckon the cost with")
    parser.add_argument("--no-search", action="store_true", help="skip the largest batch")
    parser.add_argument(
        "--cache", type=path, default=CACHE, help="folder of earlier results; empty: none"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_settings(parser, only=SETTINGS)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "preflight.py") -> int:
    """Compile, and print the report; 1 if the run does not fit."""
    flags = parser(prog)
    given = flags.parse_args(arguments)
    changes = {name: getattr(given, name) for name in SETTINGS if hasattr(given, name)}

    def work() -> int:
        base = load_settings(given.config) if given.config else None
        settings = load_preset(given.preset or DEFAULT_PRESET) if base is None else base
        config = TrainConfig(
            **laid_over(settings, changes, chosen=bool(given.config or given.preset))
        )
        report = preflight(
            config,
            given.topology,
            model_config=given.model_config,
            labels=given.labels,
            price=given.price_per_chip_hour,
            search=not given.no_search,
            read_corpus="dataset" in changes or config.train_file is not None,
            cache=given.cache or None,
        )
        print(json.dumps(report.to_dict(), indent=2) if given.json else report)
        return 0 if report.train.fits else 1

    return flags.run(work)
