"""AdamW with decoupled weight decay (Loshchilov and Hutter 2019; Devlin et al. 2019, A.2)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from flaxner.config.train import TrainConfig
from flaxner.models import crf
from flaxner.models.layers.merging import scaled, side_by_side


def decay_mask(params: Mapping[str, Any]) -> dict[str, bool]:
    """True where weight decay applies: not on biases, layer norms and the scores of a CRF."""
    return {
        path: not path.endswith(("/bias", "/scale")) and not path.startswith(crf.PREFIX)
        for path in params
    }


class AdamState(NamedTuple):
    """AdamW's memory.

    Attributes:
      count: updates made, int32 scalar.
      mu: running mean of the gradient.
      nu: running mean of its square.
    """

    count: Any
    mu: Any
    nu: Any


def global_norm(gradients: Any) -> jax.Array:
    """The root of the sum of all squares, float32."""
    return jax.lax.platform_dependent(
        jax.tree.leaves(gradients), cuda=norm_by_lines, default=optax.tree.norm
    )


def norm_by_lines(leaves: Sequence[jax.Array]) -> jax.Array:
    """The same as two sums: over all vectors, and over the sums of all lines of matrices.

    A sum for each array is one or two kernels on a GPU. The barriers keep XLA from taking these
    two apart again.
    """
    vectors = [leaf.ravel() for leaf in leaves if leaf.ndim < 2]
    matrices = side_by_side([leaf for leaf in leaves if leaf.ndim > 1])
    lines = [jnp.square(leaf).sum(-1).ravel() for leaf in matrices]
    values, sums = jax.lax.optimization_barrier(
        [jnp.concatenate([jnp.zeros(1, jnp.float32), *part]) for part in (vectors, lines)]
    )
    return jnp.sqrt(jnp.square(values).sum() + sums.sum())


def make_optimizer(
    *,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    """Clipping by global norm (0: none), then AdamW with decoupled weight decay.

    The update equals torch.optim.AdamW's after torch.nn.utils.clip_grad_norm_. Its `update`
    takes `rates`, path -> learning rate, and `scale`, a factor on all gradients: scaling and
    clipping are one number, applied where the moments are updated, so that no scaled copy of the
    gradient goes through memory. As in torch's groups of parameters, weight decay goes with each
    one's own rate.

    Args:
      weight_decay: times the learning rate, what a parameter loses of itself in an update;
        biases and the scales of norms lose nothing, see `decay_mask`.
      max_grad_norm: a larger global norm of the scaled gradient is scaled down to this; 0: never.
      beta1: share of the gradient's running mean that an update keeps.
      beta2: the same of its square's.
      epsilon: added to the root of the mean square, after correcting its bias.

    Returns:
      optax's pair: `init(params)` -> AdamState of zeros, and `update(grads, state, params,
      rates=rates, scale=1.0)` -> (what to add to the parameters, the next state); `params` must
      be given.
    """

    def init(params: Any) -> AdamState:
        zeros = functools.partial(jax.tree.map, jnp.zeros_like)
        return AdamState(jnp.zeros((), jnp.int32), zeros(params), zeros(params))

    @jax.named_scope("optimizer")
    def update(
        grads: Any,
        state: AdamState,
        params: Any = None,
        *,
        rates: Mapping[str, Any],
        scale: Any = 1.0,
        **_: Any,
    ) -> tuple[Any, AdamState]:
        factor = jnp.asarray(scale, jnp.float32)
        if max_grad_norm > 0:
            norm = factor * global_norm(grads)
            factor = factor * jnp.where(norm < max_grad_norm, 1.0, max_grad_norm / norm)
        count = state.count + 1
        rates = {path: rates[path] for path in params}
        bias1, bias2 = (1.0 - jnp.float32(beta) ** count for beta in (beta1, beta2))

        def moment(beta: float, power: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
            return lambda old, g: beta * old + (1.0 - beta) * g**power

        grads = scaled(grads, factor)
        mu = jax.tree.map(moment(beta1, 1), state.mu, grads)
        nu = jax.tree.map(moment(beta2, 2), state.nu, grads)

        def change(m: jax.Array, v: jax.Array, p: jax.Array, decays: bool, rate: Any) -> jax.Array:
            step = (m / bias1) / (jnp.sqrt(v / bias2) + epsilon)
            return -rate * (step + weight_decay * p if decays else step)

        updates = jax.tree.map(change, mu, nu, params, decay_mask(params), rates)
        return updates, AdamState(count, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


def optimizer_of(config: TrainConfig) -> optax.GradientTransformationExtraArgs:
    """The optimizer that the settings name."""
    return make_optimizer(
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        beta1=config.adam_beta1,
        beta2=config.adam_beta2,
        epsilon=config.adam_epsilon,
    )
