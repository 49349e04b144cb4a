"""Dtypes and layout of a forward pass; none of them changes a parameter."""

from __future__ import annotations

import dataclasses
import re

import jax

TF32 = "tf32"  # a precision that is not a dtype: everything except products stays float32


@dataclasses.dataclass(frozen=True)
class Compute:
    """How the forward pass is computed; does not change parameters or their names.

    Attributes:
      dtype: of the operands of linear layers; parameters and sums stay float32.
      activations: dtype of everything between them, including attention; empty: as `dtype`.
      tf32: round float32 operands of the encoder's products to TF32 (10 of float32's 23 mantissa
        bits); NVIDIA GPUs only.
      scan_layers: run the layers as one `lax.scan`, so that compile time does not grow with
        depth.
      kernels: platform whose attention kernels are used for long rows, "gpu" or "tpu"; empty:
        none, long rows are computed like short ones.
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
        """dtype of the values passed from one operation to the next."""
        return self.activations or self.dtype

    @classmethod
    def here(cls, precision: str, device: jax.Device | None = None, **layout: bool) -> Compute:
        """Choose settings for a device (default: the first of this process); see `on`."""
        device = jax.devices()[0] if device is None else device
        capability = getattr(device, "compute_capability", None)
        return cls.on(device.platform, precision, capability, **layout)

    @classmethod
    def on(
        cls, platform: str, precision: str, capability: str | None = None, **layout: bool
    ) -> Compute:
        """Choose settings for a platform ("cpu", "gpu", "tpu"); a precision is a dtype or "tf32".

        The capability is an NVIDIA GPU's compute capability, such as "9.0"; None: new enough for
        the kernels.

        CPUs support little more than matrix products in bfloat16: everything else is faster in
        float32 there. On TPUs and GPUs the memory that bfloat16 saves is worth more.

        Raises:
          ValueError: TF32 on a platform other than a GPU.
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
    """Return whether a GPU has bfloat16 units that Triton uses.

    False for GPUs of other makers than NVIDIA, whose capability is not a number.
    """
    return re.fullmatch(r"\d+\.\d+", capability) is not None and float(capability) >= 8.0
