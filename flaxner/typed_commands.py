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
    """Return a command for the user to type: a script's, or one of `flaxner` if that is running.

    An installed package has no scripts. `python -m flaxner` is `flaxner`, too.

    Args:
      name: the subcommand.
      words: its arguments.
    """
    running = Path(sys.argv[0] if sys.argv else "")
    installed = running.stem == "flaxner" or running.parts[-2:] == ("flaxner", "__main__.py")
    program = (
        ["flaxner", name] if installed else ["python", f"scripts/{SCRIPTS.get(name, name)}.py"]
    )
    return shlex.join([*program, *words])
