"""Decisions -> the corrected corpus, in its own format, with nothing else in the file changed.

Only for column files (one word per line) and JSON Lines (one record with a list of tags per line).
The cells of words whose tags were decided are replaced, and every other byte stays the same. Before
the result is written it is read again: it must have the same words, and exactly the decided tags.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.audit.cells import TagCells, columns, lists
from flaxner.audit.findings import Decision
from flaxner.data.corpus import Corpus, read_corpus
from flaxner.data.readers import Notes, ReadOptions, read_file
from flaxner.data.tags import Span, tags_to_spans
from flaxner.files import write_bytes
from flaxner.wording import few

# Reader -> how to find its cells, and how a tag is spelled in one.
FORMATS: dict[str, tuple[Callable[..., Any], Callable[[str], str]]] = {
    "conll": (columns, str),
    "json": (lists, lambda tag: json.dumps(tag, ensure_ascii=False)),
}


@dataclasses.dataclass(frozen=True)
class Corrected:
    """What a correction changed.

    Attributes:
      sentences, words: number of sentences and words with new tags.
      decisions: number of decisions applied.
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
      file: corpus file that was audited.
      decisions: accepted decisions; those about other sources are ignored. If none names this path,
        those about a file of the same name are used: the run may have read it from another folder.
      output: corrected file to write, which must not exist.
      options: how to read the file.

    Raises:
      ValueError: the file is neither a column file nor JSON Lines, decisions contradict it or each
        other, or the output exists.
    """
    path, target, options = Path(file), Path(output), options or ReadOptions()
    if target.exists():
        raise ValueError(f"{target} exists: name a new file for the corrected corpus")
    if not target.parent.is_dir():
        raise ValueError(f"cannot write {target.name}: there is no folder {target.parent}")
    own = [decision for decision in decisions if Path(decision.source) == path]
    own = own or [decision for decision in decisions if Path(decision.source).name == path.name]
    if not own:
        sources = ", ".join(sorted({decision.source for decision in decisions})) or "none"
        raise ValueError(f"no accepted decision is about {path}; sources with decisions: {sources}")
    notes = Notes()
    name, raws = read_file(path, options, notes)
    if name not in FORMATS:
        raise ValueError(
            f"{path} is neither a column file nor JSON Lines but {name}: correct it in an "
            "annotation tool, with the audit's doccano.jsonl or label_studio.json"
        )
    before, corpus = list(raws), read_corpus(path, options=options)
    wanted = _wanted(corpus, own)
    try:
        data = path.read_bytes()
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is compressed or not UTF-8: unpack or convert it") from error
    cells = TagCells(path, lines, before, *FORMATS[name])
    words = 0
    for number, spans in wanted.items():
        words += cells.retag(number, tags_to_spans(corpus.sentences[number].tags or ()), spans,
                             corpus.scheme)  # fmt: skip
    content = "\n".join(lines).encode("utf-8")
    _verify(path, content, corpus, wanted, options)
    write_bytes(target, content)
    return Corrected(len(wanted), words, len(own))


def _wanted(corpus: Corpus, decisions: Sequence[Decision]) -> dict[int, list[Span]]:
    """Return index of a sentence, from 0 -> the entities it should have."""
    wanted: dict[int, list[Span]] = {}
    for decision in decisions:
        number = decision.sentence - 1
        if not 0 <= number < len(corpus) or corpus.sentences[number].words != decision.words:
            raise ValueError(
                f"{decision.line}: sentence {decision.sentence} of {corpus.source} does not "
                "match the decision"
            )
        spans = wanted.get(number)
        if spans is None:
            spans = wanted[number] = tags_to_spans(corpus.sentences[number].tags or ())
        removed = [_annotated(span, spans, decision) for span in decision.given]
        spans[:] = [span for span in spans if span not in removed]
        for suggestion in decision.suggested:
            span = _in_corpus(suggestion, removed, decision, corpus)
            if any(span.start < other.end and other.start < span.end for other in spans):
                raise ValueError(
                    f"{decision.line}: the entity {list(span)} overlaps another in sentence "
                    f"{decision.sentence} of {corpus.source}"
                )
            spans.append(span)
        spans.sort()
    return wanted


def _annotated(given: Span, spans: Sequence[Span], decision: Decision) -> Span:
    """Return the corpus entity that a decision is about; its type may have another name there."""
    new = decision.renamed
    for span in spans:
        if span._replace(type=new.get(span.type, span.type)) == given:
            return span
    raise ValueError(
        f"{decision.line}: sentence {decision.sentence} of {decision.source} has no entity "
        f"{list(given)}, or another decision has changed it"
    )


def _in_corpus(
    suggested: Span, removed: Sequence[Span], decision: Decision, corpus: Corpus
) -> Span:
    """Return a suggested entity with the corpus's name of its type.

    If several names are possible, it is that of the entity it replaces.
    """
    new, kind = decision.renamed, suggested.type
    meant = [old for old in corpus.types if new.get(old, old) == kind]
    meant = meant or [old for old in new if new[old] == kind] or [kind]
    there = [span.type for span in removed if span.type in meant] or meant
    if len(set(there)) > 1:
        raise ValueError(
            f"{decision.line}: --map-types made {kind} of {', '.join(sorted(set(there)))}: choose "
            "the one that the corpus should have here in an annotation tool"
        )
    return suggested._replace(type=there[0])


def _verify(
    path: Path, data: bytes, corpus: Corpus, wanted: Mapping[int, list[Span]], options: ReadOptions
) -> None:
    """Read what is about to be written: it must have the decided tags and no other change."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(data)
        try:
            again = read_corpus(copy, options=options).sentences
        except ValueError:  # it is no longer clear which column holds the tags
            again = []
    wrong = [
        number
        for number, (one, other) in enumerate(zip(corpus, again, strict=False))
        if one.words != other.words
        or tags_to_spans(other.tags or ()) != wanted.get(number, tags_to_spans(one.tags or ()))
    ]
    fault = f"would not be read back as intended (its scheme is {corpus.scheme})"
    if len(again) != len(corpus) or not wanted.keys() >= set(wrong):
        raise ValueError(
            f"{path}: with these decisions it {fault}: name its columns, or correct it with an "
            "annotation tool"
        )
    if wrong:  # IO, for example, cannot tell neighbours of one type apart
        places = f"sentence{'s' * (len(wrong) > 1)} {few([str(number + 1) for number in wrong])}"
        raise ValueError(
            f"{path}: with the decisions on {places}, it {fault}: "
            "leave them out, or correct these sentences with an annotation tool"
        )
