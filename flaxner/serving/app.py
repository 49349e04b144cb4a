"""The routes of a server."""

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
from flaxner.serving.errors import Refused, error_response, sentence_of
from flaxner.serving.forms import Form, NerForm, WordsForm
from flaxner.serving.jobs import characters
from flaxner.serving.manners import Manners
from flaxner.serving.metrics import CONTENT_TYPE
from flaxner.serving.page import page
from flaxner.serving.service import Service

Answer = Callable[[bytes, Callable[..., None]], Awaitable[bytes]]
CLOSE = {"Connection": "close"}  # the rest of the body is not read
DESCRIPTION = "Named entity recognition. Entities have the fields of the pipeline of transformers."
FAILURES = {
    413: "A body that is too large", 415: "No JSON", 422: "Another body than described here",
    429: "Too many requests wait: Retry-After says for how long", 503: "Not in time, or not now",
}  # fmt: skip


class Gone(Exception):
    """The client went away."""


def make_app(service: Service) -> Manners:
    """The ASGI application of a service."""
    app = FastAPI(
        title="flaxner", version=flaxner.__version__, description=DESCRIPTION, redoc_url=None
    )
    for path, form, answer, summary in (
        ("/ner", NerForm, service.entities, "The entities of texts"),
        ("/ner/words", WordsForm, service.tags, "A tag for every word of sentences"),
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
    """What OpenAPI says of a route that reads its body itself."""
    content = {"application/json": {"schema": form.model_json_schema()}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
        "responses": {status: {"description": text} for status, text in FAILURES.items()},
    }


def _endpoint(service: Service, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    settings = service.settings

    async def endpoint(request: Request) -> Response:
        if not service.ready:
            why = "ending" if service.ending else "starting"
            raise Refused(503, f"the server is {why}: try again", {"Retry-After": "5", **CLOSE})
        notes = request.state.notes

        def note(*, model: str, texts: Any) -> None:
            notes.update(model=model, texts=len(texts), characters=sum(map(characters, texts)))
            if settings.log_texts:
                notes["content"] = texts

        late = "the answer took longer than the {:g} s that this server allows: send less at once"
        try:
            async with asyncio.timeout(settings.timeout):
                body = await _body(request, settings.max_body)
                content = await _while_there(request, answer(body, note))
        except TimeoutError as error:
            raise Refused(503, late.format(settings.timeout), {"Retry-After": "5"}) from error
        except (Gone, ClientDisconnect):
            return Response(status_code=499)  # nobody reads it
        return Response(content, media_type="application/json")

    return endpoint


async def _body(request: Request, limit: int) -> bytes:
    """The body of a request, read no further than the limit.

    Raises:
      Refused: no JSON by its header, or too long.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a page of another origin could send any other without asking
        raise Refused(415, "send JSON with the header Content-Type: application/json", CLOSE)
    large = f"a request may have {limit:,} bytes: send less at once"
    if int(request.headers.get("content-length", 0)) > limit:
        raise Refused(413, large, CLOSE)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise Refused(413, large, CLOSE)
    return bytes(body)


async def _while_there(request: Request, answer: Awaitable[bytes]) -> bytes:
    """An answer, given up when the client goes away.

    Raises:
      Gone: it did.
    """
    work = asyncio.ensure_future(answer)
    left = asyncio.ensure_future(request.receive())  # after the body: that nobody is there
    try:
        await asyncio.wait({work, left}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Gone
        return work.result()
    finally:
        left.cancel()
        work.cancel()


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/", response_class=HTMLResponse, summary="A page to try the models")
    async def index() -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
        return HTMLResponse(page(service, nonce), headers=headers)

    @app.get("/healthz", summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", summary="Whether requests are answered; the models")
    async def readyz() -> JSONResponse:
        content = {"ready": service.ready, "models": service.about()}
        return JSONResponse(content, 200 if service.ready else 503)

    @app.get("/metrics", summary="Figures for Prometheus")
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
        sentence = "the server failed; its log has the reason under this request_id"
        return error_response(500, sentence, request.state.request_id)
