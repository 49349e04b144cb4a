"""Learning rates: their schedule over a run, and the peak rate of each part of a model.

With the weight decay, they are arguments of the training step, so that runs with different ones
share its programs.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flaxner.config.train import TrainConfig
from flaxner.models import crf
from flaxner.models.network import Model, Network


def linear_schedule(peak: float, steps: int, warmup_ratio: float) -> optax.Schedule:
    """Return a schedule with linear warm-up to `peak`, then linear decay to 0 at `steps`.

    Equals `transformers.get_linear_schedule_with_warmup`: the first warm-up step has rate 0.
    """
    return _warmed_up(
        peak, steps, warmup_ratio, lambda left: optax.linear_schedule(peak, 0.0, left)
    )


def cosine_schedule(peak: float, steps: int, warmup_ratio: float) -> optax.Schedule:
    """Return a schedule with linear warm-up to `peak`, then half a cosine to 0 at `steps`.

    Equals `transformers.get_cosine_schedule_with_warmup` (Loshchilov and Hutter 2017, without
    restarts).
    """
    return _warmed_up(
        peak, steps, warmup_ratio, lambda left: optax.cosine_decay_schedule(peak, left)
    )


def constant_schedule(peak: float, steps: int, warmup_ratio: float) -> optax.Schedule:
    """Return a schedule with linear warm-up to `peak`, then constant.

    Equals `transformers.get_constant_schedule_with_warmup`.
    """
    return _warmed_up(peak, steps, warmup_ratio, lambda left: optax.constant_schedule(peak))


def _warmed_up(
    peak: float, steps: int, warmup_ratio: float, after: Callable[[int], optax.Schedule]
) -> optax.Schedule:
    """Return linear warm-up to `peak`, followed by the schedule `after(remaining steps)`."""
    warmup = round(steps * warmup_ratio)
    rest = after(max(steps - warmup, 1))
    if not warmup:
        return rest
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), rest], [warmup])


SCHEDULES = {"linear": linear_schedule, "cosine": cosine_schedule, "constant": constant_schedule}

LAYER = re.compile(r"layers/(\d+)/")
SHORTEST = 10  # bits; runs of up to 1,023 steps have plans of the same size
BELOW = ("embeddings", "projection/", "relative")  # inputs of the lowest layer or of every layer


def peak_rates(config: TrainConfig, model: Network) -> dict[str, float]:
    """Return path -> peak rate, for the parameters whose peak is not `learning_rate`.

    Layer i of N has learning_rate * layer_decay ** (N - 1 - i), so that the top layer has the full
    rate; the embeddings and what all layers share have the rate of a layer below the lowest (Howard
    and Ruder 2018; Clark et al. 2020). The head and the scores of a CRF have rates of their own.
    """
    if not isinstance(model, Model):  # a head over fixed vectors has no parts
        return {}
    peaks = {}
    names = model.encoder.names
    head = names.head + names.absent_in_encoder
    layers = model.config.num_hidden_layers
    for path in model.shapes:
        peak: float = config.learning_rate
        layer = LAYER.match(path)
        if path.startswith(crf.PREFIX):
            peak = config.crf_learning_rate
        elif path.startswith(head):
            peak = peak if config.head_learning_rate is None else config.head_learning_rate
        elif layer or path.startswith(BELOW):
            above = layers - 1 - int(layer[1]) if layer else layers
            peak *= config.layer_decay**above
        if peak != config.learning_rate:
            peaks[path] = peak
    return peaks


class Plan(NamedTuple):
    """The rates and the weight decay of a run, as arguments of its steps.

    Attributes:
      shares: the fraction of its peak that every rate has after n updates, by n; longer than the
        run, so that runs of different lengths have arrays of the same shape.
      peaks: the peak of each parameter, in the order of their paths, followed by `learning_rate`;
        float32.
      decay: the weight decay, which is multiplied by the rates; float32.
    """

    shares: Any
    peaks: Any
    decay: Any

    def at(self, count: jax.Array, paths: Sequence[str]) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return `learning_rate` at an update, and path -> rate of each parameter; scalars."""
        rates = self.shares[count] * jnp.asarray(self.peaks)
        return rates[-1], {path: rates[i] for i, path in enumerate(paths)}


@dataclasses.dataclass(frozen=True, eq=False)
class Rates:
    """The learning rates of a run, and its weight decay.

    Attributes:
      shares: the fraction of its peak that every rate has after n updates, by n; (steps,) float32.
      peak: the peak of parameters that are not in `peaks`.
      peaks: path -> peak of the other parameters.
      decay: the weight decay, which is multiplied by the rates.
    """

    shares: np.ndarray
    peak: float
    peaks: Mapping[str, float]
    decay: float

    def plan(self, paths: Sequence[str]) -> Plan:
        """Return the plan for the parameters at these paths."""
        size = 1 << max(SHORTEST, len(self.shares).bit_length())
        shares = np.pad(self.shares, (0, size - len(self.shares)), mode="edge")
        peaks = [*(self.peaks.get(path, self.peak) for path in paths), self.peak]
        return Plan(shares, np.asarray(peaks, np.float32), np.float32(self.decay))


def rates_by(
    schedule: str,
    steps: int,
    warmup_ratio: float,
    peak: float,
    peaks: Mapping[str, float] | None = None,
    decay: float = 0.01,
) -> Rates:
    """Return the rates of `steps` steps under one of SCHEDULES; see `Rates`."""
    course = SCHEDULES[schedule](1.0, steps, warmup_ratio)
    shares = jax.vmap(course)(jnp.arange(max(steps, 1)))
    return Rates(np.asarray(shares, np.float32), peak, peaks or {}, decay)


def rates_of(config: TrainConfig, steps: int, model: Network) -> Rates:
    """Return the rates that the settings specify for a run of `steps` steps."""
    shape = (config.schedule, steps, config.warmup_ratio)
    return rates_by(
        *shape, config.learning_rate, peak_rates(config, model), decay=config.weight_decay
    )
