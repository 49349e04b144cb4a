"""Sizes and settings of BERT, as `transformers.BertConfig` has them; what we have not, refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
SQRT_HALF = 0.5**0.5


def exact_gelu(x: Array) -> Array:
    """x times the normal distribution function (Hendrycks and Gimpel 2016), as torch computes it.

    `jax.nn.gelu` takes erfc, which costs an exponential; erf is a rational function.
    """
    return 0.5 * x * (1.0 + jax.lax.erf(x * SQRT_HALF))


# hidden_act -> function; the names are those of transformers.activations.ACT2FN.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": exact_gelu,
    "gelu_python": exact_gelu,
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_fast": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_accurate": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": jax.nn.mish,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "linear": lambda x: x,
}

# Fields of a Hub config.json that change the computation in a way this module has not:
# field -> the only values it may have here.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": (None, "absolute"),
    "is_decoder": (None, False),
    "add_cross_attention": (None, False),
    "pruned_heads": (None, {}),
    "embedding_size": (None,),
    "quantization_config": (None,),
}


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The fields of `transformers.BertConfig` that shape the computation, with its defaults."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    classifier_dropout: float | None = None
    num_labels: int = 2

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_attention_heads: "
                f"{self.hidden_size} is no multiple of {self.num_attention_heads}"
            )
        if self.hidden_act not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ValueError(f"hidden_act must be one of {known}: got {self.hidden_act!r}")

    @classmethod
    def from_hf(cls, fields: Mapping[str, Any], num_labels: int | None = None) -> BertConfig:
        """Read the content of a Hub `config.json`.

        Args:
          fields: the parsed JSON object.
          num_labels: width of the classification head; that of the file's id2label if None.

        Raises:
          ValueError: a field asks for a computation that this module has not, named with
            its value.
        """
        refused = [
            f"{name}={fields[name]!r}"
            for name, allowed in UNSUPPORTED.items()
            if name in fields and fields[name] not in allowed
        ]
        if refused:
            raise ValueError(f"this BERT variant is not supported: config.json has {refused}")
        names = {field.name for field in dataclasses.fields(cls)} - {"num_labels"}
        known = {name: value for name, value in fields.items() if name in names}
        if num_labels is None:
            num_labels = len(fields.get("id2label") or {}) or int(fields.get("num_labels", 2))
        return cls(**known, num_labels=num_labels)

    @property
    def head_dropout_prob(self) -> float:
        """Dropout before the classification head: classifier_dropout, else hidden dropout."""
        if self.classifier_dropout is None:
            return self.hidden_dropout_prob
        return self.classifier_dropout


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
