"""Whether JAX can use accelerators here, found out without importing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import pkgutil


def has_plugin() -> bool:
    """Whether a plug-in for an accelerator is installed, as JAX finds them, or libtpu."""
    if importlib.metadata.entry_points(group="jax_plugins"):
        return True
    found = importlib.util.find_spec("jax_plugins")
    places = found.submodule_search_locations if found else None
    if places and any(pkgutil.iter_modules(places)):
        return True
    return importlib.util.find_spec("libtpu") is not None
