"""Decisions -> the corrected corpus, in its own format: nothing else in the file is changed.

Column files only: a word a line, its tag in one cell of it. The cells of the words whose tags were
decided are replaced and every other byte stays. The result is read again before it is written: it
must hold the words of before, and exactly the decided tags.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from flaxner.audit.findings import Decision
from flaxner.data.corpus import Corpus, read_corpus
from flaxner.data.readers import Notes, Raw, ReadOptions, read_file
from flaxner.data.readers.source import EMPTY_WORD
from flaxner.data.tags import SCHEMES, Span, spans_to_tags, tags_to_spans
from flaxner.files import write_bytes

FIELD = re.compile(r"[^ \t]+")


@dataclasses.dataclass(frozen=True)
class Corrected:
    """What a correction changed.

    Attributes:
      sentences, words: how many have other tags now.
      decisions: applied.
    """

    sentences: int
    words: int
    decisions: int


def correct(
    file: str | Path,
    decisions: Sequence[Decision],
    output: str | Path,
    options: ReadOptions | None = None,
) -> Corrected:
    """Write a corpus file with the decided tags.

    Args:
      file: the corpus file that was audited.
      decisions: accepted ones; those about other sources are passed over.
      output: the corrected file, which must not exist.
      options: how the file is read.

    Raises:
      ValueError: not a column file, decisions that do not fit it or each other, or an output
        that exists.
    """
    path, target, options = Path(file), Path(output), options or ReadOptions()
    if target.exists():
        raise ValueError(f"{target} exists: name a new file for the corrected corpus")
    if not target.parent.is_dir():
        raise ValueError(f"there is no folder {target.parent} for the file {target.name}")
    own = [decision for decision in decisions if Path(decision.source) == path]
    if not own:
        sources = ", ".join(sorted({decision.source for decision in decisions})) or "none"
        raise ValueError(f"no accepted decision is about {path}; they are about: {sources}")
    notes = Notes()
    name, raws = read_file(path, options, notes)
    if name != "conll":
        raise ValueError(
            f"{path} is no column file but {name}: its corrections go through an annotation tool, "
            "by doccano.jsonl or label_studio.json of the audit"
        )
    before, corpus = list(raws), read_corpus(path, options=options)
    wanted = _wanted(corpus, own)
    try:
        data = path.read_bytes()
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is compressed or no UTF-8: unpack it first") from error
    cells = _Cells(path, lines, before)
    words = 0
    for number, spans in wanted.items():
        words += cells.retag(number, tags_to_spans(corpus.sentences[number].tags or ()), spans,
                             corpus.scheme)  # fmt: skip
    made = "\n".join(lines).encode("utf-8")
    _verify(path, made, corpus, wanted, options)
    write_bytes(target, made)
    return Corrected(len(wanted), words, len(own))


def _wanted(corpus: Corpus, decisions: Sequence[Decision]) -> dict[int, list[Span]]:
    """Sentence, from 0 -> the entities it shall have."""
    wanted: dict[int, list[Span]] = {}
    for decision in decisions:
        number = decision.sentence - 1
        if not 0 <= number < len(corpus) or corpus.sentences[number].words != decision.words:
            raise ValueError(
                f"{decision.line}: sentence {decision.sentence} of {corpus.source} is another one"
            )
        spans = wanted.get(number)
        if spans is None:
            spans = wanted[number] = tags_to_spans(corpus.sentences[number].tags or ())
        for span in decision.given:
            if span not in spans:
                raise ValueError(
                    f"{decision.line}: sentence {decision.sentence} of {corpus.source} has no "
                    f"entity {list(span)}, or another decision has changed it"
                )
            spans.remove(span)
        for span in decision.suggested:
            if any(span.start < other.end and other.start < span.end for other in spans):
                raise ValueError(
                    f"{decision.line}: the entity {list(span)} overlaps another in sentence "
                    f"{decision.sentence} of {corpus.source}"
                )
            spans.append(span)
        spans.sort()
    return wanted


class _Cells:
    """Where the tags of a column file stand in its lines.

    Args:
      path: for messages.
      lines: of the file, changed in place.
      raws: its sentences, as the reader gives them.
    """

    def __init__(self, path: Path, lines: list[str], raws: Sequence[Raw]) -> None:
        self._path, self._lines, self._raws = path, lines, raws
        self._column, self._written = self._learnt()

    def _rows(self, number: int) -> list[tuple[int, list[re.Match[str]]]]:
        """The line and the fields of each word of a sentence."""
        raw = self._raws[number]
        rows, line = [], raw.line - 1
        for word in raw.words:
            while True:
                if line >= len(self._lines):
                    raise ValueError(f"{self._path}: the words of sentence {number + 1} are lost")
                fields = self._fields(self._lines[line])
                line += 1
                if any(field[0] == word for field in fields) or word == EMPTY_WORD:
                    rows.append((line - 1, fields))
                    break
        return rows

    @staticmethod
    def _fields(line: str) -> list[re.Match[str]]:
        form = re.compile(r"[^\t\r]+") if "\t" in line else FIELD
        return list(form.finditer(line.rstrip("\r")))

    def _learnt(self) -> tuple[int, Mapping[str, str]]:
        """The column, from the end, whose cells say the tags, and how each tag is written."""
        votes: Counter[int] = Counter()
        seen: dict[int, dict[str, Counter[str]]] = {}
        for number, raw in enumerate(self._raws):
            for tag, (_, fields) in zip(raw.tags, self._rows(number), strict=True):
                for column in range(1, len(fields) + 1):
                    cell = fields[-column][0]
                    votes[column] += cell == tag or (tag != "O" and tag[2:] == cell)
                    seen.setdefault(column, {}).setdefault(tag, Counter())[cell] += 1
        column, hits = votes.most_common(1)[0]
        written = {tag: counts.most_common(1)[0][0] for tag, counts in seen[column].items()}
        ambiguous = any(len(counts) > 1 for counts in seen[column].values())
        if ambiguous or not hits:
            raise ValueError(
                f"{self._path}: its tags cannot be put back, for they do not stand in a column of "
                "their own: correct it by an annotation tool"
            )
        return column, written

    def retag(self, number: int, old: list[Span], new: list[Span], scheme: str) -> int:
        """Write the tags of a sentence; how many words have another one now."""
        size = len(self._raws[number].words)
        if scheme not in SCHEMES:
            raise ValueError(f"{self._path}: tags of the scheme {scheme} cannot be written")
        before, after = (spans_to_tags(spans, size, scheme) for spans in (old, new))
        changed = 0
        for (line, fields), was, shall in zip(self._rows(number), before, after, strict=True):
            if was != shall:
                cell = fields[-self._column]
                text = self._lines[line]
                self._lines[line] = text[: cell.start()] + self._cell(shall) + text[cell.end() :]
                changed += 1
        return changed

    def _cell(self, tag: str) -> str:
        """A tag as the file writes it."""
        if tag in self._written:
            return self._written[tag]
        if all(tag == cell for tag, cell in self._written.items()):
            return tag
        kind = tag[2:]
        for known, cell in self._written.items():  # person for B-person and I-person
            if known[2:] == kind and cell == kind:
                return kind
        raise ValueError(f"{self._path} has no {tag} anywhere, so how it writes one is not known")


def _verify(
    path: Path, data: bytes, corpus: Corpus, wanted: Mapping[int, list[Span]], options: ReadOptions
) -> None:
    """Read what is to be written: it must hold the decided tags and nothing else that is new."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(data)
        try:
            again = read_corpus(copy, options=options).sentences
        except ValueError:  # the file says no more which of its columns the tags are in
            again = []
    faults = len(again) != len(corpus)
    for number, (one, other) in enumerate(zip(corpus, again, strict=False)):
        shall = wanted.get(number, tags_to_spans(one.tags or ()))
        faults |= one.words != other.words or tags_to_spans(other.tags or ()) != shall
    if faults:
        raise ValueError(
            f"{path}: with what was decided it would be read otherwise than meant (its scheme is "
            f"{corpus.scheme}): name its columns, or correct it by an annotation tool"
        )
