"""Files of other programs that used to be read wrongly without a word, or refused unhelpfully."""

import json
import tarfile

import pytest

from flaxner.data.corpus import read_corpus
from flaxner.data.readers import ReadOptions


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path, name, content, **options):
    """Return the words and tags of each sentence, and all notes as one string."""
    corpus = read_corpus(write(tmp_path, name, content), options=ReadOptions(**options))
    return [(s.words, s.tags) for s in corpus], "; ".join(corpus.notes)


def refusal(tmp_path, name, content, **options):
    """Return the error message for a file, without the file's name."""
    path = write(tmp_path, name, content)
    with pytest.raises(ValueError) as caught:
        read_corpus(path, options=ReadOptions(**options))
    return str(caught.value).removeprefix(f"{path}, ")


def record(text, *spans, **more):
    return json.dumps({"text": text, "entities": list(spans), **more}, ensure_ascii=False) + "\n"


# -- keys of spans --------------------------------------------------------------------------------

ANN = {"start": 0, "end": 3}


@pytest.mark.parametrize(
    ("keys", "kind", "said"),
    [
        ({"entity": "Ann", "entity_type": "PER"}, "PER", ""),
        ({"entity": "Ann", "tag": "PER"}, "PER", ""),
        ({"entity": "PER", "word": "ann"}, "PER", ""),
        ({"label": "PER", "type": "NAM"}, "PER", "read from 'label'; 'type' is ignored"),
        ({"type": "span", "tag": "PER"}, "span", "read from 'type'; 'tag' is ignored"),
        ({"label": "PER", "type": "PER"}, "PER", ""),
    ],
)
def test_the_type_of_a_span_is_not_its_text(tmp_path, keys, kind, said):
    """If two keys could hold the type, the choice is reported."""
    sentences, notes = read(tmp_path, "a.jsonl", record("Ann left", ANN | keys) * 2)
    assert sentences == [(("Ann", "left"), (f"B-{kind}", "O"))] * 2
    assert notes == (f"the types of spans are {said}" if said else "")


def test_places_in_characters_come_before_places_in_words(tmp_path):
    places = {"start": 0, "end": 1, "start_char": 6, "end_char": 9}
    sentences, _ = read(tmp_path, "a.jsonl", record("I saw Ann", places | {"label": "PER"}))
    assert sentences == [(("I", "saw", "Ann"), ("O", "O", "B-PER"))]


@pytest.mark.parametrize("key", ["entity", "mention", "word"])
def test_a_span_that_is_not_at_its_place_is_reported(tmp_path, key):
    """In Chinese every character is a word, so inclusive ends cut none."""
    bank, person = ({"start": a, "end": b, "type": "X"} for a, b in ((0, 3), (4, 7)))
    content = record("浙商银行叶老桂博士", bank | {key: "浙商银行"}, person | {key: "叶老桂"})
    sentences, notes = read(tmp_path, "a.jsonl", content)
    assert sentences[0][1] == ("B-X", "I-X", "I-X", "O", "B-X", "I-X", "I-X", "O", "O")
    assert notes.startswith("1 span is not the text that they come with: their ends may be incl")
    assert notes.endswith("(line 1: '浙商银行')")


def test_offsets_of_words_are_not_widened(tmp_path):
    spans = [{"start": 0, "end": 1, "label": "PER"}, {"start": 2, "end": 3, "label": "LOC"}]
    content = record("Ann left Rome", *spans, tokens=["Ann", "left", "Rome"])
    said = refusal(tmp_path, "a.jsonl", content)
    assert said.startswith(
        "line 1: the span 'A' (PER) cuts the words 'Ann'; if the offsets count w"
    )


@pytest.mark.parametrize("more", [{}, {"_input_hash": 1}, {"_input_hash": 1, "answer": "accept"}])
def test_answers_to_single_spans_say_nothing_of_a_text(tmp_path, more):
    """Prodigy's `merge_spans` joins such answers; a rejected span was read as an entity."""
    spans = [ANN | {"label": kind, "answer": "reject"} for kind in ("PER", "ORG")]
    records = [
        {"text": "Ann left", "spans": spans} | more,
        {"text": "Bo", "spans": [], "answer": "accept"},
    ]
    sentences, notes = read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, records)))
    assert sentences == [(("Bo",), ("O",))]
    assert notes.startswith("1 record is left out: accepting or rejecting one span says nothing")


@pytest.mark.parametrize("own", [{}, {"text": ""}])
def test_an_empty_span(tmp_path, own):
    spans = ({"start": 3, "end": 3, "label": "PER"} | own, {"label": "PER"} | ANN)
    content = record("Ann left", spans[0], spans[1] | ({"text": "Ann"} if own else {}))
    said = refusal(tmp_path, "a.jsonl", content)
    assert said.startswith("line 1: a span must end after it begins: got (3, 3, 'PER'); if the end")
    for policy in ("widen", "drop"):
        sentences, notes = read(tmp_path, "a.jsonl", content, span_policy=policy)
        assert sentences == [(("Ann", "left"), ("B-PER", "O"))]
        assert notes == "1 span is empty and left out (line 1)"
    back = record("Ann left", {"start": 3, "end": 0, "label": "PER"})
    for policy in ("error", "drop"):
        said = refusal(tmp_path, "a.jsonl", back, span_policy=policy)
        assert said == "line 1: a span must end after it begins: got (3, 0, 'PER')"


def test_an_empty_span_in_a_text_whose_unit_other_texts_decide(tmp_path):
    spans = [{"start": a, "end": b, "label": "LOC"} for a, b in ((2, 2), (16, 22))]
    content = record("😀 Oda lives in Tarvik now.", *spans)
    sentences, notes = read(tmp_path, "a.jsonl", content, span_policy="drop")
    assert sentences[0][1] == ("O", "O", "O", "O", "B-LOC", "O", "O")
    assert "1 span is empty and left out (line 1)" in notes


@pytest.mark.parametrize(
    ("spans", "kept", "refused", "said"),
    [
        (
            [[0, 3, "PER"], [0, 3, "ORG"]],
            ("B-ORG", "O", "O"),
            "'Ann' (PER) overlaps another, 'Ann' (ORG); --span-policy widen or drop keeps the type "
            "that comes first in the alphabet",
            "1 span at the place of another was dropped: the type that comes first in the alphabet "
            "is kept (PER at ORG)",
        ),
        (
            [[0, 7, "PER"], [4, 11, "PER"]],
            ("B-PER", "I-PER", "O"),
            "'Lee Kim' (PER) overlaps another, 'Ann Lee' (PER); --span-policy widen or drop keeps "
            "the one that comes first",
            "1 span overlapped one as long that begins earlier and was dropped",
        ),
    ],
)
def test_of_equally_long_spans_none_is_called_longer(tmp_path, spans, kept, refused, said):
    content = record("Ann Lee Kim", *spans)
    assert refusal(tmp_path, "a.jsonl", content) == f"line 1: the span {refused}"
    sentences, notes = read(tmp_path, "a.jsonl", content, span_policy="drop")
    assert (sentences[0][1], notes) == (kept, said)


# -- refusals that say what to do -----------------------------------------------------------------

WEBANNO = "#FORMAT=WebAnno TSV 3.3\n#T_SP=ner|value\n\n#Text=Ann\n1-1\t0-3\tAnn\tPER\t\n"
ONTONOTES = "#begin document (a); part 000\na 0 0 Ann NNP (NP*) - - - - (PERSON) -\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.tsv", WEBANNO, "line 1: WebAnno TSV is not read: export CoNLL 2002"),
        ("a.gold_conll", ONTONOTES, "line 1: CoNLL-2012, with entities in brackets"),
        ("a.ann", "T1\tPER 0 3\tAnn\n", "line 1: brat's standoff format is not read: convert the"),
        ("a.xmi", "\ufeff<?xml version='1.0'?><x/>\n", "line 1: XML and HTML are not read: export"),
        ("a.csv", "sep=;\nsid;word;tag\n", "line 1: remove the first line, sep=, which is meant"),
        ("a.jsonl", "{'text': 'Ann', 'label': []}\n", "line 1: invalid JSON: Expecting property"),
        ("a.jsonl", '{"text": "a", "label": []},\n', "line 1: invalid JSON: Extra data; write one"),
        ("a.json", "[]\n", "line 1: the corpus is empty"),
        ("a.txt", "Ann O\n".encode("utf-16-le"), "line 1: the file must be UTF-8; it is UTF-16LE"),
        ("a.csv", "a,b\n".encode("utf-16-be"), "line 1: the file must be UTF-8; it is UTF-16BE (i"),
        ("a.txt", "Ann O\n".encode("utf-32"), "line 1: the file must be UTF-8; it is UTF-32 (icon"),
    ],
)
def test_other_formats_are_named_with_a_remedy(tmp_path, name, content, said):
    assert refusal(tmp_path, name, content).startswith(said)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_archive_is_named(tmp_path, mode):
    path = write(tmp_path, "a.conll", "Ann B-PER\n")
    with tarfile.open(tmp_path / "a.tar", mode) as archive:
        archive.add(path, "a.conll")
    said = refusal(tmp_path, "a.tar", (tmp_path / "a.tar").read_bytes())
    assert said == "line 1: it is a tar archive: unpack it and give the file inside"


def test_columns_of_brats_own_converter_are_read_as_told(tmp_path):
    content = "B-PER\t0\t3\tAnn\nO\t4\t8\tleft\n\nO\t9\t10\tx\n"
    sentences, _ = read(tmp_path, "a.conll", content, word_column="3", tag_column="0")
    assert sentences == [(("Ann", "left"), ("B-PER", "O")), (("x",), ("O",))]
