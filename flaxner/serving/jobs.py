"""The texts of a request, and the collection of their answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from flaxner.inference.ner_pipeline import NerPipeline
from flaxner.inference.parts import Part


class Job:
    """The texts of one request, which may be spread over several passes.

    Args:
      model: the pipeline that answers.
      kind: key that texts must share to be tokenised together.
      texts: of the request, strings or lists of words.
      read: tokenises texts of this kind for the model.
      done: called once, from any thread, when all texts are answered or one has failed.

    Attributes:
      sizes: number of characters of each text.
      arrived: arrival time, by `time.monotonic`.
      taken: number of texts that passes have taken so far.
      answers: one for each text.
      failure: the exception, if a text has failed.
    """

    def __init__(
        self,
        model: NerPipeline,
        kind: Hashable,
        texts: Sequence[Any],
        read: Callable[[list[Any]], Part],
        done: Callable[[Job], None],
    ) -> None:
        self.model, self.kind, self.texts, self.read = model, kind, texts, read
        self.sizes = [characters(text) for text in texts]
        self.arrived, self.taken = time.monotonic(), 0
        self.answers: list[Any] = [None] * len(texts)
        self.failure: BaseException | None = None
        self._done, self._left, self._ended = done, len(texts), False
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether the job is done, has failed or was dropped."""
        return self._ended

    def answer(self, place: int, answer: Any) -> None:
        """Store the answer for a text."""
        with self._lock:
            self.answers[place] = answer
            self._left -= 1
            last = self._left == 0
        if last:
            self._end()

    def fail(self, failure: BaseException) -> None:
        """Record that a text cannot be answered."""
        self.failure = failure
        self._end()

    def drop(self) -> None:
        """Give up: texts that no pass has taken yet are skipped."""
        self._ended = True

    def _end(self) -> None:
        with self._lock:
            first, self._ended = not self._ended, True
        if first:
            self._done(self)


def characters(text: str | Sequence[str]) -> int:
    """Count the characters of a text, or of words with a space after each."""
    return len(text) if isinstance(text, str) else sum(map(len, text)) + len(text)
