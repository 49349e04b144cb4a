"""The experiment trackers of a run: opening and closing them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import uuid
from collections.abc import Callable
from pathlib import Path

from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.runs.folder import RunFolder
from flaxner.tracking.reported import lines_of
from flaxner.tracking.tracker import Session
from flaxner.tracking.trackers import Trackers


def open_trackers(
    config: TrainConfig, run: RunFolder, say: Callable[[str], None], *, resumed: bool
) -> Trackers:
    """Open the trackers that the settings name, in the main process only.

    trackers.json keeps the id of the run in the trackers, for later sessions.

    Args:
      config: the settings.
      run: the claimed folder of the run, with metrics.jsonl as earlier sessions left it.
      say: called with messages about failures.
      resumed: whether this session resumes from a checkpoint.
    """
    names = config.report_to if processes.is_main() else ()
    session = Session("", "", None, {}, run.events)
    if not names:
        return Trackers((), session)
    id_, known = _known(run) if resumed else ("", [])
    id_ = id_ or uuid.uuid4().hex[:16]
    run.write_trackers({"id": id_, "trackers": sorted({*known, *names})})
    folder = Path(config.output_dir).resolve()
    one_of_many = config.fold or run.restart != run.config
    session = dataclasses.replace(
        session,
        name=f"{folder.name}-{id_[:6]}",
        id=id_,
        group=folder.parent.name if one_of_many else None,
        settings=dataclasses.asdict(config),
    )
    before = lines_of(run.metrics) if resumed else []
    return Trackers(names, session, known, before, say)


def close_trackers(trackers: Trackers, run: RunFolder, *, ended: bool) -> None:
    """Close the trackers; the next session reports everything to those that could not be opened."""
    trackers.close(ended=ended)
    if trackers.unopened:
        id_, known = _known(run)
        left = sorted(set(known) - trackers.unopened)
        run.write_trackers({"id": id_, "trackers": left})


def _known(run: RunFolder) -> tuple[str, list[str]]:
    """Return the id of the run, and the trackers that it has been reported to."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(run.trackers.read_text("utf-8"))
        return str(content["id"]), [str(name) for name in content["trackers"]]
    return "", []
