"""Print the versions of flaxner's dependencies in this environment, as pip constraints.

`python tests/constraints.py > constraints.txt`, after the suite has passed.
"""

import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("", "tpu", "cuda", "preflight", "embeddings", "export", "serve", "tensorboard")
# Of the extras for chips, installed only where the chips are: made and versioned with JAX.
WITH_JAX = ("jax-cuda13-plugin", "jax-cuda13-pjrt")
HEAD = """\
# The versions that flaxner was tested with (Python 3.11, Linux x86-64); tpu_setup.sh installs them.
# Written by `python tests/constraints.py > constraints.txt`; JAX chooses NVIDIA's libraries.
"""


def closure(name: str, extras: tuple[str, ...], found: dict[str, str]) -> None:
    """Add the versions of a distribution's dependencies, as far as they are installed."""
    for text in metadata.requires(name) or []:
        need = Requirement(text)
        if need.marker and not any(need.marker.evaluate({"extra": e}) for e in extras):
            continue
        key = canonicalize_name(need.name)
        try:
            version = metadata.version(key)
        except metadata.PackageNotFoundError:
            continue
        if key not in found or need.extras:
            found[key] = version
            closure(key, ("", *need.extras), found)


def main() -> int:
    """The command line."""
    found: dict[str, str] = {}
    closure("flaxner", EXTRAS, found)
    found |= dict.fromkeys(WITH_JAX, found["jax"])
    found.pop("flaxner", None)
    print(HEAD + "\n".join(f"{name}=={found[name]}" for name in sorted(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
