"""Running texts -> the entities of each, in order, in constant memory."""

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

READERS = 4  # kept, each with a Rust tokenizer of its own: 25 MB with 120,000 tokens

logger = logging.getLogger("flaxner")


class TextTagger:
    """The entities of texts. Safe to use from many threads.

    Args:
      tokenizer: a fast tokenizer of `transformers`.
      predictor: the model on its devices.
      words: the tags of words: strategy "word" reads windows and knows legal tags as it does.
      temperature: that calibrates the scores; None: it is not known.
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
        """What reads texts as the options and the tokenizer, as it stands now, say.

        Raises:
          ValueError: a stride that leaves no room, or a decoder that the model has not.
        """
        self._words.check_decoder(options.decoder)
        ours = options.aggregation_strategy == "word" and not options.truncation
        limit = self._words.window if ours and options.stride is None else self._words.limit
        return self._made(limit, truncation=options.truncation, stride=options.stride)

    def check(self, options: Options) -> None:
        """Refuse what a call cannot be answered with, at no cost.

        Raises:
          ValueError: as `reader` and `heat`.
        """
        self._words.check_decoder(options.decoder)
        if options.stride is not None:
            self._made(self._words.limit).check_stride(options.stride)
        self.heat(options)

    def _made(self, limit: int, *, truncation: bool = False, stride: int | None = None) -> Reader:
        return self._readers(_state(self._tokenizer), limit, truncation=truncation, stride=stride)

    def heat(self, options: Options) -> float | None:
        """The temperature of a call's scores; None: none was asked for.

        Raises:
          ValueError: calibrated scores of a model that was not calibrated.
        """
        if options.calibrated and self._temperature is None:
            raise ValueError(
                "calibrated=True needs a temperature in the model's config.json, as training with "
                "a validation split and without a CRF writes it: this model has none"
            )
        return self._temperature if options.calibrated else None

    def one(self, text: Text, options: Options) -> Entities:
        """The entities of a single text: as `entities`, without what many need.

        Raises:
          ValueError: a text that is none.
          RuntimeError: in a fork of the process.
        """
        refuse_fork()
        known = checked(text, split=options.is_split_into_words)
        [answer] = submit(self.predictor, self.part([known], options))()
        return answer

    def entities(
        self, texts: Iterable[Text], options: Options, first_chunk: int = ANSWERED_AT_ONCE
    ) -> Iterator[Entities]:
        """The entities of each text.

        Args:
          texts: strings, or lists of words with `is_split_into_words`. Where they fail midway,
            what came before is answered first.
          options: of the call.
          first_chunk: texts answered together at first; each later chunk is up to twice as long.

        Raises:
          ValueError: a text that is none.
          RuntimeError: in a fork of the process.
        """
        refuse_fork()
        split = options.is_split_into_words

        def read(chunk: list[Text]) -> Part:
            return self.part(chunk, options)

        self.reader(options)  # a stride that does not fit is said before the first text
        self.heat(options)
        valid = (checked(text, split=split) for text in texts)
        return overlapped(
            chunks(valid, first_chunk, ANSWERED_AT_ONCE),
            read,
            functools.partial(submit, self.predictor),
        )

    def part(self, texts: Sequence[Text], options: Options) -> Part:
        """Texts read for the model, with what makes entities of its logits.

        Args:
          texts: as `options.checked` lets them through.
          options: of all of them.

        Raises:
          ValueError: a stride that leaves no room, or scores that cannot be calibrated.
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
                "a text of %d tokens is longer than the %d of a window: it is read in "
                "overlapping windows (truncation=True cuts it at %d instead); said once",
                *(longest, limit, self._words.limit),
            )


def _state(tokenizer: Any) -> tuple[Any, ...]:
    """What of a tokenizer decides how it reads, and may be changed after it was loaded."""
    names = ("truncation_side", "split_special_tokens")
    return (*(getattr(tokenizer, name, None) for name in names), len(tokenizer))


def _reader(tokenizer: Any, state: tuple[Any, ...], *args: Any, **kwargs: Any) -> Reader:
    return Reader(tokenizer, *args, **kwargs)  # a cache tells those of other states apart
