"""The Prometheus metrics of a server."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one server; a process may have several servers.

    Attributes:
      requests: number of requests by route and status; unknown routes count as "other".
      seconds: duration of a request, by route.
      texts: texts in valid requests, by model; also of those that the queue has no room for.
      in_flight: requests without an answer yet.
      ready: 1 while the server accepts requests, else 0.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "flaxner_requests", "Requests by route and status.", ("route", "status"),
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "flaxner_request_seconds", "Duration of requests in seconds.", ("route",),
            registry=registry, buckets=SECONDS,
        )  # fmt: skip
        self.texts = Counter(
            "flaxner_texts", "Texts and sentences in valid requests.", ("model",), registry=registry
        )
        self.in_flight = Gauge(
            "flaxner_requests_in_flight", "Requests without an answer yet.", registry=registry
        )
        self.ready = Gauge(
            "flaxner_ready", "1 while the server accepts requests, else 0.", registry=registry
        )
        self._passes = Counter("flaxner_passes", "Passes, each over many texts.", registry=registry)
        self._requests_of_pass = Histogram(
            "flaxner_pass_requests", "Requests per pass.", registry=registry, buckets=SIZES
        )
        self._texts_of_pass = Histogram(
            "flaxner_pass_texts", "Texts per pass.", registry=registry, buckets=SIZES
        )
        self._characters = Counter("flaxner_characters", "Characters read.", registry=registry)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Report the number of waiting requests in each scrape."""
        gauge = Gauge("flaxner_requests_waiting", "Requests waiting.", registry=self.registry)
        gauge.set_function(length)

    def observe_pass(self, requests: int, texts: int, characters: int) -> None:
        """Count a pass."""
        self._passes.inc()
        self._requests_of_pass.observe(requests)
        self._texts_of_pass.observe(texts)
        self._characters.inc(characters)

    def page(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)
