"""Pages and cards out of the templates beside this module; what a template is given is escaped.

Words, types and names come from corpora and models of strangers. In HTML they are escaped by
Jinja's autoescape, in Markdown by the same rule with Markdown's own escapes: whatever a template
writes is text, unless the template says `raw`, `code` or `quoted`.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

from flaxner.terminal import shown

if TYPE_CHECKING:
    from jinja2 import Environment


class Verbatim(str):
    """Markdown that is written as it stands."""


def markdown(template: str, /, **values: Any) -> str:
    """Fill a Markdown template.

    Args:
      template: name of the file in this folder.
      values: what the template names.

    Raises:
      jinja2.UndefinedError: a value that the template needs is not given.
    """
    return _environment("markdown").get_template(template).render(values)


def html(template: str, /, **values: Any) -> str:
    """Fill an HTML template; see `markdown`."""
    return _environment("html").get_template(template).render(values)


@functools.cache
def _environment(kind: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("flaxner.templates", ""),
        autoescape=kind == "html",
        finalize=_shown if kind == "html" else _in_markdown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    if kind == "markdown":
        environment.filters |= {"raw": Verbatim, "code": _code, "quoted": _quoted}
    return environment


def _shown(value: Any) -> Any:
    """Characters that act instead of being seen become escapes; safe HTML stays."""
    return shown(value) if type(value) is str else value


def _in_markdown(value: Any) -> str:
    """Text that Markdown leaves as it is, in a table's cell, too."""
    if isinstance(value, Verbatim):
        return value
    text = " ".join(shown(value).split("\n"))
    # An underscore between letters or digits is no emphasis.
    return re.sub(r"([\\`*{}\[\]<>|#~$&]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def _code(value: object) -> Verbatim:
    """A code span, whatever backticks are in it."""
    text = shown(value)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return Verbatim(f"{fence}{pad}{text}{pad}{fence}")


def _quoted(value: object) -> Verbatim:
    """A string of Python or JSON, for a code block."""
    return Verbatim(json.dumps(shown(value), ensure_ascii=False))
