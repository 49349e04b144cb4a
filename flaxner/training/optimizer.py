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
    """Return True where weight decay applies: not to biases, layer norms and CRF scores."""
    return {
        path: not path.endswith(("bias", "/scale")) and not path.startswith(crf.PREFIX)
        for path in params
    }


class AdamState(NamedTuple):
    """The state of AdamW.

    Attributes:
      count: updates made, int32 scalar.
      mu: moving average of the gradient.
      nu: moving average of its square.
    """

    count: Any
    mu: Any
    nu: Any


def global_norm(gradients: Any) -> jax.Array:
    """Return the square root of the sum of all squares, float32."""
    return jax.lax.platform_dependent(
        jax.tree.leaves(gradients), cuda=norm_by_lines, default=optax.tree.norm
    )


def norm_by_lines(leaves: Sequence[jax.Array]) -> jax.Array:
    """Compute the global norm as two sums: over all vectors, and over the row sums of all matrices.

    A separate sum for each array would take one or two kernels on a GPU. The barrier keeps XLA from
    splitting these two sums up again.
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
    max_grad_norm: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    """Return gradient clipping by global norm followed by AdamW with decoupled weight decay.

    The update equals that of torch.optim.AdamW after torch.nn.utils.clip_grad_norm_. `update` takes
    `rates`, path -> learning rate, `decay`, the weight decay, and `scale`, a factor on all
    gradients: scaling and clipping are combined into one number, applied where the moments are
    updated, so that no scaled copy of the gradient goes through memory. As with torch's parameter
    groups, weight decay is multiplied by each parameter's own learning rate.

    Args:
      max_grad_norm: maximum global norm of the scaled gradient; 0 disables clipping.
      beta1: decay of the gradient's moving average.
      beta2: decay of the squared gradient's moving average.
      epsilon: added to the root of the bias-corrected mean square.

    Returns:
      The optax pair: `init(params)` -> AdamState of zeros, and `update(grads, state, params,
      rates=rates, decay=decay, scale=1.0)` -> (what to add to the parameters, the next state);
      `params` is required.
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
        decay: Any,
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
            return -rate * (step + decay * p if decays else step)

        updates = jax.tree.map(change, mu, nu, params, decay_mask(params), rates)
        return updates, AdamState(count, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


def optimizer_of(config: TrainConfig) -> optax.GradientTransformationExtraArgs:
    """Return the optimizer that the settings specify."""
    return make_optimizer(
        max_grad_norm=config.max_grad_norm,
        beta1=config.adam_beta1,
        beta2=config.adam_beta2,
        epsilon=config.adam_epsilon,
    )
