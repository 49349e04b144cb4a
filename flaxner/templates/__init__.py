"""Pages and cards from the templates next to this module; all values are escaped.

Words, types and names come from untrusted corpora and models. In HTML, Jinja's autoescape escapes
them; in Markdown, the same rule applies with Markdown's own escapes: every value is written as
plain text unless the template applies `raw`, `code` or `quoted`.
"""

from __future__ import annotations

import functools
import json
import re
from typing import TYPE_CHECKING, Any

from flaxner.terminal import shown
from flaxner.wording import number_of

if TYPE_CHECKING:
    from jinja2 import Environment


class Verbatim(str):
    """Markdown that is written without escaping."""


def markdown(template: str, /, **values: Any) -> str:
    """Fill a Markdown template.

    Args:
      template: name of a file in this folder.
      values: variables of the template.

    Raises:
      jinja2.UndefinedError: a value that the template needs is missing.
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
    environment.globals["number_of"] = number_of
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    if kind == "markdown":
        environment.filters |= {"raw": Verbatim, "code": _code, "quoted": _quoted}
    return environment


def _shown(value: Any) -> Any:
    """Replace control characters with escapes; leave safe HTML unchanged."""
    return shown(value) if type(value) is str else value


def _in_markdown(value: Any) -> str:
    """Escape text so that Markdown shows it literally, even in a table cell."""
    if isinstance(value, Verbatim):
        return value
    text = " ".join(shown(value).split("\n"))
    # An underscore between letters or digits does not mark emphasis.
    return re.sub(r"([\\`*{}\[\]<>|#~$&]|(?<!\w)_|_(?!\w))", r"\\\1", text)


def _code(value: object) -> Verbatim:
    """Return a code span, even if the text contains backticks."""
    text = shown(value)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return Verbatim(f"{fence}{pad}{text}{pad}{fence}")


def _quoted(value: object) -> Verbatim:
    """Return a Python or JSON string literal, for a code block."""
    return Verbatim(json.dumps(shown(value), ensure_ascii=False))
