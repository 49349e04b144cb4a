"""Commands for the user to type, as this process was started itself."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

# Scripts with another name than their subcommand of `flaxner`.
SCRIPTS = {
    "compare": "compare_runs",
    "convert": "convert_and_push",
    "embeddings": "compare_embeddings",
}


def command_line(name: str, *words: str) -> str:
    """Return a command for the user to type: a script's if one runs, otherwise one of `flaxner`.

    Only a checkout has scripts; an installed package has `flaxner`.

    Args:
      name: the subcommand.
      words: its arguments.
    """
    running = Path(sys.argv[0] if sys.argv else "").resolve()
    from_checkout = running.parent == Path(__file__).resolve().parents[1] / "scripts"
    script = f"scripts/{SCRIPTS.get(name, name)}.py"
    return shlex.join([*(("python", script) if from_checkout else ("flaxner", name)), *words])
