"""mkdocs hooks: build the table of `TrainConfig`'s settings; rewrite links that leave docs/."""

from __future__ import annotations

import dataclasses
import html
import re

SETTINGS = "<!-- settings -->"
OUTSIDE = re.compile(r"\]\(\.\./([A-Za-z_./]+)\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Insert the table of settings and replace links to files outside docs/."""
    if SETTINGS in markdown:
        markdown = markdown.replace(SETTINGS, settings())
    return OUTSIDE.sub(r"` (\1 in the repository)`", markdown)


def settings() -> str:
    """Return Markdown tables of all settings of `TrainConfig`, one per section."""
    from flaxner.config.sections import SECTIONS
    from flaxner.config.train import TrainConfig

    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    rows = []
    for title, names in SECTIONS.items():
        rows += ["", f"## {title.capitalize()}", ""]
        rows += ["| setting | flag | default | description |", "| --- | --- | --- | --- |"]
        rows += [_row(fields[name]) for name in names]
    return "\n".join(rows)


def _row(field: dataclasses.Field) -> str:
    """Return the line of a table that describes a setting."""
    flag = "--" + field.name.replace("_", "-")
    what = html.escape(str(field.metadata["help"])).replace("|", "\\|")
    choices = field.metadata.get("choices")
    if choices:
        what += ": " + ", ".join(f"`{choice}`" for choice in choices)
    return f"| `{field.name}` | `{flag}` | `{field.default!r}` | {what} |"
