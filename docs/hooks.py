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
    """Return a Markdown table of all settings of `TrainConfig`."""
    from flaxner.config.train import TrainConfig

    rows = ["| setting | flag | default | description |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(TrainConfig):
        flag = "--" + field.name.replace("_", "-")
        what = html.escape(str(field.metadata["help"])).replace("|", "\\|")
        choices = field.metadata.get("choices")
        if choices:
            what += ": " + ", ".join(f"`{choice}`" for choice in choices)
        rows.append(f"| `{field.name}` | `{flag}` | `{field.default!r}` | {what} |")
    return "\n".join(rows)
