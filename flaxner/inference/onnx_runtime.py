"""The only door to ONNX Runtime, which is told first to keep what it sees to itself.

Its builds for Linux, too, collect usage data: on import they make a database in the user's cache
folder and send what is in it to their makers, unless the environment says no by then.
"""

from __future__ import annotations

import os
from types import ModuleType

SILENT = "ORT_DISABLE_TELEMETRY"


def onnxruntime() -> ModuleType:
    """The module, imported without its telemetry unless the user has set the variable.

    Raises:
      ImportError: it is not installed.
    """
    os.environ.setdefault(SILENT, "1")
    import onnxruntime

    return onnxruntime
