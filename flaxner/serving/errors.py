"""Whatever a client is refused: a status and a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from fastapi.responses import JSONResponse

GONE = 499  # nginx' status for a client that went away; only the log sees it


class Refused(Exception):
    """A request that is not answered.

    Attributes:
      status: of HTTP.
      sentence: what is wrong and what to do.
      headers: of the response.
    """

    def __init__(
        self, status: int, sentence: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})


def error_response(
    status: int, sentence: str, request_id: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """{"error": sentence, "request_id": ...}."""
    body = {"error": sentence, "request_id": request_id}
    return JSONResponse(body, status, dict(headers or {}))


def sentence_of(status: int, path: str, method: str) -> str:
    """What the framework itself refuses, as a sentence."""
    if status == HTTPStatus.NOT_FOUND:
        return f"there is no {path[:100]} here: see /docs"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{path[:100]} does not take {method[:20]}: see /docs"
    return f"the request cannot be answered: {HTTPStatus(status).phrase.lower()}"
