"""Means of the weights, which are evaluated and published in place of the weights.

Training continues with the weights themselves.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from flaxner.config.train import TrainConfig
from flaxner.runs.state import TrainState


@dataclasses.dataclass(frozen=True)
class Averaging:
    """Which mean of the weights a run keeps: none, a moving average, or that of some evaluations.

    Attributes:
      ema: decay of the moving average (Polyak and Juditsky 1992); 0 disables it. The decay is at
        most (1 + n) / (10 + n) after n steps, so that the initial weights are soon forgotten.
      last: number of evaluations whose weights are averaged (Izmailov et al. 2018); 0 disables it.
    """

    ema: float = 0.0
    last: int = 0

    @classmethod
    def of(cls, config: TrainConfig) -> Averaging:
        """Return the averaging that the settings ask for."""
        return cls(config.ema, config.average_last)

    def init(self, params: Any) -> Any:
        """Return `TrainState.average` at step 0."""
        if self.ema:
            return {"mean": jax.tree.map(jnp.copy, params)}
        if self.last:
            zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(self.last)]
            mean = jax.tree.map(jnp.zeros_like, params)
            return {"mean": mean, "latest": tuple(zeros), "count": jnp.zeros((), jnp.int32)}
        return None

    def after_step(self, average: Any, params: Any, step: jax.Array) -> Any:
        """Return the average after `step` steps, given the weights."""
        if not self.ema:
            return average
        done = step.astype(jnp.float32)
        kept = jnp.minimum(self.ema, (1.0 + done) / (10.0 + done))
        with jax.named_scope("optimizer"):
            mean = jax.tree.map(lambda a, p: kept * a + (1.0 - kept) * p, average["mean"], params)
        return {"mean": mean}

    def at_evaluation(self, state: TrainState) -> TrainState:
        """Return the state whose `published` weights are to be evaluated."""
        if not self.last:
            return state
        # A copy, because the weights themselves are donated to the next step.
        latest = (jax.tree.map(jnp.copy, state.params), *state.average["latest"][:-1])
        count = jnp.minimum(state.average["count"] + 1, self.last)
        shares = jnp.where(jnp.arange(self.last) < count, 1.0 / count, 0.0).astype(jnp.float32)

        def mean(*values: jax.Array) -> jax.Array:
            total = shares[0] * values[0]
            for share, value in zip(shares[1:], values[1:], strict=True):
                total += share * value
            return total

        average = {"mean": jax.tree.map(mean, *latest), "latest": latest, "count": count}
        return state._replace(average=average)
