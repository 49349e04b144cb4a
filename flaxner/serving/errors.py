"""Errors that clients receive: an HTTP status and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi.responses import JSONResponse

GONE = 499  # nginx's status for a client that disconnected; only the log and the metrics show it


class Refused(Exception):
    """A request is refused.

    Attributes:
      status: HTTP status.
      sentence: what is wrong and what to do.
      headers: additional headers of the response.
    """

    def __init__(
        self, status: int, sentence: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})


def error_response(
    status: int, sentence: str, request_id: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return the response {"error": sentence, "request_id": ...}."""
    body = {"error": sentence, "request_id": request_id}
    return JSONResponse(body, status, dict(headers or {}))


def sentence_of(status: int, path: str, method: str) -> str:
    """Return the sentence for a status that the framework itself raised."""
    if status == HTTPStatus.NOT_FOUND:
        return f"unknown path {path[:100]}: see /docs"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{path[:100]} does not accept {method[:20]}: see /docs"
    return f"the request cannot be answered: {HTTPStatus(status).phrase.lower()}"
