"""spaCy's DocBin, written by spaCy; skipped if spaCy is not installed."""

import json
import random
import re
import sys
import zlib

import pytest

from flaxner.config.train import TrainConfig
from flaxner.data.corpus import read_corpus
from flaxner.data.sources import read_sources

DOCUMENTS = [
    # words (some of them spaces), sentence starts (None: not marked), entities (first, end, type)
    (["Ann", "Lee", "left", "Rome", "."], [0], [(0, 2, "PER"), (3, 4, "LOC")]),
    (["Bo", "slept", ".", "\n\n", "New", "York", "did", "not", "."], [0, 4], [(0, 1, "PER")]),
    (["Nothing", "\n", "here"], None, []),
    (["A", "\n", "B"], None, [(0, 3, "ORG")]),
]


def write(path, **options):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import Doc, DocBin, Span

    vocab = spacy.blank("xx").vocab
    box = DocBin(**options)
    for words, starts, entities in DOCUMENTS:
        marks = None if starts is None else [i in starts for i in range(len(words))]
        document = Doc(vocab, words=words, sent_starts=marks)
        document.set_ents([Span(document, a, b, kind) for a, b, kind in entities])
        box.add(document)
    box.to_disk(path)
    return path


@pytest.mark.parametrize("name", ["a.spacy", "a.bin"])
def test_sentences_entities_and_documents(tmp_path, name):
    from flaxner.data.readers import ReadOptions

    options = ReadOptions(format=None if name.endswith(".spacy") else "spacy")
    corpus = read_corpus(write(tmp_path / name), options=options)
    assert [(" ".join(s.words), " ".join(s.tags), s.document) for s in corpus] == [
        ("Ann Lee left Rome .", "B-PER I-PER O B-LOC O", 0),
        ("Bo slept .", "B-PER O O", 1),
        ("New York did not .", "O O O O O", 1),
        ("Nothing here", "O O", 2),
        ("A B", "B-ORG I-ORG", 3),
    ]
    assert (corpus.format, corpus.repaired) == ("spacy", 0)


def test_documents_without_entity_annotation_are_left_out(tmp_path):
    path = write(tmp_path / "a.spacy", attrs=["ORTH", "SENT_START"])
    with pytest.raises(ValueError, match="empty: 4 documents without entity annotation are left"):
        read_corpus(path)


def write_documents(path, *makers):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import Doc, DocBin, Span

    box, vocab = DocBin(store_user_data=True), spacy.blank("xx").vocab
    for make in makers:
        document = Doc(vocab, words=["Ann", "left", "Rome"])
        make(document, lambda a, b, kind, document=document: Span(document, a, b, kind))
        box.add(document)
    box.to_disk(path)
    return path


def annotated(document, span):
    document.set_ents([span(0, 1, "PER")])


def grouped(document, span):
    document.spans["sc"] = [span(0, 1, "PER"), span(2, 3, "LOC")]


def grouped_and_said_to_have_none(document, span):
    document.set_ents([])
    grouped(document, span)


def partly(document, span):
    document.set_ents([span(0, 1, "PER")], default="missing")


def test_only_documents_with_entity_annotation_are_read(tmp_path):
    makers = [annotated, grouped, grouped_and_said_to_have_none, partly, lambda *_: None]
    corpus = read_corpus(write_documents(tmp_path / "a.spacy", *makers))
    assert [s.tags for s in corpus] == [("B-PER", "O", "O")]
    assert corpus.notes == (
        "2 documents with spans only in span groups are left out; --spans-column NAME reads a "
        "group",
        "1 sentence with unannotated words is left out",
        "1 document without entity annotation is left out",
    )


def overlapping(document, span):
    document.spans["sc"] = [span(0, 1, "PER"), span(0, 2, "ORG")]


def test_a_span_group_is_read_on_request(tmp_path):
    from flaxner.data.readers import ReadOptions

    path = write_documents(tmp_path / "a.spacy", annotated, grouped, overlapping)
    with pytest.raises(ValueError, match=r"line 3: the span 'Ann' \(PER\) overlaps another"):
        read_corpus(path, options=ReadOptions(spans_column="sc"))
    corpus = read_corpus(path, options=ReadOptions(spans_column="sc", span_policy="drop"))
    assert [s.tags for s in corpus] == [("B-PER", "O", "B-LOC"), ("B-ORG", "I-ORG", "O")]
    assert "1 document without the span group 'sc' is left out" in corpus.notes


def test_a_run_reads_a_span_group(tmp_path):
    path = write_documents(tmp_path / "a.spacy", annotated, grouped)
    config = TrainConfig(train_file=str(path), spans_column="sc")
    assert [s.tags for s in read_sources(config)["train"]] == [("B-PER", "O", "B-LOC")]


@pytest.mark.parametrize("content", [b"no DocBin", b"\x00" * 50, None])
def test_damaged_files(tmp_path, content):
    path = write(tmp_path / "a.spacy")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r"a\.spacy, line 1: not a readable DocBin") as caught:
        read_corpus(path)
    assert "\n" not in str(caught.value)


def test_any_damage_is_a_one_line_error_or_none(tmp_path):
    """Change bytes inside the compressed content, so that spaCy itself fails on them."""
    path = write(tmp_path / "a.spacy")
    content, draw, said = zlib.decompress(path.read_bytes()), random.Random(0), []
    for _ in range(40):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(zlib.compress(bytes(damaged)))
        try:
            read_corpus(path)
        except ValueError as error:
            said.append(str(error))
    assert len(said) > 10
    assert all(re.fullmatch(rf"{re.escape(str(path))}, line \d+: .+", text) for text in said)


def test_a_missing_spacy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    (tmp_path / "a.spacy").write_bytes(b"anything")
    with pytest.raises(ValueError, match="spaCy, which is not installed: pip install"):
        read_corpus(tmp_path / "a.spacy")


@pytest.mark.parametrize("kind", ["docbin", "json"])
def test_an_entity_across_sentences_stays_one(tmp_path, kind):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import Doc, DocBin, Span

    box, lines = DocBin(), []
    for first, last in ((2, 5), (2, 3)):
        words = ["He", "met", "New", "York", "Times", "staff"]
        starts = [i in (0, 3) for i in range(len(words))]
        document = Doc(spacy.blank("xx").vocab, words=words, sent_starts=starts)
        document.ents = [Span(document, first, last, label="ORG")]
        box.add(document)
        lines.append(json.dumps(document.to_json()))
    path = tmp_path / "a.spacy"
    box.to_disk(path)
    if kind == "json":
        path = tmp_path / "a.jsonl"
        path.write_text("\n".join(lines))
    corpus = read_corpus(path)
    assert [" ".join(s.tags) for s in corpus] == ["O O B-ORG I-ORG I-ORG O", "O O B-ORG", "O O O"]
    told = "1 document is read as a whole, not in sentences: an entity crosses a sentence boundary"
    assert told in corpus.notes
