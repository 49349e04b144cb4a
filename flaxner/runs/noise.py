"""Silence what Orbax prints on standard error when a save fails; we report it in one sentence."""

from __future__ import annotations

import functools
import logging
import re
import sys
import warnings
from pathlib import Path
from typing import Any

OF_SAVES = re.compile("orbax|OCDBT")  # the second is the format that TensorStore writes for it


@functools.cache
def hush() -> None:
    """Silence Orbax's failure logs and the warnings of its abandoned tasks, and nothing else."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(lambda record: not OF_SAVES.search(record.getMessage()))
    _hush_abandoned()
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not _is_of_a_loop(unraisable):
            before(unraisable)

    sys.unraisablehook = hook


def _hush_abandoned() -> None:
    """Suppress "coroutine was never awaited" warnings for Orbax's coroutines only.

    A failed save abandons many coroutines, named differently in every version, so they are
    recognised by their source files. Python looks this function up by name for every such warning.
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
    """Whether the error is from an event loop that is closed, or never opened for lack of file
    descriptors."""
    error, place = unraisable.exc_value, getattr(unraisable.object, "__qualname__", "")
    closed = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
    return closed or (isinstance(error, AttributeError) and place == "BaseEventLoop.__del__")
