"""Texts of many requests -> few passes of the model: what waits together is packed together."""

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

Group = list[tuple[Job, int]]  # texts that are read together
Answers = Callable[[], list[Any]]


class Flight(NamedTuple):
    """A pass that the devices have.

    Attributes:
      taken: its texts.
      begun: when it was given to them, by `time.monotonic`.
      groups: of each model, the groups of texts and a call that waits for their logits.
    """

    taken: Taken
    begun: float
    groups: list[tuple[list[Group], Callable[[], list[Answers]]]]


class Batcher:
    """Two threads: one reads texts and feeds the devices, one makes answers of the logits.

    Args:
      waiting: the requests; any thread puts them.
      observe: told of every pass: requests, texts, characters.
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
        """Begin to take what waits."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return when all that waits is answered."""
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
            except BaseException as error:  # a tokenizer's panic is no Exception
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
            # The next pass computes while this one is answered.
            self.waiting.landed(flight.taken.characters, time.monotonic() - flight.begun)
            for groups, calls in landed:
                for group, call in zip(groups, calls, strict=True):
                    failed += _deliver(group, call)
            _each_alone(failed)


def _submitted(
    texts: Iterable[tuple[Job, int]],
) -> list[tuple[list[Group], Callable[[], list[Answers]]]]:
    """Texts, read and given to the devices, those of a model all at once."""
    groups: dict[tuple[int, Any], Group] = {}
    models: dict[int, NerPipeline] = {}
    for job, place in texts:
        if not job.ended:
            models[id(job.model)] = job.model
            groups.setdefault((id(job.model), job.kind), []).append((job, place))
    submitted = []
    for number, model in models.items():
        own = [group for (owner, _), group in groups.items() if owner == number]
        parts = [group[0][0].part([job.texts[place] for job, place in group]) for group in own]
        submitted.append((own, submit_together(model.predictor, parts)))
    return submitted


def _deliver(group: Group, call: Answers) -> Group:
    """Answer a group; its texts if that failed."""
    try:
        answers = call()
    except BaseException as error:
        logger.warning("answers failed: %s", type(error).__name__, exc_info=error)
        return group
    for (job, place), answer in zip(group, answers, strict=True):
        job.answer(place, answer)
    return []


def _each_alone(texts: Group) -> None:
    """After a failure: every text for itself, so that one request fails, not its neighbours."""
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
