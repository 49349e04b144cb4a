"""The largest batch that fits: temporaries are nearly linear in the rows; compiling verifies it."""

from __future__ import annotations

import dataclasses

from flaxner.aot.compiler import Compiled, Compiler
from flaxner.aot.workload import Workload
from flaxner.wording import number_of

# Bytes of temporaries per token, layer and feature, for a first guess only.
GUESS = 40
MARGIN = 0.97  # fraction of the memory to use: the line through two points may be off by the rest


@dataclasses.dataclass(frozen=True)
class Largest:
    """The largest number of rows that was compiled and fits.

    Attributes:
      rows: rows over all chips; 0 if not even one row per chip fits.
      sentences: approximate number of sentences that these rows hold.
      refused: the fewest rows that were compiled and do not fit; None if there are none.
      whole: whether the rows hold the whole corpus, so that more were not tried.
      memory: bytes on a chip.
      compilations: number of compilations that the search took.
    """

    rows: int
    sentences: int
    refused: int | None
    whole: bool
    memory: int
    compilations: int

    def sentence(self, chips: int) -> str:
        """Describe it, for the table."""
        if not self.rows:
            return "nothing fits, not even one row per chip: try --remat, --fsdp or a shorter row"
        text = (
            f"{number_of(self.rows // chips, 'rows')} per chip, "
            f"about {number_of(self.sentences, 'sentences')} per step: compiled, "
            f"{self.memory / 2**30:.2f} GiB"
        )
        if self.whole:
            return text + "; the whole corpus in one step"
        return text + (f"; {self.refused // chips} do not fit" if self.refused else "")


def first_guess(compiler: Compiler, work: Workload, held: int, multiple: int) -> int:
    """Estimate the rows that just fit beside `held` bytes on a chip, before compiling anything."""
    room = (compiler.topology.chip.hbm_bytes - 2**28) * MARGIN - held
    rows = int(room / _bytes_a_row(compiler, work, multiple)) // multiple * multiple
    return min(max(rows, multiple), _most(work, multiple))


def largest_rows(
    compiler: Compiler, known: dict[int, Compiled], work: Workload, multiple: int
) -> Largest:
    """Search for the largest batch that fits.

    Args:
      compiler: compiler of the run.
      known: rows -> training step, including `work.rows`.
      work: the run's shapes.
      multiple: rows are a multiple of this (chips x parts of a batch).
    """
    first, known = known[work.rows], dict(known)
    limit = first.available or compiler.topology.chip.hbm_bytes - 2**28
    row, most = _bytes_a_row(compiler, work, multiple), _most(work, multiple)
    mean, sentences = work.tokens / work.sentences, work.sentences
    for _ in range(4):
        limit = min([limit, *(m.available for m in known.values() if m.available)])
        fitting, room = _fitting(known, limit), limit * MARGIN
        if any(known[count].memory > 0.93 * room for count in fitting):
            break
        rows = _next(known, fitting, row, room, multiple, most)
        if rows in known or rows < multiple:
            break
        known[rows] = compiler.train(rows, work.length)
    fitting = _fitting(known, limit)
    refused = [count for count in known if count not in fitting]
    best = max(fitting, default=0)
    return Largest(
        rows=best,
        sentences=min(int(best * work.length * max(work.fill, 0.95) / mean), sentences),
        refused=min(refused, default=None),
        whole=best == most,
        memory=known[best].memory if best else 0,
        compilations=len(known) - 1,
    )


def _bytes_a_row(compiler: Compiler, work: Workload, multiple: int) -> float:
    """Bytes on a chip for one more row over all chips."""
    sizes = compiler.model.config
    return GUESS * work.length * sizes.num_hidden_layers * sizes.hidden_size / multiple


def _most(work: Workload, multiple: int) -> int:
    """Rows that hold the whole corpus."""
    most = -(-int(work.tokens / work.length / 0.98) // multiple) * multiple
    return max(most, work.rows)


def _fitting(known: dict[int, Compiled], limit: int) -> list[int]:
    """Return the rows that fit, by the compiler and by our own sum.

    The TPU compiler has accepted programs whose sum exceeded what it said to have, by 0.2%.
    """
    return [count for count, made in known.items() if made.fits and made.memory <= limit]


def _next(
    known: dict[int, Compiled],
    fitting: list[int],
    row: float,
    room: float,
    multiple: int,
    most: int,
) -> int:
    """Choose the rows to compile next, on the line through what is known."""
    needed = {count: made.memory for count, made in known.items()}
    low = max(fitting, default=0)
    high = min((count for count in known if count not in fitting), default=most + 1)
    counts = sorted(needed)
    if len(counts) >= 2:
        a, b = counts[-2:] if not low else (low, high if high in needed else counts[-2])
        a, b = min(a, b), max(a, b)
        row = max((needed[b] - needed[a]) / max(b - a, 1), row / 8)
    base = low or counts[0]
    start = needed[base] if low else needed[counts[0]]
    rows = int((base + (room - start) / row) // multiple) * multiple
    if high <= most:
        rows = min(rows, int(low + 0.9 * (high - low)) // multiple * multiple)
    return max(min(rows, most), low, multiple if not low else 0)
