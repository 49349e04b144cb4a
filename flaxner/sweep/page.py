"""The page of a sweep: a table of its trials, and Optuna's own plots."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import optuna

from flaxner import templates
from flaxner.reporting.record import read_speed
from flaxner.runs.folder import RunFolder
from flaxner.sweep.folder import SweepFolder

SIZE = (9.5, 4.2)  # inches, of a plot
COMPLETE = optuna.trial.TrialState.COMPLETE


def page(study: optuna.Study, folder: SweepFolder) -> str:
    """Return sweep.html, a self-contained page.

    Args:
      study: a study with at least one trial that has ended with a score.
      folder: folder of the sweep.
    """
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    best, names = study.best_trial, list(study.user_attrs["sweep"]["space"])
    order = sorted(trials, key=lambda t: (t.state != COMPLETE, -(t.value or 0.0), t.number))
    rows = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "f1": trial.value if trial.state == COMPLETE else None,
            "last": trial.intermediate_values.get(trial.last_step or -1),
            "seconds": _seconds(folder.trial(trial.number)),
            "values": [shown(trial.params.get(name)) for name in names],
            "why": trial.user_attrs.get("why", ""),
        }
        for trial in order
    ]
    figures = list(_figures(study))
    return templates.html(
        "sweep.html.jinja",
        path=str(folder.path),
        best=best,
        best_values=[(name, shown(best.params[name])) for name in names],
        best_folder=folder.trial(best.number).path.name,
        names=names,
        rows=rows,
        figures=figures,
    )


def _seconds(run: RunFolder) -> float | None:
    """Return the seconds a trial spent training, without pauses between stop and resume.

    None if its speed.jsonl is missing or damaged, which must not cost the page.
    """
    try:
        rows = read_speed(run.speed)
    except ValueError:
        return None
    return rows[-1]["seconds"] if rows else None


def shown(value: Any) -> str:
    """Return a value of a setting as text; the value of one that a trial lacks is empty."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _figures(study: optuna.Study) -> Iterator[tuple[str, str]]:
    """Yield (title, base64 PNG) of Optuna's plots; none without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    importance = optuna.importance.PedAnovaImportanceEvaluator()
    wanted: list[tuple[str, Callable[[], Any]]] = [
        ("F1 by trial", lambda: plots.plot_optimization_history(study)),
        (
            "Importance of settings",
            lambda: plots.plot_param_importances(study, evaluator=importance),
        ),
        ("F1 by setting", lambda: plots.plot_slice(study)),
        ("All settings together", lambda: plots.plot_parallel_coordinate(study)),
        (
            "Validation F1 during training (1,000 is one epoch)",
            lambda: plots.plot_intermediate_values(study),
        ),
    ]
    for title, plot in wanted:
        try:
            axes = plot()
        except (ValueError, RuntimeError, ZeroDivisionError):
            continue  # too few trials for this plot, or all of them alike
        figure = getattr(axes, "flat", [axes])[0].figure
        figure.set_size_inches(*SIZE)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
        pyplot.close(figure)
        yield title, base64.b64encode(buffer.getvalue()).decode()
