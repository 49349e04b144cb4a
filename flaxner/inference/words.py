"""Tags every word of sentences, as in training."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from flaxner.data import embedded as sample
from flaxner.data.documents import in_documents
from flaxner.data.readers import excerpt
from flaxner.data.segments import align
from flaxner.data.sentence import Sentence
from flaxner.data.tag_rules import Rules, rules, shown_scheme
from flaxner.data.tokenizer import length_limit
from flaxner.inference.facts import Facts
from flaxner.inference.options import checked
from flaxner.inference.parts import Part, submit
from flaxner.inference.predictor import Predictor, refuse_fork
from flaxner.inference.streaming import chunks, overlapped
from flaxner.inference.units import Decoding, read_words
from flaxner.models.crf import Scores

ANSWERED_AT_ONCE = 1024  # sentences that are read, packed and answered together
ENDED: Any = object()  # fills up the shorter of sentences and documents
PROBE = 128  # sentences from which the scheme of a model is inferred

logger = logging.getLogger("flaxner")


class WordTagger:
    """Tags each word with the tag of its first token; thread-safe.

    Args:
      tokenizer: a fast tokenizer of `transformers`.
      facts: about the labels and windows; a scheme that is unknown is inferred from the model's
        answers.
      predictor: the model on its devices.
      crf: the scores of the model's CRF, if it has one.
    """

    def __init__(
        self,
        tokenizer: Any,
        facts: Facts,
        predictor: Predictor,
        crf: Scores | None = None,
    ) -> None:
        self.tokenizer, self.labels, self.predictor = tokenizer, facts.labels, predictor
        self._facts, self.crf = facts, crf
        self._first_limit = self.limit
        self._said = False

    @property
    def limit(self) -> int:
        """Maximum number of tokens per segment, given the tokenizer's current settings."""
        return length_limit(self.tokenizer, self.predictor.limit)

    @property
    def window(self) -> int:
        """Tokens per window in which longer sentences are read: as in training.

        If that is unknown, or the tokenizer has since been given a lower limit, it is `limit`.
        """
        limit = self.limit
        window = self._facts.window
        if window is None:
            return limit
        return window if limit == self._first_limit else min(window, limit)

    @functools.cached_property
    def scheme(self) -> str:
        """The scheme of the labels.

        IOB1 and IOB2 have the same labels. If it is unknown which one is used, the model tags some
        sentences of the embedded corpus, and the way it begins entities there decides.
        """
        if self._facts.scheme is not None:
            return self._facts.scheme
        sentences = itertools.islice(sample.generate("train"), PROBE)
        return shown_scheme(self.tags((words for words, _ in sentences), decoder="argmax"))

    @property
    def rules(self) -> Rules:
        """The label sequences that are legal in the scheme."""
        return rules(self.labels, self.scheme)

    def decoding(self, decoder: str | None) -> Decoding | None:
        """Resolve a decoder's name for this model; None: each word's most likely label.

        Raises:
          ValueError: "crf" for a model without one.
        """
        self.check_decoder(decoder)
        if decoder == "argmax":
            return None
        return Decoding(self.rules, None if decoder == "viterbi" else self.crf)

    def check_decoder(self, decoder: str | None) -> None:
        """Refuse a decoder that the model does not have.

        Raises:
          ValueError: "crf" for a model without one.
        """
        if decoder == "crf" and self.crf is None:
            raise ValueError("the model has no CRF: choose viterbi or argmax as decoder")

    def tags(
        self,
        sentences: Iterable[Sequence[str]],
        documents: Iterable[Hashable] | None = None,
        *,
        decoder: str | None = None,
        max_length: int | None = None,
    ) -> Iterator[list[str]]:
        """Yield the tags of each sentence, in order, in constant memory.

        Args:
          sentences: lists of words.
          documents: a key for the document of each sentence; None: each is read alone.
          decoder: one of `aggregation.DECODERS`; None: the first that the model has.
          max_length: tokens per window; `window` if None.

        Raises:
          ValueError: not a list of words, a decoder that the model does not have, a window that
            it cannot read, or different numbers of documents and sentences.
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
        """Return the tokens per window, after checking them; `window` if None.

        Raises:
          ValueError: the model cannot read such windows.
        """
        limit = self.window if max_length is None else max_length
        if not 8 <= limit <= self.predictor.limit:
            raise ValueError(
                f"max_length must be at least 8 and at most the {self.predictor.limit} tokens that "
                f"the model reads at once: got {limit}"
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
        """Tokenise sentences for the model; the part's `answer` turns logits into tags.

        Args:
          sentences: words, and with `together` the document of each sentence.
          decoding: see `decoding`.
          limit: tokens per window.
          together: a word sees the sentences of its document, not only its own.
        """
        segments = align(sentences, self.tokenizer, None, limit)
        if len(segments.shortened):
            every = itertools.chain.from_iterable(sentence.words for sentence in sentences)
            self._say_shortened(next(itertools.islice(every, segments.shortened[0], None)), limit)
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

    def _say_shortened(self, word: str, limit: int) -> None:
        if not self._said:
            self._said = True
            logger.warning(
                "the word %s has more tokens than fit a window of %d: the rest is not read; shown "
                "once",
                *(excerpt(word, 20), limit),
            )


def _whole_documents(
    sentences: Iterable[Sentence], documents: Iterable[Hashable]
) -> Iterator[list[Sentence]]:
    """Yield lists of whole documents, of ANSWERED_AT_ONCE sentences or more, with their numbers.

    If the input fails midway, what came before is yielded first, and then the failure is raised.
    """
    chunk: list[Sentence] = []
    number, before = -1, ENDED
    try:
        pairs = itertools.zip_longest(sentences, documents, fillvalue=ENDED)
        for count, (sentence, name) in enumerate(pairs):
            if not isinstance(sentence, Sentence) or name is ENDED:
                longer = "sentences" if name is ENDED else "documents"
                raise ValueError(
                    f"documents must have one key for each sentence: after {count} of each, only "
                    f"{longer} are left"
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
