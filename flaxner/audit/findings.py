"""Findings (suspected annotation errors) and people's decisions on them, as JSON Lines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flaxner.data.tags import Span

ACCEPT, REJECT = "accept", "reject"
KINDS = ("dropped", "invented", "type", "border")


@dataclasses.dataclass(frozen=True)
class Finding:
    """An annotation that may be wrong.

    Attributes:
      source: the file or data set.
      sentence: number of the sentence there, from 1.
      words: words of the sentence.
      given: annotated entities in question; empty if an entity seems to be missing.
      suggested: suggested entities; empty if there seems to be no entity.
      score: how likely the suggestion is compared with the annotation, 0 to 1.
      kind: kind of error that the annotation may have, one of KINDS.
      reason: explanation, in words.
      renamed: types of the corpus that the run renamed with `--map-types`.
    """

    source: str
    sentence: int
    words: tuple[str, ...]
    given: tuple[Span, ...]
    suggested: tuple[Span, ...]
    score: float
    kind: str
    reason: str
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a line of findings.jsonl; spans are (first word, word after the last, type)."""
        return {
            **dataclasses.asdict(self),
            "words": list(self.words),
            "given": [list(span) for span in self.given],
            "suggested": [list(span) for span in self.suggested],
            "score": round(self.score, 4),
            "renamed": dict(self.renamed),
        }


@dataclasses.dataclass(frozen=True)
class Decision:
    """A suggestion that somebody accepted.

    Attributes:
      source, sentence, words, given, suggested: as in `Finding`.
      line: file and line of the decision, for messages.
      renamed: types of the corpus that have another name in the finding.
    """

    source: str
    sentence: int
    words: tuple[str, ...]
    given: tuple[Span, ...]
    suggested: tuple[Span, ...]
    line: str
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """Write one JSON object per line, in the given order."""
    with path.open("w", encoding="utf-8") as file:
        for finding in findings:
            file.write(json.dumps(finding.to_dict(), ensure_ascii=False) + "\n")


def read_decisions(path: str | Path) -> list[Decision]:
    """Return the accepted decisions in a file, whose lines are findings with "decision" added.

    Raises:
      ValueError: a line is not a decision, or there are none.
    """
    try:
        # Words may contain characters that splitlines() would split at.
        lines = Path(path).read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ValueError(f"cannot read {path}: {reason}") from error
    decisions, decided = [], 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            decision = _decision(f"{path}, line {number}", line)
            decided += 1
            decisions += [decision] if decision is not None else []
    if not decided:
        raise ValueError(f"{path} has no decisions: save them on the page of an audit (audit.html)")
    return decisions


def _decision(place: str, line: str) -> Decision | None:
    try:
        row = json.loads(line)
        verdict = row["decision"]
        if verdict not in (ACCEPT, REJECT):
            raise ValueError(f"a decision must be {ACCEPT} or {REJECT}: got {verdict!r}")
        words = tuple(map(str, row["words"]))
        given, suggested = (_spans(row, name, len(words)) for name in ("given", "suggested"))
        if verdict == REJECT:
            return None
        renamed = {str(old): str(new) for old, new in row.get("renamed", {}).items()}
        own = str(row["source"]), int(row["sentence"]), words
        return Decision(*own, given, suggested, place, renamed)
    except KeyError as error:
        raise ValueError(f"{place}: a decision must have {error.args[0]!r}") from error
    except (TypeError, ValueError, RecursionError, AttributeError) as error:
        raise ValueError(f"{place}: not a decision: {error}") from error


def _spans(row: Mapping[str, Any], name: str, words: int) -> tuple[Span, ...]:
    spans = tuple(Span(int(start), int(end), str(kind)) for start, end, kind in row[name])
    for span in spans:
        if not 0 <= span.start < span.end <= words:
            raise ValueError(f"the entity {list(span)} in {name!r} exceeds the {words} words")
    return spans
