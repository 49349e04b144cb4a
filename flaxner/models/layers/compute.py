"""How a forward pass is carried out: dtypes and layout, none of which changes a parameter."""

from __future__ import annotations

import dataclasses
import re

import jax

TF32 = "tf32"  # a precision that is no dtype: float32 outside of products


@dataclasses.dataclass(frozen=True)
class Compute:
    """How the forward pass is carried out; none of it changes parameters or their names.

    Attributes:
      dtype: of the operands of linear layers; parameters and sums stay float32.
      activations: dtype of all between them, attention too; empty: as `dtype`.
      tf32: operands of float32 are rounded to TF32 (10 bits of float32's 23 behind the point) where
        the encoder multiplies; NVIDIA GPUs alone have it.
      scan_layers: run the layers as one `lax.scan`, so that compile time does not grow with
        depth.
      kernels: whose kernels attend to long rows, "gpu" or "tpu"; empty: nobody's, they are
        attended to as short ones.
      remat: recompute each layer in the backward pass instead of keeping its activations.
    """

    dtype: str = "float32"
    activations: str = ""
    tf32: bool = False
    kernels: str = ""
    scan_layers: bool = False
    remat: bool = False

    @property
    def activation_dtype(self) -> str:
        """dtype of what goes from one operation to the next."""
        return self.activations or self.dtype

    @classmethod
    def here(cls, precision: str, device: jax.Device | None = None, **layout: bool) -> Compute:
        """What suits a device, or those of this process if None; see `on`."""
        device = jax.devices()[0] if device is None else device
        capability = getattr(device, "compute_capability", None)
        return cls.on(device.platform, precision, capability, **layout)

    @classmethod
    def on(
        cls, platform: str, precision: str, capability: str | None = None, **layout: bool
    ) -> Compute:
        """What suits a platform ("cpu", "gpu", "tpu"); a precision is a dtype, or "tf32".

        The capability is that of an NVIDIA GPU, "9.0"; None: new enough for the kernels.

        CPUs multiply bfloat16 but do little else with it: what is not a matrix product costs
        less there in float32. On TPU and GPU the memory it saves is worth more.

        Raises:
          ValueError: TF32 on another platform than a GPU.
        """
        if precision == TF32 and platform != "gpu":
            raise ValueError(
                f"precision {TF32} requires an NVIDIA GPU, but the platform is {platform.upper()}: "
                "use float32 or bfloat16"
            )
        dtype = "float32" if precision == TF32 else precision
        activations = "float32" if platform == "cpu" else ""
        kernels = platform if dtype == "bfloat16" and platform in ("gpu", "tpu") else ""
        if capability is not None and not _multiplies_bfloat16(capability):
            kernels = ""
        return cls(dtype, activations, tf32=precision == TF32, kernels=kernels, **layout)


def _multiplies_bfloat16(capability: str) -> bool:
    """Whether a GPU has units for it that Triton uses; another maker's capability is no number."""
    return re.fullmatch(r"\d+\.\d+", capability) is not None and float(capability) >= 8.0
