"""Exports of Prodigy, Doccano and spaCy: what is read, what is left out, the unit of offsets."""

import json
import re

import pytest
from rich.console import Console

from flaxner.config.command_line import parse_train_config
from flaxner.config.train import TrainConfig
from flaxner.data.corpus import read_corpus
from flaxner.data.readers import ReadOptions
from flaxner.data.readers.offsets import COUNTINGS, in_characters, others
from flaxner.inspection.report import inspect

TEXT = "Ann left Rome."
PER, LOC = {"start": 0, "end": 3, "label": "PER"}, {"start": 9, "end": 13, "label": "LOC"}
BOTH, NONE = ("B-PER", "O", "B-LOC", "O"), ("O", "O", "O", "O")
EMOJI = "😀 Oda lives in Tarvik now."


def read(tmp_path, *records, **options):
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
    path.write_text("".join(lines), "utf-8")
    corpus = read_corpus(path, options=ReadOptions(**options))
    return [s.tags for s in corpus], " | ".join(corpus.notes)


def prodigy(*spans, key=1, answer="accept", **more):
    hashes = {"_input_hash": key, "_task_hash": key}
    return {"text": TEXT, **hashes, "spans": list(spans), "answer": answer, **more}


def test_prodigy_records_that_say_nothing_about_the_whole_text_are_left_out(tmp_path, capsys):
    nothing = prodigy(key=8)
    del nothing["spans"]
    records = [
        prodigy(PER, LOC, _is_binary=False, _view_id="ner_manual"),
        prodigy(PER, key=2, _is_binary=True, _view_id="ner"),
        prodigy(PER, key=3, _view_id="ner"),
        prodigy({**PER, "score": 0.9}, key=4),
        prodigy(key=5, answer="reject"),
        prodigy(key=6, answer="ignore"),
        {"text": TEXT, "_input_hash": 7},
        nothing,
    ]
    found, notes = read(tmp_path, *records)
    assert found == [BOTH, NONE]
    assert "3 records are left out: accepting or rejecting one" in notes
    assert "1 record rejected in Prodigy is left out" in notes
    assert "1 record ignored in Prodigy is left out" in notes
    assert "1 record without an answer and without spans is left out" in notes
    flags = ["--model", "flaxner:tiny", "--train-file", str(tmp_path / "a.jsonl"), "--inspect"]
    inspect(parse_train_config(flags), console=Console(width=1000))
    assert "3 records are left out: accepting or" in capsys.readouterr().out


def test_prodigy_records_of_one_text_that_agree_or_contradict(tmp_path):
    records = [prodigy(PER, LOC), prodigy(LOC, PER), prodigy(PER, key=2), prodigy(key=2)]
    found, notes = read(tmp_path, *records)
    assert found == [BOTH]
    assert "their records contradict each other (line 3 and line 4)" in notes
    assert "1 text has several records that agree: they are read once" in notes


def test_prodigy_words_with_tags_are_read_only_if_not_rejected(tmp_path):
    record = {"text": "Ann left", "tokens": ["Ann", "left"], "ner_tags": ["B-PER", "O"]}
    found, notes = read(tmp_path, {**record, "answer": "accept"}, {**record, "answer": "reject"})
    assert found == [("B-PER", "O")]
    assert notes.endswith("1 record rejected in Prodigy is left out")


def test_null_spans_do_not_mean_no_entities(tmp_path):
    found, notes = read(
        tmp_path, {"text": TEXT, "label": [[0, 3, "PER"]]}, {"text": TEXT, "label": None}
    )
    assert found == [("B-PER", "O", "O", "O")]
    assert notes == "1 record with null spans is left out (line 2)"


def test_texts_without_spans_are_counted(tmp_path):
    found, notes = read(
        tmp_path, {"text": TEXT, "label": [[0, 3, "PER"]]}, {"text": TEXT, "label": []}
    )
    assert found == [("B-PER", "O", "O", "O"), NONE]
    assert notes == "1 of 2 texts has no spans: read as texts without entities"


def test_doccano_utf16_offsets_are_detected_by_word_boundaries_and_reported(tmp_path):
    records = [
        {"id": 1, "text": EMOJI, "label": [[16, 22, "LOC"]]},
        {"text": TEXT, "label": [[0, 3, "PER"]]},
    ]
    found, notes = read(tmp_path, *records)
    assert found == [("O", "O", "O", "O", "B-LOC", "O", "O"), ("B-PER", "O", "O", "O")]
    assert "read as counted in UTF-16 units (1 fit only in UTF-16 units)" in notes


def test_one_offset_unit_applies_to_a_whole_file(tmp_path):
    """In Chinese every position is a word boundary; another text in the file settles the unit."""
    chinese = {"text": "😀在塔城工作", "label": [[3, 5, "LOC"]]}
    other = {"text": EMOJI, "label": [[16, 22, "LOC"]]}
    utf16, plain = ("O", "O", "B-LOC", "I-LOC", "O", "O"), ("O", "O", "O", "B-LOC", "I-LOC", "O")
    assert read(tmp_path, chinese, other)[0][0] == utf16
    found, notes = read(tmp_path, chinese)
    assert found == [plain]
    assert "and nothing shows how: their spans are read as counted in characters" in notes
    found, notes = read(tmp_path, chinese, span_offsets="utf-16")
    assert (found, notes) == ([utf16], "")


def test_a_spans_own_text_found_in_two_units_waits_for_the_other_texts(tmp_path):
    """Both places hold "a"; only the other text shows which unit the file is counted in."""
    twice = {"text": "😂😂 a a a", "spans": [{"start": 5, "end": 6, "label": "X", "text": "a"}]}
    span = {"end": 7, "label": "PER", "text": "Anna"}
    utf16 = {"text": "😀 Anna", "spans": [{**span, "start": 3}]}
    plain = {"text": "😀 Anna", "spans": [{**span, "start": 2, "end": 6}]}
    second, third = ("O", "O", "B-X", "O", "O"), ("O", "O", "O", "B-X", "O")
    found, notes = read(tmp_path, twice, utf16)
    assert found == [second, ("O", "B-PER")]
    assert "read as counted in UTF-16 units (1 fit only in UTF-16 units)" in notes
    assert read(tmp_path, twice, plain) == ([third, ("O", "B-PER")], "")
    found, notes = read(tmp_path, twice)
    assert found == [third]
    assert "and nothing shows how" in notes
    assert read(tmp_path, twice, span_offsets="utf-16")[0] == [second]


def test_a_span_that_is_exactly_its_own_text_comes_before_one_that_resembles_it(tmp_path):
    laughing = {"start": 3, "end": 5, "label": "X", "text": "😂"}  # in characters: " 😂"
    found, notes = read(tmp_path, {"text": "😂 😂 😂", "spans": [laughing]})
    assert found == [("O", "B-X", "O")]
    assert notes == "1 text has spans counted in UTF-16 units, as the spans' own texts show"


def test_offsets_in_characters_stay_as_they_are(tmp_path):
    found, notes = read(tmp_path, {"text": EMOJI, "label": [[15, 21, "LOC"]]})
    assert (found[0][4], notes) == ("B-LOC", "")


def test_a_span_that_fits_in_another_unit_suggests_that_unit_not_widening(tmp_path):
    good = [{"text": EMOJI, "label": [[15, 21, "LOC"]]}] * 2
    with pytest.raises(ValueError, match="counted in UTF-16 units it is 'Tarvik'") as caught:
        read(tmp_path, *good, {"text": EMOJI, "label": [[16, 22, "LOC"]]})
    assert ": use --span-offsets utf-16" in str(caught.value)
    assert "widen" not in str(caught.value)


def test_span_offsets_accepts_exactly_the_known_units():
    for counting in COUNTINGS:
        assert TrainConfig(train_file="a", span_offsets=counting).span_offsets == counting
    with pytest.raises(ValueError, match="span_offsets must be one of characters, utf-16"):
        TrainConfig(train_file="a", span_offsets="words")


@pytest.mark.parametrize("text", ["a\r\n😀é b\nc", "", "\r\n", "😀"])
def test_every_unit_finds_every_character(text):
    """Compared with the encodings themselves."""

    def unit(counting, piece):
        if counting.endswith("-lf"):
            piece = piece.replace("\r\n", "\n")
        if counting.endswith("-crlf"):
            piece = piece.replace("\r\n", "\n").replace("\n", "\r\n")
        if counting == "utf-8":
            return len(piece.encode())
        return len(piece.encode("utf-16-le")) // 2 if counting.startswith("utf-16") else len(piece)

    def table(counting):
        return [unit(counting, text[:at]) for at in range(len(text) + 1)]

    different = [table(c) for c in COUNTINGS if table(c) != table("characters")]
    found = [table(counting) for counting in others(text)]
    assert all(one in found for one in different)
    assert table("characters") not in found
    for counting in COUNTINGS:
        for at in range(len(text)):
            end = at + 1
            if text[at : end + 1] == "\r\n" and counting.endswith("lf"):
                end += 1  # a line break is one character
            elif text[:end].endswith("\r\n") and counting.endswith("lf"):
                continue
            place = (unit(counting, text[:at]), unit(counting, text[:end]))
            assert in_characters(text, [place], counting) == [(at, end)]


@pytest.mark.parametrize("value", [3.0, "3"])
def test_offsets_as_pandas_writes_them(tmp_path, value):
    found, _ = read(tmp_path, {"text": TEXT, "label": [[0, value, "PER"]]})
    assert found == [("B-PER", "O", "O", "O")]
    with pytest.raises(ValueError, match="a span must have start, end and type"):
        read(tmp_path, {"text": TEXT, "label": [[0, 3.5, "PER"]]})


def test_a_span_without_a_type_is_shown(tmp_path):
    spans = [{"start": 0, "end": 3, "label": None}]
    told = "got 0, 3, null (in an object with start, end, label)"
    with pytest.raises(ValueError, match=f"must have start, end and type: {re.escape(told)}$"):
        read(tmp_path, {"text": TEXT, "spans": spans})


@pytest.mark.parametrize("edge", ["\u200b", "\ufeff", "\u00ad", "\u200d\u200e"])
def test_invisible_characters_at_the_edge_of_a_name_are_not_part_of_it(tmp_path, edge):
    end = 13 + len(edge)
    for text, start, stop in [
        (f"We saw Tarvik{edge} today.", 7, 13),
        (f"We saw Tarvik{edge} today.", 7, end),
        (f"We saw {edge}Tarvik today.", 7 + len(edge), end),
    ]:
        found, notes = read(tmp_path, {"text": text, "label": [[start, stop, "LOC"]]})
        assert (found, notes) == ([("O", "O", "B-LOC", "O", "O")], "")
    before = {"text": "x", "start": 0, "end": 1, "id": 0}
    word = {"text": f"x Tarvik{edge}", "start": 2, "end": 8 + len(edge), "id": 1}
    record = {"text": f"x Tarvik{edge}", "tokens": [before, word], "spans": [[2, 8, "LOC"]]}
    assert read(tmp_path, record)[0] == [("O", "B-LOC")]


def test_invisible_characters_inside_a_word_are_part_of_it(tmp_path):
    with pytest.raises(ValueError, match="cuts the words"):
        read(tmp_path, {"text": "می\u200cخواهم", "label": [[0, 2, "X"]]})


def doc(**more):
    tokens = [(0, 3), (4, 8), (9, 13), (13, 14), (15, 18), (19, 24), (24, 25)]
    made = [{"id": i, "start": a, "end": b} for i, (a, b) in enumerate(tokens)]
    return {"text": "Ann left Rome. Bob slept.", "tokens": made, **more}


def test_spacy_documents_as_json(tmp_path):
    sents = [{"start": 0, "end": 14}, {"start": 15, "end": 25}]
    group = {"sc": [{**LOC, "kb_id": ""}]}
    records = [doc(ents=[PER, LOC], sents=sents), doc(), doc(ents=[], spans=group)]
    found, notes = read(tmp_path, *records)
    assert found == [BOTH, ("O", "O", "O")]
    assert "1 document without entity annotation is left out" in notes
    assert "1 document with spans only in span groups is left out; --spans-column NAME" in notes
    found, _ = read(tmp_path, doc(ents=[], spans=group), spans_column="sc")
    assert found == [("O", "O", "B-LOC", "O", "O", "O", "O")]
    _, notes = read(tmp_path, doc(ents=[], spans=group), doc(ents=[PER]), spans_column="sc")
    assert notes == "1 document without the span group 'sc' is left out"


def test_spacy_2_training_format(tmp_path):
    def sentence(*tags):
        words = ("Ann", "Lee", "left")
        return {"tokens": [{"orth": w, "ner": t} for w, t in zip(words, tags, strict=True)]}

    sentences = [sentence("B-PER", "L-PER", "O"), sentence("-", "-", "-")]
    found, notes = read(tmp_path, {"id": 0, "paragraphs": [{"raw": "x", "sentences": sentences}]})
    assert found == [("B-PER", "I-PER", "O")]
    assert notes == "1 sentence with unannotated words is left out"
