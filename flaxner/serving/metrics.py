"""What Prometheus may ask of a server."""

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
    """The figures of one server; a process may have several.

    Attributes:
      requests: by route and status; routes that there are not count as "other".
      seconds: of a request, by route.
      texts: answered or on their way, by model.
      in_flight: requests that have no answer yet.
      ready: 1 when requests are answered.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "flaxner_requests", "Requests, by status.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "flaxner_request_seconds", "Seconds of a request.", ("route",), registry=registry,
            buckets=SECONDS,
        )  # fmt: skip
        self.texts = Counter(
            "flaxner_texts", "Texts and sentences asked for.", ("model",), registry=registry
        )
        self.in_flight = Gauge(
            "flaxner_requests_in_flight", "Requests without an answer yet.", registry=registry
        )
        self.ready = Gauge("flaxner_ready", "Whether requests are answered.", registry=registry)
        self._passes = Counter("flaxner_passes", "Passes of texts together.", registry=registry)
        self._requests_of_pass = Histogram(
            "flaxner_pass_requests", "Requests that share a pass.", registry=registry, buckets=SIZES
        )
        self._texts_of_pass = Histogram(
            "flaxner_pass_texts", "Texts of a pass.", registry=registry, buckets=SIZES
        )
        self._characters = Counter("flaxner_characters", "Characters read.", registry=registry)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Tell how many requests wait, whenever asked."""
        gauge = Gauge("flaxner_requests_waiting", "Requests that wait.", registry=self.registry)
        gauge.set_function(length)

    def observe_pass(self, requests: int, texts: int, characters: int) -> None:
        """Count a pass."""
        self._passes.inc()
        self._requests_of_pass.observe(requests)
        self._texts_of_pass.observe(texts)
        self._characters.inc(characters)

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)
