"""AdamW with warm-up and decay (Loshchilov and Hutter 2019; Devlin et al. 2019, A.2)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from flaxner.config.train import TrainConfig
from flaxner.models import crf
from flaxner.models.network import Network
from flaxner.training.rates import peak_rates


def linear_schedule(peak: float, steps: int, warmup_ratio: float) -> optax.Schedule:
    """0 -> peak over the first share of the steps, then peak -> 0 at `steps`.

    As `transformers.get_linear_schedule_with_warmup`: the first warm-up step has rate 0.
    """
    return _warmed_up(
        peak, steps, warmup_ratio, lambda left: optax.linear_schedule(peak, 0.0, left)
    )


def cosine_schedule(peak: float, steps: int, warmup_ratio: float) -> optax.Schedule:
    """0 -> peak over the first share of the steps, then half a cosine to 0 at `steps`.

    As `transformers.get_cosine_schedule_with_warmup` (Loshchilov and Hutter 2017, no restarts).
    """
    return _warmed_up(
        peak, steps, warmup_ratio, lambda left: optax.cosine_decay_schedule(peak, left)
    )


def constant_schedule(peak: float, steps: int, warmup_ratio: float) -> optax.Schedule:
    """0 -> peak over the first share of the steps, then peak.

    As `transformers.get_constant_schedule_with_warmup`.
    """
    return _warmed_up(peak, steps, warmup_ratio, lambda left: optax.constant_schedule(peak))


def _warmed_up(
    peak: float, steps: int, warmup_ratio: float, after: Callable[[int], optax.Schedule]
) -> optax.Schedule:
    """0 -> peak, then what `after` makes of the steps that are left."""
    warmup = round(steps * warmup_ratio)
    rest = after(max(steps - warmup, 1))
    if not warmup:
        return rest
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), rest], [warmup])


SCHEDULES = {"linear": linear_schedule, "cosine": cosine_schedule, "constant": constant_schedule}


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


def make_optimizer(
    schedule: optax.Schedule,
    *,
    weight_decay: float = 0.01,
    max_grad_norm: float = 1.0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    others: Mapping[str, optax.Schedule] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Clipping by global norm (0: none), then AdamW with decoupled weight decay.

    The update equals torch.optim.AdamW's after torch.nn.utils.clip_grad_norm_. Its `update`
    takes `scale`, a factor on all gradients: scaling and clipping are one number, applied where
    the moments are updated, so that no scaled copy of the gradient goes through memory.

    Args:
      schedule: updates made before -> learning rate, a float32 scalar.
      weight_decay: times the learning rate, what a parameter loses of itself in an update;
        biases and the scales of norms lose nothing, see `decay_mask`.
      max_grad_norm: a larger global norm of the scaled gradient is scaled down to this; 0: never.
      beta1: share of the gradient's running mean that an update keeps.
      beta2: the same of its square's.
      epsilon: added to the root of the mean square, after correcting its bias.
      others: path -> schedule of parameters that have not `schedule`. As in torch's groups of
        parameters, weight decay goes with each one's own rate.

    Returns:
      optax's pair: `init(params)` -> AdamState of zeros, and `update(grads, state, params,
      scale=1.0)` -> (what to add to the parameters, the next state); `params` must be given.
    """

    def init(params: Any) -> AdamState:
        zeros = functools.partial(jax.tree.map, jnp.zeros_like)
        return AdamState(jnp.zeros((), jnp.int32), zeros(params), zeros(params))

    @jax.named_scope("optimizer")
    def update(
        grads: Any, state: AdamState, params: Any = None, *, scale: Any = 1.0, **_: Any
    ) -> tuple[Any, AdamState]:
        factor = jnp.asarray(scale, jnp.float32)
        if max_grad_norm > 0:
            norm = factor * optax.tree.norm(grads)
            factor = factor * jnp.where(norm < max_grad_norm, 1.0, max_grad_norm / norm)
        count = state.count + 1
        made = {id(plan): plan(state.count) for plan in (schedule, *(others or {}).values())}
        rates = {path: made[id((others or {}).get(path, schedule))] for path in params}
        bias1, bias2 = (1.0 - jnp.float32(beta) ** count for beta in (beta1, beta2))

        def moment(beta: float, power: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
            return lambda old, g: beta * old + (1.0 - beta) * (factor * g) ** power

        mu = jax.tree.map(moment(beta1, 1), state.mu, grads)
        nu = jax.tree.map(moment(beta2, 2), state.nu, grads)

        def change(m: jax.Array, v: jax.Array, p: jax.Array, decays: bool, rate: Any) -> jax.Array:
            step = (m / bias1) / (jnp.sqrt(v / bias2) + epsilon)
            return -rate * (step + weight_decay * p if decays else step)

        updates = jax.tree.map(change, mu, nu, params, decay_mask(params), rates)
        return updates, AdamState(count, mu, nu)

    return optax.GradientTransformationExtraArgs(init, update)


def optimizer_of(
    config: TrainConfig, steps: int, model: Network
) -> tuple[optax.Schedule, optax.GradientTransformationExtraArgs]:
    """The schedule and the optimizer that the settings of a run of so many steps name."""
    shape = functools.cache(functools.partial(_shape, config, steps))
    schedule = shape(config.learning_rate)
    peaks = peak_rates(config, model)
    optimizer = make_optimizer(
        schedule,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        beta1=config.adam_beta1,
        beta2=config.adam_beta2,
        epsilon=config.adam_epsilon,
        others={path: shape(peak) for path, peak in peaks.items()},
    )
    return schedule, optimizer


def decay_of(config: TrainConfig, steps: int, model: Network, path: str) -> optax.Schedule:
    """Updates made before -> the share of itself that a parameter with weight decay loses."""
    peak = peak_rates(config, model).get(path, config.learning_rate)
    schedule = _shape(config, steps, peak)
    return lambda count: config.weight_decay * schedule(count)


def _shape(config: TrainConfig, steps: int, peak: float) -> optax.Schedule:
    """The schedule that the settings name, with this peak."""
    return SCHEDULES[config.schedule](peak, steps, config.warmup_ratio)
