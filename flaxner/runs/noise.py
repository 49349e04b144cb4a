"""What Orbax leaves behind on standard error when a save fails, which we say in a sentence."""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from typing import Any


@functools.cache
def hush() -> None:
    """Silence Orbax's log of failures, its tasks that nobody asks, and their late ends; no more."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(lambda record: "orbax" not in record.getMessage())
    abandoned = r"coroutine '(BasePyTree|run_sync).*' was never awaited"
    warnings.filterwarnings("ignore", abandoned, RuntimeWarning)
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not _is_of_a_loop(unraisable):
            before(unraisable)

    sys.unraisablehook = hook


def _is_of_a_loop(unraisable: Any) -> bool:
    """Whether it is of an event loop that was closed, or never opened for want of descriptors."""
    error, place = unraisable.exc_value, getattr(unraisable.object, "__qualname__", "")
    closed = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
    return closed or (isinstance(error, AttributeError) and place == "BaseEventLoop.__del__")
