"""The ways in which programs count the places of a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

CHARACTERS = "characters"
# Counting -> how a message calls it. JavaScript counts in UTF-16 units; a browser makes one line
# break of \r\n, and a program on Windows two characters of \n.
COUNTINGS = {
    CHARACTERS: "characters",
    "utf-16": "UTF-16 units",
    "characters-lf": r"characters, \r\n being one",
    "utf-16-lf": r"UTF-16 units, \r\n being one",
    "utf-8": "bytes of UTF-8",
    "characters-crlf": r"characters, \n being two",
    "utf-16-crlf": r"UTF-16 units, \n being two",
}
# Tried where nothing but the borders of words tells how it was counted; the others need a text of
# the span's own to show it.
LIKELY = ("utf-16", "characters-lf", "utf-16-lf")
# Characters that nobody sees, and that are no part of a name at its edge.
INVISIBLE = "".join(
    map(chr, (0xAD, 0x61C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F)))
) + "".join(map(chr, (*range(0x2060, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC))))
_LOOSE = re.compile(rf"\\[nr]|[\s{INVISIBLE}]+")

Place = tuple[int, int]


def others(text: str, likely: bool = False) -> list[str]:
    """The countings that differ from that of characters in a text, the likelier first."""
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
    """What every character of a text counts."""
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
    """Half-open ranges of a text, counted in one way -> counted in characters.

    None where one of them leaves the text, or divides a character.
    """
    table: list[int] = []
    if counting == CHARACTERS:
        table = list(range(len(text)))
    else:
        begun = 0
        for at, width in enumerate(_widths(text, counting)):
            if width:  # the break \r\n begins at \r, which counts nothing
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
    """Whether two texts are one, white space, case and what nobody sees left aside."""
    return one == other or _plain(one) == _plain(other)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", _LOOSE.sub("", text)).casefold()


def as_texts_say(
    text: str, places: Sequence[Place], own: Sequence[str]
) -> tuple[str, list[Place]] | None:
    """The counting by which every range of a text is what it says of itself, and the ranges so.

    None where none does.

    Args:
      text: the text.
      places: ranges in it, in an unknown counting.
      own: the text of every range, empty where it is not told.
    """
    for counting in (CHARACTERS, *others(text)):
        ranges = in_characters(text, places, counting)
        if ranges is not None and all(
            not said or same(text[a:b], said) for (a, b), said in zip(ranges, own, strict=True)
        ):
            return counting, ranges
    return None
