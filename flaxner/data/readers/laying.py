"""Map spans to words, however their tool counts offsets."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from flaxner.data.readers.offsets import (
    CHARACTERS,
    COUNTINGS,
    Place,
    as_texts_say,
    in_characters,
    others,
    same,
)
from flaxner.data.readers.source import BadCorpus, Notes, Raw, ReadOptions, excerpt
from flaxner.data.readers.spanned import Annotated
from flaxner.data.readers.spans import fit, tag_text, word_offsets
from flaxner.data.tags import Span
from flaxner.wording import number_of


def lay(
    source: Path | str, items: Iterable[Raw | Annotated], options: ReadOptions, notes: Notes
) -> Iterator[Raw]:
    """Turn texts with spans into sentences, in their order; sentences pass through unchanged.

    Spans are read in the unit (one of `COUNTINGS`) in which all of a text's spans that come with
    their own texts match them; in characters if none does. Where that leaves a choice, the other
    texts of the file decide, by their spans' own texts and their word boundaries: such texts, and
    all items after them, wait for the end of the file.

    Raises:
      ValueError: no unit matches a span with its text, or a span does not fit the words.
    """
    layer = _Layer(source, options, notes)
    waiting: list[Raw | Annotated] = []
    for item in items:
        if isinstance(item, Annotated):
            item = layer.without_empty(item)
        placed = layer.placed(item) if isinstance(item, Annotated) else item
        if waiting or placed is None:
            waiting.append(placed or item)
        elif placed.words:
            yield placed
    layer.decide()
    for item in waiting:
        placed = layer.sentence(item) if isinstance(item, Annotated) else item
        if placed.words:
            yield placed


class _Layer:
    """Collects what a file reveals about its offset unit, and places spans accordingly."""

    def __init__(self, source: Path | str, options: ReadOptions, notes: Notes) -> None:
        self.source, self.notes, self.policy = source, notes, options.span_policy
        self.wanted, self.counting = options.span_offsets, options.span_offsets or CHARACTERS
        self.undecided, self.seen, self.empty = 0, 0, 0
        # Unit -> number of texts that fit in it but not in characters; and the reverse.
        self.won: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.compared: dict[str, None] = {}
        self.kinds: dict[str, int] = {}  # types of spans -> line

    def placed(self, item: Annotated) -> Raw | None:
        """Return the sentence of a text; None if its offset unit depends on other texts."""
        if not item.marks_reviewed:
            self.seen += 1
            self.empty += not item.regions
        for region in item.regions:
            self.kinds.setdefault(region.kind, item.line)
        if _with_own_texts(item):
            return self._by_own_text(item)
        if self.wanted is None and self._matters(item):
            return None
        return self.sentence(item)

    def without_empty(self, item: Annotated) -> Annotated:
        """Return a text without its empty spans, which are counted."""
        if all(region.start < region.end for region in item.regions):
            return item
        kept = []
        for region in item.regions:
            start, end, kind, _ = region
            if start < end:
                kept.append(region)
                continue
            if start > end or self.policy == "error":
                what = f"a span must end after it begins: got {start, end, kind}"
                if start == end:
                    what += "; if the ends are inclusive, add 1 to all of them; otherwise "
                    what += "--span-policy widen or drop leaves it out"
                raise BadCorpus(self.source, item.line, _of(item, what))
            self.notes.count("spans are empty and left out", item.name or f"line {item.line}")
        return dataclasses.replace(item, regions=tuple(kept))

    def sentence(self, item: Annotated) -> Raw:
        """Return the sentence of a text, its spans read in the unit of the file if that fits."""
        places = [(r.start, r.end) for r in item.regions]
        if _with_own_texts(item):
            read = _as_own_texts_say(item)
            return self._tagged(item, read.get(self.counting) or next(iter(read.values())), True)
        if self.counting == CHARACTERS:
            return self._tagged(item, places, self.wanted is not None)
        read_there = in_characters(item.text, places, self.counting)
        if read_there is None:
            what = f"the spans do not fit their text, counted in {COUNTINGS[self.counting]}"
            raise BadCorpus(self.source, item.line, _of(item, what))
        return self._tagged(item, read_there, True)

    def _tagged(self, item: Annotated, places: Iterable[Place], counted: bool) -> Raw:
        spans = [Span(a, b, r.kind) for (a, b), r in zip(places, item.regions, strict=True)]
        words, tags = tag_text(
            *(self.source, item.line, item.text, spans, self.policy, self.notes),
            *(item.offsets, item.name, counted),
        )
        return Raw(words, tags, item.document, item.line)

    def _by_own_text(self, item: Annotated) -> Raw | None:
        read = _as_own_texts_say(item)
        if not read:
            if self.policy == "drop":
                self.notes.count(
                    "texts are left out: one of their spans does not match its own text",
                    item.name or f"line {item.line}",
                )
                return Raw((), (), None, item.line)
            raise BadCorpus(self.source, item.line, _of(item, _contradiction(item)))
        fits_plain = CHARACTERS in read
        if fits_plain:
            marked = item.text[: max(region.end for region in item.regions)]
            self.lost.update(name for name in others(marked) if name not in read)
        else:
            self.won.update(list(read))
        first, *more = read
        if self.wanted is None and any(read[name] != read[first] for name in more):
            self.undecided += 1
            self.compared |= dict.fromkeys(name for name in read if name != CHARACTERS)
            return None
        if not fits_plain:
            self.notes.count(
                f"texts have spans counted in {COUNTINGS[first]}, as the spans' own texts show"
            )
        return self._tagged(item, read.get(self.wanted or first) or read[first], True)

    def _matters(self, item: Annotated) -> bool:
        """Whether the unit matters for a text; if so, record which units fit its words."""
        places = [(r.start, r.end) for r in item.regions]
        read = {}
        for counting in others(item.text, likely=True) if places else ():
            ranges = in_characters(item.text, places, counting)
            if ranges != places:
                read[counting] = ranges
        if not read:
            return False
        self.undecided += 1
        self.compared |= dict.fromkeys(read)
        offsets = item.offsets or word_offsets(item.text)
        plain = fit(item.text, places, offsets)
        for counting, found in read.items():
            fits = found is not None and fit(item.text, found, offsets)
            self.won[counting] += fits and not plain
            self.lost[counting] += plain and not fits
        return True

    def decide(self) -> None:
        """Choose the unit that fits most of the undecided texts, and note the choice.

        Raises:
          ValueError: the types are tags of words, so adjacent spans may be one entity.
        """
        self._check_kinds()
        if self.undecided:
            best = max(self.compared, key=lambda name: self.won[name] - self.lost[name])
            if self.won[best] > self.lost[best]:
                self.counting = best
            self._say_counting(best)
        if self.empty and self.empty < self.seen:
            what = number_of(self.empty, "texts have no spans", self.seen)
            self.notes.choices.append(f"{what}: read as texts without entities")

    def _check_kinds(self) -> None:
        tags = [kind for kind in self.kinds if kind[:2] in ("B-", "I-") and kind[2:]]
        for kind in tags:
            if kind[0] == "I" and f"B-{kind[2:]}" in self.kinds:
                raise BadCorpus(
                    self.source,
                    self.kinds[kind],
                    f"a span must be a whole entity with its type, not a tag: got {kind!r} beside "
                    f"'B-{kind[2:]}'; pipelines output entities with an aggregation_strategy",
                )
        if tags and len(tags) == len(self.kinds):
            self.notes.choices.append(
                f"the types of the spans look like tags ({tags[0]}) and are read as they are; "
                f"--map-types {tags[0]}={tags[0][2:]} renames one"
            )

    def _say_counting(self, best: str) -> None:
        won, lost = self.won[best], self.lost[best]
        what = "texts have characters or line breaks that programs count differently"
        much = number_of(self.undecided, what)
        if not won and not lost:
            self.notes.choices.append(
                f"{much}, and nothing shows how: their spans are read as counted in characters; "
                "use --span-offsets utf-16 if they were counted by JavaScript"
            )
        elif won:
            other = f", {lost} only in characters" if lost else ""
            self.notes.choices.append(
                f"{much}: their spans are read as counted in {COUNTINGS[self.counting]} ({won} fit "
                f"only in {COUNTINGS[best]}{other}); --span-offsets selects another unit"
            )


def _with_own_texts(item: Annotated) -> bool:
    return any(region.text.strip() for region in item.regions)


def _as_own_texts_say(item: Annotated) -> dict[str, list[Place]]:
    places = [(r.start, r.end) for r in item.regions]
    return as_texts_say(item.text, places, [r.text for r in item.regions])


def _of(item: Annotated, what: str) -> str:
    return f"{item.name}: {what}" if item.name else what


def _contradiction(item: Annotated) -> str:
    """Explain why no unit matches a text's regions with their own texts."""
    text = item.text
    for region in item.regions:
        place = [(region.start, region.end)]
        countings = (CHARACTERS, *others(text))
        read = [found for name in countings if (found := in_characters(text, place, name))]
        there = [text[a:b] for ((a, b),) in read]
        if region.text and not any(same(piece, region.text) for piece in there):
            break
    else:
        return "its spans match their own texts only if they are counted in different units"
    stands = f"the text there is {excerpt(there[0])}" if there else f"the text ends at {len(text)}"
    tried = ", ".join(COUNTINGS[name] for name in countings)
    at = text.find(region.text)
    cause = (
        f"that is at {at}: the text or the offsets changed after it was marked"
        if at >= 0
        else "the text does not contain it: it was marked in another text or field"
    )
    return (
        f"the span {region.start} to {region.end} ({region.kind}) claims to be "
        f"{excerpt(region.text)}, but {stands} (counted in {tried}); {cause}"
    )
