"""Errors in the form that a page embeds for browsing: compact, escaped, and limited in size."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from flaxner.data.tags import Span
from flaxner.evaluation.mistakes import KINDS, Error
from flaxner.reporting.judged import Judged, Surfaces
from flaxner.terminal import shown

LONG, AROUND = 120, 40  # longer sentences (in words) are cut; words kept on each side of an error
BUDGET = 3 << 20  # bytes for all errors of a page


def browsable(
    sentences: Sequence[Judged], known: Surfaces | None, budget: int = BUDGET
) -> dict[str, Any]:
    """Return the sentences with errors, the most confident errors first.

    Args:
      sentences: sentences of a split.
      known: names in the training corpus; None if unknown.
      budget: size limit in bytes; the least confident errors that do not fit are left out and
        counted.

    Returns:
      "kinds" and "types" to choose from, "items" from `_item`, the number of "errors" and of
      "sentences" with errors, and the number of errors "left_out".
    """
    pairs = [(sentence, sentence.errors()) for sentence in sentences]
    wrong = [(sentence, own) for sentence, own in pairs if own]
    items = [
        _item(sentence, part, known)
        for sentence, own in wrong
        for part in ([own] if len(sentence.words) <= LONG else [[error] for error in own])
    ]
    items.sort(key=lambda item: -max(error["s"] or 0 for error in item["e"]))
    kept, size = [], 0
    for item in items:
        size += len(json.dumps(item, ensure_ascii=False).encode())
        if size > budget:
            break
        kept.append(item)
    types = {span.type for sentence, _ in wrong for span in (*sentence.gold, *sentence.found)}
    return {
        "kinds": list(KINDS),
        "types": sorted(map(shown, types)),
        "known": known is not None,
        "items": kept,
        "errors": sum(len(own) for _, own in wrong),
        "sentences": len(wrong),
        "left_out": sum(len(item["e"]) for item in items[len(kept) :]),
    }


def _item(sentence: Judged, wrong: Sequence[Error], known: Surfaces | None) -> dict[str, Any]:
    """Return a sentence, or the words around an error in a long one, as JSON.

    Keys are short because there are many items: n number, w words, a annotated and f found
    entities (first word, end, type, and the score of found ones), c and m words cut off before
    and after, e errors: k kinds (indices into KINDS), g and f indices of the entities or -1, s
    confidence of the model, o whether the name was seen in training.
    """
    begin, end = 0, len(sentence.words)
    if end > LONG:
        places = [at for e in wrong for span in (e.gold, e.found) if span for at in span[:2]]
        begin, end = max(0, min(places) - AROUND), min(end, max(places) + AROUND)

    def inside(spans: Sequence[Span]) -> list[Span]:
        return [span for span in spans if begin <= span.start and span.end <= end]

    gold, predicted = inside(sentence.gold), inside(sentence.found)
    return {
        "n": sentence.number,
        "c": begin,
        "m": len(sentence.words) - end,
        "w": [shown(word) for word in sentence.words[begin:end]],
        "a": [[s.start - begin, s.end - begin, shown(s.type)] for s in gold],
        "f": [
            [s.start - begin, s.end - begin, shown(s.type), _rounded(sentence.score(s))]
            for s in predicted
        ],
        "e": [
            {
                "k": [KINDS.index(kind) for kind in error.kinds],
                "g": -1 if error.gold is None else gold.index(error.gold),
                "f": -1 if error.found is None else predicted.index(error.found),
                "s": _rounded(sentence.score(error.span)),
                "o": _seen(sentence, error, known),
            }
            for error in wrong
        ],
    }


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 3)


def _seen(sentence: Judged, error: Error, known: Surfaces | None) -> bool | None:
    """Return whether training has the annotated name, or else the found one; None if unknown."""
    return None if known is None else sentence.surface(error.gold or error.span) in known
