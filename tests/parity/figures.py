"""`python -m tests.parity.figures`: print how far each family is from torch, for docs/encoders.md.

Computes what tests/parity/test_families.py compares, and prints the largest differences.
"""

import numpy as np

from tests.compare import TOLERANCES
from tests.families import FAMILIES, Family
from tests.parity.sides import BASES, gradients, states_and_logits

HEAD = (
    *("`model_type`", "small configs", "hidden states", "logits", "gradients, absolute"),
    *("gradients, relative", "base size", "hidden states there", "logits there"),
)
FLOOR = 100 * TOLERANCES["gradients"][0]
DRAWN = {"initializer_range": 0.06}  # as in the tests of small models


def row(family: Family) -> list[str]:
    """Return a family's row of the table."""
    variants = [{}] if family.lead else list(family.variants.values())  # same network as its lead
    small = [states_and_logits(family, {**DRAWN, **changes}) for changes in variants]
    base = states_and_logits(family.at(BASES[family.model_type]), {}, batch=2, length=300)
    absolute, relative = of_gradients(*gradients(family))
    return [
        f"`{family.model_type}`",
        str(len(small)),
        *largest([side for sides in small for side in sides]),
        f"{absolute:.1e}",
        f"{relative:.1e}",
        BASES[family.model_type].split("/")[-1],
        *largest(base),
    ]


def largest(sides: list[tuple[str, np.ndarray, np.ndarray]]) -> tuple[str, str]:
    """Return the largest absolute differences of hidden states and of logits."""
    apart = [(name, float(np.abs(mine - other).max())) for name, mine, other in sides]
    kinds = ("hidden", "logits")
    states, logits = (max(d for name, d in apart if name.startswith(kind)) for kind in kinds)
    return f"{states:.1e}", f"{logits:.1e}"


def of_gradients(ours: dict, theirs: dict) -> tuple[float, float]:
    """Return the largest difference, absolute and relative to its array's largest element.

    Arrays without an element above FLOOR count only towards the absolute one: if a gradient is 0 up
    to rounding (biases to which softmax is invariant), a ratio is meaningless.
    """
    absolute = relative = 0.0
    for name, other in theirs.items():
        difference, largest = float(np.abs(ours[name] - other).max()), float(np.abs(other).max())
        absolute = max(absolute, difference)
        if largest > FLOOR:
            relative = max(relative, difference / largest)
    return absolute, relative


if __name__ == "__main__":
    print(f"| {' | '.join(HEAD)} |\n| {' | '.join(['---'] * len(HEAD))} |", flush=True)
    for each in FAMILIES.values():
        print(f"| {' | '.join(row(each))} |", flush=True)
