"""For mkdocs: the table of settings is made from `TrainConfig`; files outside docs/ are linked."""

from __future__ import annotations

import dataclasses
import html
import re

SETTINGS = "<!-- settings -->"
OUTSIDE = re.compile(r"\]\(\.\./([A-Za-z_./]+)\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Fill in what a page asks for."""
    if SETTINGS in markdown:
        markdown = markdown.replace(SETTINGS, settings())
    return OUTSIDE.sub(r"` (\1 in the repository)`", markdown)


def settings() -> str:
    """Every setting of `TrainConfig` as a Markdown table."""
    from flaxner.config.train import TrainConfig

    rows = ["| setting | flag | default | what it is |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(TrainConfig):
        flag = "--" + field.name.replace("_", "-")
        what = html.escape(str(field.metadata["help"])).replace("|", "\\|")
        choices = field.metadata.get("choices")
        if choices:
            what += ": " + ", ".join(f"`{choice}`" for choice in choices)
        rows.append(f"| `{field.name}` | `{flag}` | `{field.default!r}` | {what} |")
    return "\n".join(rows)
