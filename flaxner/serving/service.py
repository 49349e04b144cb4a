"""The models of a server and the requests to them, independent of HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import jax

from flaxner.data.corpus import Sentence
from flaxner.inference.exports import is_artefact
from flaxner.inference.ner_pipeline import NerPipeline
from flaxner.inference.opening import load_exported
from flaxner.inference.options import Options, known_decoder
from flaxner.inference.parts import Part
from flaxner.inference.pipeline import pipeline
from flaxner.serving.batcher import Batcher
from flaxner.serving.errors import Refused
from flaxner.serving.forms import (
    UNPROCESSABLE,
    NerForm,
    WordsForm,
    read_form,
    read_sentences,
    read_texts,
)
from flaxner.serving.jobs import Job
from flaxner.serving.logs import log_event
from flaxner.serving.metrics import Metrics
from flaxner.serving.queue import Busy, JobQueue
from flaxner.serving.settings import Settings

CHARACTERS_PER_TOKEN = 4  # of running English text, roughly
WARM = "Angela Merkel met Barack Obama in Berlin ."


def open_models(settings: Settings) -> dict[str, NerPipeline]:
    """Open the pipelines of a server.

    Raises:
      ValueError: a model cannot be read, or is an exported one and cannot have such options.
    """
    return {name: _open(place, settings) for name, place in settings.models.items()}


def _open(place: str, settings: Settings) -> NerPipeline:
    chosen = {
        name: value
        for name, value in (("device", settings.device), ("dtype", settings.dtype))
        if value is not None
    }
    if not is_artefact(place):
        return pipeline("ner", model=place, **chosen)
    if chosen:
        raise ValueError(
            f"{place} is an exported program, which runs as it was exported: leave out "
            f"--{next(iter(chosen))}"
        )
    return load_exported(place)


class Service:
    """Answers requests: parses their bodies, queues their texts, returns JSON.

    Attributes:
      models: name -> pipeline; the first one answers requests that name no model.
      metrics: the server's metrics.
      ready: all shapes are compiled, and the server is not shutting down.
      ending: a signal has arrived; accepted requests are finished, new ones refused.
    """

    def __init__(self, settings: Settings, models: Mapping[str, NerPipeline]) -> None:
        self.settings, self.models = settings, dict(models)
        self.metrics = Metrics()
        self._defaults = Options(aggregation_strategy=settings.strategy, decoder=settings.decoder)
        waiting = JobQueue(settings.queue, self._full(), settings.wait_ms / 1000)
        self.metrics.watch_queue(lambda: len(waiting))
        self.batcher = Batcher(waiting, self.metrics.observe_pass)
        self._warm = False
        self.ending = False

    def _full(self) -> int:
        """Number of characters in a pass that fills the devices."""
        pipelines = list(self.models.values())
        return CHARACTERS_PER_TOKEN * (pipelines[0].predictor.engine.capacity if pipelines else 1)

    @property
    def ready(self) -> bool:
        """Whether the server accepts requests."""
        return self._warm and not self.ending

    def warm_up(self) -> None:
        """Compile all shapes, then start answering."""
        for name, model in self.models.items():
            model.warmup()
            list(model.texts.entities([WARM], self._defaults))  # also finds the labels' scheme
            model.predict_words([WARM.split()])
            log_event("model is ready", model=name, device=str(model.device))
        self.batcher.start()
        self._warm = True
        self.metrics.ready.set(1)
        log_event("ready", platform=jax.default_backend())

    def end(self) -> None:
        """Refuse new requests from now on."""
        self.ending = True
        self.metrics.ready.set(0)

    def close(self) -> None:
        """Wait until the threads have ended; the service cannot be used afterwards."""
        if self._warm:
            self.batcher.stop()

    def about(self) -> list[dict[str, Any]]:
        """Describe the models: name, labels and device of each."""
        return [
            {"name": name, "labels": list(model.labels), "device": str(model.device)}
            for name, model in self.models.items()
        ]

    async def entities(self, body: bytes, note: Callable[..., None]) -> bytes:
        """Answer POST /ner, as JSON.

        Args:
          body: the request body.
          note: called with what the log may record about the request.

        Raises:
          Refused: the request is invalid, or the queue is full.
        """
        try:
            form = read_form(NerForm, body)
            name, model = self._model(form.model)
            texts, single = read_texts(form.text, self.settings)
            options = self._options(form)
            model.texts.check(options)
        except ValueError as error:
            raise Refused(UNPROCESSABLE, str(error)) from error
        note(model=name, texts=texts)
        self.metrics.texts.labels(name).inc(len(texts))
        answers = await self._answers(
            model, ("texts", options), texts, lambda own: model.texts.part(own, options)
        )
        entities = [[_plain(e) for e in row if e["score"] >= form.threshold] for row in answers]
        return as_json({"model": name, "entities": entities[0] if single else entities})

    async def tags(self, body: bytes, note: Callable[..., None]) -> bytes:
        """Answer POST /ner/words, as JSON; see `entities`."""
        try:
            form = read_form(WordsForm, body)
            name, model = self._model(form.model)
            sentences, single = read_sentences(form.words, self.settings)
            decoder = known_decoder(form.decoder or self.settings.decoder)
            limit = model.words.checked_window(form.max_length)
            model.words.check_decoder(decoder)
        except ValueError as error:
            raise Refused(UNPROCESSABLE, str(error)) from error
        note(model=name, texts=sentences)
        self.metrics.texts.labels(name).inc(len(sentences))

        def read(own: list[Sequence[str]]) -> Part:
            given = [Sentence(tuple(words)) for words in own]
            return model.words.part(given, model.words.decoding(decoder), limit=limit)

        tags = await self._answers(model, ("words", decoder, limit), sentences, read)
        return as_json({"model": name, "tags": tags[0] if single else tags})

    def _model(self, name: str | None) -> tuple[str, NerPipeline]:
        name = next(iter(self.models)) if name is None else name
        if name not in self.models:
            raise ValueError(f"unknown model {name[:40]!r}; choose from: {', '.join(self.models)}")
        return name, self.models[name]

    def _options(self, form: NerForm) -> Options:
        given = {
            "aggregation_strategy": form.strategy,
            "decoder": form.decoder,
            "ignore_labels": tuple(form.ignore_labels),
            "stride": form.stride,
            "truncation": form.truncation,
            "calibrated": form.calibrated,
        }
        return self._defaults.of_call(given)

    async def _answers(
        self,
        model: NerPipeline,
        kind: Hashable,
        texts: Sequence[Any],
        read: Callable[[list[Any]], Part],
    ) -> list[Any]:
        """Queue a job, see `Job`, and wait for its answers; drop it if the wait is cancelled."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()

        def settle(job: Job) -> None:
            if future.done():
                return
            if job.failure is None:
                future.set_result(job.answers)
            else:
                failure = RuntimeError("a text could not be processed")
                failure.__cause__ = job.failure
                future.set_exception(failure)
                future.exception()  # marks it as retrieved, in case nobody waits any more

        def done(job: Job) -> None:
            loop.call_soon_threadsafe(settle, job)

        job = Job(model, kind, texts, read, done)
        try:
            self.batcher.waiting.put(job)
        except Busy as busy:
            raise Refused(429, str(busy), {"Retry-After": str(busy.retry_after)}) from busy
        try:
            return await future
        finally:
            if not future.done() or future.cancelled():
                self.batcher.waiting.drop(job)


def _plain(entity: dict[str, Any]) -> dict[str, Any]:
    """Return an entity whose numbers JSON can represent."""
    return {**entity, "score": float(entity["score"])}


def as_json(value: Any) -> bytes:
    """Encode a value as a response body."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
