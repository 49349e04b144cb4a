"""The run's own steps, lowered and compiled for chips that are not there."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from flaxner.config import TrainConfig
from flaxner.decoders import Softmax
from flaxner.models import BertConfig, Compute, Model
from flaxner.optimizer import optimizer_of
from flaxner.preflight.chips import GIB, Topology, known_topologies
from flaxner.preflight.hlo import Collective, Cost, read_program
from flaxner.preflight.workload import Workload
from flaxner.sharding import batch_sharding, make_mesh, replicated, tree_shardings
from flaxner.step import INPUTS, TrainState, make_steps

VERSION = 1  # of what is kept on disk


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What the compiler says of one program, per chip.

    Attributes:
      fits: it could be compiled within the chip's memory.
      available: bytes of memory that the compiler may use, where it said so.
      arguments: bytes of parameters, optimizer state and batch.
      outputs: bytes of new results, those that reuse an argument left out.
      temporaries: bytes of everything that lives only during the step; the size asked for where
        the program does not fit.
      code: bytes of the program.
      flops: of the matrix products, loops counted.
      parts: part of the model -> bytes and cycles.
      collectives: operations between chips.
      raw: the compiler's own `cost_analysis`, in which a loop's body counts once.
      seconds: that compiling took, when it was done.
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
        return cls(**{**fields, "parts": parts, "collectives": collectives})


class Compiler:
    """Compiles a run's steps for a topology; what it found is kept in a folder.

    Args of the constructor:
      config: the settings.
      sizes: of the model.
      topology: the chips.
      work: shapes and number of steps.
      cache: folder of earlier results, keyed by program and compiler; None: keep nothing.

    Raises:
      ValueError: no libtpu, or a topology that it does not know.
    """

    def __init__(
        self,
        config: TrainConfig,
        sizes: BertConfig,
        topology: Topology,
        work: Workload,
        cache: Path | None,
    ) -> None:
        self.config, self.topology, self.cache = config, topology, cache
        self.mesh = make_mesh(config.fsdp, topology_devices(topology))
        dtype = "bfloat16" if config.precision == "auto" else config.precision
        compute = Compute(dtype=dtype, scan_layers=config.scan_layers, remat=config.remat)
        self.model = Model(sizes, compute)
        schedule, self.optimizer = optimizer_of(config, work.steps)
        self.steps = make_steps(
            self.model,
            Softmax(),
            self.optimizer,
            schedule,
            self.mesh,
            seed=config.seed,
            accumulate=config.accumulate,
        )

    @property
    def params(self) -> Any:
        """Shapes and shardings of the parameters."""
        return _placed(self.model.shapes, tree_shardings(self.mesh, self.model.shapes))

    @property
    def opt_state(self) -> Any:
        """Shapes and shardings of the optimizer's state."""
        shapes = jax.eval_shape(self.optimizer.init, self.model.shapes)
        return _placed(shapes, tree_shardings(self.mesh, shapes))

    def train(self, rows: int, length: int) -> Compiled:
        """The training step on so many rows over all chips."""
        step = jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated(self.mesh))
        state = TrainState(step, self.params, self.opt_state)
        return self._compile(self.steps.train, state, self._batch(rows, length, "labels"))

    def predict(self, rows: int, length: int) -> Compiled:
        """The evaluation step."""
        return self._compile(self.steps.predict, self.params, self._batch(rows, length))

    def _batch(self, rows: int, length: int, *more: str) -> dict[str, jax.ShapeDtypeStruct]:
        spread = batch_sharding(self.mesh)
        array = jax.ShapeDtypeStruct((rows, length), jnp.int32, sharding=spread)
        return dict.fromkeys((*INPUTS, *more), array)

    def _compile(self, function: Any, *arguments: Any) -> Compiled:
        traced = function.trace(*arguments)
        lowered = traced.lower()
        kept = self._kept(lowered.as_text())
        if kept is not None and kept.is_file():
            return Compiled.from_json(json.loads(kept.read_text("utf-8")))
        made = self._compile_now(lowered, matmul_flops(traced.jaxpr.jaxpr) / self.mesh.size)
        if kept is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            part = kept.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(dataclasses.asdict(made)), "utf-8")
            part.replace(kept)
        return made

    def _kept(self, program: str) -> Path | None:
        if self.cache is None:
            return None
        key = f"{VERSION} {jax.__version__} {_libtpu_version()} {self.topology.name} {program}"
        return self.cache / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.json"

    def _compile_now(self, lowered: Any, flops: float) -> Compiled:
        begin = time.monotonic()
        try:
            with _without_jax_cache():
                compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            asked, available = _out_of_memory(error)
            wait = time.monotonic() - begin
            return Compiled(False, available, 0, 0, asked, 0, flops, {}, [], {}, wait)
        seconds = time.monotonic() - begin
        memory, raw = compiled.memory_analysis(), compiled.cost_analysis() or {}
        program = read_program(compiled.as_text(), self.mesh.size)
        return Compiled(
            fits=True,
            available=None,
            arguments=memory.argument_size_in_bytes,
            outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
            temporaries=memory.temp_size_in_bytes,
            code=memory.generated_code_size_in_bytes,
            flops=flops,
            parts=program.parts,
            collectives=program.collectives,
            raw={name: raw[name] for name in ("flops", "bytes accessed") if name in raw},
            seconds=seconds,
        )


def topology_devices(topology: Topology) -> list[Any]:
    """Devices to compile for.

    Raises:
      ValueError: no libtpu, or it has no such topology.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            "preflight needs the TPU compiler libtpu, which is not installed: "
            "pip install 'flaxner[preflight]'"
        )
    if jax.default_backend() != "tpu":  # nothing of these is asked of a metadata server then
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jax.experimental import topologies

    options: dict[str, Any] = dict(topology.chip.options)
    if topology.slices > 1:
        options["num_slices"] = topology.slices
    shape = "x".join(map(str, topology.shape))
    try:
        described = topologies.get_topology_desc(
            f"{topology.chip.name}:{shape}",
            "tpu",
            chips_per_host_bounds=topology.host_bounds,
            **options,
        )
    except Exception as error:  # libtpu's errors have no type of their own
        reason = str(error).split("\n")[0][:200]
        raise ValueError(
            f"libtpu has no topology {topology.name} ({reason}); {known_topologies()}"
        ) from error
    devices = list(described.devices)
    if len(devices) != topology.chips:
        raise ValueError(
            f"one device must be one chip: libtpu makes {len(devices)} devices of the "
            f"{topology.chips} chips of {topology.name}"
        )
    return devices


def bytes_on_a_chip(tree: Any) -> int:
    """Bytes that arrays of these shapes and shardings take on each chip, before padding."""
    return sum(
        leaf.dtype.itemsize * _product(leaf.sharding.shard_shape(leaf.shape))
        for leaf in jax.tree.leaves(tree)
    )


def matmul_flops(jaxpr: Any) -> float:
    """Operations of all matrix products of a program, loops counted, over all chips."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            inner = _product(left[axis] for axis in contracted)
            total += 2.0 * inner * _product(equation.outvars[0].aval.shape)
            continue
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(matmul_flops(inner) for inner in _inner_programs(equation.params))
    return total


def _inner_programs(params: Mapping[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner


def _placed(shapes: Any, shardings: Any) -> Any:
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        shardings,
    )


def _product(sizes: Any) -> int:
    out = 1
    for size in sizes:
        out *= int(size)
    return out


def _libtpu_version() -> str:
    from importlib import metadata

    try:
        return metadata.version("libtpu")
    except metadata.PackageNotFoundError:
        return "unknown"


def _out_of_memory(error: Exception) -> tuple[int, int | None]:
    """(bytes asked for, bytes available) from the compiler's complaint; other errors pass on."""
    message = str(error)
    if "RESOURCE_EXHAUSTED" not in message or "emory" not in message:
        raise error
    units = {"K": 1024, "M": 1024**2, "G": GIB, "T": 1024 * GIB}
    sizes = [
        int(float(number) * units[unit])
        for number, unit in re.findall(r"\b(\d+(?:\.\d+)?)([KMGT])\b", message)
    ]
    return (sizes[0], sizes[1]) if len(sizes) > 1 else (sizes[0] if sizes else 0, None)


@contextmanager
def _without_jax_cache() -> Iterator[None]:
    """JAX's own cache cannot read back a program that was compiled without the chips."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
