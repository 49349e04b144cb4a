"""Files committed in a git clone: replacing such a file loses nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

# A folder's own git settings may name programs to run; reading a tree needs none of them.
PLAIN = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
SECONDS = 60


def committed(folder: Path, names: Sequence[str]) -> set[str]:
    """Return the names whose present content is in the clone's last commit.

    A file kept by Git LFS counts by its pointer. The result is empty if the folder is not a clone
    or git is not installed.

    Args:
      folder: the top of a clone.
      names: paths in it, with slashes.
    """
    if not names or not os.path.lexists(folder / ".git"):
        return set()
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    plain = {"GIT_LITERAL_PATHSPECS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-C", str(folder), *PLAIN, "ls-tree", "-r", "-z", "HEAD", "--", *names]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=SECONDS, check=True, env=kept | plain
        )
    except (OSError, subprocess.SubprocessError):
        return set()
    held = set()
    for row in done.stdout.decode("utf-8", "replace").split("\0")[:-1]:
        about, _, name = row.partition("\t")
        digest = about.split(" ")[-1]
        path = folder / name
        if not path.is_symlink() and path.is_file() and digest in _digests(path, len(digest)):
            held.add(name)
    return held & set(names)


def _digests(path: Path, length: int) -> tuple[str, str]:
    """Return Git's hashes of a file's content, and of the LFS pointer that stands for it."""
    name = "sha1" if length == 40 else "sha256"
    size = path.stat().st_size
    blob = hashlib.new(name, b"blob %d\0" % size)
    content = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            blob.update(piece)
            content.update(piece)
    pointer = (
        "version https://git-lfs.github.com/spec/v1\n"
        f"oid sha256:{content.hexdigest()}\nsize {size}\n"
    ).encode()
    return blob.hexdigest(), hashlib.new(name, b"blob %d\0" % len(pointer) + pointer).hexdigest()
