"""The figures of the comparison. Only this module imports `matplotlib`; it never opens a window."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flaxner.templates.colours import COLOURS, USUAL

GREY = "#6B6B6B"  # words that are not names
MARKERS = "osD^vPX"
STATIC_COLOUR, CONTEXT_COLOUR = "#E69F00", "#0072B2"
INK = "#1d2733"
STYLE: Any = {
    "font.size": 10.5,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa4b0",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def require_matplotlib() -> None:
    """Check for matplotlib before anything is computed.

    Raises:
      ValueError: it is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ValueError("the plots need matplotlib: pip install 'flaxner[embeddings]'") from error


def type_styles(types: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return type -> colour and marker; "O" is grey."""
    free = [colour for colour in COLOURS if colour not in USUAL.values()]
    others = [name for name in sorted(set(types)) if name not in USUAL and name != "O"]
    colours = {**USUAL, **{name: free[i % len(free)] for i, name in enumerate(others)}}
    marks = {name: MARKERS[i % len(MARKERS)] for i, name in enumerate((*USUAL, *others))}
    styles = {
        name: (colours[name], marks[name]) for name in (*USUAL, *others) if name in set(types)
    }
    return {**styles, "O": (GREY, "X")}


def word_figure(
    word: Mapping[str, Any], styles: Mapping[str, tuple[str, str]], names: tuple[str, str]
) -> bytes:
    """Draw one word in several sentences: static and contextual similarities, the plane; a PNG.

    Args:
      word: an entry of the study's "words".
      styles: colour and marker of each type.
      names: names of the static and the contextual vectors.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13.2, 4.5), layout="constrained")
        axes = figure.subplots(1, 3, width_ratios=[1, 1, 1.25])
        shown = word["shown"]
        kinds = [word["occurrences"][i]["type"] for i in shown]
        ones = np.full((len(shown), len(shown)), word["static_cosine"])
        _matrix(axes[0], ones, kinds, styles, f"Static: {_short(names[0])}")
        image = _matrix(
            axes[1], np.asarray(word["cosines"]), kinds, styles, f"In context: {_short(names[1])}"
        )
        bar = figure.colorbar(image, ax=axes[:2], location="bottom", shrink=0.45, aspect=40)
        bar.set_label("cosine similarity of two occurrences")
        bar.outline.set_visible(False)
        _plane(axes[2], word, styles)
        title = f"“{word['form']}”: one static vector, one BERT vector per occurrence"
        figure.suptitle(title, fontsize=14, fontweight="bold", x=0.01, ha="left")
        return _png(figure)


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _matrix(
    axis: Any,
    cosines: np.ndarray,
    kinds: Sequence[str],
    styles: Mapping[str, tuple[str, str]],
    title: str,
) -> Any:
    image = axis.imshow(cosines, cmap="cividis", vmin=min(0.0, float(cosines.min())), vmax=1.0)
    labels = ["no entity" if kind == "O" else kind for kind in kinds]
    axis.set_xticks(range(len(kinds)), labels, rotation=90)
    axis.set_yticks(range(len(kinds)), labels)
    for ticks in (axis.get_xticklabels(), axis.get_yticklabels()):
        for tick, kind in zip(ticks, kinds, strict=True):
            tick.set_color(styles[kind][0])
            tick.set_fontsize(8.5)
    for row, column in np.ndindex(cosines.shape):
        value = cosines[row, column]
        ink = "white" if value < 0.6 else "#111111"
        text = f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else "1"
        axis.text(column, row, text, ha="center", va="center", fontsize=6.3, color=ink)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_title(title)
    axis.set_xlabel("type of the occurrence")
    return image


def _plane(axis: Any, word: Mapping[str, Any], styles: Mapping[str, tuple[str, str]]) -> None:
    points = np.asarray([o["plane"] for o in word["occurrences"]])
    kinds = np.asarray([o["type"] for o in word["occurrences"]])
    for kind, (colour, marker) in styles.items():
        of = kinds == kind
        if of.any():
            label = f"{'no entity' if kind == 'O' else kind} ({int(of.sum())})"
            axis.scatter(
                *points[of].T, s=46, c=colour, marker=marker, label=label, alpha=0.85,
                edgecolors="white", linewidths=0.6,
            )  # fmt: skip
    axis.set_title("BERT's vector of every occurrence", y=1.07)
    axis.set_xlabel("first principal component")
    axis.set_ylabel("second principal component")
    axis.grid(color="#e6eaee", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 0.995), ncols=4, handletextpad=0.2,
        columnspacing=1.0, borderpad=0.1,
    )  # fmt: skip


def separation_figure(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw how well each kind of vector separates the types of ambiguous forms; a PNG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13.2, 1.7 + 0.6 * len(rows)), layout="constrained")
        axes = figure.subplots(1, 2, sharey=True)
        names = [_short(row["name"], 40) for row in rows]
        colours = [STATIC_COLOUR, *[CONTEXT_COLOUR] * (len(rows) - 1)]
        panels = (
            ("accuracy", "Accuracy of the nearest centroid, held out", "fraction of occurrences"),
            ("silhouette", "Silhouette of the types", "mean silhouette (0: no separation)"),
        )
        for axis, (key, title, label) in zip(axes, panels, strict=True):
            values = [row[key] for row in rows]
            bars = axis.barh(names, values, color=colours, height=0.62)
            axis.bar_label(bars, fmt="%.2f", padding=4, fontweight="bold")
            axis.set(title=title, xlabel=label)
            axis.set_xlim(
                min(0.0, *values) * 1.2, max(1.0 if key == "accuracy" else 0.3, *values) * 1.1
            )
            axis.tick_params(length=0)
        axes[0].invert_yaxis()  # inverts both: they share it
        majority = rows[0]["majority"]
        axes[0].axvline(majority, color=INK, linestyle=(0, (4, 3)), linewidth=1.2)
        axes[0].plot([], [], color=INK, linestyle=(0, (4, 3)), linewidth=1.2,
                     label=f"always the most frequent type: {majority:.2f}")  # fmt: skip
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left")
        return _png(figure)


def tagger_figure(rows: Sequence[Mapping[str, Any]], corpus: str) -> bytes:
    """Draw the taggers' F1 on all entities, names seen in training, and unseen names; a PNG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    parts = [p for p in ("all", "seen", "unseen") if any(row[p]["entities"] for row in rows)]
    if len(parts) == 2:
        parts = ["all"]  # the other part has the same entities
    labels = {"all": "all entities", "seen": "names seen in training", "unseen": "unseen names"}
    tints = {"all": "#0072B2", "seen": "#56B4E9", "unseen": "#D55E00"}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(13.2, 4.2), layout="constrained")
        axis = figure.subplots()
        width = 0.8 / len(parts)
        for index, part in enumerate(parts):
            at = np.arange(len(rows)) + (index - (len(parts) - 1) / 2) * width
            values = [row[part]["f1"] for row in rows]
            count = rows[0][part]["entities"]
            bars = axis.bar(
                at, values, width * 0.92, color=tints[part], label=f"{labels[part]} ({count:,})"
            )
            axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=9.5, fontweight="bold")
        axis.set_xticks(range(len(rows)), [row["name"] for row in rows])
        axis.tick_params(length=0)
        axis.set(ylabel="F1 on the test split (seqeval)", ylim=(0, 1.08))
        axis.set_title(f"Taggers on each kind of vector: {corpus}")
        axis.grid(axis="y", color="#e6eaee", linewidth=0.8)
        axis.set_axisbelow(True)
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower left", ncols=3)
        return _png(figure)


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, facecolor="white")
    return buffer.getvalue()
