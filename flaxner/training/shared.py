"""What runs have in common that differ in their seed alone: corpora, tokens, compiled programs."""

from __future__ import annotations

from flaxner.config.recipes import CRF
from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.training.preparation import Prepared, prepare, reseeded
from flaxner.training.program import Program, batches_of, program_of_run


class Shared:
    """Reads and compiles for the first of several seeds, and lends it to the others."""

    def __init__(self) -> None:
        self._first: Prepared | None = None
        self._program: Program | None = None

    @property
    def is_new(self) -> bool:
        """Whether nothing has been read yet."""
        return self._first is None

    def prepared(self, config: TrainConfig) -> Prepared:
        """The ingredients of a seed.

        Raises:
          ValueError: as `prepare`.
        """
        if self._first is None:
            self._first = prepare(config)
            return self._first
        return reseeded(self._first, config)

    def compute(self, prepared: Prepared) -> tuple[Program, TrainBatches]:
        """The program and the batches of a seed.

        A CRF's is as wide as the rows of its seed have words: each has its own.

        Raises:
          ValueError: as `program_of_run`.
        """
        if self._program is None or prepared.config.decoder == CRF:
            self._program, batches = program_of_run(prepared)
            return self._program, batches
        return self._program.of_seed(prepared.config.seed), batches_of(prepared)
