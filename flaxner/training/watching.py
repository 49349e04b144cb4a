"""Callbacks that observe a run during training and may end it."""

from __future__ import annotations

from typing import Protocol


class Watch(Protocol):
    """A callback, called after every evaluation in every process."""

    def __call__(self, step: int, epoch: float, f1: float, /) -> object:
        """Receive a validation F1; an exception raised here ends the run immediately.

        Args:
          step: optimizer steps taken.
          epoch: passes over the corpus, possibly fractional.
          f1: F1 on the validation split, 0 to 1.
        """


def nobody(step: int, epoch: float, f1: float) -> None:
    """Ignore the evaluation; the default callback."""
