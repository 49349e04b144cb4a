"""Files of other programs that used to be read wrongly without a word, or refused unhelpfully."""

import json
import tarfile

import pytest

from flaxner.audit.correcting import correct
from flaxner.audit.findings import Decision
from flaxner.data.corpus import read_corpus
from flaxner.data.readers import ReadOptions
from flaxner.data.tags import Span


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


def test_offsets_may_count_words_or_have_inclusive_ends(tmp_path):
    said = refusal(tmp_path, "a.jsonl", record("Ann Lee left", [0, 2, "PER"]))
    assert (
        "; if the ends are inclusive, add 1 to all of them; if the offsets count words, c" in said
    )


def test_a_type_that_is_a_number_needs_its_name(tmp_path):
    """As in old exports of Doccano, which keep the names in another file."""
    said = refusal(tmp_path, "a.jsonl", record("Ann left", ANN | {"label": 1}))
    assert said.endswith("; replace the numbers of types by their names")


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


# -- tags -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tags", ["PER-B PER-I O O O", "PER_B PER_I O O O", "b-per i-per O O O", "B–PER I–PER O O O"]
)
@pytest.mark.parametrize("name", ["a.conll", "a.jsonl", "a.csv", "a.parquet"])
def test_tags_in_another_notation_are_not_types(tmp_path, tags, name):
    """They would be learnt as two types; names of ids, in Parquet, even without --scheme IO."""
    words, marks = ["Ann", "Lee", "left", "for", "home"], tags.split()
    rows = list(zip(words, marks, strict=True))
    if name == "a.parquet":
        import datasets

        names = datasets.List(datasets.ClassLabel(names=["O", *marks[:2]]))
        texts = datasets.List(datasets.Value("string"))
        features = datasets.Features({"tokens": texts, "ner_tags": names})
        data = datasets.Dataset.from_dict({"tokens": [words], "ner_tags": [marks]}, features)
        data.to_parquet(str(tmp_path / name))
        content = (tmp_path / name).read_bytes()
    else:
        content = {
            "a.conll": "".join(f"{word} {tag}\n" for word, tag in rows),
            "a.jsonl": json.dumps({"tokens": words, "ner_tags": marks}),
            "a.csv": "sid,word,tag\n" + "".join(f"1,{word},{tag}\n" for word, tag in rows),
        }[name]
    said = refusal(tmp_path, name, content)
    assert f"got {marks[0]!r} in" in said
    assert said.endswith(f", which seems to hold tags ({marks[0]}, {marks[1]}), not types")
    said = refusal(tmp_path, name, content, scheme="IO")
    assert "--scheme IO is for types without a prefix" in said
    assert said.endswith(f"holds tags ({marks[0]}, {marks[1]}), which must be written like B-PER")


@pytest.mark.parametrize("types", [("vitamin-B", "drug"), ("e-mail",), ("art-e", "art-s")])
def test_types_that_end_or_begin_like_tags_are_types(tmp_path, types):
    rows = "".join(f"w {kind}\nx O\ny O\nz O\n" for kind in types)
    sentences, _ = read(tmp_path, "a.conll", rows, scheme="IO")
    assert {tag[2:] for tag in sentences[0][1]} - {""} == set(types)


@pytest.mark.parametrize("types", [("B_cell", "T_cell"), ("E-mail", "phone"), ("I-Net", "site")])
@pytest.mark.parametrize("name", ["a.conll", "a.jsonl", "a.parquet"])
def test_types_that_look_like_tags_are_types_beside_others_that_do_not(tmp_path, types, name):
    """They were refused, whether with --scheme IO or without."""
    words, tags = ["a", "b", "c", "d"], [types[0], types[0], "O", types[1]]
    if name == "a.parquet":
        import datasets

        names = datasets.List(datasets.ClassLabel(names=["O", *types]))
        features = {"tokens": datasets.List(datasets.Value("string")), "ner_tags": names}
        columns = {"tokens": [words], "ner_tags": [tags]}
        data = datasets.Dataset.from_dict(columns, datasets.Features(features))
        data.to_parquet(str(tmp_path / name))
        content = (tmp_path / name).read_bytes()
    elif name == "a.jsonl":
        content = json.dumps({"tokens": words, "ner_tags": tags})
    else:
        content = "".join(f"{word} {tag}\n" for word, tag in zip(words, tags, strict=True))
    if name != "a.parquet":
        said = refusal(tmp_path, name, content)
        assert f"got {types[1]!r} in" in said
        assert f"may hold types ({types[0]}, {types[1]}): --scheme IO reads bare types" in said
    options = {} if name == "a.parquet" else {"scheme": "IO"}
    sentences, notes = read(tmp_path, name, content, **options)
    assert sentences[0][1] == (f"B-{types[0]}", f"I-{types[0]}", "O", f"B-{types[1]}")
    assert "have no prefix, so adjacent words of one type are one entity" in notes


@pytest.mark.parametrize("odd", ["BPER", "X", "0", "junk"])
def test_tags_with_a_typing_error_are_not_types(tmp_path, odd):
    rows = "a B-PER\nb I-PER\nc O\nd B-LOC\n\n" * 5 + f"e {odd}\nf O\n"
    assert "IO" not in refusal(tmp_path, "a.conll", rows)
    assert "line 1: --scheme IO is for" in refusal(tmp_path, "a.conll", rows, scheme="IO")
    assert "IO" not in refusal(tmp_path, "a.conll", rows.replace("I-PER", "O"))


def test_types_that_are_all_like_tags_need_a_prefix(tmp_path):
    rows = "a B_cell\nb B_cell\nc O\n\n"
    said = refusal(tmp_path, "a.conll", rows, scheme="IO")
    assert said.endswith(
        "holds B_cell, which are tags, as B-PER is; write I- before types that look like tags"
    )
    sentences, _ = read(tmp_path, "a.conll", rows.replace("B_", "I-B_"))
    assert sentences[0][1] == ("B-B_cell", "I-B_cell", "O")


def test_entities_that_seem_to_be_taken_apart_are_noted(tmp_path):
    said = "entities of several words may have been taken apart"
    rows = "a B_cell\nb B_cell\nc O\n\n"
    assert (
        f"but 10 of 20 words with a tag follow another of the same type: {said}"
        in read(tmp_path, "a.conll", rows * 10)[1]
    )
    assert said in read(tmp_path, "a.conll", rows.replace("B_", "E_") * 10)[1]
    assert said not in read(tmp_path, "a.conll", rows * 9)[1]
    assert said not in read(tmp_path, "a.conll", rows * 10 + "a B-cell\nb I-cell\n")[1]
    assert said not in read(tmp_path, "a.conll", "a B-X\nb B-Y\nc O\n\n" * 10)[1]
    assert said not in read(tmp_path, "a.conll", rows * 10 + "a B-cell\nb O\n\n" * 90)[1]


@pytest.mark.parametrize("mark", ["\u200b", "\ufeff", "\u00a0", " \u200b "])
def test_invisible_characters_around_a_type_are_not_part_of_it(tmp_path, mark):
    tags = ["B-PER" + mark, mark + "I-PER", "O" + mark]
    words = ["Ann", "Lee", "left"]
    tokens = [{"orth": word, "ner": tag} for word, tag in zip(words, tags, strict=True)]
    value = {"start": 0, "end": 7, "text": "Ann Lee", "labels": ["PER" + mark]}
    task = {"result": [{"type": "labels", "to_name": "text", "value": value}]}
    for name, content in (
        ("a.tsv", "".join(f"{w}\t{tag}\n" for w, tag in zip(words, tags, strict=True))),
        ("a.jsonl", json.dumps({"tokens": words, "ner_tags": tags})),
        ("b.jsonl", record("Ann Lee left", [0, 7, "PER" + mark])),
        (
            "a.csv",
            "sid,word,tag\n" + "".join(f"1,{w},{t}\n" for w, t in zip(words, tags, strict=True)),
        ),
        ("spacy.json", json.dumps([{"paragraphs": [{"sentences": [{"tokens": tokens}]}]}])),
        ("studio.json", json.dumps([{"data": {"text": "Ann Lee left"}, "annotations": [task]}])),
    ):
        sentences, _ = read(tmp_path, name, content)
        assert sentences == [(tuple(words), ("B-PER", "I-PER", "O"))]


@pytest.mark.parametrize("mark", [" ", "\u200b"])
def test_spaces_and_invisible_characters_in_the_names_of_ids(tmp_path, mark):
    import datasets

    names = datasets.List(datasets.ClassLabel(names=["O", "B-PER" + mark, "I-PER"]))
    features = {"tokens": datasets.List(datasets.Value("string")), "ner_tags": names}
    columns = {"tokens": [["Ann", "Lee", "left"]], "ner_tags": [[1, 2, 0]]}
    data = datasets.Dataset.from_dict(columns, datasets.Features(features))
    data.to_parquet(str(tmp_path / "a.parquet"))
    assert read_corpus(tmp_path / "a.parquet").sentences[0].tags == ("B-PER", "I-PER", "O")


# -- columns --------------------------------------------------------------------------------------


def test_spaces_around_a_word_between_tabs_are_not_part_of_it(tmp_path):
    content = "Ann  \tB-PER\nleft \tO\n \tO\n\n  Ann\tB-PER\n"
    sentences, _ = read(tmp_path, "a.tsv", content)
    assert [words for words, _ in sentences] == [("Ann", "left", " "), ("Ann",)]
    path = tmp_path / "a.tsv"
    one = Decision(str(path), 2, ("Ann",), (Span(0, 1, "PER"),), (), "x")
    correct(path, [one], tmp_path / "b.tsv")
    assert (tmp_path / "b.tsv").read_text() == "Ann  \tB-PER\nleft \tO\n \tO\n\n  Ann\tO\n"


def test_words_with_their_language_are_refused(tmp_path):
    """WikiANN's own files; rows with a colon here and there are words."""
    rows = [f"en:w{i}\t{'O' if i % 3 else 'B-LOC'}\n" for i in range(12)]
    said = refusal(tmp_path, "train", "".join(rows))
    assert said.startswith("line 1: the words begin with a language and a colon, as in WikiANN's ")
    assert said.endswith("(sed -E 's/^[a-z-]+://'): got 'en:w0'")
    sentences, _ = read(tmp_path, "train", "".join(rows) + "w\tO\n" * 2)
    assert sentences[0][0][0] == "en:w0"


def test_words_with_the_number_of_a_character_are_refused(tmp_path):
    said = refusal(tmp_path, "a.conll", "科0\tB-X\n技1\tI-X\n" * 6)
    assert said.startswith("line 1: the words are a character and a digit, as in Weibo NER's file")


@pytest.mark.parametrize("style", ["Wash ##{}", "Wash@@ {}", "\u2581Wash {}", "\u0120Wash {}"])
@pytest.mark.parametrize("name", ["a.conll", "a.jsonl"])
def test_a_tokenizers_pieces_of_words_are_noted(tmp_path, style, name):
    first, later = style.split()
    firsts = [first.replace("Wash", f"Wash{i}") for i in range(12)]
    laters = [later.format(f"ing{i}") for i in range(12)]
    pairs = list(zip(firsts, laters, strict=True))
    if name == "a.jsonl":
        tags = ["B-LOC", "I-LOC"]
        content = "".join(f"{json.dumps({'tokens': p, 'ner_tags': tags})}\n" for p in pairs)
    else:
        content = "".join(f"{a} B-LOC\n{b} I-LOC\n\n" for a, b in pairs)
    sentences, notes = read(tmp_path, name, content)
    marked = laters[0] if "##" in style else firsts[0]
    said = f"a tokenizer's pieces of words ({marked!r}, and 11 more with such a mark), but are read"
    assert said in notes
    assert sentences[0][0] == pairs[0]
    if name == "a.conll":
        said = refusal(tmp_path, name, content.replace("I-LOC", "X"))
        assert said.endswith(
            "'X' in column 1; X may mark the later pieces of words, which must be joined"
        )


def test_a_few_words_with_such_marks_are_words(tmp_path):
    rows = "##tag O\n\u0120or\u0121 B-PER\n# O\n## O\n@@ O\na@@b O\n\n"
    rows += "".join(f"##{i} B-X\n\u0120{i} O\n\n" for i in range(8))
    rows += "".join(f"w{i} O\n" for i in range(2000))
    assert "pieces" not in read(tmp_path, "a.conll", rows)[1]


def test_entities_in_another_notation_do_not_make_chunks_the_tags(tmp_path):
    rows = "Ann NNP B-NP b-per\nleft VBD B-VP o\nx NN O o\n\n"
    said = refusal(tmp_path, "a.conll", rows)
    assert "got 'b-per' in column 3, where O is expected and most values are 'o'; column 2" in said


@pytest.mark.parametrize("split", [" ", "\t"])
def test_the_names_of_the_columns_are_no_word_with_its_type(tmp_path, split):
    rows = "Token Entity\nAnn PER\nleft O\nfor O\n\nBo PER\nsaw O\n".replace(" ", split)
    said = refusal(tmp_path, "a.conll", rows, scheme="IO")
    names = "'Token' and 'Entity'"
    assert said == f"line 1: the first row has the names of the columns, {names}: remove it"
    assert refusal(tmp_path, "a.conll", rows.replace("PER", "B-PER")) == said
    rows = rows.replace("Token", "Cy")
    assert read(tmp_path, "a.conll", rows, scheme="IO")[0][0][1][:2] == ("B-Entity", "B-PER")


def test_missing_blank_lines_between_numbered_words_are_noted(tmp_path):
    rows = "1\tAnn\tB-PER\n2\tleft\tO\n3\t.\tO\n"
    sentences, notes = read(tmp_path, "a.tsv", rows * 3)
    assert len(sentences) == 1
    said = "2 rows have the first word number within a sentence: blank lines may be missing (line 4"
    assert said in notes
    assert "blank lines" not in read(tmp_path, "a.tsv", (rows + "\n") * 3)[1]
    whole = "1-2\tdu\tO\n1\tde\tO\n2\tle\tO\n3\tAnn\tB-PER\n\n"  # CoNLL-U's contraction
    assert "blank lines" not in read(tmp_path, "a.tsv", whole * 2)[1]


def test_missing_blank_lines_between_numbered_sentences_are_noted(tmp_path):
    parts = ["7 Ann B-PER\n7 left O\n7 x O\n", "8 Bo B-PER\n8 came O\n", "9 Cy B-PER\n9 y O\n"]
    sentences, notes = read(tmp_path, "a.conll", "".join(parts))
    assert len(sentences) == 1
    assert "2 rows have another number in column 0 than the row above: if it numbers sent" in notes
    assert "another number" not in read(tmp_path, "a.conll", "\n".join(parts))[1]
    places = "".join(f"{5 * i} w{i} {'O' if i % 3 else 'B-X'}\n" for i in range(12))
    assert "another number" not in read(tmp_path, "a.conll", places)[1]


@pytest.mark.parametrize(
    "rows",
    [
        "1-2\tdu\tB-LOC\t-\t-\n1\tde\tO\t-\t-\n2\tle\tO\t-\t-\n3\tAnn\tB-PER\t-\t-\n",
        "1-2\tdu\t_\tNER=B-LOC\n1\tde\t_\t_\n2\tle\t_\tNER=O\n3\tAnn\t_\tNER=B-PER\n",
    ],
)
def test_tags_of_contractions_are_counted(tmp_path, rows):
    sentences, notes = read(tmp_path, "a.conllu", rows)
    assert sentences == [(("de", "le", "Ann"), ("O", "O", "B-PER"))]
    said = "1 row of contractions (3-4) and empty nodes (5.1) has tags that are not read (line 1)"
    assert said in notes
    assert "contractions" not in read(tmp_path, "a.conllu", rows.replace("B-LOC", "O"))[1]


@pytest.mark.parametrize("options", [{}, {"scheme": "IO"}])
def test_types_without_a_prefix_in_the_last_column_of_conllu(tmp_path, options):
    said = refusal(tmp_path, "a.conllu", "1\tAnn\t_\tNER=PER\n2\tleft\t_\tNER=O\n", **options)
    assert said.endswith(
        "got 'PER' in NER= of the last column, to which --scheme IO does not apply"
    )


def test_two_columns_in_one_are_noted(tmp_path):
    rows = "".join(f"w{i} NN\t{'O' if i % 3 else 'B-X'}\n" for i in range(12))
    _, notes = read(tmp_path, "a.tsv", rows)
    assert "every word has a space in it, as if it were two columns: 'w0 NN'" in notes
    assert "two columns" not in read(tmp_path, "a.tsv", rows + "w\tO\n")[1]


def test_spaces_around_a_word_in_a_table_are_not_part_of_it(tmp_path):
    sentences, _ = read(tmp_path, "a.csv", "sid,word,tag\n1, Ann, B-PER\n1,left ,O\n1, ,O\n")
    assert sentences == [(("Ann", "left", " "), ("B-PER", "O", "O"))]


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
        ("a.txt", "O 0 3 Ann\nB-X 4 5 a\n", "line 1: only column 0 holds tags, so the words are"),
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


# -- sentences ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "head", "row", "more"),
    [
        ("a.conll", "", "w{} B-X\n\n", "a O\nb O\n"),
        ("a.csv", "sid,word,tag\n", "{},w{},B-X\n", "11,b,O\n"),
    ],
)
def test_sentences_of_one_word_each_are_reported(tmp_path, name, head, row, more):
    """Lines written with two line ends, or a column that numbers rows."""
    rows = [row.format(i, i) for i in range(12)]
    _, notes = read(tmp_path, name, head + "".join(rows))
    assert "each of the 12 sentences is a single word: words seem to be separated as sent" in notes
    assert "single word" not in read(tmp_path, name, head + "".join(rows[:9]))[1]
    assert "single word" not in read(tmp_path, name, head + "".join(rows) + more)[1]
