"""Know before you rent: a run's steps compiled for a TPU topology, without a TPU."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Before JAX is imported by anyone: this program compiles for chips, it never asks for one.
if os.path.basename(sys.argv[0]) == "preflight.py":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")

from flaxner.config import (
    DEFAULT_PRESET,
    Parser,
    TrainConfig,
    add_settings,
    load_preset,
    load_settings,
    preset_names,
)
from flaxner.preflight.chips import known_topologies, parse_topology
from flaxner.readers import READING

if TYPE_CHECKING:
    from flaxner.preflight.report import PreflightReport

__all__ = ["PreflightReport", "main", "preflight"]
CACHE = "~/.cache/flaxner/preflight"


def __getattr__(name: str) -> object:
    if name == "PreflightReport":
        from flaxner.preflight.report import PreflightReport

        return PreflightReport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def preflight(
    config: TrainConfig,
    topology: str,
    *,
    model_config: str | Path | None = None,
    labels: int | None = None,
    lengths: Sequence[int] | None = None,
    price: float | None = None,
    search: bool = True,
    read_corpus: bool = False,
    cache: str | Path | None = CACHE,
) -> PreflightReport:
    """Compile a run's training and evaluation steps for chips that are not there.

    Args:
      config: the settings.
      topology: `v5e:2x4`, `2*v5e:16x16` for two slices, or an accelerator name such as `v4-8`.
      model_config: a config.json; that of `config.model` if None, where its sizes are built in.
      labels: width of the classification head; the corpus' if it is read, else 9, if None.
      lengths: tokens of each sentence of the training corpus; CoNLL-2003's, modelled, if None.
      price: of a chip and hour, in any currency.
      search: look for the largest batch that fits; costs one to three compilations.
      read_corpus: take the sentence lengths of the settings' training corpus.
      cache: folder in which results are kept, None for none.

    Raises:
      ValueError: no libtpu, an unknown topology or model, settings that do not fit.
    """
    chips = parse_topology(topology)
    if price is not None and not (price >= 0 and math.isfinite(price)):
        raise ValueError(f"the price of a chip and hour must be at least 0: got {price}")
    from flaxner.preflight.report import make_report

    folder = None if cache is None else Path(cache).expanduser()
    corpus = None
    if read_corpus:
        from flaxner.preflight.corpus_lengths import measure_corpus

        segments, found, source = measure_corpus(config)
        corpus, labels = (segments, source), labels or found
    return make_report(
        config, chips, model_config, labels or 9, lengths, price, search, folder, corpus
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of scripts/preflight.py."""
    parser = Parser(
        prog="preflight.py",
        description="Compile a run for a TPU topology, without a TPU: memory, bounds, cost.",
    )
    parser.add_argument("--topology", required=True, help=known_topologies())
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--preset", choices=preset_names(), help="a named set of settings")
    source.add_argument("--config", metavar="FILE", help="a TOML file of settings")
    parser.add_argument("--model-config", metavar="FILE", help="config.json of another BERT")
    parser.add_argument("--labels", type=int, help="tags of the corpus (default: its own, else 9)")
    parser.add_argument("--price-per-chip-hour", type=float, help="to reckon the cost with")
    parser.add_argument("--no-search", action="store_true", help="skip the largest batch")
    parser.add_argument("--cache", default=CACHE, help="folder of earlier results; empty: none")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    names = (
        *("model", "epochs", "batch_size", "accumulate", "max_length", "row_length", "precision"),
        *("scan_layers", "remat", "fsdp", "eval_batch_size", "seed", "max_grad_norm"),
        *("train_file", "dataset", *READING, "train_fraction", "data_seed", "revision"),
    )
    add_settings(parser, only=names)
    given = parser.parse_args(arguments)
    changes = {name: getattr(given, name) for name in names if hasattr(given, name)}
    try:
        base = load_settings(given.config) if given.config else None
        settings = load_preset(given.preset or DEFAULT_PRESET) if base is None else base
        if "train_file" in changes and "dataset" not in changes:  # it replaces the preset's
            settings.pop("dataset", None)
        config = TrainConfig(**{**settings, **changes})
        made = preflight(
            config,
            given.topology,
            model_config=given.model_config,
            labels=given.labels,
            price=given.price_per_chip_hour,
            search=not given.no_search,
            read_corpus="dataset" in changes or config.train_file is not None,
            cache=given.cache or None,
        )
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("preflight.py: interrupted", file=sys.stderr)
        return 130
    print(json.dumps(made.to_dict(), indent=2) if given.json else made)
    return 0 if made.train.fits else 1
