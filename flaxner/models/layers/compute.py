"""How a forward pass is carried out: dtypes and layout, none of which changes a parameter."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Compute:
    """How the forward pass is carried out; none of it changes parameters or their names.

    Attributes:
      dtype: of the operands of linear layers; parameters and sums stay float32.
      activations: dtype of all between them, attention too; empty: as `dtype`.
      scan_layers: run the layers as one `lax.scan`, so that compile time does not grow with
        depth.
      remat: recompute each layer in the backward pass instead of keeping its activations.
    """

    dtype: str = "float32"
    activations: str = ""
    scan_layers: bool = False
    remat: bool = False

    @property
    def activation_dtype(self) -> str:
        """dtype of what goes from one operation to the next."""
        return self.activations or self.dtype

    @classmethod
    def on(cls, platform: str, dtype: str, **layout: bool) -> Compute:
        """What suits a platform ("cpu", "gpu", "tpu").

        CPUs multiply bfloat16 but do little else with it: what is not a matrix product costs
        less there in float32. On TPU and GPU the memory it saves is worth more.
        """
        return cls(dtype, "float32" if platform == "cpu" else "", **layout)
