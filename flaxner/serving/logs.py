"""The log of a server: one JSON object per line, or plain lines on a terminal; without texts."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from typing import Any, TextIO

from flaxner.terminal import shown

FIELDS = "flaxner_fields"  # attribute of a log record that holds its additional fields


def log_event(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event with its fields."""
    logging.getLogger("flaxner.serving").log(level, event, extra={FIELDS: fields})


class _Lines(logging.Formatter):
    """Formats records as lines, with control characters escaped."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as a line; its traceback is a field."""
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
        return "\n".join([line, *shown(fields.get("traceback", "")).splitlines()])


def set_up(stream: TextIO | None = None) -> None:
    """Log our events and everybody's warnings to a stream (standard error if None)."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines(as_json=not stream.isatty()))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("flaxner.serving").setLevel(logging.INFO)
