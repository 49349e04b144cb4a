"""Settings -> a trained model, or what to say of a run that stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
from rich.console import Console

from flaxner import terminal
from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.devices.allocator import keep_freed_memory, run_where_dispatched
from flaxner.devices.compilation_cache import use_compilation_cache
from flaxner.devices.environment import check_devices
from flaxner.devices.lost_process import is_of_others, say_on_loss
from flaxner.publishing.rehearsal import rehearse
from flaxner.runs.checkpoint import SaveError
from flaxner.runs.folder import RunFolder
from flaxner.tracking.tracker import check_trackers
from flaxner.training.cross_validation import cross_validate
from flaxner.training.members import refuse_others
from flaxner.training.preparation import Prepared, prepare, sources
from flaxner.training.seeds import train_seeds
from flaxner.training.stopping import (
    Interruption,
    NotFinite,
    RunStopped,
    advice,
    device_failure,
    go_on,
)
from flaxner.training.trainer import Trainer, TrainResult
from flaxner.training.watching import Watch, nobody


def train(
    config: TrainConfig, *, console: Console | None = None, watch: Watch = nobody
) -> TrainResult:
    """Train, evaluate and export; with `cross_validation` or `seeds`, once for every one of them.

    Args:
      config: the settings.
      console: where progress and tables go; standard output if None.
      watch: is told of every evaluation, and may end the run by what it raises.

    Returns:
      paths and scores.

    Raises:
      ValueError: settings, corpus, model or output folder do not fit, and nothing was written;
        or the loss is not finite, and the last good checkpoint stays.
      RunStopped: a signal came, a process or device failed, or the folder could not be written;
        the message says what is saved and how to go on, `code` is an exit code for a script.
    """
    run_where_dispatched()
    keep_freed_memory()
    use_compilation_cache(config.compilation_cache)
    processes.start(config.coordinator, config.num_processes, config.process_id)
    check_devices()
    console = terminal.console(console if processes.is_main() else Console(quiet=True))
    several = cross_validate if config.cross_validation and not config.fold else train_seeds
    if several is cross_validate or config.seeds > 1:
        hub, results = several(
            config, console, lambda one, run, begin: _train(one, run, console, begin, watch).results
        )
        return TrainResult(Path(config.output_dir), hub, results)
    run = RunFolder(config.output_dir)
    refuse_others(config, run)
    return _train(config, run, console, watch=watch)


def _train(
    config: TrainConfig,
    run: RunFolder,
    console: Console,
    begin: Callable[[], None] = lambda: None,
    watch: Watch = nobody,
) -> TrainResult:
    """One model; `begin` is called when all is read and checked, before a file is written."""
    with Interruption(lambda text: console.print(text, highlight=False)) as interruption:
        try:
            say_on_loss(lambda: go_on(run))
            run.check(overwrite=config.overwrite, resume=config.resume, reading=sources(config))
            check_trackers(config.report_to)
            prepared = prepare(config)
            processes.on_main(lambda: _rehearse(prepared))
            trainer = Trainer(prepared, run, console, interruption)
            trainer.loop.watch = watch
            begin()
            run.lock()
            return trainer.run_all()
        except KeyboardInterrupt as error:
            name = interruption.requested or "KeyboardInterrupt"
            raise RunStopped(f"{name}: stopped{go_on(run)}") from error
        except NotFinite as error:
            raise ValueError(f"{error}: {advice(run)}") from error
        except SaveError as error:
            if is_of_others(error, jax.process_count()):
                raise device_failure(error, run) from error
            raise RunStopped(f"{error}{go_on(run)}", terminal.UNWRITABLE) from error
        except OSError as error:
            place = error.filename or run.path
            message = f"cannot write {place} ({error.strerror or error}){go_on(run)}"
            raise RunStopped(message, terminal.UNWRITABLE) from error
        except jax.errors.JaxRuntimeError as error:
            raise device_failure(error, run) from error
        finally:
            run.release()


def _rehearse(prepared: Prepared) -> None:
    rehearse(
        prepared.config,
        prepared.scheme,
        prepared.tokenizer,
        prepared.model,
        prepared.fields,
        prepared.corpora,
    )
