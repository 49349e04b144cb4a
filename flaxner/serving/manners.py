"""What every request gets: an id, a line in the log, and metrics."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from flaxner.serving.errors import GONE
from flaxner.serving.logs import log_event
from flaxner.serving.metrics import Metrics

ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
QUIET = ("/healthz", "/readyz", "/metrics")  # polled every few seconds, so not logged

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Manners:
    """ASGI middleware around the whole application.

    Args:
      app: the application; it puts additional log fields into `scope["state"]["notes"]`.
      metrics: of the server.
      routes: the paths that are counted under their own names; all others are "other".
    """

    def __init__(self, app: App, metrics: Metrics, routes: frozenset[str]) -> None:
        self._app, self._metrics, self._routes = app, metrics, routes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if ID.fullmatch(given) else uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"], state["notes"] = request_id, {}
        status, ended = 0, False

        async def answer(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()), (b"x-request-id", request_id.encode())
                ]  # fmt: skip
            ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        # HEAD is answered like GET; uvicorn leaves out the body.
        asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        self._metrics.in_flight.inc()
        try:
            await self._app(asked, receive, answer)
        except Exception as error:
            logging.getLogger("flaxner.serving").error(
                "request %s failed", request_id, exc_info=error
            )
            if not ended:  # part of the answer may be sent: the connection is closed
                raise
        finally:
            self._metrics.in_flight.dec()
            self._count(scope, status or GONE, time.perf_counter() - begun)

    def _count(self, scope: Message, status: int, seconds: float) -> None:
        path = scope["path"]
        route = path if path in self._routes else "other"
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if path not in QUIET:
            log_event(
                "request",
                id=scope["state"]["request_id"],
                method=scope["method"][:20],
                path=path[:100],
                status=status,
                ms=round(1000 * seconds, 1),
                **scope["state"]["notes"],
            )
