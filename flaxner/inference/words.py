"""Sentences of words -> a tag for every word, as in training."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from flaxner.data import embedded as sample
from flaxner.data.documents import in_documents
from flaxner.data.segments import align
from flaxner.data.sentence import Sentence
from flaxner.data.tag_rules import Rules, rules, shown_scheme
from flaxner.data.tokenizer import length_limit
from flaxner.inference.options import checked
from flaxner.inference.parts import Part, submit
from flaxner.inference.predictor import Predictor, refuse_fork
from flaxner.inference.streaming import chunks, overlapped
from flaxner.inference.units import Decoding, read_words
from flaxner.models.crf import Scores

ANSWERED_AT_ONCE = 1024  # sentences read, packed and answered together
ENDED: Any = object()  # of sentences or documents, where the others go on
PROBE = 128  # sentences that a model of unknown scheme is judged by


class WordTagger:
    """A tag for every word of a sentence: that of its first token. Safe to use from many threads.

    Args:
      tokenizer: a fast tokenizer of `transformers`.
      labels: names of the labels.
      predictor: the model on its devices.
      scheme: of the labels, one of `tag_rules.CHOICES`; None: the model's answers tell.
      window: tokens of a window in training; None: nothing tells.
      crf: the scores of the model's CRF, if it has one.
    """

    def __init__(
        self,
        tokenizer: Any,
        labels: tuple[str, ...],
        predictor: Predictor,
        scheme: str | None,
        window: int | None,
        crf: Scores | None = None,
    ) -> None:
        self.tokenizer, self.labels, self.predictor = tokenizer, labels, predictor
        self._scheme, self._window, self.crf = scheme, window, crf
        self._first_limit = self.limit

    @property
    def limit(self) -> int:
        """Tokens that the tokenizer lets through at once, as it stands now."""
        return length_limit(self.tokenizer, self.predictor.limit)

    @property
    def window(self) -> int:
        """Tokens of the windows that longer sentences are read in: those of training.

        Where nothing tells them, or the tokenizer was given a lower limit since, that limit.
        """
        limit = self.limit
        if self._window is None:
            return limit
        return self._window if limit == self._first_limit else min(self._window, limit)

    @functools.cached_property
    def scheme(self) -> str:
        """The scheme of the labels.

        IOB1 and IOB2 have the same labels. Where nobody told which it is, the model tags some
        sentences of the embedded corpus, and how it begins entities there tells.
        """
        if self._scheme is not None:
            return self._scheme
        sentences = itertools.islice(sample.generate("train"), PROBE)
        return shown_scheme(self.tags((words for words, _ in sentences), decoder="argmax"))

    @property
    def rules(self) -> Rules:
        """The label sequences that the scheme makes legal."""
        return rules(self.labels, self.scheme)

    def decoding(self, decoder: str | None) -> Decoding | None:
        """What a decoder's name means for this model; None: each word's likeliest label.

        Raises:
          ValueError: "crf" of a model that has none.
        """
        self.check_decoder(decoder)
        if decoder == "argmax":
            return None
        return Decoding(self.rules, None if decoder == "viterbi" else self.crf)

    def check_decoder(self, decoder: str | None) -> None:
        """Refuse a decoder that the model has not.

        Raises:
          ValueError: "crf" of a model that has none.
        """
        if decoder == "crf" and self.crf is None:
            raise ValueError("the model has no CRF: its decoder may be viterbi or argmax")

    def tags(
        self,
        sentences: Iterable[Sequence[str]],
        documents: Iterable[Hashable] | None = None,
        *,
        decoder: str | None = None,
        max_length: int | None = None,
    ) -> Iterator[list[str]]:
        """The tags of each sentence, in order, in constant memory.

        Args:
          sentences: lists of words.
          documents: what names the document of each sentence; None: each is read alone.
          decoder: one of `aggregation.DECODERS`; None: the first that the model has.
          max_length: tokens of a window; `window` if None.

        Raises:
          ValueError: no list of words, a decoder that the model has not, a window that it cannot
            read, or more or fewer documents than sentences.
          RuntimeError: in a fork of the process.
        """
        refuse_fork()
        limit, decoding = self.checked_window(max_length), self.decoding(decoder)

        together = documents is not None

        def read(chunk: list[Sentence]) -> Part:
            return self.part(chunk, decoding, limit=limit, together=together)

        valid = (Sentence(tuple(checked(words, split=True))) for words in sentences)
        if documents is None:
            parts = chunks(valid, ANSWERED_AT_ONCE, ANSWERED_AT_ONCE)
        else:
            parts = _whole_documents(valid, documents)
        return overlapped(parts, read, functools.partial(submit, self.predictor))

    def checked_window(self, max_length: int | None) -> int:
        """Tokens of a window: `window` if None.

        Raises:
          ValueError: the model cannot read it.
        """
        limit = self.window if max_length is None else max_length
        if not 8 <= limit <= self.predictor.limit:
            raise ValueError(
                f"max_length must be at least 8 and at most the {self.predictor.limit} tokens that "
                f"the model takes at once: {limit}"
            )
        return limit

    def part(
        self,
        sentences: list[Sentence],
        decoding: Decoding | None,
        *,
        limit: int,
        together: bool = False,
    ) -> Part:
        """Sentences read for the model, with what makes tags of its logits.

        Args:
          sentences: their words, and with `together` their documents.
          decoding: see `decoding`.
          limit: tokens of a window.
          together: a word sees the sentences of its document, not its own alone.
        """
        segments = align(sentences, self.tokenizer, None, limit)
        if together:
            segments = in_documents(segments, [s.document for s in sentences], limit)
        borders = np.cumsum([0, *(len(sentence.words) for sentence in sentences)], dtype=np.int64)

        def answer(logits_TC: np.ndarray) -> list[list[str]]:
            cells = np.flatnonzero(segments.words >= 0)
            rows_WC = np.empty((segments.num_words, logits_TC.shape[1]), np.float32)
            rows_WC[segments.words[cells]] = logits_TC[cells]
            labels, _ = read_words(rows_WC, borders, decoding)
            tags = [self.labels[label] for label in labels.tolist()]
            return [tags[a:b] for a, b in itertools.pairwise(borders.tolist())]

        return Part(segments.input_ids, segments.starts, answer)


def _whole_documents(
    sentences: Iterable[Sentence], documents: Iterable[Hashable]
) -> Iterator[list[Sentence]]:
    """Sentences with the number of their document, ANSWERED_AT_ONCE or more; none is divided.

    Where they fail midway, those before come first and the failure then.
    """
    chunk: list[Sentence] = []
    number, before = -1, ENDED
    try:
        pairs = itertools.zip_longest(sentences, documents, fillvalue=ENDED)
        for count, (sentence, name) in enumerate(pairs):
            if not isinstance(sentence, Sentence) or name is ENDED:
                longer = "sentences" if name is ENDED else "documents"
                raise ValueError(
                    f"documents must name one for each sentence: {count} of each, then {longer} "
                    "alone"
                )
            if name != before:
                number, before = number + 1, name
                if len(chunk) >= ANSWERED_AT_ONCE:
                    yield chunk
                    chunk = []
            chunk.append(dataclasses.replace(sentence, document=number))
    except Exception:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk
