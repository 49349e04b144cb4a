"""Request bodies: the fields they may have, and a sentence for every mistake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from flaxner.inference.aggregation import DECODERS, STRATEGIES
from flaxner.inference.options import checked
from flaxner.serving.jobs import characters
from flaxner.serving.settings import Settings
from flaxner.wording import number_of

UNPROCESSABLE = 422

_TEXT = {"type": "string"}
_WORDS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
Text = Annotated[
    Any, WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]})
]
Words = Annotated[Any, WithJsonSchema({"anyOf": [_WORDS, {"type": "array", "items": _WORDS}]})]


class Form(BaseModel):
    """The fields that all requests share."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="Name of the model; the first one by default.")
    decoder: str | None = Field(
        None,
        description="crf decodes with the model's CRF, and is refused if it has none; viterbi "
        "returns legal tag sequences only; argmax takes each word's most likely tag.",
        json_schema_extra={"enum": [*DECODERS, None]},
    )


class NerForm(Form):
    """The body of POST /ner."""

    text: Text = Field(description="A text or a list of texts.")
    strategy: str | None = Field(
        None,
        description="How tokens become entities: the pipeline's aggregation_strategy.",
        json_schema_extra={"enum": [*STRATEGIES, None]},
    )
    threshold: float = Field(
        0.0, ge=0, le=1, allow_inf_nan=False,
        description="Leave out entities with a lower score.",
    )  # fmt: skip
    ignore_labels: list[str] = Field(["O"], description="Labels or types to leave out.")
    stride: int | None = Field(None, ge=0, le=2**31, description="The pipeline's stride.")
    calibrated: bool = Field(
        False, description="Calibrate the scores; refused if the model has no temperature."
    )
    truncation: bool = Field(False, description="The pipeline's truncation.")


class WordsForm(Form):
    """The body of POST /ner/words."""

    words: Words = Field(description="The words of a sentence, or a list of sentences.")
    max_length: int | None = Field(
        None, ge=0, le=2**31, description="Tokens per window; by default as in training."
    )


class Inputs(NamedTuple):
    """The texts or sentences of a request; `single`: one was sent, not a list of them."""

    texts: Sequence[Any]
    single: bool


F = TypeVar("F", bound=Form)


def read_form(form: type[F], body: bytes) -> F:
    """Parse and validate a request body.

    Raises:
      ValueError: not JSON, or not the fields of the form; the message is for the client.
    """
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        raise ValueError(_sentence(form, error)) from None


def _sentence(form: type[Form], error: ValidationError) -> str:
    """Describe the first mistake."""
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
        return f"unknown field {name!r}; choose from: {', '.join(form.model_fields)}"
    message = first["msg"].removeprefix("Input should be ")
    return f"{name} must be {message}"


def read_texts(value: Any, settings: Settings) -> Inputs:
    """Return the texts of POST /ner.

    Raises:
      ValueError: no texts, or more or longer ones than the server accepts.
    """
    single = isinstance(value, str)
    if not single and not (isinstance(value, list) and value):
        raise ValueError("text must be a string or a non-empty list of strings")
    texts = [value] if single else value
    _check(texts, settings, split=False)
    return Inputs(texts, single)


def read_sentences(value: Any, settings: Settings) -> Inputs:
    """Return the sentences of POST /ner/words.

    Raises:
      ValueError: no words, or more or longer sentences than the server accepts.
    """
    if not (isinstance(value, list) and value):
        raise ValueError("words must be a non-empty list of words, or of lists of words")
    single = not isinstance(value[0], list)
    sentences = [value] if single else value
    _check(sentences, settings, split=True)
    return Inputs(sentences, single)


def _check(texts: Sequence[Any], settings: Settings, *, split: bool) -> None:
    if len(texts) > settings.max_texts:
        raise ValueError(
            f"a request may have at most {number_of(settings.max_texts, 'texts')}: this one has "
            f"{len(texts):,}; send several requests"
        )
    for place, text in enumerate(texts):
        size = characters(checked(text, split=split, advice="for words use POST /ner/words"))
        if size > settings.max_length:
            raise ValueError(
                f"a text may have at most {settings.max_length:,} characters: text {place} has "
                f"{size:,}; split it, for example at a paragraph"
            )
