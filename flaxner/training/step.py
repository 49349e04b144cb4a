"""The jitted steps: pure functions of (state, batch), sharded over the mesh."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from flaxner.data.packing import Blocks
from flaxner.data.segments import IGNORED_LABEL
from flaxner.devices.compiler_options import compiler_options
from flaxner.devices.mesh import (
    batch_sharding,
    kernels_over,
    place_tree,
    replicated,
    tree_shardings,
)
from flaxner.models.network import Network, Params, root_key
from flaxner.runs.state import TrainState
from flaxner.training.accumulation import Batch, summed_gradient
from flaxner.training.averaging import Averaging
from flaxner.training.loss import Decoder
from flaxner.training.optimizer import global_norm
from flaxner.training.rates import Plan, Rates
from flaxner.training.used_rows import UsedRows

Metrics = dict[str, jax.Array]
INPUTS = ("input_ids", "segment_ids", "position_ids")  # inputs of the encoder, (B, L) each
NO_AVERAGE = Averaging()


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """The training step of a run; steps for other seeds and rates share its compiled programs.

    Attributes:
      function: (state, batch, seed, plan) -> (state, metrics); `seed` is a uint32 scalar.
      program: the same function, jitted.
      seed: root of the dropout keys.
      plan: the learning rates and the weight decay.
      whole: the sharding of replicated arrays.
    """

    function: Callable[[TrainState, Batch, jax.Array, Plan], tuple[TrainState, Metrics]]
    program: Any
    seed: int
    plan: Plan
    whole: NamedSharding

    @functools.cached_property
    def placed(self) -> Plan:
        """The plan, on the devices."""
        return place_tree(self.plan, Plan(self.whole, self.whole, self.whole))

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """Take the step; the state's memory is reused."""
        return self.program(state, batch, np.uint32(self.seed), self.placed)

    def trace(self, state: Any, batch: Any) -> Any:
        """Trace the step, as `jax.jit` does, for arrays or their shapes."""
        seed = jax.ShapeDtypeStruct((), jnp.uint32)
        return self.program.trace(state, batch, seed, self.planned)

    @property
    def planned(self) -> Plan:
        """Shapes and dtypes of the plan."""
        return Plan(*(jax.ShapeDtypeStruct(part.shape, part.dtype) for part in self.plan))


@dataclasses.dataclass(frozen=True)
class Steps:
    """The compiled programs of a run and what they were traced with.

    Attributes:
      train: (state, batch) -> (state, metrics); the state's memory is reused. The batch has INPUTS
        and the arrays that the decoder reads, int32, with B rows, a multiple of devices x
        `accumulate`. Metrics are scalars of this step over all devices: "loss", the weighted mean
        over its labelled positions before the update, with dropout; "grad_norm", the global norm
        of the gradient of that mean before clipping; "learning_rate", the rate of this update;
        "words", the number of labelled positions regardless of weights. Without labelled
        positions, loss and norm are 0.
      predict: (params, batch) -> labels (B, L), int32, or logits (B, L, C), depending on the
        decoder; replicated on every process; includes values for padding. `params` are those of
        the model, see `Program.completing`.
      evaluated: state -> the state whose `published` weights are to be evaluated.
      logits: (params, batch) -> the underlying logits (B, L, C), float32, replicated as well.
      traces: one entry per compilation, (name, rows, row length).
    """

    train: TrainStep
    predict: Callable[[Params, Batch], jax.Array]
    evaluated: Callable[[TrainState], TrainState]
    logits: Callable[[Params, Batch], jax.Array]
    traces: list[tuple[str, int, int]]

    def of_run(self, seed: int, plan: Plan) -> Steps:
        """Return the steps of another run, using the same programs."""
        return dataclasses.replace(
            self, train=dataclasses.replace(self.train, seed=seed, plan=plan)
        )


def init_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    frozen: Collection[str] = (),
    averaging: Averaging = NO_AVERAGE,
    used: UsedRows | None = None,
) -> TrainState:
    """Return the state at step 0: parameters sharded by the rules, and a zero optimizer state.

    The parameters at the paths in `frozen` have no optimizer state. Of a table with `used` rows,
    the state has only those.
    """
    params = params if used is None else used.divided(params)
    params = place_tree(params, tree_shardings(mesh, params))
    _, trained = _divided(params, _untrained(frozen, used))
    shardings = tree_shardings(mesh, jax.eval_shape(optimizer.init, trained))
    opt_state = jax.jit(optimizer.init, out_shardings=shardings)(trained)
    placed = tree_shardings(mesh, jax.eval_shape(averaging.init, params))
    average = jax.jit(averaging.init, out_shardings=placed)(params)
    return TrainState(place_tree(jnp.int32(0), replicated(mesh)), params, opt_state, average)


def make_steps(
    model: Network,
    decoder: Decoder,
    optimizer: optax.GradientTransformationExtraArgs,
    rates: Rates,
    mesh: Mesh,
    *,
    seed: int,
    accumulate: int = 1,
    averaging: Averaging = NO_AVERAGE,
    used: UsedRows | None = None,
    blocks: Blocks | None = None,
) -> Steps:
    """Build the training and prediction steps for a model on a mesh.

    Args:
      model: static definition.
      decoder: loss and decoding.
      optimizer: optax transformation that takes `rates`, `decay` and `scale`, see `make_optimizer`.
      rates: the learning rates and the weight decay. The programs take them as an argument, see
        `Steps.of_run`.
      mesh: axes (data, fsdp).
      seed: root of the dropout keys; the key of a step is fold_in(root, step). The programs also
        take it as an argument.
      accumulate: number of parts in which a batch's rows are computed, one after the other. The
        gradient is that of the whole batch: sums are accumulated and divided once by the global
        count.
      averaging: which mean of the weights is kept.
      used: the rows of the word table to train; None trains all.
      blocks: how the rows of training batches are divided into blocks, for attention to use.
    """
    divided = {} if blocks is None else {"blocks": blocks}
    paths = tuple(model.shapes)

    def apply(*given: Any, **named: Any) -> jax.Array:
        with kernels_over(mesh):
            return model.apply(*given, **named)

    traces: list[tuple[str, int, int]] = []

    def train(
        state: TrainState, batch: Batch, seed: jax.Array, plan: Plan
    ) -> tuple[TrainState, Metrics]:
        rows, length = batch["labels"].shape
        traces.append(("train", rows, length))
        key = jax.random.fold_in(root_key(seed), state.step)
        rate, rates = plan.at(state.step, paths)
        fixed, trained = _divided(state.params, _untrained(model.frozen, used))
        batch = batch if used is None else used.batch(batch)

        def loss_sum(trained: Params, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
            inputs = (batch[name] for name in INPUTS)
            params = {**fixed, **trained}
            logits_BLC = apply(params, *inputs, dropout_key=key, **divided)
            return decoder.batch_loss(params, logits_BLC, batch)

        (total, weight), grads = summed_gradient(loss_sum, trained, batch, key, accumulate)
        # `weight` is the sum of weights or, without weights, the number of labelled positions.
        scale = jnp.where(weight > 0, 1.0 / jnp.where(weight > 0, weight, 1), 0.0)
        updates, opt_state = optimizer.update(
            grads, state.opt_state, trained, rates=rates, decay=plan.decay, scale=scale
        )
        with jax.named_scope("optimizer"):
            norm = global_norm(grads) * scale
            params = {**fixed, **optax.apply_updates(trained, updates)}
        if used is not None:
            params = used.decayed(params, plan.decay * rates[used.path])
        metrics = {
            "loss": total * scale,
            "grad_norm": norm,
            "learning_rate": rate,
            "words": jnp.sum(batch["labels"] != IGNORED_LABEL),
        }
        average = averaging.after_step(state.average, params, state.step)
        return TrainState(state.step + 1, params, opt_state, average), metrics

    def predict(params: Params, batch: Batch) -> jax.Array:
        rows, length = batch["input_ids"].shape
        traces.append(("predict", rows, length))
        return decoder.predict(apply(params, *(batch[name] for name in INPUTS)))

    def logits(params: Params, batch: Batch) -> jax.Array:
        rows, length = batch["input_ids"].shape
        traces.append(("logits", rows, length))
        return apply(params, *(batch[name] for name in INPUTS)).astype(jnp.float32)

    spread, whole = batch_sharding(mesh), replicated(mesh)
    placed = tree_shardings(mesh, state_shapes(model, optimizer, averaging, used))
    options = compiler_options(mesh)
    evaluating = functools.partial(
        jax.jit,
        in_shardings=(tree_shardings(mesh, model.shapes), spread),
        out_shardings=whole,
        compiler_options=options,
    )
    return Steps(
        train=TrainStep(
            train,
            jax.jit(
                train,
                in_shardings=(placed, spread, whole, Plan(whole, whole, whole)),
                out_shardings=(placed, whole),
                donate_argnums=0,
                compiler_options=options,
            ),
            seed,
            rates.plan(paths),
            whole,
        ),
        predict=evaluating(predict),
        evaluated=jax.jit(averaging.at_evaluation, out_shardings=placed, compiler_options=options)
        if averaging.last
        else averaging.at_evaluation,
        logits=evaluating(logits),
        traces=traces,
    )


def state_shapes(
    model: Network,
    optimizer: optax.GradientTransformation,
    averaging: Averaging = NO_AVERAGE,
    used: UsedRows | None = None,
) -> TrainState:
    """Return the shape and dtype of everything in a run's state."""
    params = model.shapes if used is None else jax.eval_shape(used.divided, model.shapes)
    _, trained = _divided(params, _untrained(model.frozen, used))
    step = jax.ShapeDtypeStruct((), jnp.int32)
    average = jax.eval_shape(averaging.init, params)
    opt_state = jax.eval_shape(optimizer.init, trained)
    return TrainState(step, params, opt_state, average)


def _untrained(frozen: Collection[str], used: UsedRows | None) -> Collection[str]:
    """Return the paths of a state's parameters that have no gradient."""
    return frozen if used is None else (*frozen, used.lost)


def _divided(params: Params, frozen: Collection[str]) -> tuple[Params, Params]:
    """Return the frozen parameters and the trained ones."""
    fixed = {path: value for path, value in params.items() if path in frozen}
    return fixed, {path: value for path, value in params.items() if path not in frozen}
