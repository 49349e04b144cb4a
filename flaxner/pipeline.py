"""`pipeline("ner")` in JAX: the answers of `transformers`' pipeline, faster."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxner import viterbi
from flaxner.aggregation import Aggregator, Entity, softmax
from flaxner.alignment import align, load_tokenizer
from flaxner.classifier import Classifier, Source, load_classifier, use_default_cache
from flaxner.corpus import Sentence
from flaxner.inference import Predictor
from flaxner.overlap import chunks, overlapped
from flaxner.pipeline_options import Options
from flaxner.reading import Reader, Text
from flaxner.serving import read_artefact, write_artefact

TASKS = ("ner", "token-classification")
CHUNK = 1024  # texts read, packed and answered together
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
    ) -> None:
        self.tokenizer, self.labels, self.predictor = tokenizer, tuple(labels), predictor
        self.options, self.classifier = options or Options(), classifier
        self._aggregate = Aggregator(tokenizer, labels)
        self._reader = functools.lru_cache(functools.partial(Reader, tokenizer, predictor.limit))
        self._said = False
        self._reader(truncation=self.options.truncation, stride=self.options.stride)

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
            return list(self._answers(inputs, options, CHUNK))
        if isinstance(inputs, Iterable) and not isinstance(inputs, bytes | Mapping):
            return self._answers(inputs, options, FIRST_CHUNK)
        raise ValueError(
            f"the input must be a text, a list of texts or an iterator: got {_kind(inputs)}"
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
        answers = self._answers(texts, self.options.changed(given), FIRST_CHUNK)
        if not progress:
            return answers
        from flaxner.progress import counted

        return counted(answers, "texts", total=len(texts) if isinstance(texts, Sequence) else None)

    def predict_words(
        self, sentences: Iterable[Sequence[str]], *, decoder: str = "viterbi"
    ) -> list[list[str]]:
        """A tag for every word of every sentence: that of its first token.

        Args:
          sentences: lists of words, as a corpus has them.
          decoder: "viterbi" gives legal tag sequences only; "argmax" each word's likeliest tag.

        Raises:
          ValueError: no list of words, or no such decoder.
        """
        Options().changed({"decoder": decoder})
        return list(self.stream_words(sentences, decoder=decoder))

    def stream_words(
        self, sentences: Iterable[Sequence[str]], *, decoder: str = "viterbi"
    ) -> Iterator[list[str]]:
        """As `predict_words`, one sentence at a time, in constant memory."""
        labels, limit = self.labels, self.predictor.limit

        def read(chunk: list[Sequence[str]]) -> Any:
            checked = [Sentence(tuple(_checked(words, split=True))) for words in chunk]
            segments = align(checked, self.tokenizer, None, limit)
            return segments, [len(sentence.words) for sentence in checked]

        def submit(item: Any) -> Callable[[], list[list[str]]]:
            segments, sizes = item
            pending = self.predictor.submit(segments.input_ids, segments.starts)

            def answer() -> list[list[str]]:
                logits_TC = pending.result()
                cells = np.flatnonzero(segments.words >= 0)
                rows_WC = np.empty((segments.num_words, logits_TC.shape[1]), np.float32)
                rows_WC[segments.words[cells]] = logits_TC[cells]
                borders = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
                found = _decode(rows_WC, borders, labels, decoder)
                tags = [labels[label] for label in found.tolist()]
                return [tags[a:b] for a, b in itertools.pairwise(borders.tolist())]

            return answer

        return overlapped(chunks(sentences, CHUNK, CHUNK), read, submit)

    def split_words(self, text: str) -> list[str]:
        """The words the tokenizer sees in a text; punctuation marks are words of their own."""
        backend = self.tokenizer.backend_tokenizer
        pieces = backend.pre_tokenizer.pre_tokenize_str(text)
        return [text[start:end] for _, (start, end) in pieces]

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
        return write_artefact(path, self.classifier, weights)

    def warmup(self) -> None:
        """Compile all shapes now instead of at the first text that needs them."""
        self.predictor.warmup()

    def _answers(
        self, texts: Iterable[Text], options: Options, first_chunk: int
    ) -> Iterator[list[Entity]]:
        reader = self._reader(truncation=options.truncation, stride=options.stride)
        split = options.is_split_into_words

        def read(chunk: list[Text]) -> Any:
            checked = [_checked(text, split=split) for text in chunk]
            reading = reader.read(checked, split=split, delimiter=options.delimiter)
            if reading.longest and not self._said:
                self._said = True
                logger.warning(
                    "a text of %d tokens is longer than the %d the model takes: it is read in "
                    "overlapping windows (truncation=True cuts it instead); said once",
                    reading.longest,
                    self.predictor.limit,
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
                    options.decoder,
                )

            return answer

        return overlapped(chunks(texts, first_chunk, CHUNK), read, submit)


def pipeline(
    task: str | None = None,
    model: Source | None = None,
    tokenizer: Any = None,
    *,
    revision: str | None = None,
    device: Any = None,
    dtype: str = "float32",
    id2label: Mapping[Any, str] | Sequence[str] | None = None,
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
      **options: see `Options`.

    Raises:
      ValueError: no token classifier, a slow tokenizer, or options that do not exist.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"the task must be one of {', '.join(TASKS)}: got {task!r}")
    if model is None:
        raise ValueError("a model must be named: pipeline('ner', model=FOLDER_OR_HUB_NAME)")
    chosen = Options().changed(options)
    use_default_cache()
    classifier = load_classifier(
        model, tokenizer, labels=id2label, dtype=str(dtype), revision=revision
    )
    predictor = Predictor(
        classifier.model.apply,
        classifier.params,
        len(classifier.labels),
        classifier.limit,
        _devices(device),
    )
    return NerPipeline(classifier.tokenizer, classifier.labels, predictor, chosen, classifier)


def load_exported(path: str | Path, **options: Any) -> NerPipeline:
    """The pipeline that `NerPipeline.export` wrote; it runs on the first device.

    Args:
      path: the folder.
      **options: see `Options`.

    Raises:
      ValueError: no such folder, another version of the format, or no such option.
    """
    chosen = Options().changed(options)
    use_default_cache()
    found = read_artefact(path)
    predictor = Predictor(
        found.forward, found.params, len(found.labels), found.limit, jax.devices()[:1]
    )
    return NerPipeline(load_tokenizer(path), found.labels, predictor, chosen)


def _devices(device: Any) -> list[jax.Device] | None:
    if device is None:
        return None
    if isinstance(device, jax.Device):
        return [device]
    if device in ("cpu", -1):
        return jax.devices("cpu")[:1]
    try:
        if isinstance(device, int):
            return [jax.devices()[device]]
        return jax.devices({"cuda": "gpu"}.get(str(device), str(device)))
    except (IndexError, RuntimeError) as error:
        known = ", ".join(str(d) for d in jax.devices())
        raise ValueError(f"there is no device {device!r}; there are {known}") from error


def _decode(
    logits_WC: np.ndarray, borders: np.ndarray, labels: Sequence[str], decoder: str
) -> np.ndarray:
    if decoder == "argmax":
        return logits_WC.argmax(axis=-1)
    with np.errstate(divide="ignore"):
        return viterbi.decode(np.log(softmax(logits_WC)), borders, labels)


def _checked(text: Any, *, split: bool) -> Any:
    if not split and isinstance(text, str):
        return text
    if split and isinstance(text, list | tuple):
        wrong = [word for word in text if not isinstance(word, str)]
        if not wrong:
            return text
        raise ValueError(f"a word must be a string: got {_kind(wrong[0])}")
    rule = "must be a list of words" if split else "must be a string"
    hint = "" if split or not isinstance(text, list | tuple) else "; is_split_into_words=True?"
    raise ValueError(f"a text {rule}: got {_kind(text)}{hint}")


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
