"""What `pipeline("ner")` returns: the answers of `transformers`' pipeline, faster."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from flaxner.data.kept_tokenizer import KeptTokenizer
from flaxner.inference.aggregation import Entity
from flaxner.inference.engines import Request
from flaxner.inference.face import TransformersFace
from flaxner.inference.facts import Facts
from flaxner.inference.options import Options, kind, known_decoder
from flaxner.inference.predictor import Predictor
from flaxner.inference.rendering import Entities, ManyEntities
from flaxner.inference.streaming import Answers, counted, length_of, many
from flaxner.inference.texts import TextTagger
from flaxner.inference.tokens import Text
from flaxner.inference.words import WordTagger

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.crf import Scores
    from flaxner.models.layers.graph_products import Range

TASKS = ("ner", "token-classification")
FIRST_CHUNK = 32  # texts in a stream's first chunk, so that the first answers come soon


class NerPipeline(TransformersFace):
    """Named entity recognition for texts; created by `pipeline`. Thread-safe.

    A pipeline can be pickled for spawned worker processes. In a forked process it refuses to
    compute: neither JAX nor ONNX Runtime survives a fork.

    Attributes:
      task: as the caller named it, "ner" or "token-classification".
      labels: names of the labels.
      predictor: the model on its devices.
      options: defaults for calls.
      texts, words: read texts and sentences of words, and turn logits into answers.
      context: what a word saw in training: "sentences", its own one, or the "document" around it.
    """

    def __init__(
        self,
        tokenizer: Any,
        facts: Facts,
        predictor: Predictor,
        options: Options,
        classifier: Classifier | None = None,
        *,
        crf: Scores | None = None,
        task: str = TASKS[1],
        source: Request | None = None,
    ) -> None:
        self._tokenizer, self.labels, self.predictor = tokenizer, facts.labels, predictor
        self.options, self._classifier, self.task = options, classifier, task
        self._source = source
        self.context = facts.context
        self.words = WordTagger(tokenizer, facts, predictor, crf)
        self.texts = TextTagger(tokenizer, predictor, self.words, facts.temperature)
        self.texts.reader(self.options)
        self.texts.heat(self.options)

    @property
    def tokenizer(self) -> Any:
        """The fast tokenizer of `transformers`, loaded on first access; changes take effect."""
        kept = isinstance(self._tokenizer, KeptTokenizer)
        return self._tokenizer.whole() if kept else self._tokenizer

    @property
    def classifier(self) -> Classifier | None:
        """The model itself, loaded now if only its graph was; None for an exported program."""
        if self._classifier is None and self._source is not None:
            self._classifier = self._source._replace(tokenizer=self._tokenizer).load()
        return self._classifier

    @property
    def scheme(self) -> str:
        """Scheme of the labels: IO, IOB1, IOB2, BIOES or BILOU, or "any" if it is unknown."""
        return self.words.scheme

    @property
    def window(self) -> int:
        """Tokens per window in which strategy "word" and `predict_words` read longer texts."""
        return self.words.window

    @property
    def has_crf(self) -> bool:
        """Whether words are decoded with a CRF by default."""
        return self.words.crf is not None

    @overload
    def __call__(self, inputs: str, **given: Any) -> Entities: ...

    @overload
    def __call__(self, inputs: list[Any] | tuple[Any, ...], **given: Any) -> ManyEntities: ...

    @overload
    def __call__(self, inputs: Any, **given: Any) -> Any: ...

    def __call__(self, inputs: Any, **given: Any) -> Any:
        """Find the entities in a text, or in many.

        Args:
          inputs: a text, a list of texts, a data set, or an iterator of any length over texts;
            with `is_split_into_words=True` a text is a list of words.
          **given: see `Options`.

        Returns:
          A list of entities for one text; a list of such lists for a list of texts (and, as in
          `transformers`, for one list of words); an iterator over such lists for a data set or an
          iterator, which has a length if its input has one. Notebooks display the lists as
          coloured text.

        Raises:
          ValueError: not a text, an unknown option, or an invalid value.
        """
        options = self.options.of_call(given)
        if isinstance(inputs, str):
            if options.is_split_into_words:
                raise ValueError("with is_split_into_words=True a text must be a list of words")
            return self.texts.one(inputs, options)
        if isinstance(inputs, list | tuple):
            if not inputs:
                raise ValueError("the list of texts is empty: pass at least one text")
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
        """Yield the entities of each text, in order, in constant memory.

        Args:
          texts: any number of texts.
          progress: show a progress bar on standard error.
          **given: see `Options`.
        """
        every = None if isinstance(texts, str) else many(texts)
        if every is None:
            raise ValueError(f"stream() needs an iterable of texts: got {kind(texts)}")
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
        """Tag every word of every sentence with the tag of its first token.

        Args:
          sentences: lists of words, as in a corpus.
          documents: a key for the document of each sentence. Consecutive sentences with equal
            keys form a document, and a word sees the sentences around its own, as with
            `--context document` in training. None: each sentence is read alone.
          decoder: "viterbi" returns legal tag sequences only; "argmax" each word's most likely
            tag; "crf" the most likely legal sequences according to the model's CRF. None: the
            pipeline's own decoder; if it has none, the CRF if the model has one, else "viterbi".
          max_length: tokens per window in which longer sentences are read. None: as in training,
            or the most the model accepts if its config.json does not say.

        Raises:
          ValueError: not a list of words, an unknown decoder, a window that is too long, or
            different numbers of documents and sentences.
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
        """Like `predict_words`, as an iterator that holds one document or 1,024 sentences."""
        decoder = known_decoder(decoder or self.options.decoder)
        return self.words.tags(sentences, documents, decoder=decoder, max_length=max_length)

    def split_words(self, text: str) -> list[str]:
        """Split a text into the words that strategy "word" counts.

        Punctuation marks and, with most tokenizers, ideographs are words of their own.
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
          weights: format of the weights, "float32", "bfloat16", "int8" or "int8-static".
          engine: "jax", or "onnx" for ONNX Runtime, which has no bfloat16, computes matrix
            products in int8 as well, and alone has "int8-static", with constant scales.
          seen: for int8-static, the ranges that `static_ranges.seen_ranges` measured on texts.

        Raises:
          ValueError: unknown format, no ranges for int8-static, a folder in use, or a pipeline
            that is itself an export.
        """
        from flaxner.inference.exports import write_export

        if self.classifier is None:
            raise ValueError("this pipeline is already an export: copy its folder")
        facts = self.classifier.facts._replace(scheme=self.scheme, window=self.window)
        known = dataclasses.replace(self.classifier, facts=facts, tokenizer=self.tokenizer)
        return write_export(path, known, weights, engine, seen)

    def warmup(self) -> None:
        """Compile all shapes now instead of when a text first needs them."""
        self.predictor.warmup()

    def __reduce__(self) -> Any:
        """Pickle the model and its options for another process."""
        from flaxner.inference.pipeline import with_jax, with_onnx  # they create pipelines

        if self._source is not None:
            source = self._source._replace(tokenizer=self.tokenizer)
            return with_onnx, (source, self.options, self.task, True)
        if self.classifier is None:
            raise TypeError(
                "an exported pipeline cannot be pickled: call load_exported in the other process"
            )
        # A definition that has been used holds NNX graphs; its settings are enough.
        model = dataclasses.replace(self.classifier.model)
        plain = dataclasses.replace(self.classifier, model=model, tokenizer=self.tokenizer)
        every = len(self.predictor.devices) > 1
        return with_jax, (
            plain,
            None if every else str(self.device),
            self.options,
            self.task,
        )
