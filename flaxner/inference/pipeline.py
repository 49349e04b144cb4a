"""`pipeline("ner")` in JAX: the answers of `transformers`' pipeline, faster."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaxner.devices.compilation_cache import use_default_cache
from flaxner.inference.aggregation import Aggregator, Entity
from flaxner.inference.artefact import is_artefact, write_artefact
from flaxner.inference.options import Options, checked, kind
from flaxner.inference.predictor import Predictor, find_devices
from flaxner.inference.streaming import chunks, overlapped
from flaxner.inference.tokens import Reader, Text
from flaxner.inference.words import ANSWERED_AT_ONCE, WordTagger

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier, ModelSource

TASKS = ("ner", "token-classification")
FIRST_CHUNK = 32  # of a stream, so that the first answers do not wait for many texts
logger = logging.getLogger("flaxner")


class NerPipeline:
    """Named entity recognition over texts; made by `pipeline`. Safe to use from many threads.

    Attributes:
      tokenizer: a fast tokenizer of `transformers`.
      labels: names of the labels.
      predictor: the model on its devices.
      options: what holds where a call says nothing else.
      classifier: the model itself; None where only its exported program is there.
    """

    task = "token-classification"

    def __init__(
        self,
        tokenizer: Any,
        labels: Sequence[str],
        predictor: Predictor,
        options: Options | None = None,
        classifier: Classifier | None = None,
        *,
        scheme: str | None = None,
        window: int | None = None,
    ) -> None:
        self.tokenizer, self.labels, self.predictor = tokenizer, tuple(labels), predictor
        self.options, self.classifier = options or Options(), classifier
        self._tagger = WordTagger(tokenizer, self.labels, predictor, scheme, window)
        self._aggregate = Aggregator(tokenizer, labels)
        self._reader = functools.lru_cache(functools.partial(Reader, tokenizer))
        self._said = False
        self._reader_for(self.options)

    @property
    def scheme(self) -> str:
        """Scheme of the labels: IO, IOB1, IOB2, BIOES or BILOU, or "any" where nothing tells."""
        return self._tagger.scheme

    @property
    def window(self) -> int:
        """Tokens of the windows that strategy "word" and `predict_words` read longer texts in."""
        return self._tagger.window

    def __call__(self, inputs: Any, **given: Any) -> Any:
        """The entities of a text, or of many.

        Args:
          inputs: a text, a list of texts, or an iterator of any length over texts; with
            `is_split_into_words=True` a text is a list of words.
          **given: see `Options`.

        Returns:
          A list of entities for one text, a list of such lists for a list of texts (and, as in
          `transformers`, for one list of words), an iterator of such lists for an iterator.

        Raises:
          ValueError: no text, no such option, or a value that it cannot have.
        """
        options = self.options.changed(given)
        if isinstance(inputs, str):
            if options.is_split_into_words:
                raise ValueError("with is_split_into_words=True a text must be a list of words")
            return next(self._answers([inputs], options, 1))
        if isinstance(inputs, list | tuple):
            if not inputs:
                raise ValueError("at least one text is needed: the list is empty")
            if options.is_split_into_words and not all(isinstance(x, list | tuple) for x in inputs):
                inputs = [inputs]
            return list(self._answers(inputs, options, ANSWERED_AT_ONCE))
        if isinstance(inputs, Iterable) and not isinstance(inputs, bytes | Mapping):
            return self._answers(inputs, options, FIRST_CHUNK)
        raise ValueError(
            f"the input must be a text, a list of texts or an iterator: got {kind(inputs)}"
        )

    def stream(
        self, texts: Iterable[Text], *, progress: bool = False, **given: Any
    ) -> Iterator[list[Entity]]:
        """The entities of each text, in order, in constant memory.

        Args:
          texts: any number of texts.
          progress: show a bar on standard error.
          **given: see `Options`.
        """
        if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
            raise ValueError(f"a stream is made of many texts: got {kind(texts)}")
        answers = self._answers(texts, self.options.changed(given), FIRST_CHUNK)
        if not progress:
            return answers
        from flaxner.inference.streaming import counted

        return counted(answers, "texts", total=len(texts) if isinstance(texts, Sequence) else None)

    def predict_words(
        self,
        sentences: Iterable[Sequence[str]],
        *,
        decoder: str = "viterbi",
        max_length: int | None = None,
    ) -> list[list[str]]:
        """A tag for every word of every sentence: that of its first token.

        Args:
          sentences: lists of words, as a corpus has them.
          decoder: "viterbi" gives legal tag sequences only; "argmax" each word's likeliest tag.
          max_length: tokens of the windows that longer sentences are read in; those of training
            if None, or all that the model takes where its config.json does not tell.

        Raises:
          ValueError: no list of words, no such decoder, or a window that is too long.
        """
        return list(self.stream_words(sentences, decoder=decoder, max_length=max_length))

    def stream_words(
        self,
        sentences: Iterable[Sequence[str]],
        *,
        decoder: str = "viterbi",
        max_length: int | None = None,
    ) -> Iterator[list[str]]:
        """As `predict_words`, one sentence at a time, in constant memory."""
        Options().changed({"decoder": decoder})
        return self._tagger.tags(sentences, legal=decoder == "viterbi", max_length=max_length)

    def split_words(self, text: str) -> list[str]:
        """The words the tokenizer sees in a text; punctuation marks are words of their own."""
        return self._reader_for(Options()).words(text)

    def export(self, path: str | Path, *, weights: str = "float32") -> Path:
        """Write a folder that `flaxner.load_exported` runs without the model's code.

        Args:
          path: the folder.
          weights: stored as "float32", "bfloat16" or "int8".

        Raises:
          ValueError: no such format, a folder in use, or a pipeline that is an export itself.
        """
        if self.classifier is None:
            raise ValueError("this pipeline is an export itself: copy its folder")
        known = dataclasses.replace(self.classifier, scheme=self.scheme, window=self.window)
        return write_artefact(path, known, weights)

    def warmup(self) -> None:
        """Compile all shapes now instead of at the first text that needs them."""
        self.predictor.warmup()

    def _reader_for(self, options: Options) -> Reader:
        ours = options.aggregation_strategy == "word" and not options.truncation
        limit = self.window if ours and options.stride is None else self._tagger.limit
        return self._reader(limit, truncation=options.truncation, stride=options.stride)

    def _answers(
        self, texts: Iterable[Text], options: Options, first_chunk: int
    ) -> Iterator[list[Entity]]:
        reader, split = self._reader_for(options), options.is_split_into_words
        legal = options.aggregation_strategy == "word" and options.decoder == "viterbi"
        rules = self._tagger.rules if legal else None

        def read(chunk: list[Text]) -> Any:
            whole = [checked(text, split=split) for text in chunk]
            reading = reader.read(whole, split=split, delimiter=options.delimiter)
            if reading.longest and not self._said:
                self._said = True
                logger.warning(
                    "a text of %d tokens is longer than the %d of a window: it is read in "
                    "overlapping windows (truncation=True cuts it at %d instead); said once",
                    *(reading.longest, reader.limit, self._tagger.limit),
                )
            return reading

        def submit(reading: Any) -> Callable[[], list[list[Entity]]]:
            pending = self.predictor.submit(reading.input_ids, reading.starts)

            def answer() -> list[list[Entity]]:
                logits_TC = pending.result()[reading.tokens.source]
                return self._aggregate(
                    reading,
                    logits_TC,
                    options.aggregation_strategy,
                    options.ignore_labels,
                    rules,
                )

            return answer

        return overlapped(chunks(texts, first_chunk, ANSWERED_AT_ONCE), read, submit)


def pipeline(
    task: str | None = None,
    model: ModelSource | None = None,
    tokenizer: Any = None,
    *,
    revision: str | None = None,
    device: Any = None,
    dtype: str = "float32",
    id2label: Mapping[Any, str] | Sequence[str] | None = None,
    scheme: str | None = None,
    **options: Any,
) -> NerPipeline:
    """A pipeline for named entity recognition, as `transformers.pipeline("ner", ...)`.

    Args:
      task: "ner" or "token-classification".
      model: a folder, a Hub name, or a model of ours.
      tokenizer: a fast tokenizer or where it is; that of the model's folder if None.
      revision: branch, tag or commit on the Hub.
      device: "cpu", "gpu" or "tpu", one of `jax.devices()` or its number; all devices if None.
      dtype: "float32", whose scores equal PyTorch's, or "bfloat16", faster on TPU and GPU.
      id2label: names of the labels; those of config.json if None.
      scheme: of the labels, "IOB2" say, for legal tag sequences; "any" makes all legal. If None
        what config.json says (as that of our models does) or the labels show; where they leave
        IOB1 and IOB2 open, what the model's answers to some sentences show.
      **options: see `Options`.

    Raises:
      ValueError: no token classifier, a slow tokenizer, or options that do not exist.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"the task must be one of {', '.join(TASKS)}: got {task!r}")
    if model is None:
        raise ValueError("a model must be named: pipeline('ner', model=FOLDER_OR_HUB_NAME)")
    if isinstance(model, str | Path) and is_artefact(model):
        raise ValueError(f"{model} is an exported pipeline: flaxner.load_exported reads it")
    from flaxner.inference.classifier import load_classifier

    chosen = Options().changed(options)
    use_default_cache()
    classifier = load_classifier(
        model, tokenizer, labels=id2label, dtype=str(dtype), revision=revision, scheme=scheme
    )
    predictor = Predictor(
        classifier.model.apply,
        classifier.params,
        len(classifier.labels),
        classifier.limit,
        find_devices(device),
    )
    return NerPipeline(
        classifier.tokenizer,
        classifier.labels,
        predictor,
        chosen,
        classifier,
        scheme=classifier.scheme,
        window=classifier.window,
    )
