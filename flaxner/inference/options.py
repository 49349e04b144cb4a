"""What a call of the pipeline may say."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from flaxner.inference.aggregation import DECODERS, STRATEGIES


class Options(NamedTuple):
    """What a call may say; `transformers`' names and meanings; the rest is ours.

    Attributes:
      aggregation_strategy: "none", "simple", "first", "average", "max" as there, or "word":
        words have the label of their first token, as in training, and legal tag sequences.
      ignore_labels: labels ("none") or types to leave out; one may come as a string.
      stride: read longer texts in windows that overlap by so many tokens, as there.
      truncation: cut longer texts, as there without a stride. Without either they are read in
        overlapping windows, and each word is answered where more of its context is seen.
      decoder: of "word" and `predict_words`, and refused beside others: "crf", of a model that has
        one; "viterbi"; "argmax"; None: the first of these that the model has.
      is_split_into_words: texts are lists of words.
      delimiter: joins such words; `start` and `end` count in the joined text.
      calibrated: scores as the temperature in config.json makes them: of the entities with 0.8
        about four in five are right, as on the validation split. The entities stay the same.
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
        """These options with those of a call.

        Raises:
          ValueError: an option or value there is not.
        """
        if not given:
            return self
        # Batches are ours to make: these are accepted so that calls need no change.
        given = {k: v for k, v in given.items() if k not in ("batch_size", "num_workers")}
        unknown = sorted(set(given) - set(self._fields))
        if unknown:
            raise ValueError(
                f"the pipeline has no option {unknown[0]!r}; it has {', '.join(self._fields)}"
            )
        if isinstance(given.get("ignore_labels"), str):  # `in` would look for a part of it
            given["ignore_labels"] = (given["ignore_labels"],)
        _check_kinds(given)
        strategy = given.get("aggregation_strategy")
        if strategy is not None and strategy.lower() == "none" and given.get("stride") is not None:
            raise ValueError(
                'stride needs an aggregation_strategy other than "none"; without it long texts are '
                "read in windows all the same"
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
        """As `changed`, of the answer to some texts: their strategy is known.

        Raises:
          ValueError: also for a decoder that would be ignored.
        """
        options = self.changed(given)
        options._check_decoder(given)
        return options

    def _check_decoder(self, given: Mapping[str, Any]) -> None:
        if given.get("decoder") is not None and self.aggregation_strategy != "word":
            raise ValueError(
                f'decoder is of aggregation_strategy "word": "{self.aggregation_strategy}" '
                "reads no tag sequences, leave decoder out"
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
    """The decoder of sentences of words, as it came.

    Raises:
      ValueError: there is none of that name.
    """
    return Options("word").changed({"decoder": name}).decoder


def _check_kinds(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        wanted, words = KINDS[name]
        if value is not None and (not isinstance(value, wanted) or isinstance(value, bytes)):
            raise ValueError(f"{name} must be {words}: got {value!r}")


def checked(text: Any, *, split: bool, advice: str = "is_split_into_words=True?") -> Any:
    """A text, or a list of words if `split`, as it came.

    Args:
      text: what should be one.
      split: it should be a list of words.
      advice: to who gives a list of words as a text.

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
    """Half of a surrogate pair, as damaged files have it, is no character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"a text must be Unicode: character {error.start} is {text[error.start]!a}, "
            f"half of a surrogate pair"
        ) from error


def kind(value: Any) -> str:
    """A value for a message: its type and how it begins."""
    return f"{type(value).__name__} {str(value)[:40]!r}"
