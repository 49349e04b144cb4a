"""Counter-based random bytes: any part of a mask can be redrawn on its own, anywhere.

Threefry-2x32 with twenty rounds (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from flaxner.models.layers.dropout import LEVELS

Array = jax.Array
BYTES = 8  # bytes per counter
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry(key: tuple[Array, Array], counter: tuple[Array, Array]) -> tuple[Array, Array]:
    """Compute two random words from a two-word counter; all uint32."""
    keys = (*key, key[0] ^ key[1] ^ jnp.uint32(0x1BD11BDA))
    one, two = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            one = one + two
            two = (two << jnp.uint32(turn)) | (two >> jnp.uint32(32 - turn))
            two = one ^ two
        one = one + keys[(group + 1) % 3]
        two = two + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return one, two


def levels_of(
    key: tuple[Array, Array], lines: Array, columns: Array, *, turned: bool = False
) -> Array:
    """Draw random levels for the pairs of lines and columns in a row, uint32.

    Args:
      key: of the row.
      lines: indices of (head, query) pairs, unique within a row.
      columns: indices of groups of eight keys.
      turned: transpose the result, so that keys (eight per column) come first.
    """
    axes = (1, 0) if turned else (0, 1)
    sizes = (lines.shape[0], columns.shape[0])

    def in_order(of_lines: int, of_columns: int) -> tuple[int, int]:
        return (of_columns, of_lines) if turned else (of_lines, of_columns)

    def spread(x: Array, axis: int) -> Array:
        return jax.lax.broadcast_in_dim(x.astype(jnp.uint32), in_order(*sizes), (axes[axis],))

    # Expand every counter to its bytes, along a new axis after that of the columns.
    drawn = threefry(key, (spread(lines, 0), spread(columns, 1)))
    one, two = (jnp.expand_dims(x, axes[1] + 1) for x in drawn)
    shape = [BYTES if axis == axes[1] + 1 else 1 for axis in range(3)]
    lanes = jax.lax.broadcasted_iota(jnp.uint32, shape, axes[1] + 1)
    words = jnp.where(lanes < 4, one, two)
    levels = (words >> (jnp.uint32(8) * (lanes & jnp.uint32(3)))) & jnp.uint32(LEVELS - 1)
    return levels.reshape(in_order(sizes[0], sizes[1] * BYTES))
