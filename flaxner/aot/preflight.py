"""Know before you rent: a run's steps compiled for TPUs or GPUs that you do not have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flaxner.aot.chips import parse_topology
from flaxner.config.train import TrainConfig

if TYPE_CHECKING:
    from flaxner.aot.report import PreflightReport

CACHE = "~/.cache/flaxner/preflight"


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
    """Compile a run's training and evaluation steps for chips that are not present.

    Args:
      config: the settings.
      topology: `v5e:2x4`, `2*v5e:16x16` for two slices, or an accelerator name such as `v4-8`;
        `h100:8` for GPUs, `2*h100:8` for two nodes of them.
      model_config: a config.json; if None, that of `config.model`, whose sizes must be built in.
      labels: width of the classification head; if None, the corpus's if it is read, else 9.
      lengths: tokens of each sentence of the training corpus; if None, modelled on CoNLL-2003.
      price: price per chip and hour, in any currency.
      search: search for the largest batch that fits, which takes one to three compilations.
      read_corpus: use the sentence lengths of the settings' training corpus.
      cache: folder for cached results; None: no cache.

    Raises:
      ValueError: there is no compiler for these chips, the topology or model is unknown, or the
        settings are not valid for them.
    """
    from flaxner.devices.environment import check_devices

    check_devices()
    chips = parse_topology(topology)
    if price is not None and not (price >= 0 and math.isfinite(price)):
        raise ValueError(f"the price per chip and hour must be at least 0: got {price}")
    if labels is not None and labels < 1:
        raise ValueError(f"labels must be at least 1: got {labels}")
    from flaxner.aot.report import make_report

    folder = None if cache is None else Path(cache).expanduser()
    corpus = vocabulary = None
    if read_corpus:
        from flaxner.aot.corpus_lengths import measure_corpus

        measured = measure_corpus(config)
        corpus, vocabulary = (measured.segments, measured.source), measured.vocabulary
        labels = labels or measured.labels
    return make_report(
        config, chips, model_config, labels or 9, lengths, price, search, folder, corpus, vocabulary
    )
