"""The run's own steps, lowered and compiled for chips that are not present."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxner.aot import libtpu, nvidia
from flaxner.aot.chips import AnyTopology
from flaxner.aot.costs import Collective, Kernels, read_program
from flaxner.aot.counts import matmul_flops
from flaxner.aot.gpus import GpuTopology
from flaxner.aot.traffic import Cost
from flaxner.aot.workload import Workload
from flaxner.config.train import TrainConfig
from flaxner.data.segments import Segments
from flaxner.data.tag_rules import ANY, rules
from flaxner.devices.compiler_options import compiler_options
from flaxner.files import write_json
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.config import EncoderConfig
from flaxner.models.network import Model
from flaxner.training.crf import Crf
from flaxner.training.program import make_program
from flaxner.training.stack import StackedProgram

VERSION = 8  # of the results cached on disk


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler reports about one program, per chip.

    Attributes:
      fits: whether it fits into the chip's memory.
      available: bytes of memory that the compiler may use, if reported.
      arguments: bytes of parameters, optimizer state and batch.
      outputs: bytes of new results, without those that reuse an argument.
      temporaries: bytes of everything that lives only during the step; if the program does not
        fit, the size that it requested.
      code: bytes of the program.
      flops: FLOPs of the matrix products, counting every loop iteration.
      parts: part of the model -> bytes and cycles.
      collectives: operations between chips.
      kernels: their number, and where collectives fall between them.
      raw: the compiler's own `cost_analysis`, which counts a loop's body once.
      seconds: compile time, when it was first compiled.
    """

    fits: bool
    available: int | None
    arguments: int
    outputs: int
    temporaries: int
    code: int
    flops: float
    parts: dict[str, Cost]
    collectives: list[Collective]
    kernels: Kernels
    raw: dict[str, float]
    seconds: float

    @property
    def memory(self) -> int:
        """Bytes needed on a chip."""
        return self.arguments + self.outputs + self.temporaries + self.code

    @property
    def cost(self) -> Cost:
        """Bytes and cycles of all parts."""
        whole = Cost()
        for part in self.parts.values():
            whole.add(part)
        return whole

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Compiled:
        """Read what `dataclasses.asdict` wrote."""
        parts = {name: Cost(**cost) for name, cost in fields["parts"].items()}
        collectives = [Collective(**each) for each in fields["collectives"]]
        kernels = Kernels(**fields["kernels"])
        read = {"parts": parts, "collectives": collectives, "kernels": kernels}
        return cls(**{**fields, **read})


class Compiler:
    """Compiles a run's steps for a topology, and caches the results in a folder.

    Args of the constructor:
      config: the settings.
      sizes: sizes of the model.
      topology: the chips.
      work: shapes and number of steps.
      cache: folder of earlier results, keyed by program and compiler; None: no cache.
      corpus: the tokenised training corpus, if available.

    Raises:
      ValueError: there is no compiler for these chips, or it does not know the topology.
    """

    def __init__(
        self,
        config: TrainConfig,
        sizes: EncoderConfig,
        topology: AnyTopology,
        work: Workload,
        cache: Path | None,
        corpus: Segments | None = None,
    ) -> None:
        self.config, self.topology, self.cache = config, topology, cache
        precision = "bfloat16" if config.precision == "auto" else config.precision
        self.precision = precision
        devices, self.version, self.room = _door(topology)
        layout = {"scan_layers": config.scan_layers, "remat": config.remat}
        capability = getattr(devices[0], "compute_capability", None)
        compute = Compute.on(topology.platform, precision, capability, **layout)
        self.model = Model(sizes, compute, crf=config.decoder == "crf")
        names = tuple(map(str, range(sizes.num_labels)))
        legal, borders = rules(names, ANY), np.zeros(0, np.int8)  # they do not affect the cost
        crf = Crf(legal, borders, work.words, config.crf_head_share)
        decoder = crf if self.model.crf else None
        self.program = make_program(
            config, self.model, work.steps, decoder=decoder, devices=devices, corpus=corpus
        )
        self.state = self.program.abstract_state()

    def train(self, rows: int, length: int) -> Compiled:
        """Compile the training step on `rows` rows over all chips."""
        batch = self.program.abstract_batch(rows, length, labelled=True)
        return self._compile(self.program.steps.train, self.state, batch)

    def together(self, seeds: int, rows: int, length: int) -> Compiled:
        """Compile the training step of `seeds` seeds, on `rows` rows each over all chips."""
        batch = self.program.abstract_batch(rows, length, labelled=True)
        return self._compile(StackedProgram(self.program, seeds), batch)

    def predict(self, rows: int, length: int) -> Compiled:
        """Compile the evaluation step."""
        batch = self.program.abstract_batch(rows, length, labelled=False)
        return self._compile(self.program.steps.predict, self.program.abstract_params(), batch)

    def _compile(self, function: Any, *arguments: Any) -> Compiled:
        traced = function.trace(*arguments)
        lowered = traced.lower()
        kept = self._kept(lowered.as_text())
        earlier = _read(kept)
        if earlier is not None:
            return earlier
        platform = "cuda" if self.topology.platform == "gpu" else self.topology.platform
        flops = matmul_flops(traced.jaxpr.jaxpr, platform) / self.program.mesh.size
        compiled = self._compile_now(lowered, flops)
        if kept is not None:
            with contextlib.suppress(OSError):  # an unwritable folder is the same as no cache
                write_json(kept, dataclasses.asdict(compiled))
        return compiled

    def _kept(self, program: str) -> Path | None:
        if self.cache is None:
            return None
        target = f"{self.topology.name} {self.room} {compiler_options(self.program.mesh)}"
        key = f"{VERSION} {jax.__version__} {self.version} {target} {program}"
        return self.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"

    def _compile_now(self, lowered: Any, flops: float) -> Compiled:
        begin = time.monotonic()
        try:
            compiled = lowered.compile(nvidia.OPTIONS if self.topology.platform == "gpu" else None)
        except jax.errors.JaxRuntimeError as error:
            needed, available = libtpu.out_of_memory(error)
            wait = time.monotonic() - begin
            return Compiled(False, available, 0, 0, needed, 0, flops, {}, [], Kernels(), {}, wait)
        seconds = time.monotonic() - begin
        memory, raw = compiled.memory_analysis(), compiled.cost_analysis() or {}
        program = read_program(compiled.as_text(), self.program.mesh.size)
        result = Compiled(
            fits=True,
            available=self.room,
            arguments=memory.argument_size_in_bytes,
            outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
            temporaries=memory.temp_size_in_bytes,
            code=memory.generated_code_size_in_bytes,
            flops=flops,
            parts=program.parts,
            collectives=program.collectives,
            kernels=program.kernels,
            raw={name: raw[name] for name in ("flops", "bytes accessed") if name in raw},
            seconds=seconds,
        )
        return dataclasses.replace(result, fits=self.room is None or result.memory <= self.room)


def require(topology: AnyTopology) -> None:
    """Require the compiler for these chips.

    Raises:
      ValueError: it is not installed; the message says how to install it.
    """
    (nvidia if isinstance(topology, GpuTopology) else libtpu).require()


def _door(topology: AnyTopology) -> tuple[list[Any], str, int | None]:
    """Return devices to compile for, the compiler's version, and the bytes it does not check."""
    if isinstance(topology, GpuTopology):
        return nvidia.topology_devices(topology), nvidia.version(), nvidia.room(topology)
    return libtpu.topology_devices(topology), libtpu.version(), None


def _read(kept: Path | None) -> Compiled | None:
    """Read an earlier result; None if it is absent or unreadable."""
    if kept is None or not kept.is_file():
        return None
    try:
        return Compiled.from_json(json.loads(kept.read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
