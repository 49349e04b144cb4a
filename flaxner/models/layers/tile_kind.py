"""What attention by tiles is told; apart from the kernels, whose compiler not every system has."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """What is fixed in a kernel.

    Attributes:
      window: positions further apart than this do not meet; None: all of a segment do.
      threshold: levels below it are dropped, of LEVELS; 0: none.
      interpret: for tests, on a CPU.
    """

    window: int | None = None
    threshold: int = 0
    interpret: bool = False
