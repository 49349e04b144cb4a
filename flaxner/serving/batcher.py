"""Batches the texts of many requests: texts that wait together share a pass."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from flaxner.inference.ner_pipeline import NerPipeline
from flaxner.inference.parts import submit_together
from flaxner.serving.jobs import Job
from flaxner.serving.queue import JobQueue, Taken

logger = logging.getLogger("flaxner.serving")

Group = list[tuple[Job, int]]  # texts that are tokenised together
Answers = Callable[[], list[Any]]


class Flight(NamedTuple):
    """A pass that is running on the devices.

    Attributes:
      taken: its texts.
      begun: start time, by `time.monotonic`.
      groups: for each model, its groups of texts and a call that waits for their logits.
    """

    taken: Taken
    begun: float
    groups: list[tuple[list[Group], Callable[[], list[Answers]]]]


class Batcher:
    """Two threads: one tokenises texts and feeds the devices, one turns logits into answers.

    Args:
      waiting: the queue of requests; any thread may add to it.
      observe: called for every pass with its number of requests, texts and characters.
    """

    def __init__(
        self, waiting: JobQueue, observe: Callable[[int, int, int], None] = lambda *_: None
    ) -> None:
        self.waiting, self._observe = waiting, observe
        self._flights: queue.SimpleQueue[Flight | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=target, name=f"flaxner-{name}", daemon=True)
            for name, target in (("feed", self._feed), ("answer", self._answer))
        ]

    def start(self) -> None:
        """Start processing the queue."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Close the queue, and return once everything in it is answered."""
        self.waiting.close()
        for thread in self._threads:
            thread.join()

    def _feed(self) -> None:
        while (taken := self.waiting.take()) is not None:
            begun = time.monotonic()
            jobs = {job for job, _ in taken.texts}
            self._observe(len(jobs), len(taken.texts), taken.characters)
            try:
                flight = Flight(taken, begun, _submitted(taken.texts))
            except BaseException as error:  # a panic in the tokenizer is not an Exception
                logger.warning("a pass failed: %s", type(error).__name__, exc_info=error)
                _each_alone(taken.texts)
                self.waiting.landed(taken.characters, time.monotonic() - begun)
                continue
            self._flights.put(flight)
        self._flights.put(None)

    def _answer(self) -> None:
        while (flight := self._flights.get()) is not None:
            landed: list[tuple[list[Group], list[Answers]]] = []
            failed: Group = []
            for groups, wait in flight.groups:
                try:
                    landed.append((groups, wait()))
                except BaseException as error:
                    logger.warning("a pass failed: %s", type(error).__name__, exc_info=error)
                    failed += [text for group in groups for text in group]
            # The next pass may compute while this one is answered.
            self.waiting.landed(flight.taken.characters, time.monotonic() - flight.begun)
            for groups, calls in landed:
                for group, call in zip(groups, calls, strict=True):
                    failed += _deliver(group, call)
            _each_alone(failed)


def _submitted(
    texts: Iterable[tuple[Job, int]],
) -> list[tuple[list[Group], Callable[[], list[Answers]]]]:
    """Tokenise texts and hand them to the devices, all texts of a model at once."""
    groups: dict[tuple[int, Any], Group] = {}
    models: dict[int, NerPipeline] = {}
    for job, place in texts:
        if not job.ended:
            models[id(job.model)] = job.model
            groups.setdefault((id(job.model), job.kind), []).append((job, place))
    submitted = []
    for number, model in models.items():
        own = [group for (owner, _), group in groups.items() if owner == number]
        parts = [group[0][0].read([job.texts[place] for job, place in group]) for group in own]
        submitted.append((own, submit_together(model.predictor, parts)))
    return submitted


def _deliver(group: Group, call: Answers) -> Group:
    """Answer a group; return its texts if that failed, else nothing."""
    try:
        answers = call()
    except BaseException as error:
        logger.warning("postprocessing failed: %s", type(error).__name__, exc_info=error)
        return group
    for (job, place), answer in zip(group, answers, strict=True):
        job.answer(place, answer)
    return []


def _each_alone(texts: Group) -> None:
    """Retry each text on its own after a failure, so that only the request at fault fails."""
    for job, place in texts:
        if job.ended:
            continue
        try:
            ((_, wait),) = _submitted([(job, place)])
            (call,) = wait()
            (answer,) = call()
        except BaseException as error:
            job.fail(error)
        else:
            job.answer(place, answer)
