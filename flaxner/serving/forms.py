"""The bodies of requests: what they may hold, and sentences for what they may not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from flaxner.inference.aggregation import DECODERS, STRATEGIES
from flaxner.inference.options import checked
from flaxner.serving.jobs import characters
from flaxner.serving.settings import Settings

UNPROCESSABLE = 422

_TEXT = {"type": "string"}
_WORDS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
Text = Annotated[
    Any, WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]})
]
Words = Annotated[Any, WithJsonSchema({"anyOf": [_WORDS, {"type": "array", "items": _WORDS}]})]


class Form(BaseModel):
    """What both kinds of requests may say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="Which model; the first one if not given.")
    decoder: str | None = Field(
        None,
        description="crf reads with the model's CRF, if it has one; viterbi gives legal tag "
        "sequences only; argmax each word's likeliest tag.",
        json_schema_extra={"enum": [*DECODERS, None]},
    )


class NerForm(Form):
    """The body of POST /ner."""

    text: Text = Field(description="A text, or a list of texts.")
    strategy: str | None = Field(
        None,
        description="How tokens become entities: aggregation_strategy of the pipeline.",
        json_schema_extra={"enum": [*STRATEGIES, None]},
    )
    threshold: float = Field(
        0.0, ge=0, le=1, allow_inf_nan=False,
        description="Entities with a lower score are left out.",
    )  # fmt: skip
    ignore_labels: list[str] = Field(["O"], description="Labels or types to leave out.")
    stride: int | None = Field(None, ge=0, le=2**31, description="As the pipeline has it.")
    calibrated: bool = Field(
        False, description="Scores as the model's temperature makes them, if it has one."
    )
    truncation: bool = Field(False, description="As the pipeline has it.")


class WordsForm(Form):
    """The body of POST /ner/words."""

    words: Words = Field(description="The words of a sentence, or a list of sentences.")
    max_length: int | None = Field(
        None, ge=0, le=2**31, description="Tokens of a window; that of training if not given."
    )


class Inputs(NamedTuple):
    """The texts or sentences of a request; `single` if it was one and no list."""

    texts: Sequence[Any]
    single: bool


F = TypeVar("F", bound=Form)


def read_form(form: type[F], body: bytes) -> F:
    """A body -> its form.

    Raises:
      ValueError: no JSON, or other fields than the form's; the message is for the client.
    """
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        raise ValueError(_sentence(form, error)) from None


def _sentence(form: type[Form], error: ValidationError) -> str:
    """The first thing that is wrong."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    kind, place = first["type"], first["loc"]
    if kind == "json_invalid":
        return f"the body must be JSON: {first['msg'].removeprefix('Invalid JSON: ')}"
    if not place:
        return f"the body must be a JSON object with {', '.join(form.model_fields)}"
    name = str(place[0])[:40]
    if kind == "missing":
        return f"the body lacks {name!r}"
    if kind == "extra_forbidden":
        return f"the body has no field {name!r}; it may have {', '.join(form.model_fields)}"
    message = first["msg"].removeprefix("Input should be ")
    return f"{name} must be {message}"


def read_texts(value: Any, settings: Settings) -> Inputs:
    """The texts of POST /ner.

    Raises:
      ValueError: no texts, or more or longer ones than the server takes.
    """
    single = isinstance(value, str)
    if not single and not (isinstance(value, list) and value):
        raise ValueError("text must be a string, or a list of at least one string")
    texts = [value] if single else value
    _check(texts, settings, split=False)
    return Inputs(texts, single)


def read_sentences(value: Any, settings: Settings) -> Inputs:
    """The sentences of POST /ner/words.

    Raises:
      ValueError: no words, or more or longer sentences than the server takes.
    """
    if not (isinstance(value, list) and value):
        raise ValueError("words must be a list of at least one word, or a list of such lists")
    single = not isinstance(value[0], list)
    sentences = [value] if single else value
    _check(sentences, settings, split=True)
    return Inputs(sentences, single)


def _check(texts: Sequence[Any], settings: Settings, *, split: bool) -> None:
    if len(texts) > settings.max_texts:
        raise ValueError(
            f"a request may have {settings.max_texts:,} texts: this one has {len(texts):,}; send "
            "several"
        )
    for place, text in enumerate(texts):
        size = characters(checked(text, split=split, advice="POST /ner/words takes words"))
        if size > settings.max_length:
            raise ValueError(
                f"a text may have {settings.max_length:,} characters: text {place} has {size:,}; "
                "cut it at a paragraph"
            )
