"""What a person reads: text from outside is shown harmlessly, and writing it ends no run.

Words, types, file names and labels come from corpora and models of strangers. In a terminal they
could move the cursor, colour what follows or turn its order round; as Rich's markup they could
raise. Nothing here knows what is printed.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

UNWRITABLE = 74  # exit code (EX_IOERR): what was to be written could not be
# Control characters but tab and newline, line and paragraph separators, halves of surrogate
# pairs, and what reorders text at a distance. Marks (U+200E, U+200F, U+061C), which reach no
# further than their neighbours, are part of ordinary Arabic and Hebrew text.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def shown(text: object) -> str:
    """A text for a person: characters that act instead of being seen are written as escapes."""
    return HIDDEN.sub(lambda match: _escaped(match[0]), str(text))


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def json_line(value: Any) -> str:
    """JSON on one line for standard output: the same data, and no character of it acts.

    It is ASCII where standard output has no Unicode.
    """
    line = json.dumps(value, ensure_ascii=not has_unicode(sys.stdout))
    return HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def has_unicode(stream: Any) -> bool:
    """Whether every character can be written to a stream."""
    return str(getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


STDOUT = "standard output"


class SafeConsole(Console):
    """Rich's console for text that came from outside: no markup in it, nothing acts.

    What is to be styled is given as `style` or as a `Text`.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as it stands."""
        options |= {"markup": False, "emoji": False, "highlight": False, "highlighter": None}
        return super().render_str(shown(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As Rich's; what cannot be written is an error that names standard output."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            raise OSError(error.errno, error.strerror, error.filename or STDOUT) from error

    def on_broken_pipe(self) -> None:
        """Rich would exit, and nobody would hear why."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE), STDOUT)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """What a renderable looks like."""
        if isinstance(renderable, Text) and HIDDEN.search(renderable.plain):
            renderable = Text(shown(renderable.plain), renderable.style)
        return super().render(renderable, options)


def console(like: Console | None = None, *, stderr: bool = False) -> Console:
    """A console on standard output (or error) that neither markup nor a missing letter stops.

    Args:
      like: a console of the caller's: the answer writes where it does, and as it does.
      stderr: standard error.
    """
    if like is None:
        settle()
        return SafeConsole(stderr=stderr)
    if isinstance(like, SafeConsole):
        return like
    safe = copy.copy(like)  # shares its file, its lock and what it has recorded
    safe.__class__ = type("SafeConsole", (SafeConsole, type(like)), {})
    return safe


def settle() -> None:
    """Let standard output and error replace what their encoding has no letter for.

    Standard input is UTF-8, as files are, where the locale knows ASCII only.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if hasattr(sys.stdin, "reconfigure") and not has_unicode(sys.stdin):
        with contextlib.suppress(ValueError, OSError):  # something was read from it before
            sys.stdin.reconfigure(encoding="utf-8", errors="strict")


class Stopped(Exception):
    """The end of a command before its end, in a sentence.

    Attributes:
      code: exit code for a script.
      at_once: the process cannot end by itself, for it would wait for another that is gone.
    """

    def __init__(self, message: str, code: int = UNWRITABLE, *, at_once: bool = False) -> None:
        super().__init__(message)
        self.code, self.at_once = code, at_once


def guarded(program: str, work: Callable[[], object], *, may_be_cut: bool = False) -> int:
    """Do a script's work; its exit code. What ends it is one sentence on standard error.

    A ValueError is exit code 2, `Stopped` its own, an OSError 74, Ctrl-C 130.

    Args:
      program: its name, before the sentence.
      work: what to do; its result, if it is a number, is the exit code.
      may_be_cut: a reader that has had enough (`| head`) is no failure.
    """
    settle()
    try:
        code = work()
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except Stopped as stop:
        code = _end(program, str(stop), stop.code)
        if stop.at_once:
            os._exit(code)
        return code
    except UnicodeEncodeError as error:  # a file name that is no text, which a library met
        return _end(program, f"{error.object!a} is no valid Unicode: rename or mend it", 2)
    except ValueError as error:
        return _end(program, str(error), 2)
    except OSError as error:
        if error.errno == errno.EPIPE and may_be_cut:
            _drop(sys.stdout)
            return 0
        place = error.filename or STDOUT
        reason = error.strerror or str(error)
        return _end(program, f"cannot write {place}: {reason}", UNWRITABLE)
    except KeyboardInterrupt:
        return _end(program, "interrupted", 130)


def _end(program: str, message: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        print(f"{program}: {one_line(message)}", file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            _drop(stream)
    return code


def one_line(message: str) -> str:
    """A message as one line, whatever a file name in it holds."""
    return shown(" ".join(message.splitlines()))


def _drop(stream: Any) -> None:
    """What a stream still holds can go nowhere: keep Python from trying at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
