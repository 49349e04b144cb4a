"""The units in which programs count positions in a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

CHARACTERS = "characters"
# Unit -> its name in messages. JavaScript counts UTF-16 units; browsers turn \r\n into one
# line break, and programs on Windows turn \n into two characters.
COUNTINGS = {
    CHARACTERS: "characters",
    "utf-16": "UTF-16 units",
    "characters-lf": r"characters with \r\n as one",
    "utf-16-lf": r"UTF-16 units with \r\n as one",
    "utf-8": "UTF-8 bytes",
    "characters-crlf": r"characters with \n as two",
    "utf-16-crlf": r"UTF-16 units with \n as two",
}
# Tried when only word boundaries show how spans were counted; the others require spans that come
# with their own text.
LIKELY = ("utf-16", "characters-lf", "utf-16-lf")
# Invisible characters, which are not part of a name when at its edge.
INVISIBLE = "".join(
    map(chr, (0xAD, 0x61C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F)))
) + "".join(map(chr, (*range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC))))
_LOOSE = re.compile(rf"\\[nr]|[\s{INVISIBLE}]+")

Place = tuple[int, int]


def others(text: str, likely: bool = False) -> list[str]:
    """Return the units that differ from characters in a text, likeliest first."""
    if text.isascii() and "\n" not in text:
        return []
    breaks = {"lf": "\r\n" in text, "crlf": re.search(r"(?<!\r)\n", text) is not None}
    wide = text != "" and max(text) > "\uffff"
    names = []
    for name in LIKELY if likely else COUNTINGS:
        unit, _, kind = name.removeprefix("utf-").partition("-")
        if kind and not breaks[kind]:
            continue
        differs = {"16": wide, "8": not text.isascii(), CHARACTERS: kind != ""}
        if differs[unit]:
            names.append(name)
    return names


def _widths(text: str, counting: str) -> Iterator[int]:
    """Yield the width of every character of a text in a unit."""
    lf, crlf = counting.endswith("-lf"), counting.endswith("-crlf")
    before = ""
    for at, letter in enumerate(text):
        if counting == "utf-8":
            yield len(letter.encode("utf-8", "surrogatepass"))
        elif lf and letter == "\r" and text[at + 1 : at + 2] == "\n":
            yield 0
        elif (crlf and letter == "\n" and before != "\r") or (
            letter > "\uffff" and counting.startswith("utf-16")
        ):
            yield 2
        else:
            yield 1
        before = letter


def in_characters(text: str, places: Iterable[Place], counting: str) -> list[Place] | None:
    """Convert half-open ranges of a text from a unit to characters.

    Returns None if one of them extends beyond the text or splits a character.
    """
    table: list[int] = []
    if counting == CHARACTERS:
        table = list(range(len(text)))
    else:
        begun = 0
        for at, width in enumerate(_widths(text, counting)):
            if width:  # the line break \r\n begins at \r, whose width is 0
                table += [begun, *[-1] * (width - 1)]
                begun = at + 1
    table.append(len(text))
    ranges = []
    for start, end in places:
        if not 0 <= start < end < len(table) or table[start] < 0 or table[end] < 0:
            return None
        ranges.append((table[start], table[end]))
    return ranges


def same(one: str, other: str) -> bool:
    """Whether two texts are equal except for white space, case and invisible characters."""
    return one == other or _plain(one) == _plain(other)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", _LOOSE.sub("", text)).casefold()


def as_texts_say(text: str, places: Sequence[Place], own: Sequence[str]) -> dict[str, list[Place]]:
    """Return the units in which every range matches its own text, each with its ranges.

    Units in which all are exactly their own texts exclude those in which they only resemble them;
    if none of these texts is repeated, the first such unit suffices.

    Args:
      text: the text.
      places: ranges in it, in an unknown unit.
      own: the text of every range; empty if not given.

    Returns:
      Unit -> ranges in characters; likeliest unit first.
    """
    exact, alike = {}, {}
    unique = all(said and text.count(said) == 1 for said in own)
    marked = text[: max(end for _, end in places)]  # beyond it no unit makes a difference
    for counting in (CHARACTERS, *others(marked)):
        ranges = in_characters(text, places, counting)
        if ranges is None:
            continue
        pairs = [(text[a:b], said) for (a, b), said in zip(ranges, own, strict=True) if said]
        if all(there == said for there, said in pairs):
            exact[counting] = ranges
            if unique:
                break
        elif all(same(there, said) for there, said in pairs):
            alike[counting] = ranges
    return exact or alike
