"""Who looks on while a run trains, and may end it."""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    """Is told of every evaluation, in every process."""

    def __call__(self, step: int, epoch: float, f1: float) -> None:
        """Hear a validation F1; what is raised here ends the run at once.

        Args:
          step: optimizer steps taken.
          epoch: passes over the corpus, a fraction.
          f1: of the validation split, 0 to 1.
        """


def nobody(step: int, epoch: float, f1: float) -> None:
    """Nobody looks on."""
