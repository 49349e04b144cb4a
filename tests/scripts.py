"""The scripts as users call them, but in this process: a new one imports everything again."""

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def run(script, *arguments, stdin=""):
    """Run a script to its end; return its exit code and its output, as `subprocess.run` does."""
    out, err = io.StringIO(), io.StringIO()
    line = [str(SCRIPTS / script), *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", line),
        mock.patch.object(sys, "stdin", io.StringIO(stdin)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_path(line[0], run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess(line, code, out.getvalue(), err.getvalue())
