"""Settings of tiled attention, kept apart from the kernels: not every system has their compiler."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """Static settings of a kernel.

    Attributes:
      window: positions farther apart than this do not attend to each other; None: no limit within
        a segment.
      threshold: random levels (of LEVELS) below this are dropped; 0: no dropout.
      interpret: run in Pallas's interpreter, for tests on a CPU.
    """

    window: int | None = None
    threshold: int = 0
    interpret: bool = False
