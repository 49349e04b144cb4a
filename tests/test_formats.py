"""Corpora in other formats than columns: records, spans, tables, Parquet, `datasets` folders."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxner.config.command_line import parse_train_config
from flaxner.data.corpus import read_corpus
from flaxner.data.readers import Notes, ReadOptions
from flaxner.data.readers.records import read_records
from flaxner.data.readers.spans import tag_text, word_offsets
from flaxner.data.sources import read_options
from flaxner.data.tags import Span, tags_to_spans
from flaxner.training.preparation import load_corpora

TEXT = "Ann left Rome."
SPANS = [[0, 3, "PER"], [9, 13, "LOC"]]
OBJECTS = [{"start": a, "end": b, "label": kind} for a, b, kind in SPANS]
VALUES = [
    {"value": {"start": a, "end": b, "text": TEXT[a:b], "labels": [kind]}} for a, b, kind in SPANS
]
WORDS, TAGS = ("Ann", "left", "Rome", "."), ("B-PER", "O", "B-LOC", "O")


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    "value",
    [
        {"tokens": WORDS, "ner_tags": TAGS},
        {"text": TEXT, "label": SPANS},
        {
            "text": TEXT,
            "entities": [{"start_offset": a, "end_offset": b, "label": k} for a, b, k in SPANS],
        },
        {"text": TEXT, "spans": OBJECTS, "answer": "accept"},
        [TEXT, {"entities": SPANS}],
        [{"data": {"text": TEXT}, "annotations": [{"result": VALUES}]}],
        [{"text": TEXT, "label": [v["value"] for v in VALUES]}],
    ],
    ids=["words", "doccano", "doccano-objects", "prodigy", "spacy2", "label-studio", "ls-min"],
)
def test_exports_of_annotation_tools(tmp_path, value):
    sentence = read_corpus(write(tmp_path, "a.json", json.dumps(value) + "\n")).sentences[0]
    assert (sentence.words, sentence.tags) == (WORDS, TAGS)


@pytest.mark.parametrize(("policy", "tag"), [("widen", "B-PER"), ("drop", "O")])
def test_a_span_that_cuts_a_word(tmp_path, policy, tag):
    path = write(tmp_path, "a.jsonl", json.dumps({"text": TEXT, "label": [[0, 2, "PER"]]}))
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: the span 'An' \(PER\) cuts"):
        read_corpus(path)
    with pytest.raises(ValueError, match="if the ends are inclusive, add 1 to all of them; "):
        read_corpus(path)
    corpus = read_corpus(path, options=ReadOptions(span_policy=policy))
    assert corpus.sentences[0].tags == (tag, "O", "O", "O")
    assert corpus.notes[0].startswith("1 span cut a word and was")


def test_of_overlapping_spans_the_longer_is_kept(tmp_path):
    spans = [[0, 3, "A"], [0, 8, "B"]]
    path = write(tmp_path, "a.jsonl", json.dumps({"text": TEXT, "label": spans}))
    with pytest.raises(ValueError, match=r"line 1: the span 'Ann' \(A\) overlaps another"):
        read_corpus(path)
    corpus = read_corpus(path, options=ReadOptions(span_policy="drop"))
    assert corpus.sentences[0].tags == ("B-B", "I-B", "O", "O")


@pytest.mark.parametrize(
    "text",
    [
        "Sentence #,Word,Tag\n1,Ann,B-PER\n,left,O\n2,Rome,B-LOC\n",
        "word\ttag\nAnn\tB-PER\nleft\tO\n\nRome\tB-LOC\n",
    ],
)
def test_tables(tmp_path, text):
    corpus = read_corpus(write(tmp_path, "a.csv", text))
    assert [s.words for s in corpus] == [("Ann", "left"), ("Rome",)]


def test_parquet_and_saved_data_sets_give_class_label_names(tmp_path):
    import datasets

    names = datasets.ClassLabel(names=["O", "B-PER", "B-LOC"])
    features = {
        "tokens": datasets.List(datasets.Value("string")),
        "ner_tags": datasets.List(names),
    }
    columns = {"tokens": [list(WORDS)], "ner_tags": [[1, 0, 2, 0]]}
    data = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    data.to_parquet(str(tmp_path / "a.parquet"))
    datasets.DatasetDict({"train": data, "dev": data}).save_to_disk(str(tmp_path / "saved"))
    for corpus in (
        read_corpus(tmp_path / "a.parquet"),
        read_corpus(str(tmp_path / "saved"), "validation"),
        read_corpus(tmp_path / "saved", "validation"),
    ):
        assert [(s.words, s.tags) for s in corpus] == [(WORDS, TAGS)]
    with pytest.raises(ValueError, match="no split test; the data set has train, dev"):
        read_corpus(str(tmp_path / "saved"), "test")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_equal_words_are_stored_once(tmp_path, name):
    import pyarrow as pa
    import pyarrow.parquet as pq

    record = {"tokens": ["Rome", "Ann", "Rome"], "ner_tags": ["B-LOC", "B-PER", "B-LOC"]}
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist([record] * 2), tmp_path / name)
    elif name == "a.csv":
        rows = "\n".join(map(",".join, zip(*record.values(), strict=True)))
        write(tmp_path, name, f"word,tag\n{rows}\n\n{rows}\n")
    else:
        write(tmp_path, name, 2 * f"{json.dumps(record)}\n")
    words = [word for sentence in read_corpus(tmp_path / name) for word in sentence.words]
    assert words == record["tokens"] * 2
    assert len(set(map(id, words))) == 2


@pytest.mark.parametrize(("value", "tag"), [(1, "B-PER"), (1.0, "B-PER"), (True, None)])
def test_values_equal_to_a_known_tag_id_are_judged_by_their_own_type(value, tag):
    records = [(line, {"tokens": ["Ann"], "ner_tags": [v]}) for line, v in enumerate([1, value], 1)]
    read = read_records("a", lambda: records, ReadOptions(), Notes(), {"ner_tags": ["O", "B-PER"]})
    if tag is not None:
        assert [raw.tags for raw in read] == [(tag,)] * 2
        return
    with pytest.raises(ValueError, match=r"^a, line 2: 'ner_tags' must hold tags or their ids"):
        list(read)


@pytest.mark.parametrize("ending", ["txt", "conll"])
def test_a_folder_of_files_without_columns_is_no_data_set(tmp_path, ending):
    """`datasets` reads lines of the one, and only the words of the other."""
    (tmp_path / f"train.{ending}").write_text("Ann B-PER\n")
    with pytest.raises(ValueError, match=r"reads no tags from its files: give them with --train"):
        read_corpus(str(tmp_path), "train")


def test_the_command_line_reaches_the_readers(tmp_path):
    path = write(tmp_path, "a.jsonl", json.dumps({"text": TEXT, "label": [[0, 2, "PER"]]}))
    arguments = ["--train-file", str(path), "--span-policy", "widen", "--text-column", "text"]
    config = parse_train_config(arguments)
    assert read_options(config) == ReadOptions(span_policy="widen", text_column="text")
    assert load_corpora(config)["train"].types == ("PER",)


@pytest.mark.parametrize(
    "option", [{"span_policy": "Drop"}, {"span_offsets": "utf16"}, {"scheme": "BIOES"}]
)
def test_an_option_must_be_one_of_its_choices(option):
    with pytest.raises(ValueError, match=f"^{next(iter(option))} must be one of .*: got '"):
        ReadOptions(**option)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"tokens": ["a"], "ner_tags": ["O", "O"]}', "line 1: each word must have one tag"),
        (
            '{"tokens": ["a"], "ner_tags": [1]}',
            "line 1: the ids in 'ner_tags' have no names; use tags such as B-PER, or save the data",
        ),
        ('{"text": "a", "label": []}\n{"text": "a"}', "line 2: a record needs words and tags"),
        ('{"text": "a", "label": [[0, 9, "X"]]}', "line 1: a span must lie in its text of 1"),
        ('[{"text": "a", "label": []},\n{"text" 1}]', "line 2: invalid JSON"),
        ('[{"text": "a", "label": []}', "line 2: the array is incomplete"),
        ('{"tokens": [' + "\n" * 1001 + '"a"]}', "line 1: a record of more than 1,000 lines or"),
    ],
)
def test_errors_name_the_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_corpus(write(tmp_path, "a.json", text + "\n"))


@st.composite
def texts_with_spans(draw):
    """Draw a text, and character spans on its word boundaries that may touch but not overlap."""
    text = draw(st.text(alphabet="ab é日न्-.,\u00a0\n\U0001f600", max_size=40))
    offsets = word_offsets(text)
    spans, at = [], 0
    while at < len(offsets):
        size = draw(st.integers(0, 3))
        end = min(at + size, len(offsets))
        if size:
            kind = draw(st.sampled_from(["PER", "a-b", "名"]))
            spans.append((offsets[at][0], offsets[end - 1][1], kind))
        at = max(end, at + 1)
    return text, spans


def char_spans(offsets, spans):
    return [(offsets[a][0], offsets[b - 1][1], kind) for a, b, kind in spans]


def check_spans_come_back(item):
    """Round-trip text + spans through words + tags, locating the words in the text again."""
    text, spans = item
    words, tags = tag_text("x", 1, text, spans, "error", Notes())
    assert "".join(words) == "".join(text.split())
    offsets, at = [], 0
    for word in words:  # located without the reader's own offsets
        begin = text.index(word, at)
        assert not text[at:begin].strip()
        at = begin + len(word)
        offsets.append((begin, at))
    assert char_spans(offsets, tags_to_spans(tags)) == spans


@given(texts_with_spans())
@settings(max_examples=300, deadline=None)
def test_spans_on_word_boundaries_round_trip(item):
    check_spans_come_back(item)


@pytest.mark.slow
@given(texts_with_spans())
@settings(max_examples=10_000, deadline=None)
def test_spans_on_word_boundaries_round_trip_in_many_cases(item):
    check_spans_come_back(item)


@pytest.mark.parametrize("ideograph", ["\u5d0e", "\ufa11", "\U0002f800"])
def test_every_ideograph_is_a_word(ideograph):
    """As in BERT; U+FA11, in Japanese names, is among the "compatibility" ideographs."""
    words, tags = tag_text("x", 1, f"山{ideograph}さん", [Span(0, 2, "PER")], "error", Notes())
    assert (words, tags) == (("山", ideograph, "さん"), ("B-PER", "I-PER", "O"))


def test_spans_round_trip_through_files(tmp_path):
    """As above, through a JSON Lines file and `read_corpus`."""
    items = [(TEXT, [tuple(span) for span in SPANS]), ("a-b c", [(0, 3, "X"), (4, 5, "X")])]
    lines = [json.dumps({"text": text, "spans": spans}) for text, spans in items]
    corpus = read_corpus(write(tmp_path, "a.jsonl", "\n".join(lines)))
    for (text, spans), sentence in zip(items, corpus, strict=True):
        offsets = word_offsets(text)
        assert [text[a:b] for a, b in offsets] == list(sentence.words)
        assert char_spans(offsets, tags_to_spans(sentence.tags)) == spans
