"""The HTTP routes of a server."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import flaxner
from flaxner.serving.errors import GONE, Refused, error_response, sentence_of
from flaxner.serving.forms import Form, NerForm, WordsForm
from flaxner.serving.jobs import characters
from flaxner.serving.manners import Manners
from flaxner.serving.metrics import CONTENT_TYPE
from flaxner.serving.page import page
from flaxner.serving.service import Service

Answer = Callable[[bytes, Callable[..., None]], Awaitable[bytes]]
CLOSE = {"Connection": "close"}  # the body may not have been read to its end
SKIPPED = 1 << 26  # bytes of a refused body that are read: most clients send all before they listen
DESCRIPTION = "Named entity recognition. Entities have the same fields as transformers' pipeline."
FAILURES = {
    413: "The body is too large", 415: "The body is not JSON",
    422: "The body does not follow the schema, or exceeds a limit",
    429: "Too many requests are waiting: try again after Retry-After seconds",
    503: "The request timed out, or the server is starting or shutting down",
}  # fmt: skip


class Gone(Exception):
    """The client has disconnected."""


def make_app(service: Service) -> Manners:
    """Return the ASGI application of a service."""
    app = FastAPI(
        title="flaxner", version=flaxner.__version__, description=DESCRIPTION, redoc_url=None
    )
    for path, form, answer, summary in (
        ("/ner", NerForm, service.entities, "Find the entities in texts"),
        ("/ner/words", WordsForm, service.tags, "Tag every word of sentences"),
    ):
        app.post(path, summary=summary, response_class=JSONResponse, **_described(form))(
            _endpoint(service, answer)
        )
    _add_pages(app, service)
    _add_sentences(app)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    routes = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    return Manners(app, service.metrics, routes)


def _described(form: type[Form]) -> dict[str, Any]:
    """Return the OpenAPI description of a route that reads its body itself."""
    content = {"application/json": {"schema": form.model_json_schema()}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": {status: {"description": text} for status, text in FAILURES.items()},
    }


def _endpoint(service: Service, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    settings = service.settings

    async def endpoint(request: Request) -> Response:
        notes = request.state.notes

        def note(*, model: str, texts: Any) -> None:
            notes.update(model=model, texts=len(texts), characters=sum(map(characters, texts)))
            if settings.log_texts:
                notes["content"] = texts

        late = "the request took longer than the {:g} s that this server allows: send less at once"
        try:
            async with asyncio.timeout(settings.timeout):
                if not service.ready:
                    await _read(request, 0)
                    raise _not_now("shutting down" if service.ending else "starting")
                body = await _body(request, settings.max_body)
                content = await _while_there(request, answer(body, note))
        except TimeoutError as error:
            raise Refused(503, late.format(settings.timeout), {"Retry-After": "5"}) from error
        except (Gone, ClientDisconnect):
            return Response(status_code=GONE)  # nobody is left to read it
        except asyncio.CancelledError as error:
            if service.ending:  # --grace is over, and the client still waits
                raise _not_now("shutting down") from error
            raise
        return Response(content, media_type="application/json")

    return endpoint


def _not_now(why: str) -> Refused:
    """Return the refusal of a server that is starting or shutting down."""
    return Refused(503, f"the server is {why}: try again later", {"Retry-After": "5", **CLOSE})


async def _body(request: Request, limit: int) -> bytes:
    """Return the body of a request.

    Raises:
      Refused: the body is too large, or its header does not say JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # pages of other origins can send other types without preflight
        await _read(request, 0)
        raise Refused(415, "send JSON with the header Content-Type: application/json", CLOSE)
    body = await _read(request, limit)
    if body is None:
        large = f"a request may have at most {limit:,} bytes: send less at once"
        raise Refused(413, large, CLOSE)
    return body


async def _read(request: Request, limit: int) -> bytes | None:
    """Read a body of any size, dropping what exceeds the limit; None if something does."""
    size, body = 0, bytearray()
    async for chunk in request.stream():
        size += len(chunk)
        if size <= limit:
            body += chunk
        elif size > SKIPPED:
            break
    return bytes(body) if size <= limit else None


async def _while_there(request: Request, answer: Awaitable[bytes]) -> bytes:
    """Await an answer, or give up when the client disconnects.

    Raises:
      Gone: the client disconnected.
    """
    work = asyncio.ensure_future(answer)
    left = asyncio.ensure_future(request.receive())  # after the body this can only be a disconnect
    try:
        await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Gone
        return work.result()
    finally:
        left.cancel()
        work.cancel()


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/", response_class=HTMLResponse, summary="Web page for trying the models")
    async def index() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(page(service, nonce), headers=headers)

    @app.get("/healthz", summary="Whether the process is alive")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Whether the server is ready, and its models")
    async def readyz() -> JSONResponse:
        content = {"ready": service.ready, "models": service.about()}
        return JSONResponse(content, 200 if service.ready else 503)

    @app.get("/metrics", summary="Prometheus metrics")
    async def metrics() -> Response:
        return Response(service.metrics.page(), media_type=CONTENT_TYPE)


def _add_sentences(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        id_ = request.state.request_id
        return error_response(error.status, error.sentence, id_, error.headers)

    @app.exception_handler(HTTPException)
    async def by_framework(request: Request, error: HTTPException) -> Response:
        sentence = sentence_of(error.status_code, request.url.path, request.method)
        id_ = request.state.request_id
        if error.status_code < HTTPStatus.BAD_REQUEST:
            return Response(status_code=error.status_code, headers=error.headers)
        return error_response(error.status_code, sentence, id_, error.headers)

    @app.exception_handler(Exception)  # Manners logs it
    async def failed(request: Request, error: Exception) -> Response:
        sentence = "internal server error: look for this request_id in the server's log"
        return error_response(500, sentence, request.state.request_id)
