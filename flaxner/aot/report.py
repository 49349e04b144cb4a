"""What preflight found, as a table and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.aot.chips import GIB, Topology
from flaxner.aot.compiler import Compiled, Compiler
from flaxner.aot.counts import bytes_on_a_chip
from flaxner.aot.libtpu import without_jax_cache
from flaxner.aot.roofline import Roofline, link_bytes, roofline
from flaxner.aot.search import Largest, first_guess, largest_rows
from flaxner.aot.workload import Workload, model_sizes, plan
from flaxner.config.train import TrainConfig
from flaxner.data.segments import Segments


@dataclasses.dataclass(frozen=True)
class PreflightReport:
    """A run on a topology, before it is rented.

    Attributes:
      config: the settings.
      topology: the chips.
      work: shapes and number of steps.
      parameters: of the model.
      params_bytes: parameters on each chip, exact.
      optimizer_bytes: optimizer state on each chip, exact.
      train: the training step as compiled.
      predict: the evaluation step as compiled.
      bounds: least times of the training step; None where it does not fit.
      largest: the largest batch that fits; None if it was not looked for.
      price: of a chip and hour.
    """

    config: TrainConfig
    topology: Topology
    work: Workload
    parameters: int
    params_bytes: int
    optimizer_bytes: int
    train: Compiled
    predict: Compiled
    bounds: Roofline | None
    largest: Largest | None
    price: float | None

    @property
    def hours(self) -> float | None:
        """Least hours of all training steps, by the bound."""
        return None if self.bounds is None else self.bounds.seconds * self.work.steps / 3600

    @property
    def cost(self) -> float | None:
        """Least price of the training steps, by the bound."""
        if self.hours is None or self.price is None:
            return None
        return self.hours * self.topology.chips * self.price

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        bounds = self.bounds
        return {
            "topology": self.topology.name,
            "chip": dataclasses.asdict(self.topology.chip),
            "chips": self.topology.chips,
            "model": self.config.model,
            "parameters": self.parameters,
            "workload": dataclasses.asdict(self.work),
            "fits": self.train.fits,
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
        }

    def memory(self) -> dict[str, int | None]:
        """Bytes on each chip."""
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
        lines = [*self._head(), *self._memory_lines()]
        if self.bounds is not None:
            lines += self._bound_lines(self.bounds)
        if self.largest is not None:
            lines.append(_line("largest batch", self.largest.sentence(self.topology.chips)))
        times = f"train {self.train.seconds:.0f} s, evaluation {self.predict.seconds:.0f} s"
        lines.append(_line("compiling took", f"{times} (kept results repeat the first time's)"))
        return "\n".join(lines)

    def _head(self) -> list[str]:
        work, chip = self.work, self.topology.chip
        return [
            f"{self.config.model} on {self.topology.name}: {self.topology.chips} x {chip.title}",
            _line("model", f"{self.parameters:,} parameters"),
            _line(
                "step",
                f"{self.config.batch_size} sentences in {work.rows} rows of {work.length} "
                f"({work.rows / self.topology.chips:g} a chip), filled {work.fill:.0%}",
            ),
            _line("lengths", work.source),
        ]

    def _memory_lines(self) -> list[str]:
        train, hbm = self.train, self.topology.chip.hbm_bytes
        if not train.fits:
            room = train.available or hbm
            verdict = (
                f"does NOT fit: {_gib(train.temporaries)} GiB asked for beside or with the "
                f"arguments, {_gib(room)} available: {_gib(max(train.temporaries - room, 0))} over"
            )
        else:
            verdict = (
                f"fits: {_gib(train.memory)} of {_gib(hbm)} GiB a chip "
                f"({train.memory / hbm:.0%}), evaluation {_gib(self.predict.memory)} GiB"
            )
        parts = (
            f"parameters {_gib(self.params_bytes)}, optimizer {_gib(self.optimizer_bytes)}, "
            f"temporaries {_gib(train.temporaries)}, program {_gib(train.code)} GiB"
        )
        return [_line("memory", verdict), _line("", parts)]

    def _between_slices(self, bounds: Roofline) -> str:
        if self.topology.slices == 1:
            return ""
        if bounds.network:
            return f", between slices {bounds.network * 1e3:.2f}"
        return ", between slices not counted (the compiler makes host transfers of it)"

    def _bound_lines(self, bounds: Roofline) -> list[str]:
        train, cost = self.train, self.train.cost
        chip = self.topology.chip
        lines = [
            _line(
                "a chip's step",
                f"{train.flops / 1e12:.3f} TFLOP in matrix products, {cost.hbm_bytes / 1e9:.2f} GB "
                f"of HBM traffic: {train.flops / cost.hbm_bytes:.0f} FLOP/byte "
                f"({chip.flops / chip.hbm_rate:.0f} are needed to be compute-bound)",
            ),
            _line(
                "least time",
                f"compute {bounds.compute * 1e3:.2f} ms, memory {bounds.memory * 1e3:.2f}, "
                f"links {bounds.interconnect * 1e3:.2f}"
                + self._between_slices(bounds)
                + f": bound by {bounds.bound}",
            ),
        ]
        if bounds.estimate is not None:
            text = f"{bounds.estimate * 1e3:.2f} ms a step with the links on top"
            lines.append(_line("compiler's guess", text))
        whole = cost.cycles or 1.0
        lines.append(
            _line(
                "share of it",
                ", ".join(
                    f"{name} {part.cycles / whole:.0%}"
                    for name, part in sorted(train.parts.items(), key=lambda item: -item[1].cycles)
                    if part.cycles / whole >= 0.005
                ),
            )
        )
        kinds: dict[str, list[float]] = {}
        for each in train.collectives:
            kinds.setdefault(each.kind, []).append(link_bytes(each))
        said = "; ".join(
            f"{len(sent)} {kind}, {sum(sent) / 1e6:.1f} MB sent a chip"
            for kind, sent in kinds.items()
        )
        lines.append(_line("collectives", said or "none"))
        run = (
            f"{self.work.steps:,} steps at most {1 / bounds.seconds:.1f} a second: "
            f"at least {_time(self.hours or 0.0)}"
        )
        if self.cost is not None:
            run += f", at least {self.cost:.4f} at {self.price:g} a chip and hour"
        lines.append(_line("run (a bound)", run + "; start, compiling, evaluation come on top"))
        return lines


def make_report(
    config: TrainConfig,
    topology: Topology,
    model_config: str | Path | None,
    labels: int,
    lengths: Sequence[int] | None,
    price: float | None,
    search: bool,
    cache: Path | None,
    corpus: tuple[Segments, str] | None = None,
    vocabulary: int | None = None,
) -> PreflightReport:
    """See `flaxner.preflight.preflight`."""
    sizes = model_sizes(config.model, model_config, labels, vocabulary)
    if config.max_length > sizes.positions:
        raise ValueError(
            f"max_length must be at most the model's {sizes.positions} positions: "
            f"{config.max_length}"
        )
    given = None if lengths is None else np.asarray(lengths, np.int64)
    work = plan(config, topology.chips, given, corpus)
    compiler = Compiler(config, sizes, topology, work, cache)
    multiple = topology.chips * config.accumulate
    held = bytes_on_a_chip(compiler.state.params) + bytes_on_a_chip(compiler.state.opt_state)
    # The compiler uses about one core: what is sure to be needed is compiled side by side.
    with without_jax_cache(), ThreadPoolExecutor(1) as beside:
        rows = first_guess(compiler, work, held, multiple) if search else work.rows
        guess = beside.submit(compiler.train, rows, work.length) if rows != work.rows else None
        train = compiler.train(work.rows, work.length)
        predict = compiler.predict(work.evaluation_rows, work.length)
        known = {work.rows: train}
        if guess is not None:
            known[rows] = guess.result()
        largest = largest_rows(compiler, known, work, multiple) if search else None
    bounds = roofline(topology, train.flops, train.cost, train.collectives) if train.fits else None
    return PreflightReport(
        config=config,
        topology=topology,
        work=work,
        parameters=sum(int(np.prod(leaf.shape)) for leaf in compiler.model.shapes.values()),
        params_bytes=bytes_on_a_chip(compiler.state.params),
        optimizer_bytes=bytes_on_a_chip(compiler.state.opt_state),
        train=train,
        predict=predict,
        bounds=bounds,
        largest=largest,
        price=price,
    )


def _time(hours: float) -> str:
    return f"{hours * 60:.1f} minutes" if hours * 60 >= 1 else f"{hours * 3600:.1f} seconds"


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"


def _line(name: str, text: str) -> str:
    return f"  {name:<17}{text}"
