"""What `compare_runs.py` reads and prints."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from os.path import normpath
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from flaxner.config.files import LACKING
from flaxner.config.train import NOT_FINGERPRINTED
from flaxner.evaluation.predictions import Predicted, read_predictions
from flaxner.evaluation.significance import Difference
from flaxner.runs.paths import RunPaths, is_run
from flaxner.runs.replacing import refuse_half_moved
from flaxner.wording import number_of, percent

# Settings that name the training corpus, and those that may differ between the runs of one system.
OF_TRAINING = {"dataset", "dataset_config", "dataset_revision", "train_file"}
PER_SEED = {"seed", "fold"} | NOT_FINGERPRINTED - OF_TRAINING


class System(NamedTuple):
    """The predictions of one of the two systems compared.

    Attributes:
      predictions: predictions of each seed.
      seeds: the seeds, from the runs' settings; None where there are none, as for a file.
      files: the files that the predictions are from.
    """

    predictions: list[list[Predicted]]
    seeds: list[int | None]
    files: list[Path]


def _system(by_seed: Sequence[tuple[int | None, Path]]) -> System:
    seeds, files = [seed for seed, _ in by_seed], [file for _, file in by_seed]
    return System([read_predictions(file) for file in files], seeds, files)


def read_system(name: str | Path, split: str = "test") -> System:
    """Read a prediction file, a run, or a folder of runs.

    Args:
      name: file or folder.
      split: which predictions of a run to read.

    Raises:
      ValueError: it is none of these, or a file cannot be read.
    """
    place = Path(name)
    if place.is_file():
        return _system([(None, place)])
    if not place.is_dir():
        raise ValueError(f"{name} does not exist: name a run, a folder of runs or a file")
    refuse_half_moved(place)
    file = RunPaths(place).predictions / f"{split}.conll"
    if is_run(place) and file.is_file():
        return _system([(_seed(place), file)])
    inside = (p for p in place.iterdir() if p.is_dir() and not p.name.startswith("."))
    runs = sorted(folder for folder in inside if is_run(folder))
    if not runs and not is_run(place):
        raise ValueError(f"{name} is not a run")
    files = [RunPaths(folder).predictions / f"{split}.conll" for folder in runs or [place]]
    for file in files:
        if not file.is_file():
            others = sorted(f"--split {other.stem}" for other in file.parent.glob("*.conll"))
            hint = f"choose {' or '.join(others)}" if others else "has the run finished?"
            raise ValueError(f"{file} is missing: {hint}")
    _check_seeds(runs)
    return _system(sorted(zip(map(_seed, runs), files, strict=True), key=_order))


def _order(pair: tuple[int | None, Path]) -> tuple[bool, int, str]:
    seed, file = pair
    return seed is None, seed or 0, str(file)


def _check_seeds(runs: list[Path]) -> None:
    """Refuse runs that are not different seeds, or folds, of one system.

    Raises:
      ValueError: two runs differ in another setting, which is named, or have the same seed.
    """
    first, *_ = known = [(run, _settings(run)) for run in runs]
    for run, own in known[1:]:
        for name in sorted(LACKING.keys() - PER_SEED if own and first[1] else ()):
            here, there = (side.get(name, LACKING[name]) for side in (first[1], own))
            if here != there and (name != "model" or normpath(here) != normpath(there)):
                raise ValueError(
                    f"{name} differs between {first[0]} and {run} ({here!r} and {there!r}): they "
                    "are not seeds of one system, name one of them"
                )
    seen: dict[tuple[object, object], Path] = {}
    for run, own in known:
        which = (own.get("seed"), own.get("fold"))
        if own and which in seen:
            raise ValueError(f"{seen[which]} and {run} have the same seed, {which[0]}")
        seen[which] = run


def _settings(folder: Path) -> dict[str, Any]:
    """Return the settings in config.toml; empty if it cannot be read."""
    try:
        return tomllib.loads(RunPaths(folder).config.read_text("utf-8-sig"))
    except (OSError, ValueError):
        return {}


def _seed(folder: Path) -> int | None:
    seed = _settings(folder).get("seed")
    return seed if isinstance(seed, int) else None


def comparison_table(a: str, b: str, found: Difference) -> Table:
    """Return a table with F1 and interval of both systems, and the F1 of each seed."""
    level = f"{percent(found.confidence)} interval"
    table = Table(title=f"F1 over {number_of(found.sentences, 'sentences')}", title_justify="left")
    for column in ("", "F1", level, "seed by seed"):
        table.add_column(column, overflow="fold")  # show paths in full
    sides = ((a, found.scores_a, found.interval_a), (b, found.scores_b, found.interval_b))
    for name, scores, (low, high) in sides:
        each = " ".join(f"{score:.4f}" for score in scores) if len(scores) > 1 else ""
        mean = sum(scores) / len(scores)
        table.add_row(name, f"{mean:.4f}", f"{low:.4f} to {high:.4f}", each)
    low, high = found.interval
    table.add_section()
    table.add_row("difference", f"{found.difference:+.4f}", f"{low:+.4f} to {high:+.4f}", "")
    return table


def verdict(a: str, b: str, found: Difference) -> str:
    """Return one sentence: whether the systems differ, by how much, and by which tests."""
    better, worse = (b, a) if found.difference >= 0 else (a, b)
    over = number_of(found.sentences, "sentences")
    tests = f"randomisation over {over}: p = {_p(found.p_sentences)}; {_of_seeds(found)}"
    if found.differ:
        points = 100 * abs(found.difference)
        return f"{better} is better than {worse} by {points:.2f} points of F1 ({tests})."
    telling = found.p_sentences <= 1 - found.confidence
    why = ": the sentences tell them apart, but the seeds do not" if telling else ""
    return f"{a} and {b} do not differ significantly{why} ({tests})."


def _of_seeds(found: Difference) -> str:
    """Say what the seeds show."""
    if found.p_seeds is None or found.smallest_p_seeds is None:
        return "with one seed each, other seeds may give another result"
    kind = "paired" if found.paired else "unpaired"
    test = f"{kind} over {len(found.scores_a)} seeds: p = {_p(found.p_seeds)}"
    if found.smallest_p_seeds <= 1 - found.confidence:
        return test
    if found.p_seeds == found.smallest_p_seeds:
        return f"{test}, the lowest possible with so few; other seeds may give another result"
    return f"{test}, which cannot go below {found.smallest_p_seeds:.2g} with so few seeds"


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "below 0.0001"
