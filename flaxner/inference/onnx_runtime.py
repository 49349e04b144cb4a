"""The only module that imports ONNX Runtime, with its telemetry switched off.

Its Linux builds collect usage data as well: on import they create a database in the user's cache
folder and upload its content, unless an environment variable disables that beforehand.
"""

from __future__ import annotations

import os
from types import ModuleType

SILENT = "ORT_DISABLE_TELEMETRY"


def onnxruntime() -> ModuleType:
    """Import the module, without telemetry unless the user has set the variable.

    Raises:
      ImportError: it is not installed.
    """
    os.environ.setdefault(SILENT, "1")
    import onnxruntime

    return onnxruntime
