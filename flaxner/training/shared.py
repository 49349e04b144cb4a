"""What runs have in common that differ in seed, rates or length: corpora, tokens, programs."""

from __future__ import annotations

import dataclasses

from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.training.preparation import Prepared, prepare, reseeded
from flaxner.training.program import Program, batches_of, blocks_of, program_of_run

# Neither what is read nor what is compiled depends on them.
LENT_ACROSS = frozenset(
    {
        *("seed", "learning_rate", "head_learning_rate", "crf_learning_rate", "layer_decay"),
        *("schedule", "warmup_ratio", "epochs", "batch_size"),
        *("output_dir", "overwrite", "resume", "seeds", "seeds_at_once"),
    }
)


class Shared:
    """Reads and compiles for a run, and lends it to those after it that need the same.

    Attributes:
      rehearsed: whether the end of a run with what has been read was tried.
    """

    def __init__(self) -> None:
        self.rehearsed = False
        self._first: Prepared | None = None
        self._config: TrainConfig | None = None
        self._program: Program | None = None

    def lends_to(self, config: TrainConfig) -> bool:
        """Whether what has been read serves a run with these settings."""
        return self._config is not None and _kept(self._config) == _kept(config)

    def prepared(self, config: TrainConfig) -> Prepared:
        """The ingredients of a run.

        Raises:
          ValueError: as `prepare`.
        """
        if self._first is not None and self.lends_to(config):
            return reseeded(self._first, config)
        self._first = self._config = self._program = None  # before the next takes memory
        self._first, self._config, self.rehearsed = prepare(config), config, False
        return self._first

    def compute(self, prepared: Prepared) -> tuple[Program, TrainBatches]:
        """The program and the batches of a run whose ingredients were read last.

        Raises:
          ValueError: as `program_of_run`.
        """
        batches = batches_of(prepared)
        blocks = blocks_of(prepared.config, batches)  # another batch size may have others
        if self._program is None or self._program.blocks != blocks:
            self._program, batches = program_of_run(prepared)
            return self._program, batches
        return self._program.of_run(prepared.config, batches.num_steps), batches


def _kept(config: TrainConfig) -> dict[str, object]:
    """The settings that what is read and compiled depends on, or may."""
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in LENT_ACROSS}
