"""What Orbax leaves behind on standard error when a save fails, which we say in a sentence."""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from pathlib import Path
from typing import Any


@functools.cache
def hush() -> None:
    """Silence Orbax's log of failures, its tasks that nobody asks, and their late ends; no more."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(lambda record: "orbax" not in record.getMessage())
    _hush_abandoned()
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not _is_of_a_loop(unraisable):
            before(unraisable)

    sys.unraisablehook = hook


def _hush_abandoned() -> None:
    """No warning of a coroutine of Orbax that was never awaited; of all others as before.

    What a failed save leaves half done is many, with other names in every version: they are known
    by their files. Python asks for this function by its name whenever there is one to warn of.
    """
    warn = getattr(warnings, "_warn_unawaited_coroutine", None)
    if warn is None:
        return

    def of_others(coroutine: Any) -> None:
        code = getattr(coroutine, "cr_code", None)
        if code is None or "orbax" not in Path(code.co_filename).parts:
            warn(coroutine)

    warnings._warn_unawaited_coroutine = of_others  # type: ignore[attr-defined]


def _is_of_a_loop(unraisable: Any) -> bool:
    """Whether it is of an event loop that was closed, or never opened for want of descriptors."""
    error, place = unraisable.exc_value, getattr(unraisable.object, "__qualname__", "")
    closed = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
    return closed or (isinstance(error, AttributeError) and place == "BaseEventLoop.__del__")
