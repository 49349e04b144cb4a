"""One session of a run: check everything, train, and turn failures into messages."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.devices.lost_process import is_failure_of_others, is_of_others, say_on_loss
from flaxner.publishing.rehearsal import rehearse
from flaxner.runs.checkpoint import SaveError
from flaxner.runs.folder import RunFolder
from flaxner.terminal import UNWRITABLE
from flaxner.tracking.tracker import check_trackers
from flaxner.training.loop import Loop
from flaxner.training.members import Member, Whole
from flaxner.training.preparation import Prepared, sources
from flaxner.training.shared import Shared
from flaxner.training.stopping import (
    Interruption,
    NotFinite,
    advice,
    device_failure,
    go_on,
    stopped_alone,
)
from flaxner.training.trainer import Trainer, TrainResult
from flaxner.training.watching import Watch, WatchFailed


def train_one(
    config: TrainConfig,
    run: RunFolder,
    console: Console,
    watch: Watch,
    *,
    shared: Shared | None = None,
    begin: Callable[[], None] = lambda: None,
    accepted: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> TrainResult:
    """Train one model.

    Args:
      config: the settings.
      run: the folder of the run.
      console: where progress is shown.
      watch: called after every evaluation.
      shared: what earlier runs have read and compiled.
      begin: called when everything is read and checked, before any file is written.
      accepted: called with the run's fingerprint once its checkpoint, if any, is known to match.

    Raises:
      ValueError, RunStopped: as for `flaxner.train`.
    """
    shared = shared or Shared()
    with running(run, console) as interruption:
        try:
            prepared = checked(config, run, shared)
            loop = Loop(prepared, run, console, interruption, shared.compute(prepared))
            trainer = Trainer(loop)
            loop.watch, trainer.accepted = watch, accepted
            begin()
            run.lock()
            return trainer.run_all()
        finally:
            run.release()


def train_member(
    member: Member, whole: Whole, console: Console, watch: Watch, shared: Shared | None = None
) -> Mapping[str, Any]:
    """Train one of several runs as `train_one` does; return its results.json."""
    console.print(f"{member.title}: {member.run.path}")
    begin, accept = whole.begin, whole.accept
    made = train_one(
        member.config, member.run, console, watch, shared=shared, begin=begin, accepted=accept
    )
    return made.results


def checked(config: TrainConfig, run: RunFolder, shared: Shared) -> Prepared:
    """Check the folder and everything else, and return what the run needs.

    Raises:
      ValueError: the folder, the trackers, the corpora, the model or the settings are unsuitable.
    """
    run.check(overwrite=config.overwrite, resume=config.resume, reading=sources(config))

    def read() -> Prepared:
        check_trackers(config.report_to)
        return shared.prepared(config)

    prepared = processes.in_all(read)
    if not shared.rehearsed:  # a run that reuses the preparation would rehearse nothing new
        processes.on_main(lambda: _rehearse(prepared))
        shared.rehearsed = True
    return prepared


@contextlib.contextmanager
def running(run: RunFolder, console: Console) -> Iterator[Interruption]:
    """Handle signals and failures while a run is checked and trained."""
    say_on_loss(lambda: go_on(run))
    with Interruption(console.print) as interruption, stops_told(run, interruption):
        yield interruption


@contextlib.contextmanager
def stops_told(run: RunFolder, interruption: Interruption) -> Iterator[None]:
    """Turn whatever ends a run early into a sentence: what is saved, and how to resume."""
    try:
        yield
    except KeyboardInterrupt as error:
        name = interruption.requested or "KeyboardInterrupt"
        raise stopped_alone(f"{name}: stopped{go_on(run)}") from error
    except NotFinite as error:
        member = "" if run.restart == run.config else f"{run.path.name}: "
        raise ValueError(f"{member}{error}: {advice(run)}") from error
    except SaveError as error:
        if is_of_others(error, jax.process_count()):
            raise device_failure(error, run) from error
        raise stopped_alone(f"{error}{go_on(run)}", UNWRITABLE) from error
    except WatchFailed as failed:
        raise failed.error from failed.error.__cause__
    except OSError as error:
        place = error.filename or run.path
        message = f"cannot read or write {place} ({error.strerror or error}){go_on(run)}"
        raise stopped_alone(message, UNWRITABLE) from error
    except jax.errors.JaxRuntimeError as error:
        raise device_failure(error, run) from error
    except ValueError as error:
        if is_failure_of_others(error, jax.process_count()):
            raise device_failure(error, run) from error
        raise


def _rehearse(prepared: Prepared) -> None:
    rehearse(
        prepared.config,
        prepared.scheme,
        prepared.tokenizer,
        prepared.model,
        prepared.fields,
        prepared.corpora,
    )
