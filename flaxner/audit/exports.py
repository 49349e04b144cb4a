"""Findings for annotation tools: the annotation, and the suggestion as a pre-annotation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flaxner.audit.findings import Finding
from flaxner.data.tags import Span
from flaxner.files import write_text

NAME, FIELD, CONTROL = "flaxner audit", "text", "label"


def corrected(given: Sequence[Span], finding: Finding) -> list[Span]:
    """Return the entities of a sentence, with those in question replaced by the suggestion."""
    return sorted([*(span for span in given if span not in finding.given), *finding.suggested])


def characters(words: Sequence[str], spans: Iterable[Span]) -> list[tuple[int, int, str]]:
    """Convert spans of words to spans of characters in the words joined by spaces."""
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(word) + 1
    return [(starts[s.start], starts[s.end - 1] + len(words[s.end - 1]), s.type) for s in spans]


def write_doccano(path: Path, findings: Sequence[Finding], given: Sequence[Sequence[Span]]) -> None:
    """Write Doccano's JSON Lines: the suggestion as labels, everything else as metadata.

    Args:
      path: file to write.
      findings: findings to write.
      given: all annotated entities of each finding's sentence.
    """
    with path.open("w", encoding="utf-8") as file:
        for finding, spans in zip(findings, given, strict=True):
            row = {
                "text": " ".join(finding.words),
                "label": [list(s) for s in characters(finding.words, corrected(spans, finding))],
                **_about(finding),
                "annotated": [list(s) for s in characters(finding.words, spans)],
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_label_studio(
    path: Path, findings: Sequence[Finding], given: Sequence[Sequence[Span]]
) -> None:
    """Write Label Studio tasks: the annotation as an annotation, the suggestion as a prediction.

    The labelling interface needs `<Labels name="label" toName="text">` and `<Text name="text">`.
    """
    tasks: list[dict[str, Any]] = []
    for finding, spans in zip(findings, given, strict=True):
        text = " ".join(finding.words)
        after = characters(finding.words, corrected(spans, finding))
        before = characters(finding.words, spans)
        prediction: dict[str, Any] = {
            "model_version": NAME,
            "score": round(finding.score, 4),
            "result": _regions(text, after),
        }
        tasks.append(
            {
                "data": {FIELD: text, **_about(finding)},
                "annotations": [{"result": _regions(text, before)}],
                "predictions": [prediction],
            }
        )
    write_text(path, json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")


def _about(finding: Finding) -> dict[str, Any]:
    return {
        "source": finding.source,
        "sentence": finding.sentence,
        "suspicion": round(finding.score, 4),
        "reason": finding.reason,
    }


def _regions(text: str, spans: Sequence[tuple[int, int, str]]) -> list[dict[str, Any]]:
    """Return regions with offsets in UTF-16 units, as the browser counts them."""

    def units(place: int) -> int:
        return len(text[:place].encode("utf-16-le")) // 2

    return [
        {
            "from_name": CONTROL,
            "to_name": FIELD,
            "type": "labels",
            "value": {
                "start": units(start),
                "end": units(end),
                "text": text[start:end],
                "labels": [kind],
            },
        }
        for start, end, kind in spans
    ]
