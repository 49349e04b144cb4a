"""Runs -> one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner import templates
from flaxner.evaluation.metrics import spread
from flaxner.files import write_text
from flaxner.reporting.browsing import BUDGET
from flaxner.reporting.charts import dot_chart, line_chart
from flaxner.reporting.record import RunRecord, read_runs
from flaxner.reporting.structure import SPEED, structure
from flaxner.runs.folder import RunFolder
from flaxner.runs.paths import is_run
from flaxner.templates.colours import LINES, page_colours
from flaxner.typed_commands import command_line

MARK = "<!-- a report of flaxner -->"
FROM_ZERO = ("loss", "learning rate", SPEED)


def page(records: Sequence[RunRecord]) -> str:
    """Return the page of a run, or of several runs side by side."""
    runs = [structure(record, BUDGET // len(records)) for record in records]
    splits = [split for run in runs for split in run["splits"]]
    types = {row["name"] for split in splits for row in split["groups"]["type"]}
    types |= {kind for split in splits for kind in split["errors"]["types"]}
    return templates.html(
        "report.html.jinja",
        mark=MARK,
        runs=runs,
        means=_means(records, runs),
        curves=_curves(runs),
        reliability=[
            [[dot_chart(_dots(row)) for row in split["calibration"]] for split in run["splits"]]
            for run in runs
        ],
        compared=_compared(runs) if len(runs) > 1 else [],
        colours=page_colours(types),
        line_colours=LINES if len(runs) > 1 else ["var(--accent)"],
    )


def _means(
    records: Sequence[RunRecord], runs: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation (n - 1) of F1 per split, for seeds or folds of one run."""
    folders = {record.path.parent for record in records}
    if len(runs) == 1 or len(folders) > 1 or not is_run(folders.pop()):
        return {}
    spreads = {}
    for split in ("validation", "test"):
        scores = [run["scores"][split]["f1"] for run in runs if split in run["scores"]]
        if len(scores) == len(runs):
            spreads[split] = spread(scores)
    return spreads


def _curves(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return a chart for each curve, with one line per run."""
    titles = dict.fromkeys(title for run in runs for title in run["curves"])
    charts = []
    for title in titles:
        lines = [(run["name"], run["curves"].get(title, [])) for run in runs]
        charts.append((title, line_chart(lines, from_zero=title in FROM_ZERO)))
    return charts


def _dots(row: Mapping[str, Any]) -> list[tuple[float, float, int]]:
    return [(part["score"], part["right"], part["entities"]) for part in row["bins"]]


def _compared(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the F1 of every group in every run, for each split that any run has."""
    tables = []
    for split in ("test", "validation"):
        by_run: list[dict[str, Any]] = [
            next((s["groups"] for s in run["splits"] if s["name"] == split), {}) for run in runs
        ]
        if not any(by_run):
            continue
        keys = dict.fromkeys(
            (title, row["name"])
            for groups in by_run
            for title, rows in groups.items()
            for row in rows
        )
        rows_of = [
            {(title, row["name"]): row for title, rows in groups.items() for row in rows}
            for groups in by_run
        ]
        rows = [(title, name, [own.get((title, name)) for own in rows_of]) for title, name in keys]
        tables.append({"split": split, "rows": rows})
    return tables


def write_page(run: RunFolder, records: Callable[[], Sequence[RunRecord]]) -> list[str]:
    """Write the page at the end of a run; failures are reported, but never stop the run.

    Args:
      run: the run's folder, whose lock is held.
      records: returns the records to show.

    Returns:
      one sentence if writing failed, else nothing.
    """
    try:
        run.write_report(page(records()))
    except Exception as error:  # whatever it is, the model is trained and scored
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        again = command_line("report", str(run.path))
        return [f"could not write {run.report} ({reason}); try again with: {again}"]
    return []


def write_reports(folders: Sequence[str | Path], output: str | Path | None = None) -> Path:
    """Write the page of finished or unfinished runs, from their folders.

    Args:
      folders: output folders of runs; a cross-validation stands for its folds, and a multi-seed
        run for its seeds.
      output: file to write; if None, OUT/report.html for a single folder, else ./report.html.

    Returns:
      path of the file.

    Raises:
      ValueError: a folder is not a run, or is being written to, or the output file exists and was
        not written by flaxner.
    """
    path = Path(output or "report.html")
    if output is not None or len(folders) > 1:
        check_output(path)
    records = [record for folder in folders for record in read_runs(folder)]
    if output is None and len(folders) == 1:
        run = RunFolder(folders[0])
        html = page(records)
        run.lock()
        try:
            run.write_report(html)
        finally:
            run.release()
        return run.report
    write_text(path, page(records))
    return path


def check_output(path: Path) -> None:
    """Refuse to overwrite anything but a page of ours.

    Raises:
      ValueError: the path is a folder, or a file that flaxner did not write.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file for the page")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write the page {path.name}: there is no folder {path.parent}")
    if path.exists():
        with path.open("rb") as file:
            if MARK.encode() not in file.read(200):
                raise ValueError(f"{path} exists and is not a flaxner page: choose another file")
