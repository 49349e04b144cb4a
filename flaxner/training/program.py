"""The program of a run, assembled in one place: mesh, optimizer, steps and their batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from flaxner.config.recipes import CRF
from flaxner.config.train import SHUFFLED, TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.data.chains import most_words, sentence_borders
from flaxner.data.document_batches import DocumentBatches
from flaxner.data.documents import DocumentSegments
from flaxner.data.packing import Blocks, Rows, check_blocks
from flaxner.data.segments import Segments
from flaxner.data.tag_rules import rules
from flaxner.devices.mesh import batch_sharding, make_mesh, tree_shardings
from flaxner.models.network import Model, Network, Params
from flaxner.runs.state import TrainState
from flaxner.training.averaging import Averaging
from flaxner.training.crf import Crf
from flaxner.training.loss import Decoder, Softmax, label_weights
from flaxner.training.optimizer import optimizer_of
from flaxner.training.preparation import Prepared
from flaxner.training.rates import rates_of
from flaxner.training.step import INPUTS, Steps, init_state, make_steps, state_shapes
from flaxner.training.used_rows import AllRows, OtherRows, UsedRows, used_rows


@dataclasses.dataclass(frozen=True)
class Program:
    """What a run computes with; training, machine check, benchmark and preflight all use it.

    Attributes:
      model: static definition.
      mesh: axes (data, fsdp).
      optimizer: takes `rates`, `decay` and `scale`, see `make_optimizer`.
      steps: the training and prediction steps, compiled on the first call with each shape.
      decoder: the loss.
      averaging: the mean of the weights that is published.
      used: the rows of the word embedding table that the corpus reads; None trains all rows.
      blocks: how the rows of its batches are divided into blocks, if attention makes use of it.
    """

    model: Network
    mesh: Mesh
    optimizer: optax.GradientTransformationExtraArgs
    steps: Steps
    decoder: Decoder
    averaging: Averaging
    used: UsedRows | None = None
    blocks: Blocks | None = None

    def of_run(self, config: TrainConfig, num_steps: int) -> Program:
        """Return the program for another seed, other rates or another length, sharing the compiled
        steps."""
        plan = rates_of(config, num_steps, self.model).plan(tuple(self.model.shapes))
        return dataclasses.replace(self, steps=self.steps.of_run(config.seed, plan))

    def arrays(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return the inputs of the training step, from packed rows."""
        if self.used is not None:
            self.used.check(rows.input_ids)
        if self.blocks is not None:
            check_blocks(rows, self.blocks)
        return {name: getattr(rows, name) for name in INPUTS} | self.decoder.arrays(rows)

    def init(self, params: Params) -> TrainState:
        """Return the state at step 0, placed on the devices, from host arrays."""
        kept = (self.model.frozen, self.averaging, self.used)
        return init_state(params, self.optimizer, self.mesh, *kept)

    def completing(self, params: Params) -> AllRows:
        """Return what completes the parameters of states to those of the model.

        Args:
          params: path -> host array, at step 0.
        """
        if self.used is None:
            return AllRows()
        return OtherRows(self.used, params[self.used.path], self.mesh)

    def abstract_state(self) -> TrainState:
        """Return the shapes, dtypes and shardings of a state, to compile without one."""
        return self._placed(state_shapes(self.model, self.optimizer, self.averaging, self.used))

    def abstract_params(self) -> Params:
        """Return the same for the parameters of the model."""
        return self._placed(dict(self.model.shapes))

    def _placed(self, shapes: Any) -> Any:
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            tree_shardings(self.mesh, shapes),
        )

    def abstract_batch(
        self, rows: int, length: int, *, labelled: bool
    ) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the same for a batch (rows, length) over all devices."""
        widths = dict.fromkeys(INPUTS, length) | (self.decoder.widths(length) if labelled else {})
        sharding = batch_sharding(self.mesh)
        return {
            name: jax.ShapeDtypeStruct((rows, width), jnp.int32, sharding=sharding)
            for name, width in widths.items()
        }


def make_program(
    config: TrainConfig,
    model: Network,
    num_steps: int,
    *,
    decoder: Decoder | None = None,
    devices: Sequence[jax.Device] | None = None,
    corpus: Segments | None = None,
    blocks: Blocks | None = None,
) -> Program:
    """Build the program that the settings specify.

    Args:
      config: the resolved settings.
      model: static definition.
      num_steps: steps of the whole run, over which the learning rate rises and falls.
      decoder: the loss; an unweighted softmax if None.
      devices: the devices to run or compile on; all that this process sees if None.
      corpus: the only corpus that the steps will train on, so that only the embeddings of its words
        need training; any corpus if None.

    Raises:
      ValueError: `fsdp` does not divide the number of devices.
    """
    mesh = make_mesh(config.fsdp, devices)
    optimizer = optimizer_of(config)
    decoder, averaging = decoder or Softmax(), Averaging.of(config)
    used = None if corpus is None else _used_rows(config, model, corpus)
    steps = make_steps(
        model,
        decoder,
        optimizer,
        rates_of(config, num_steps, model),
        mesh,
        seed=config.seed,
        accumulate=config.accumulate,
        averaging=averaging,
        used=used,
        blocks=blocks,
    )
    return Program(model, mesh, optimizer, steps, decoder, averaging, used, blocks)


def _used_rows(config: TrainConfig, model: Network, corpus: Segments) -> UsedRows | None:
    """Return the rows of the word table that the corpus reads, if training only them pays off."""
    if not isinstance(model, Model):
        return None
    path = model.encoder.names.words
    return used_rows(path, model.shapes[path].shape[0], corpus.input_ids)


def train_batches(config: TrainConfig, segments: Segments, devices: int) -> TrainBatches:
    """Return the training batches that the settings specify, for this number of devices.

    Row counts are multiples of devices x `accumulate`: every device has whole rows in every part.

    Args:
      config: the settings.
      segments: the training corpus, in document windows if the settings say so.
      devices: number of devices that the batches are sharded over.
    """
    shape = (config.batch_size, config.packed_length, config.epochs, config.seed)
    multiple = devices * config.accumulate
    if isinstance(segments, DocumentSegments):
        return DocumentBatches(
            segments.joined,
            *shape,
            multiple,
            documents=segments,
            window=config.max_length,
            share=config.context_share,
        )
    return TrainBatches(segments, *shape, multiple, level=config.batches != SHUFFLED)


def program_of_run(prepared: Prepared) -> tuple[Program, TrainBatches]:
    """Return the program of a prepared run on all devices, and its training batches.

    Raises:
      ValueError: `fsdp` does not divide the number of devices, or `class_weights` names a type that
        the corpus does not have.
    """
    batches = batches_of(prepared)
    return program_over(prepared, batches, decoder_of(prepared, batches)), batches


def program_over(prepared: Prepared, batches: TrainBatches, decoder: Decoder) -> Program:
    """Return the program of a prepared run for these batches or those of another of its seeds.

    Raises:
      ValueError: `fsdp` does not divide the number of devices.
    """
    config = prepared.config
    return make_program(
        config,
        prepared.model,
        batches.num_steps,
        decoder=decoder,
        corpus=batches.segments,
        blocks=blocks_of(config, batches),
    )


def blocks_of(config: TrainConfig, batches: TrainBatches) -> Blocks | None:
    """Return how rows are divided into blocks, on a single CPU device only: elsewhere rows would
    move between devices, or it is not yet known whether it pays off."""
    alone = jax.default_backend() == "cpu" and jax.device_count() == 1 and config.accumulate == 1
    return batches.layout.blocks if alone else None


def batches_of(prepared: Prepared) -> TrainBatches:
    """Return the training batches of a prepared run on all devices."""
    return train_batches(prepared.config, prepared.segments["train"], jax.device_count())


def decoder_of(prepared: Prepared, batches: TrainBatches) -> Decoder:
    """Return the decoder that the settings specify, with what it needs of the training corpus.

    Raises:
      ValueError: `class_weights` names a type that the corpus does not have.
    """
    config, scheme = prepared.config, prepared.scheme
    if config.decoder == CRF:
        sizes = [len(sentence.words) for sentence in prepared.corpora["train"]]
        legal, borders = rules(scheme.tags, "IOB2"), sentence_borders(sizes)
        width = most_words(batches.segments, batches.row_length)
        return Crf(legal, borders, width, config.crf_head_share)
    weights = label_weights(config.class_weights, scheme, batches.segments.labels)
    return Softmax(weights, config.label_smoothing)
