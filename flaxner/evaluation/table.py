"""A table of scores for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text


def score_table(title: str, report: Mapping[str, Any]) -> Group:
    """Return a table of precision, recall, F1 and support, per entity type and overall.

    The title, which often holds a path, may be wider than the table. Cells are wrapped, never cut:
    Few-NERD has types of 40 characters.
    """
    table = Table()
    table.add_column("type", overflow="fold")
    for name in ("precision", "recall", "F1", "support"):
        table.add_column(name, justify="right", overflow="fold")
    for name, row in report["per_type"].items():
        scores = [f"{row[key]:.4f}" for key in ("precision", "recall", "f1")]
        table.add_row(name, *scores, f"{row['support']:,}")
    table.add_section()
    overall = [f"{report[f'overall_{key}']:.4f}" for key in ("precision", "recall", "f1")]
    support = sum(row["support"] for row in report["per_type"].values())
    table.add_row("all", *overall, f"{support:,}", style="bold")
    return Group(Text(title, style="table.title"), table)
