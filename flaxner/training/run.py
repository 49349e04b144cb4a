"""`train`: train a model according to its settings."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from flaxner import terminal
from flaxner.config.train import SHUFFLED, TrainConfig
from flaxner.devices import processes
from flaxner.devices.allocator import keep_freed_memory, run_where_dispatched
from flaxner.devices.compilation_cache import use_compilation_cache
from flaxner.devices.environment import check_devices
from flaxner.devices.mesh import outside_meshes
from flaxner.runs.folder import RunFolder
from flaxner.training.cross_validation import cross_validate
from flaxner.training.fingerprint import as_begun, refuse_other_settings
from flaxner.training.members import refuse_others
from flaxner.training.seeds import train_seeds
from flaxner.training.session import train_one
from flaxner.training.shared import Shared
from flaxner.training.trainer import TrainResult
from flaxner.training.watching import Watch, nobody


def train(
    config: TrainConfig,
    *,
    console: Console | None = None,
    watch: Watch = nobody,
    shared: Shared | None = None,
) -> TrainResult:
    """Train, evaluate and export; with `cross_validation` or `seeds`, once per fold or seed.

    Args:
      config: the settings.
      console: where progress and tables are printed; standard output if None.
      watch: called as `watch(step, epoch, f1)` after every evaluation, with the validation F1; an
        exception that it raises ends the run.
      shared: what earlier runs have read and compiled, reused if the runs differ only in seed,
        learning rates, schedule, weight decay, epochs and batch size: pass one
        `flaxner.training.shared.Shared()` to all of them. Not used for several seeds or folds.

    Returns:
      Paths and scores.

    Raises:
      ValueError: settings, corpus, model or output folder are invalid, and nothing was written; or
        the loss is not finite, and the last good checkpoint remains.
      RunStopped: a signal arrived, a process or device failed, or the folder could not be written;
        the message says what is saved and how to resume, `code` is an exit code for a script.
    """
    run_where_dispatched()
    keep_freed_memory()
    use_compilation_cache(config.compilation_cache)
    processes.start(config.coordinator, config.num_processes, config.process_id)
    check_devices()
    refuse_other_settings(config)
    console = terminal.console(console if processes.is_main() else Console(quiet=True))
    given, config = config, as_begun(config, RunFolder(config.output_dir))
    if config.batches == SHUFFLED != given.batches:
        console.print("the run continues as it started: --batches shuffled")
    with outside_meshes():
        if config.cross_validation and not config.fold:
            hub, results = cross_validate(config, console, watch)
        elif config.seeds > 1:
            hub, results = train_seeds(config, console, watch)
        else:
            run = RunFolder(config.output_dir)
            refuse_others(config, run)
            return train_one(config, run, console, watch, shared=shared)
    return TrainResult(Path(config.output_dir), hub, results)
