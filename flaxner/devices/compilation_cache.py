"""Compiled programs on disk, so that a second start is fast."""

from __future__ import annotations

import functools
import os
import sys
import tempfile

import jax

from flaxner.terminal import shown


def use_compilation_cache(folder: str) -> bool:
    """Keep compiled programs in `folder`, unless it is empty or a folder was already chosen.

    Returns:
      whether the folder is used. One that cannot be written is reported, once, and not used.
    """
    if not folder or jax.config.values["jax_compilation_cache_dir"]:
        return False
    folder = os.path.expanduser(folder)
    writable = _is_writable(folder)
    if writable:
        jax.config.update("jax_compilation_cache_dir", folder)
    return writable


@functools.cache
def _is_writable(folder: str) -> bool:
    try:
        os.path.abspath(folder).encode()
        os.makedirs(folder, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            return True
    except (OSError, UnicodeEncodeError) as error:  # JAX requires a path that is text
        told = error.strerror if isinstance(error, OSError) else "its path is not UTF-8"
        reason = told or str(error)
        say = f"note: compiled programs are not kept: cannot write {folder} ({reason})"
        print(shown(say), file=sys.stderr)
        return False


def use_default_cache() -> None:
    """Keep compiled programs on disk, unless JAX has a folder already or FLAXNER_CACHE is empty.

    They go to jax/ in the folder named by FLAXNER_CACHE, else in ~/.cache/flaxner as in training.
    """
    named = os.environ.get("FLAXNER_CACHE", "~/.cache/flaxner")
    if use_compilation_cache(named and os.path.join(named, "jax")):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
