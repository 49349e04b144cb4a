"""Points -> the geometry of small charts, which the templates draw as SVG.

The charts of a page are lines, bars and dots with two axes. As inline SVG they need neither
scripts nor a network, follow the page's light or dark colours, and work with screen readers and
printers; a chart library would be the largest part of the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 28, 12, 40  # right: half of the longest label, 450,000
MOST_POINTS = 300  # per line; neighbouring points of longer lines are averaged
Points = Sequence[tuple[float, float]]


def line_chart(lines: Sequence[tuple[str, Points]], *, from_zero: bool = False) -> dict[str, Any]:
    """Return lines on one pair of axes.

    Args:
      lines: name and (x, y) points of each line, ordered by x.
      from_zero: whether the vertical axis always starts at 0.

    Returns:
      what the template draws; each of its "lines" has its number among the given ones, which
      decides its colour, as lines without points are left out, and says how it ends.
    """
    drawn = [(i, name, _thinned(points)) for i, (name, points) in enumerate(lines) if points]
    xs = [x for *_, points in drawn for x, _ in points]
    ys = [y for *_, points in drawn for _, y in points]
    if not xs:
        return {}
    x_axis = Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    y_axis = Axis(0.0 if from_zero else min(ys), max(ys), HEIGHT - BOTTOM, TOP)
    told = [f"{name}: {points[-1][1]:.4g} at the end" for _, name, points in drawn]
    placed = [(i, [(x_axis.at(x), y_axis.at(y)) for x, y in points]) for i, _, points in drawn]
    return {
        **_frame(x_axis, y_axis),
        "lines": [
            (i, text, " ".join(f"{x:.1f},{y:.1f}" for x, y in points), *points[-1])
            for text, (i, points) in zip(told, placed, strict=True)
        ],
    }


def dot_chart(dots: Sequence[tuple[float, float, int]]) -> dict[str, Any]:
    """Return dots (x, y, weight) in the unit square, with sizes that grow with their weights."""
    x_axis = Axis(0.0, 1.0, LEFT, WIDTH - RIGHT)
    y_axis = Axis(0.0, 1.0, HEIGHT - BOTTOM, TOP)
    most = max((weight for *_, weight in dots), default=1)
    return {
        **_frame(x_axis, y_axis),
        "dots": [
            (x_axis.at(x), y_axis.at(y), 3 + 9 * math.sqrt(weight / most), x, y, weight)
            for x, y, weight in dots
        ],
        "diagonal": (x_axis.at(0), y_axis.at(0), x_axis.at(1), y_axis.at(1)),
    }


class Axis:
    """A linear map from a range of numbers to a range of drawing coordinates.

    Args:
      low, high: range of numbers.
      begin, end: their coordinates.
    """

    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        if high <= low:
            low, high = low - abs(low) / 2, high + (abs(high) / 2 or 1)
        self.low, self.high, self.begin, self.end = low, high, begin, end

    def at(self, value: float) -> float:
        """Return the coordinate of a number."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)

    def ticks(self, count: int = 5) -> list[tuple[float, str]]:
        """Return the coordinates of round numbers, and their labels."""
        rough = (self.high - self.low) / count
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        numbers = [k * step for k in range(first, last + 1)]
        if step < 1e-3:
            return [(self.at(n), f"{n:.1e}" if n else "0") for n in numbers]
        unit, sign = (1e6, "M") if step >= 1e5 else (1, "")  # 3,000,000 would not fit
        digits = max(0, -math.floor(math.log10(step / unit) + 1e-9))
        return [(self.at(n), f"{n / unit:,.{digits}f}{sign}") for n in numbers]


def _frame(x_axis: Axis, y_axis: Axis) -> dict[str, Any]:
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "x_ticks": x_axis.ticks(),
        "y_ticks": y_axis.ticks(),
    }


def _thinned(points: Points) -> list[tuple[float, float]]:
    """Average neighbours down to about MOST_POINTS points, keeping the last one unchanged."""
    every = -(-len(points) // MOST_POINTS)
    if every <= 1:
        return list(points)
    groups = [points[i : i + every] for i in range(0, len(points) - 1, every)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return [*means, points[-1]]
