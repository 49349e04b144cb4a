"""The preflight report, and how it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.aot.chips import AnyTopology
from flaxner.aot.compiler import Compiled, Compiler, require
from flaxner.aot.libtpu import without_jax_cache
from flaxner.aot.printing import lines
from flaxner.aot.roofline import Roofline, roofline
from flaxner.aot.search import Largest, first_guess, largest_rows
from flaxner.aot.workload import Workload, model_sizes, plan, rows_together
from flaxner.config.train import TrainConfig
from flaxner.data.segments import Segments
from flaxner.devices.memory import bytes_on_a_device


@dataclasses.dataclass(frozen=True)
class Together:
    """The training step of several seeds at once.

    Attributes:
      seeds: how many.
      rows: rows of each seed, over all chips.
      train: the compiled step.
      bounds: lower bounds on its time; None if it does not fit.
    """

    seeds: int
    rows: int
    train: Compiled
    bounds: Roofline | None


@dataclasses.dataclass(frozen=True)
class PreflightReport:
    """A run on a topology, before it is rented.

    Attributes:
      config: the settings.
      topology: the chips.
      work: shapes and number of steps.
      parameters: number of the model's parameters.
      params_bytes: parameters on each chip, exact.
      optimizer_bytes: optimizer state on each chip, exact.
      train: the compiled training step.
      predict: the compiled evaluation step.
      bounds: lower bounds on the training step's time; None if it does not fit.
      largest: the largest batch that fits; None if not searched for.
      price: price per chip and hour.
      together: the step of several seeds at once; None if seeds are not trained at once.
      sizes: the config.json that the sizes come from, if not that of `config.model`.
    """

    config: TrainConfig
    topology: AnyTopology
    work: Workload
    parameters: int
    params_bytes: int
    optimizer_bytes: int
    train: Compiled
    predict: Compiled
    bounds: Roofline | None
    largest: Largest | None
    price: float | None
    together: Together | None = None
    sizes: str | Path | None = None

    @property
    def model(self) -> str:
        """The model whose sizes were compiled."""
        return str(self.sizes or self.config.model)

    @property
    def rate(self) -> float:
        """Peak operations per second of a chip, in the precision of the products."""
        precision = self.config.precision
        return self.topology.chip.rate("bfloat16" if precision == "auto" else precision)

    @property
    def fits(self) -> bool:
        """Whether the run's steps fit, including that of several seeds if their number is set."""
        steps = [self.train, self.predict]
        if self.together is not None and self.config.seeds_at_once:
            steps.append(self.together.train)
        return all(step.fits for step in steps)

    @property
    def repeats(self) -> float:
        """How often the steps are repeated; a step of several seeds counts by its cost."""
        if self.together is not None and self.together.bounds is not None and self.bounds:
            cost = self.together.bounds.seconds / self.bounds.seconds
            return self.config.seeds / self.together.seeds * cost
        return self.config.seeds * self.folds

    @property
    def folds(self) -> int:
        """Passes over the planned corpus: each of K folds trains on all of it but one K-th."""
        return 1 if self.config.fold else max(self.config.cross_validation - 1, 1)

    @property
    def hours(self) -> float | None:
        """Lower bound on the hours that the training steps of all seeds or folds take."""
        if self.bounds is None:
            return None
        return self.bounds.seconds * self.work.steps * self.repeats / 3600

    @property
    def cost(self) -> float | None:
        """Lower bound on the price of the training steps."""
        if self.hours is None or self.price is None:
            return None
        return self.hours * self.topology.chips * self.price

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        bounds = self.bounds
        return {
            "topology": self.topology.name,
            "chip": dataclasses.asdict(self.topology.chip),
            "chips": self.topology.chips,
            "model": self.model,
            "parameters": self.parameters,
            "workload": dataclasses.asdict(self.work),
            "fits": self.fits,
            "memory": self.memory(),
            "train": dataclasses.asdict(self.train) | {"memory": self.train.memory},
            "predict": dataclasses.asdict(self.predict) | {"memory": self.predict.memory},
            "bounds": bounds
            and dataclasses.asdict(bounds)
            | {"seconds": bounds.seconds, "bound": bounds.bound, "estimate": bounds.estimate},
            "steps_per_second_at_most": bounds and 1 / bounds.seconds,
            "hours_at_least": self.hours,
            "cost_at_least": self.cost,
            "largest": self.largest and dataclasses.asdict(self.largest),
            "together": self.together and dataclasses.asdict(self.together),
        }

    def memory(self) -> dict[str, int | None]:
        """Return the bytes on each chip."""
        return {
            "parameters": self.params_bytes,
            "optimizer_state": self.optimizer_bytes,
            "temporaries": self.train.temporaries,
            "program": self.train.code,
            "needed": self.train.memory if self.train.fits else None,
            "hbm": self.topology.chip.hbm_bytes,
            "available_to_the_compiler": self.train.available,
        }

    def __str__(self) -> str:
        return "\n".join(lines(self))


def make_report(
    config: TrainConfig,
    topology: AnyTopology,
    model_config: str | Path | None,
    labels: int,
    lengths: Sequence[int] | None,
    price: float | None,
    search: bool,
    cache: Path | None,
    corpus: tuple[Segments, str] | None = None,
    vocabulary: int | None = None,
) -> PreflightReport:
    """See `flaxner.aot.preflight.preflight`."""
    sizes = model_sizes(config.model, model_config, labels, vocabulary)
    sizes.check_length(config.max_length)
    require(topology)
    given = None if lengths is None else np.asarray(lengths, np.int64)
    work = plan(config, topology.chips, given, corpus)
    tokenised = corpus[0] if corpus is not None and vocabulary is not None else None
    compiler = Compiler(config, sizes, topology, work, cache, tokenised)
    multiple = topology.chips * config.accumulate
    held = bytes_on_a_device(compiler.state.params) + bytes_on_a_device(compiler.state.opt_state)
    # The compiler uses about one core: compile in parallel what is certain to be needed.
    with without_jax_cache(), ThreadPoolExecutor(1) as beside:
        rows = first_guess(compiler, work, held, multiple) if search else work.rows
        guess = beside.submit(compiler.train, rows, work.length) if rows != work.rows else None
        train = compiler.train(work.rows, work.length)
        predict = compiler.predict(work.evaluation_rows, work.length)
        known = {work.rows: train}
        if guess is not None:
            known[rows] = guess.result()
        largest = largest_rows(compiler, known, work, multiple) if search else None
        together = None
        if config.seeds > 1 and config.seeds_at_once != 1:
            most = rows_together(config, topology.chips, given, corpus)
            together = _together(compiler, most, work.length)
    return PreflightReport(
        config=config,
        topology=topology,
        work=work,
        parameters=sum(int(np.prod(leaf.shape)) for leaf in compiler.model.shapes.values()),
        params_bytes=bytes_on_a_device(compiler.state.params),
        optimizer_bytes=bytes_on_a_device(compiler.state.opt_state),
        train=train,
        predict=predict,
        bounds=_bounds(compiler, train),
        largest=largest,
        price=price,
        together=together,
        sizes=model_config,
    )


def _together(compiler: Compiler, rows: int, length: int) -> Together:
    """Compile the step of as many seeds as the settings train at once."""
    config = compiler.config
    seeds = min(config.seeds_at_once or config.seeds, config.seeds)
    train = compiler.together(seeds, rows, length)
    return Together(seeds, rows, train, _bounds(compiler, train))


def _bounds(compiler: Compiler, train: Compiled) -> Roofline | None:
    """Compute lower bounds on a training step's time, if it fits."""
    if not train.fits:
        return None
    figures = (train.flops, train.cost, train.collectives)
    return roofline(compiler.topology, *figures, precision=compiler.precision)
