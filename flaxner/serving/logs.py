"""The log of a server: a JSON object a line, or a line to read on a terminal; no texts in it."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from typing import Any, TextIO

from flaxner.terminal import shown

FIELDS = "flaxner_fields"  # of a record: what else it tells


def log_event(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log something that happened."""
    logging.getLogger("flaxner.serving").log(level, event, extra={FIELDS: fields})


class _Lines(logging.Formatter):
    """Records -> lines in which no character acts."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """A record in a line; a traceback is a field of it."""
        fields = dict(getattr(record, FIELDS, {}))
        if record.name != "flaxner.serving":
            fields["logger"] = record.name
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        if self._as_json:
            head = {"time": moment.isoformat(timespec="milliseconds"), "event": record.getMessage()}
            return json.dumps({**head, "level": record.levelname.lower(), **fields})
        rest = " ".join(f"{name}={value}" for name, value in fields.items() if name != "traceback")
        line = shown(f"{moment.astimezone():%H:%M:%S} {record.getMessage()} {rest}".rstrip())
        return "\n".join([line, *fields.get("traceback", "").splitlines()])


def set_up(stream: TextIO | None = None) -> None:
    """Log to a stream, standard error if None: our events, and the warnings of all others."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines(as_json=not stream.isatty()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("flaxner.serving").setLevel(logging.INFO)
