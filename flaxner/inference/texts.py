"""Finds the entities of running texts, in order, in constant memory."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from flaxner.inference.aggregation import Aggregator
from flaxner.inference.options import Options, checked
from flaxner.inference.parts import Part, submit
from flaxner.inference.predictor import Predictor, refuse_fork
from flaxner.inference.rendering import Entities
from flaxner.inference.streaming import chunks, overlapped
from flaxner.inference.tokens import Reader, Text
from flaxner.inference.words import ANSWERED_AT_ONCE, WordTagger

READERS = 4  # cached readers, each with its own Rust tokenizer: 25 MB for 120,000 tokens

logger = logging.getLogger("flaxner")


class TextTagger:
    """Finds the entities of texts; thread-safe.

    Args:
      tokenizer: a fast tokenizer of `transformers`.
      predictor: the model on its devices.
      words: the tagger of words, whose windows and legal tags strategy "word" shares.
      temperature: calibrates the scores; None if unknown.
    """

    def __init__(
        self,
        tokenizer: Any,
        predictor: Predictor,
        words: WordTagger,
        temperature: float | None = None,
    ) -> None:
        self.predictor, self._words, self._temperature = predictor, words, temperature
        self._aggregate = Aggregator(tokenizer, words.labels)
        self._tokenizer = tokenizer
        self._readers = functools.lru_cache(READERS)(functools.partial(_reader, tokenizer))
        self._said = False

    def reader(self, options: Options) -> Reader:
        """Return the reader for these options and the tokenizer's current settings.

        Raises:
          ValueError: a stride that is too large, or a decoder that the model does not have.
        """
        self._words.check_decoder(options.decoder)
        ours = options.aggregation_strategy == "word" and not options.truncation
        limit = self._words.window if ours and options.stride is None else self._words.limit
        return self._made(limit, truncation=options.truncation, stride=options.stride)

    def check(self, options: Options) -> None:
        """Refuse options that a call cannot have, without creating a reader for them.

        Raises:
          ValueError: see `reader` and `heat`.
        """
        self._words.check_decoder(options.decoder)
        if options.stride is not None:
            self._made(self._words.limit).check_stride(options.stride)
        self.heat(options)

    def _made(self, limit: int, *, truncation: bool = False, stride: int | None = None) -> Reader:
        return self._readers(_state(self._tokenizer), limit, truncation=truncation, stride=stride)

    def heat(self, options: Options) -> float | None:
        """Return the temperature for a call's scores; None if it does not calibrate them.

        Raises:
          ValueError: the model has no temperature.
        """
        if options.calibrated and self._temperature is None:
            raise ValueError(
                "calibrated=True needs a temperature in the model's config.json, and this model "
                "has none: training with a validation split and without a CRF writes one"
            )
        return self._temperature if options.calibrated else None

    def one(self, text: Text, options: Options) -> Entities:
        """Find the entities of a single text: like `entities`, without the machinery for many.

        Raises:
          ValueError: not a text.
          RuntimeError: in a fork of the process.
        """
        refuse_fork()
        known = checked(text, split=options.is_split_into_words)
        [answer] = submit(self.predictor, self.part([known], options))()
        return answer

    def entities(
        self, texts: Iterable[Text], options: Options, first_chunk: int = ANSWERED_AT_ONCE
    ) -> Iterator[Entities]:
        """Yield the entities of each text.

        Args:
          texts: strings, or lists of words with `is_split_into_words`. If the iterable fails
            midway, the texts before the failure are answered first.
          options: of the call.
          first_chunk: texts in the first chunk; each later chunk is up to twice as long.

        Raises:
          ValueError: not a text.
          RuntimeError: in a fork of the process.
        """
        refuse_fork()
        split = options.is_split_into_words

        def read(chunk: list[Text]) -> Part:
            return self.part(chunk, options)

        self.reader(options)  # refuses a wrong stride before the first text is read
        self.heat(options)
        valid = (checked(text, split=split) for text in texts)
        return overlapped(
            chunks(valid, first_chunk, ANSWERED_AT_ONCE),
            read,
            functools.partial(submit, self.predictor),
        )

    def part(self, texts: Sequence[Text], options: Options) -> Part:
        """Tokenise texts for the model; the part's `answer` turns logits into entities.

        Args:
          texts: texts that passed `options.checked`.
          options: of the call.

        Raises:
          ValueError: a stride that is too large, or scores that cannot be calibrated.
        """
        heat = self.heat(options)
        reader, split = self.reader(options), options.is_split_into_words
        by_words = options.aggregation_strategy == "word"
        decoding = self._words.decoding(options.decoder) if by_words else None
        reading = reader.read(texts, split=split, delimiter=options.delimiter)
        if reading.longest:
            self._say_windows(reading.longest, reader.limit)

        def answer(logits_TC: np.ndarray) -> list[Entities]:
            return self._aggregate(
                reading,
                logits_TC[reading.tokens.source],
                options.aggregation_strategy,
                options.ignore_labels,
                decoding,
                heat,
            )

        return Part(reading.input_ids, reading.starts, answer)

    def _say_windows(self, longest: int, limit: int) -> None:
        if not self._said:
            self._said = True
            logger.warning(
                "a text of %d tokens does not fit a window of %d: reading it in overlapping "
                "windows (in Python, truncation=True cuts it at %d instead); shown once",
                *(longest, limit, self._words.limit),
            )


def _state(tokenizer: Any) -> tuple[Any, ...]:
    """Return the settings of a tokenizer that affect reading and can change after loading."""
    names = ("truncation_side", "split_special_tokens")
    return (*(getattr(tokenizer, name, None) for name in names), len(tokenizer))


def _reader(tokenizer: Any, state: tuple[Any, ...], *args: Any, **kwargs: Any) -> Reader:
    return Reader(tokenizer, *args, **kwargs)  # `state` is part of the cache's key only
