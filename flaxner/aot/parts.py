"""Which part of the model an instruction belongs to: the `jax.named_scope` it was written in."""

from __future__ import annotations

import re

# scope in the model, the loss or the optimizer -> name of the part in reports.
PARTS = {
    "embeddings": "embeddings",
    "attention": "attention",
    "softmax": "softmax",
    "feed_forward": "feed-forward",
    "activation": "activation",
    "layer_norm": "layer norm",
    "dropout": "dropout",
    "stacking": "stacking of layers",
    "head": "head",
    "loss": "loss",
    "optimizer": "optimizer",
}
_SCOPE = re.compile(rf"(?<![\w.\-])({'|'.join(PARTS)})(?![\w.\-])")


def part_of(rest: str) -> str | None:
    """Return the part that an instruction's text names: the innermost scope of its `op_name`.

    After differentiation a scope appears inside transformations: `transpose(jvp(attention))`.
    """
    name = re.search(r'op_name="([^"]*)"', rest)
    scopes = _SCOPE.findall(name[1]) if name else []
    return PARTS[scopes[-1]] if scopes else None
