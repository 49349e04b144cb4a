"""What `pipeline("ner")` gives: the answers of `transformers`' pipeline, faster."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaxner.config.data import CONTEXTS
from flaxner.data.kept_tokenizer import KeptTokenizer
from flaxner.inference.aggregation import Entity
from flaxner.inference.engines import Request
from flaxner.inference.face import TransformersFace
from flaxner.inference.options import Options, kind, known_decoder
from flaxner.inference.predictor import Predictor
from flaxner.inference.rendering import ManyEntities
from flaxner.inference.streaming import Answers, counted, length_of, many
from flaxner.inference.texts import TextTagger
from flaxner.inference.tokens import Text
from flaxner.inference.words import WordTagger

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.crf import Scores
    from flaxner.models.layers.graph_products import Range

TASKS = ("ner", "token-classification")
FIRST_CHUNK = 32  # of a stream, so that the first answers do not wait for many texts


class NerPipeline(TransformersFace):
    """Named entity recognition over texts; made by `pipeline`. Safe to use from many threads.

    It may be pickled, for worker processes that are spawned. One that was forked refuses to
    compute: neither JAX nor ONNX Runtime lives on in a fork.

    Attributes:
      task: as the caller named it, "ner" or "token-classification".
      labels: names of the labels.
      predictor: the model on its devices.
      options: what holds where a call says nothing else.
      texts, words: what reads texts and sentences and makes answers of the logits.
      context: what a word saw in training: its sentence, "sentences", or the "document" around.
    """

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
        crf: Scores | None = None,
        context: str = CONTEXTS[0],
        temperature: float | None = None,
        task: str = TASKS[1],
        source: Request | None = None,
    ) -> None:
        self._tokenizer, self.labels, self.predictor = tokenizer, tuple(labels), predictor
        self.options, self._classifier, self.task = options or Options(), classifier, task
        self._source = source
        self.context = context
        self.words = WordTagger(tokenizer, self.labels, predictor, scheme, window, crf)
        self.texts = TextTagger(tokenizer, predictor, self.words, temperature)
        self.texts.reader(self.options)
        self.texts.heat(self.options)

    @property
    def tokenizer(self) -> Any:
        """A fast tokenizer of `transformers`, loaded now if answers did without; changes count."""
        kept = isinstance(self._tokenizer, KeptTokenizer)
        return self._tokenizer.whole() if kept else self._tokenizer

    @property
    def classifier(self) -> Classifier | None:
        """The model itself, read now where only its graph was; None of an exported program."""
        if self._classifier is None and self._source is not None:
            self._classifier = self._source.load()
        return self._classifier

    @property
    def scheme(self) -> str:
        """Scheme of the labels: IO, IOB1, IOB2, BIOES or BILOU, or "any" where nothing tells."""
        return self.words.scheme

    @property
    def window(self) -> int:
        """Tokens of the windows that strategy "word" and `predict_words` read longer texts in."""
        return self.words.window

    @property
    def has_crf(self) -> bool:
        """Whether words are read with a CRF where a call says nothing else."""
        return self.words.crf is not None

    def __call__(self, inputs: Any, **given: Any) -> Any:
        """The entities of a text, or of many.

        Args:
          inputs: a text, a list of texts, or a data set or an iterator of any length over texts;
            with `is_split_into_words=True` a text is a list of words.
          **given: see `Options`.

        Returns:
          A list of entities for one text, a list of such lists for a list of texts (and, as in
          `transformers`, for one list of words), an iterator of such lists for a data set or an
          iterator, with the length of what has one. In a notebook the lists show themselves as
          coloured texts.

        Raises:
          ValueError: no text, no such option, or a value that it cannot have.
        """
        options = self.options.of_call(given)
        if isinstance(inputs, str):
            if options.is_split_into_words:
                raise ValueError("with is_split_into_words=True a text must be a list of words")
            return self.texts.one(inputs, options)
        if isinstance(inputs, list | tuple):
            if not inputs:
                raise ValueError("at least one text is needed: the list is empty")
            if options.is_split_into_words and not all(isinstance(x, list | tuple) for x in inputs):
                inputs = [inputs]
            return ManyEntities(self.texts.entities(inputs, options))
        texts = many(inputs)
        if texts is None:
            raise ValueError(
                "the input must be a text, a list of texts, a data set or an iterator: got "
                f"{kind(inputs)}"
            )
        return Answers(self.texts.entities(texts, options, FIRST_CHUNK), length_of(inputs))

    def stream(
        self, texts: Iterable[Text], *, progress: bool = False, **given: Any
    ) -> Iterator[list[Entity]]:
        """The entities of each text, in order, in constant memory.

        Args:
          texts: any number of texts.
          progress: show a bar on standard error.
          **given: see `Options`.
        """
        every = None if isinstance(texts, str) else many(texts)
        if every is None:
            raise ValueError(f"a stream is made of many texts: got {kind(texts)}")
        answers = self.texts.entities(every, self.options.of_call(given), FIRST_CHUNK)
        return counted(answers, "texts", total=length_of(texts)) if progress else answers

    def predict_words(
        self,
        sentences: Iterable[Sequence[str]],
        *,
        documents: Iterable[Hashable] | None = None,
        decoder: str | None = None,
        max_length: int | None = None,
    ) -> list[list[str]]:
        """A tag for every word of every sentence: that of its first token.

        Args:
          sentences: lists of words, as a corpus has them.
          documents: what names the document of each sentence: consecutive equal ones belong
            together, and a word sees those around its own, as with `--context document` in
            training. None: each sentence is read alone.
          decoder: "viterbi" gives legal tag sequences only; "argmax" each word's likeliest tag;
            "crf" the likeliest legal sequences by the scores of the model's CRF. None: the
            pipeline's own; where that is none either, the CRF if the model has one, else "viterbi".
          max_length: tokens of the windows that longer sentences are read in; those of training
            if None, or all that the model takes where its config.json does not tell.

        Raises:
          ValueError: no list of words, no such decoder, a window that is too long, or more or
            fewer documents than sentences.
        """
        return list(
            self.stream_words(
                sentences, documents=documents, decoder=decoder, max_length=max_length
            )
        )

    def stream_words(
        self,
        sentences: Iterable[Sequence[str]],
        *,
        documents: Iterable[Hashable] | None = None,
        decoder: str | None = None,
        max_length: int | None = None,
    ) -> Iterator[list[str]]:
        """As `predict_words`, one sentence at a time, in memory for one document or 1,024."""
        decoder = known_decoder(decoder or self.options.decoder)
        return self.words.tags(sentences, documents, decoder=decoder, max_length=max_length)

    def split_words(self, text: str) -> list[str]:
        """The words the tokenizer sees in a text, as strategy "word" counts them.

        Punctuation marks and, in most tokenizers, ideographs are words of their own.
        """
        return self.texts.reader(Options()).words(text)

    def export(
        self,
        path: str | Path,
        *,
        weights: str = "float32",
        engine: str = "jax",
        seen: Mapping[str, Range] | None = None,
    ) -> Path:
        """Write a folder that `flaxner.load_exported` runs without the model's code.

        Args:
          path: the folder.
          weights: stored as "float32", "bfloat16", "int8" or "int8-static".
          engine: "jax", or "onnx" for ONNX Runtime, which has no bfloat16, whose int8 is one of
            products, too, and which has "int8-static": scales of the products that are constants.
          seen: for these the ranges that `static_ranges.seen_ranges` saw on texts.

        Raises:
          ValueError: no such format, no ranges for int8-static, a folder in use, or a pipeline
            that is an export itself.
        """
        from flaxner.inference.exports import write_export

        if self.classifier is None:
            raise ValueError("this pipeline is an export itself: copy its folder")
        known = dataclasses.replace(
            self.classifier, scheme=self.scheme, window=self.window, tokenizer=self.tokenizer
        )
        return write_export(path, known, weights, engine, seen)

    def warmup(self) -> None:
        """Compile all shapes now instead of at the first text that needs them."""
        self.predictor.warmup()

    def __reduce__(self) -> Any:
        """The model, and how it is used, for another process."""
        from flaxner.inference.pipeline import with_jax, with_onnx  # which make such pipelines

        if self._source is not None:
            source = self._source._replace(tokenizer=self.tokenizer)
            return with_onnx, (source, self.options, self.task, True)
        if self.classifier is None:
            raise TypeError("an exported pipeline is not pickled: call load_exported there")
        # A definition that has been used holds graphs of NNX; its settings are enough.
        model = dataclasses.replace(self.classifier.model)
        plain = dataclasses.replace(self.classifier, model=model, tokenizer=self.tokenizer)
        every = len(self.predictor.devices) > 1
        return with_jax, (
            plain,
            None if every else str(self.device),
            self.options,
            self.task,
        )
