"""Callbacks that observe a run during training and may end it."""

from __future__ import annotations

from typing import Protocol

from flaxner.devices import processes


class WatchFailed(Exception):
    """A callback raised an OSError, which says nothing about the run's folder."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Watch(Protocol):
    """A callback, called after every evaluation in every process."""

    def __call__(self, step: int, epoch: float, f1: float, /) -> object:
        """Receive a validation F1; an exception raised here ends the run, in every process.

        Args:
          step: optimizer steps taken.
          epoch: passes over the corpus, possibly fractional.
          f1: F1 on the validation split, 0 to 1.
        """


def tell(watch: Watch, step: int, epoch: float, f1: float) -> None:
    """Call `watch` in every process; if it fails in one, all of them end.

    Raises:
      WatchFailed: it raised an OSError; any other exception is raised as it is.
    """
    try:
        processes.in_all(lambda: watch(step, epoch, f1))
    except OSError as error:
        raise WatchFailed(error) from error


def nobody(step: int, epoch: float, f1: float) -> None:
    """Ignore the evaluation; the default callback."""
