"""Terminal output: external text is made harmless, and failing to print never ends a run.

Words, types, file names and labels come from other people's corpora and models. In a terminal they
could move the cursor, colour the text that follows or reverse its order; as Rich markup they could
raise errors. Nothing in this module depends on what is printed.
"""

from __future__ import annotations

import _thread
import contextlib
import copy
import errno
import functools
import json
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ExtensionFileLoader
from types import FrameType
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

UNWRITABLE = 74  # exit code (EX_IOERR): the output could not be written
# Control characters except tab and newline, line and paragraph separators, lone surrogates, and
# characters that reorder text at a distance. The marks U+200E, U+200F and U+061C, which affect only
# their neighbours, are part of ordinary Arabic and Hebrew text and are not included.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def shown(text: object) -> str:
    """Return text that is safe to display: control and reordering characters become escapes."""
    return HIDDEN.sub(lambda match: _escaped(match[0]), str(text))


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def json_line(value: Any) -> str:
    """Return JSON on one line for standard output, with control characters escaped.

    The line is ASCII if standard output does not support Unicode.
    """
    line = json.dumps(value, ensure_ascii=not has_unicode(sys.stdout))
    return HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", line)


def has_unicode(stream: Any) -> bool:
    """Whether a stream can write every character."""
    return str(getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")


STDOUT = "standard output"


class SafeConsole(Console):
    """A Rich console for external text: no markup is interpreted, control characters are escaped.

    To style text, pass `style` or a `Text`.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Render a string literally."""
        options |= {"markup": False, "emoji": False, "highlight": False, "highlighter": None}
        return super().render_str(shown(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as Rich does; a failed write raises an error that names standard output.

        Text that goes to a file or a pipe is not wrapped: logs are searched by line.
        """
        plain = all(isinstance(item, str | Text) for item in objects)
        if plain and not (self.is_terminal or self.is_jupyter):
            options.setdefault("soft_wrap", True)
        try:
            super().print(*objects, **options)
        except OSError as error:
            raise OSError(error.errno, error.strerror, error.filename or STDOUT) from error

    def on_broken_pipe(self) -> None:
        """Raise, where Rich would exit without saying why."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE), STDOUT)

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        """Render as Rich does, with hidden characters escaped."""
        if isinstance(renderable, Text) and HIDDEN.search(renderable.plain):
            renderable = Text(shown(renderable.plain), renderable.style)
        return super().render(renderable, options)


def console(like: Console | None = None, *, stderr: bool = False) -> Console:
    """Return a console on which neither markup nor an unencodable character raises an error.

    Args:
      like: a console of the caller; the returned one writes to the same place in the same way.
      stderr: write to standard error instead of standard output.
    """
    if like is None:
        settle()
        return SafeConsole(stderr=stderr)
    if isinstance(like, SafeConsole):
        return like
    safe = copy.copy(like)  # shares its file, its lock and its recorded output
    safe.__class__ = type("SafeConsole", (SafeConsole, type(like)), {})
    return safe


def settle() -> None:
    """Make standard output and error escape characters that their encoding lacks.

    Standard input is read as files are: as UTF-8 if the locale does not support Unicode, and other
    bytes are an error, which Python hides in the locale C. A stream that was closed before Python
    started becomes the null device.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if hasattr(sys.stdin, "reconfigure"):
        other = None if has_unicode(sys.stdin) else "utf-8"
        with contextlib.suppress(ValueError, OSError):  # it has already been read from
            sys.stdin.reconfigure(encoding=other, errors="strict")


class Stopped(Exception):
    """A command stops early; the message is one sentence.

    Attributes:
      code: exit code for a script.
      at_once: exit immediately: a normal exit would wait for the other processes of the run.
    """

    def __init__(self, message: str, code: int = UNWRITABLE, *, at_once: bool = False) -> None:
        super().__init__(message)
        self.code, self.at_once = code, at_once


def guarded(program: str, work: Callable[[], object], *, may_be_cut: bool = False) -> int:
    """Run a script's work and return its exit code; print any error as one sentence on stderr.

    The exit code is 2 for a ValueError, that of a `Stopped`, 74 for an OSError, 130 for Ctrl-C.

    Args:
      program: the program name to print before the sentence.
      work: the work; its result, if an int, is the exit code.
      may_be_cut: whether a reader that closes the pipe early (`| head`) counts as success.
    """
    settle()
    _log_plainly()
    _interrupt_again()
    try:
        with _safe_to_interrupt():
            code = work()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except Stopped as stop:
        code = _end(program, str(stop), stop.code)
        if stop.at_once:
            os._exit(code)
        return code
    except UnicodeEncodeError as error:  # a library met a file name that is not valid text
        return _end(program, f"{error.object!a} is not valid Unicode: rename or fix it", 2)
    except ValueError as error:
        return _end(program, str(error), 2)
    except OSError as error:
        if error.errno == errno.EPIPE and may_be_cut:
            _drop(sys.stdout)
            return 0
        place = error.filename or STDOUT
        verb = "write" if place == STDOUT else "read or write"  # the error does not say which
        return _end(program, f"cannot {verb} {place}: {error.strerror or error}", UNWRITABLE)
    except KeyboardInterrupt:
        return _end(program, "interrupted", 130)


class _Warnings(logging.Handler):
    """Prints messages above a progress bar, which replaces standard error while it runs."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message on what is standard error now, with control characters escaped."""
        try:
            print(shown(self.format(record)), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


@functools.cache
def _interrupt_again() -> None:
    """Repeat a Ctrl-C that fell into a callback which Python cannot leave by an exception.

    JAX has one in every garbage collection, where a KeyboardInterrupt is reported and lost.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        _interrupt_later()  # here it would be lost again

    sys.unraisablehook = hook


repeating = threading.Event()  # the next SIGINT is a repetition, not a second Ctrl-C


def _interrupt_later() -> None:
    def again() -> None:
        repeating.set()
        _thread.interrupt_main()

    later = threading.Timer(0.1, again)
    later.daemon = True
    later.start()


@contextlib.contextmanager
def _safe_to_interrupt() -> Iterator[None]:
    """While entered, a Ctrl-C waits until no native module is being loaded.

    JAX's, interrupted there, crash, or fail with an ImportError that optional imports suppress.
    """
    usual = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if usual:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, at once or after the native module that is being loaded."""
    while frame is not None:
        imports = frame.f_code.co_filename == "<frozen importlib._bootstrap_external>"
        if imports and isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            _interrupt_later()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _log_plainly() -> None:
    """Print every warning of a library once, and only its text.

    absl, which Orbax logs with, would otherwise install a handler that repeats the Hub client's
    own messages in another form.
    """
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_Warnings(logging.WARNING))
    logging.getLogger("huggingface_hub").propagate = False


def _end(program: str, message: str, code: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        print(f"{program}: {one_line(message)}", file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _drop(stream)
    return code


def one_line(message: str) -> str:
    """Return a message as one line, even if a file name in it contains line breaks."""
    return shown(" ".join(message.splitlines()))


def _drop(stream: Any) -> None:
    """Discard what a stream still buffers, so that Python does not try to write it at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
