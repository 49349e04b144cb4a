"""Renders entities as coloured HTML, for notebooks and web pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flaxner.wording import number_of

Part = tuple[str, str | None, float | None]  # a piece of text; type and score if an entity


def render(text: str, entities: Iterable[Mapping[str, Any]], *, types: Sequence[str] = ()) -> str:
    """Render a text as HTML, with its entities coloured by type and their scores.

    Texts and types are escaped. The colours work on light and dark backgrounds.

    Args:
      text: the text that the entities' offsets refer to.
      entities: as returned by our pipeline or that of `transformers`, with `start`, `end`,
        `entity_group` or `entity`, and optionally `score`.
      types: all possible types, so that a type has the same colour in every text.

    Raises:
      ValueError: an entity is malformed, lies outside the text, or overlaps another.
    """
    return _html([_parts(text, entities)], types)


def _html(texts: Sequence[Sequence[Part]], types: Sequence[str]) -> str:
    there = {kind for parts in texts for _, kind, _ in parts if kind is not None}
    from flaxner import templates  # not needed for answers that are never displayed
    from flaxner.templates.colours import page_colours

    by_type = page_colours({*types, *map(_type, there)})
    colours = {kind: by_type[_type(kind)] for kind in there}
    return templates.html("entities.html.jinja", texts=texts, colours=colours)


def _parts(text: str, entities: Iterable[Mapping[str, Any]]) -> list[Part]:
    """Split a text into pieces with and without a type, in order."""
    parts: list[Part] = []
    place = 0
    for start, end, kind, score in sorted(map(_taken_apart, entities), key=lambda item: item[:2]):
        if not 0 <= start <= end <= len(text):
            raise ValueError(
                f"the entity {start}-{end} lies outside the text, which has "
                + number_of(len(text), "characters")
            )
        if start < place:
            raise ValueError(f"the entity {start}-{end} overlaps the one that ends at {place}")
        parts += [(text[place:start], None, None), (text[start:end], kind, score)]
        place = end
    parts.append((text[place:], None, None))
    return [part for part in parts if part[0]]


def _taken_apart(entity: Mapping[str, Any]) -> tuple[int, int, str, float | None]:
    try:
        kind = entity["entity_group"] if "entity_group" in entity else entity["entity"]
        score = entity.get("score")
        shown = None if score is None else float(score)
        return int(entity["start"]), int(entity["end"]), str(kind), shown
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"an entity must have start, end, and entity_group or entity: got {entity!r}"[:300]
        ) from error


def _type(label: str) -> str:
    """Return the type of a label: B-PER, as single tokens have it, is coloured like PER."""
    return label[2:] if label[:2] in ("B-", "I-") and label[2:] else label


class Entities(list[dict[str, Any]]):
    """The entities of a text: a list that notebooks display as the coloured text.

    Attributes:
      text: the text they were found in.
      types: the types that the model knows.
    """

    def __init__(
        self, items: Iterable[dict[str, Any]] = (), text: str = "", types: Sequence[str] = ()
    ) -> None:
        super().__init__(items)
        self.text, self.types = text, types

    def _repr_html_(self) -> str | None:
        """Return the HTML for notebooks; None if the list was changed and does not fit the text."""
        try:
            return render(self.text, self, types=self.types)
        except ValueError:
            return None


MOST_SHOWN = 100  # maximum number of texts that a notebook displays


class ManyEntities(list[Entities]):
    """The entities of several texts, which notebooks display as coloured texts."""

    def _repr_html_(self) -> str | None:
        """Return the HTML of the first texts, and the number of further ones."""
        shown = self[:MOST_SHOWN]
        try:
            texts = [_parts(entities.text, entities) for entities in shown]
        except (ValueError, AttributeError):
            return None
        types = [kind for entities in shown for kind in entities.types]
        rest = len(self) - len(shown)
        more = f"<p>and {number_of(rest, 'texts')} more</p>" if rest else ""
        return _html(texts, types) + more
