"""The options of a pipeline call."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from flaxner.inference.aggregation import DECODERS, STRATEGIES


class Options(NamedTuple):
    """The options of a call, named as in `transformers` where it has them.

    Attributes:
      aggregation_strategy: "none", "simple", "first", "average" or "max" as in `transformers`, or
        "word": each word gets the label of its first token, as in training, and tag sequences are
        legal.
      ignore_labels: labels (strategy "none") or types to leave out; a single one may be a string.
      stride: read longer texts in windows that overlap by this many tokens, as in `transformers`.
      truncation: cut longer texts, as `transformers` does without a stride. By default they are
        read in overlapping windows, and each word is answered where more of its context is seen.
      decoder: for strategy "word" and `predict_words`, refused with other strategies: "crf" if the
        model has one, "viterbi" or "argmax"; None: the first of these that the model has.
      is_split_into_words: texts are lists of words.
      delimiter: joins such words; `start` and `end` refer to the joined text.
      calibrated: calibrate the scores with the temperature in config.json: about four in five of
        the entities with score 0.8 are right, as on the validation split. The entities stay the
        same.
    """

    aggregation_strategy: str = "none"
    ignore_labels: Collection[str] = ("O",)
    stride: int | None = None
    truncation: bool = False
    decoder: str | None = None
    is_split_into_words: bool = False
    delimiter: str = " "
    calibrated: bool = False

    def changed(self, given: Mapping[str, Any]) -> Options:
        """Return these options, updated with those of a call.

        Raises:
          ValueError: unknown option or invalid value.
        """
        if not given:
            return self
        # We form the batches ourselves: these are accepted so that calls need no change.
        given = {k: v for k, v in given.items() if k not in ("batch_size", "num_workers")}
        unknown = sorted(set(given) - set(self._fields))
        if unknown:
            raise ValueError(
                f"unknown pipeline option {unknown[0]!r}; choose from: {', '.join(self._fields)}"
            )
        if isinstance(given.get("ignore_labels"), str):  # `in` would search for a substring
            given["ignore_labels"] = (given["ignore_labels"],)
        _check_kinds(given)
        strategy = given.get("aggregation_strategy")
        if strategy is not None and strategy.lower() == "none" and given.get("stride") is not None:
            raise ValueError(
                'stride needs an aggregation_strategy other than "none"; without stride, long '
                "texts are still read in overlapping windows"
            )
        options = self._replace(**{k: v for k, v in given.items() if v is not None})
        options = options._replace(aggregation_strategy=options.aggregation_strategy.lower())
        for name, known in (("aggregation_strategy", STRATEGIES), ("decoder", DECODERS)):
            value = getattr(options, name)
            if value is not None and value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}: got {value!r}")
        if strategy is not None:
            options._check_decoder(given)
        return options

    def of_call(self, given: Mapping[str, Any]) -> Options:
        """Like `changed`, for a call on texts, whose strategy is known.

        Raises:
          ValueError: also for a decoder that would be ignored.
        """
        options = self.changed(given)
        options._check_decoder(given)
        return options

    def _check_decoder(self, given: Mapping[str, Any]) -> None:
        if given.get("decoder") is not None and self.aggregation_strategy != "word":
            raise ValueError(
                'decoder applies to aggregation_strategy "word" only: '
                f'"{self.aggregation_strategy}" decodes no tag sequences, so leave decoder out'
            )


KINDS: dict[str, tuple[type, str]] = {
    "aggregation_strategy": (str, "a string"),
    "ignore_labels": (Collection, "a list of labels"),
    "stride": (int, "a whole number"),
    "truncation": (bool, "True or False"),
    "decoder": (str, "a string"),
    "is_split_into_words": (bool, "True or False"),
    "delimiter": (str, "a string"),
    "calibrated": (bool, "True or False"),
}


def known_decoder(name: str | None) -> str | None:
    """Return a decoder's name for sentences of words, after checking it.

    Raises:
      ValueError: unknown decoder.
    """
    return Options("word").changed({"decoder": name}).decoder


def _check_kinds(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        wanted, words = KINDS[name]
        kind = isinstance(value, wanted) and not isinstance(value, bytes)
        if value is not None and not (kind and isinstance(value, bool) == (wanted is bool)):
            raise ValueError(f"{name} must be {words}: got {value!r}")


def checked(
    text: Any, *, split: bool, advice: str = "did you mean is_split_into_words=True?"
) -> Any:
    """Return a text, or a list of words if `split`, after checking it.

    Args:
      text: the value to check.
      split: whether it must be a list of words.
      advice: hint in the error message for a list of words where a text is expected.

    Raises:
      ValueError: it is something else.
    """
    if not split and isinstance(text, str):
        _check_unicode(text)
        return text
    if split and isinstance(text, list | tuple):
        wrong = [word for word in text if not isinstance(word, str)]
        if not wrong:
            _check_unicode("".join(text))
            return text
        raise ValueError(f"a word must be a string: got {kind(wrong[0])}")
    rule = "must be a list of words" if split else "must be a string"
    hint = "" if split or not isinstance(text, list | tuple) else f"; {advice}"
    raise ValueError(f"a text {rule}: got {kind(text)}{hint}")


def _check_unicode(text: str) -> None:
    """Refuse half of a surrogate pair, which damaged files contain and which is no character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"a text must be Unicode: character {error.start} is {text[error.start]!a}, "
            "half of a surrogate pair"
        ) from error


def kind(value: Any) -> str:
    """Describe a value for a message: its type and its beginning."""
    return f"{type(value).__name__} {str(value)[:40]!r}"
