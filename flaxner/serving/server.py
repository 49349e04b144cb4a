"""From settings to a server that listens, answers and shuts down gracefully."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from flaxner.devices.environment import check_devices
from flaxner.serving.app import make_app
from flaxner.serving.logs import log_event, set_up
from flaxner.serving.service import Service, open_models
from flaxner.serving.settings import Settings
from flaxner.terminal import Stopped

KEEP_ALIVE = 75  # seconds; longer than the usual 60 of load balancers, which reuse connections
BACKLOG = 2048


class Server(uvicorn.Server):
    """uvicorn's server that also notifies the service of signals, and exits with code 0."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On SIGTERM or Ctrl-C, refuse new requests and finish the accepted ones.

        A second Ctrl-C does not wait for them.
        """
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self._service.end()


def our_service(settings: Settings) -> Service:
    """Return a service with the models that the settings name.

    Raises:
      ValueError: a model cannot be read.
    """
    return Service(settings, open_models(settings))


def serve(settings: Settings, make: Callable[[Settings], Service] = our_service) -> None:
    """Serve until a signal arrives.

    Args:
      settings: of the server.
      make: creates the service that answers.

    Raises:
      ValueError: a model cannot be read, or the address is not available.
      Stopped: warming up the models failed.
    """
    listener = listen(settings.host, settings.port)  # before the models, since it fails faster
    with listener:
        set_up()
        check_devices()
        service = make(settings)
        server = Server(_config(settings, service), service)
        failures: list[BaseException] = []

        def warm_up() -> None:
            try:
                service.warm_up()
            except BaseException as failure:
                failures.append(failure)
                server.should_exit = True

        warming = threading.Thread(target=warm_up, name="flaxner-warm-up", daemon=True)
        warming.start()
        listener.listen(BACKLOG)  # uvicorn would do so only after the log has told the address
        log_event("listening", url=_url(listener), models=list(settings.models))
        server.run(sockets=[listener])
        warming.join()
        service.close()
        log_event("ended")
        logging.shutdown()
        if failures:
            raise Stopped(f"warming up the models failed: {failures[0]}", 1) from failures[0]


def _config(settings: Settings, service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        make_app(service),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(settings.grace)),
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address.

    Raises:
      ValueError: there is no such address, or another process uses it.
    """
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.socket(family, kind, protocol)
        if sys.platform != "win32":  # where it would share the port with other processes
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot listen on {host} port {port}: {reason}") from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
