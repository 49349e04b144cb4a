"""Print the versions of flaxner's dependencies in this environment, as pip constraints.

After the suite has passed: `python tests/constraints.py > constraints.txt`.
"""

import sys
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("", "tpu", "cuda", "preflight", "embeddings", "export", "serve", "tensorboard")
# From the accelerator extras, installed only on such machines; released together with JAX.
WITH_JAX = ("jax-cuda13-plugin", "jax-cuda13-pjrt")
HEAD = """\
# The versions that flaxner was tested with (Python 3.11, Linux x86-64); tpu_setup.sh installs them.
# Written by `python tests/constraints.py > constraints.txt`; JAX chooses NVIDIA's libraries.
"""


def closure(name: str, extras: tuple[str, ...], found: dict[str, str]) -> None:
    """Add the versions of a distribution's installed dependencies to `found`."""
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
    """Print the constraints."""
    found: dict[str, str] = {}
    closure("flaxner", EXTRAS, found)
    found |= dict.fromkeys(WITH_JAX, found["jax"])
    found.pop("flaxner", None)
    print(HEAD + "\n".join(f"{name}=={found[name]}" for name in sorted(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
