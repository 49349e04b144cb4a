"""A test server in this process, on a free port, and a JSON client."""

import contextlib
import http.client
import io
import json
import threading
import time
from typing import NamedTuple

from flaxner.inference.pipeline import pipeline
from flaxner.serving.server import Server, _config, listen
from flaxner.serving.service import Service
from flaxner.serving.settings import Settings


class Answer(NamedTuple):
    status: int
    headers: dict
    content: object
    raw: bytes


class Client:
    """A client that keeps its connection, and reconnects if the server has closed it."""

    def __init__(self, port):
        self.port, self._connection = port, None

    def ask(self, path, body=None, *, method=None, headers=None, timeout=30):
        """Send a request; bytes in `body` are sent as they are, anything else as JSON."""
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | (headers or {})
        method = method or ("GET" if body is None else "POST")
        for attempt in (1, 2):
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout)
            try:
                self._connection.request(method, path, raw, headers)
                response = self._connection.getresponse()
                content = response.read()
                break
            except (http.client.RemoteDisconnected, ConnectionError):
                self._connection.close()
                self._connection = None
                if attempt == 2:
                    raise
        found = {name.lower(): value for name, value in response.getheaders()}
        kind = found.get("content-type", "")
        return Answer(
            response.status,
            found,
            json.loads(content) if content and "json" in kind else None,
            content,
        )

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Running(NamedTuple):
    service: Service
    server: Server
    port: int

    def client(self):
        return Client(self.port)


@contextlib.contextmanager
def running(folder, *, warm=True, models=None, **settings):
    """Run a server for a model folder; with `warm=False` it is still starting."""
    settings = Settings({"tiny": str(folder)}, port=0, **settings)
    models = models or {"tiny": pipeline("ner", model=str(folder), device="cpu")}
    service = Service(settings, models)
    listener = listen(settings.host, 0)
    server = Server(_config(settings, service), service)
    if warm:
        service.batcher.start()  # shapes are compiled when first needed
        service._warm = True
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Running(service, server, listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(30)
        service.close()
        listener.close()


class Slow:
    """Block a pipeline's forward passes until `go` is set; record their sizes in `passes`."""

    def __init__(self, ner, monkeypatch):
        self.go, self.passes = threading.Event(), []
        submit = ner.predictor.submit

        def held(input_ids, starts):
            self.passes.append(len(starts) - 1)
            assert self.go.wait(20)
            return submit(input_ids, starts)

        monkeypatch.setattr(ner.predictor, "submit", held)


@contextlib.contextmanager
def logged():
    """Collect what the server logs in the meantime, as JSON objects."""
    import logging

    from flaxner.serving.logs import _Lines

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines(as_json=True))
    logger = logging.getLogger("flaxner.serving")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    lines = []
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        lines += map(json.loads, stream.getvalue().splitlines())
