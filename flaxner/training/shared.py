"""What runs that differ only in seed, rates or length share: corpora, tokens, programs."""

from __future__ import annotations

import dataclasses

from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.data.packing import Blocks
from flaxner.training.preparation import Prepared, prepare, reseeded
from flaxner.training.program import Program, batches_of, blocks_of, program_of_run

# Settings on which neither what is read nor what is compiled depends.
LENT_ACROSS = frozenset(
    {
        *("seed", "learning_rate", "head_learning_rate", "crf_learning_rate", "layer_decay"),
        *("schedule", "warmup_ratio", "weight_decay", "epochs", "batch_size"),
        *("output_dir", "overwrite", "resume", "seeds", "seeds_at_once"),
    }
)


class Shared:
    """Reads and compiles for one run, and lends the result to later runs that need the same.

    Attributes:
      rehearsed: whether the end of a run has been rehearsed with what was read.
    """

    def __init__(self) -> None:
        self.rehearsed = False
        self._first: Prepared | None = None
        self._config: TrainConfig | None = None
        self._program: Program | None = None
        self._rows: tuple[Blocks | None, int] = (None, 0)  # that it was made for

    def lends_to(self, config: TrainConfig) -> bool:
        """Whether what has been read serves a run with these settings."""
        return self._config is not None and _kept(self._config) == _kept(config)

    def prepared(self, config: TrainConfig) -> Prepared:
        """Return what a run starts with, reusing what was read if possible.

        Raises:
          ValueError: as for `prepare`.
        """
        if self._first is not None and self.lends_to(config):
            return reseeded(self._first, config)
        self._first = self._config = self._program = None  # free memory before the next run
        self._first, self._config, self.rehearsed = prepare(config), config, False
        return self._first

    def compute(self, prepared: Prepared) -> tuple[Program, TrainBatches]:
        """Return the program and the batches of the run that was prepared last.

        Raises:
          ValueError: as for `program_of_run`.
        """
        batches = batches_of(prepared)
        # Another batch size may come with other rows.
        rows = (blocks_of(prepared.config, batches), batches.row_length)
        if self._program is None or self._rows != rows:
            self._program, batches = program_of_run(prepared)
            self._rows = rows
            return self._program, batches
        return self._program.of_run(prepared.config, batches.num_steps), batches


def _kept(config: TrainConfig) -> dict[str, object]:
    """Return the settings on which what is read and compiled depends, or may depend."""
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in LENT_ACROSS}
