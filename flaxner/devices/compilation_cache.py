"""Compiled programs on disk, so that a second start is quick."""

from __future__ import annotations

import os

import jax


def use_compilation_cache(folder: str) -> bool:
    """Keep compiled programs in `folder`; an empty name, or a choice already made, stays.

    Returns:
      whether the folder was taken.
    """
    if not folder or jax.config.values["jax_compilation_cache_dir"]:
        return False
    jax.config.update("jax_compilation_cache_dir", os.path.expanduser(folder))
    return True


def use_default_cache() -> None:
    """Keep compiled programs on disk, unless JAX was told where or FLAXNER_CACHE is empty.

    They go to the folder FLAXNER_CACHE names, else to ~/.cache/flaxner/jax as in training.
    """
    folder = os.environ.get("FLAXNER_CACHE", "~/.cache/flaxner/jax")
    if use_compilation_cache(folder):
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
