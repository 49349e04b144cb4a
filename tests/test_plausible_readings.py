"""Corpora with two plausible readings: the right one is chosen, or the user is asked."""

import json

import pytest

from flaxner.config.train import TrainConfig
from flaxner.data.corpus import read_corpus, read_dataset
from flaxner.data.readers import ReadOptions
from flaxner.data.sentence import Sentence
from flaxner.data.sources import read_sources
from flaxner.evaluation.predictions import Predicted, write_predictions


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, "utf-8")
    return path


def read(tmp_path, name, content, **options):
    """Return the words and tags of each sentence, and all notes as one string."""
    corpus = read_corpus(write(tmp_path, name, content), options=ReadOptions(**options))
    sentences = [(" ".join(s.words), " ".join(s.tags)) for s in corpus]
    return sentences, "; ".join(corpus.notes)


def refusal(tmp_path, name, content, **options):
    """Return the error message for a file, without the file's name."""
    path = write(tmp_path, name, content)
    with pytest.raises(ValueError) as caught:
        read_corpus(path, options=ReadOptions(**options))
    return str(caught.value).removeprefix(f"{path}, ")


# -- words of column files ------------------------------------------------------------------------

NUMBERED = "1\tAnn\tB-PER\n2\tlives\tO\n3\there\tO\n\n"
ANN = ("Ann lives here", "B-PER O O")
BO = ("Bo came", "B-PER O")
UD = "{}\t{}\tlemma\tNOUN\t_\t_\t0\tdep\t_\tNER={}\n"


@pytest.mark.parametrize(
    "content",
    [
        NUMBERED * 5 + "1\tBo\tB-PER\n3\tcame\tO\n\n",
        NUMBERED * 5 + "1\tBo\tB-PER\n1\tcame\tO\n\n",
        NUMBERED + "4 Bo B-PER\n5 came O\n",
        "0 Ann B-PER\n1 lives O\n2 here O\n\n3 Bo B-PER\n4 came O\n",
        UD.format(1, "Ann", "B-PER") + UD.format(2, "lives", "O") + UD.format(4, "here", "O")
        + "\n" + UD.format(1, "Bo", "B-PER") + UD.format("2-3", "x", "_")
        + UD.format(2, "came", "O"),
        "7 Ann B-PER\n7 lives O\n7 here O\n\n9 Bo B-PER\n9 came O\n",
        "1-1 Ann B-PER\n1-2 lives O\n1-3 here O\n\n2-1 Bo B-PER\n2-2 came O\n",
    ],
    ids=["gap", "twice", "running", "from 0", "CoNLL-U", "sentences", "both"],
)  # fmt: skip
def test_a_column_of_numbers_is_not_the_words(tmp_path, content):
    sentences, notes = read(tmp_path, "a.conll", content)
    assert (sentences[0], sentences[-1]) == (ANN, BO)
    assert "words are read from column 1 (column 0 " in notes


def test_a_row_without_its_number_is_named(tmp_path):
    said = refusal(tmp_path, "a.tsv", NUMBERED * 5 + "x\tBo\tB-PER\n")
    assert said == "line 21: the first column must number the words: got 'x'"


WORDS = [a + b + c for a in "bdfg" for b in "aeiou" for c in "lmnr"]
POS_FIRST = "".join(
    f"{'NN' if i % 3 else 'VB'} {WORDS[i]} {'B-PER' if i % 5 else 'O'}\n" for i in range(30)
)
AMOUNTS = "".join(f"{i * 37} CD {'B-X' if i % 2 else 'O'}\n" for i in range(1, 2001))
ASKED = {
    "document": ("d1 EU B-ORG\nd1 rejects O\n\nd2 Bo B-PER\nd2 came O\n", "'d1', 'd2'", 0, 1),
    "speech": (POS_FIRST, "'VB', 'NN'", 0, 1),
    "sentence and word": ("1 1 Ann B-PER\n1 2 left O\n\n2 1 Bo B-PER\n", "'1', '2'", 1, 2),
    "amounts": ("".join(f"{i * 37} CD B-X\n" for i in range(1, 30)), "'CD'", 1, 0),
    "250 amounts": ("".join(AMOUNTS.splitlines(keepends=True)[:250]), "'CD'", 1, 0),
    "2,000 amounts": (AMOUNTS, "'CD'", 1, 0),
}


@pytest.mark.parametrize("name", ASKED)
def test_an_ambiguous_word_column_must_be_chosen(tmp_path, name):
    content, held, word, other = ASKED[name]
    said = refusal(tmp_path, "a.conll", content)
    assert f"several columns could be the words: column {word} holds {held} and column" in said
    assert said.endswith(f"choose --word-column {word} or --word-column {other}")
    for column in (word, other):
        sentences, _ = read(tmp_path, "a.conll", content, word_column=str(column))
        assert sentences[0][0].split()[0] == content.split()[column]


def test_words_in_the_first_column_are_read(tmp_path):
    """Despite columns of offsets, row names, scores, lemmas and POS tags, however many rows."""
    words = ["the", "man", "saw", "the", "dog", "and", "the", "cat", "met", "2", "dogs", "."] * 20
    rows = []
    for i, w in enumerate(words):
        names = [f"t{i}", f"s{i // 12}_{i % 12}", f"{WORDS[i % 80]}{i // 80}"]
        figures = [str(i * 4), f"{i}:{i + 4}", f"-1.{i}e-05", f"0,{i}"]
        rows.append("\t".join([w, *names, *figures, w[:4], "NN", "O" if i % 7 else "B-X"]))
    for size in (12, 24, 60, 120, 180, 240):
        lines = [row + "\n" * (1 + (i % 12 == 11)) for i, row in enumerate(rows[:size])]
        sentences, notes = read(tmp_path, "a.conll", "".join(lines))
        assert sentences[0][0] == " ".join(words[:12])
        assert "words are read from column 0" in notes


def test_training_and_test_words_must_come_from_the_same_column(tmp_path):
    first = "".join(f"w{i} id{i % 9} {'O' if i % 5 else 'B-X'}\n" for i in range(30))
    train = write(tmp_path, "train.conll", NUMBERED * 3)
    test = write(tmp_path, "test.conll", first)
    config = TrainConfig(train_file=str(train), test_file=str(test))
    said = rf"of {train} would be read from column 1, but those of {test} from column 0: .* --word"
    with pytest.raises(ValueError, match=said):
        read_sources(config)
    assert len(read_sources(config.replace(word_column="1"))) == 2
    one, two = (
        write(tmp_path, f"{i}.jsonl", json.dumps(record | {"ner_tags": ["B-X"]}))
        for i, record in enumerate(({"tokens": ["a"], "form": ["A"]}, {"form": ["A"]}))
    )
    with pytest.raises(ValueError, match=r"words of .* from column tokens, .* from column form"):
        read_sources(TrainConfig(train_file=str(one), test_file=str(two)))


# -- document markers, and spaces next to tags ----------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "# newdoc\nAnn B-PER\nleft O\n\n# newdoc\nBo B-PER\n",
        "# newdoc id=1\nAnn X B-PER\nleft X O\n\n# newdoc id=2\nBo X B-PER\n",
        "-DOCSTART- -X- O\n\n1 Ann B-PER\n2 left O\n\n-DOCSTART- -X- O\n\n1 Bo B-PER\n",
        "-DOCSTART- -X- O\n\n7 Ann B-PER\n7 left O\n\n-DOCSTART- -X- O\n\n8 Bo B-PER\n",
    ],
)
def test_a_document_marker_may_have_as_many_fields_as_a_row(tmp_path, content):
    corpus = read_corpus(write(tmp_path, "a.conll", content))
    assert [(s.words, s.document) for s in corpus] == [(("Ann", "left"), 0), (("Bo",), 1)]


def test_a_hash_before_any_document_marker_may_be_a_word(tmp_path):
    content = "# newdoc B-X\nAnn NN O\n\n# newdoc\nBo NN B-X\n"
    corpus = read_corpus(write(tmp_path, "a.conll", content))
    assert [(s.words, s.document) for s in corpus] == [(("#", "Ann"), None), (("Bo",), 0)]


def test_a_document_marker_is_not_a_type(tmp_path):
    content = "# newdoc\nAnn PER\nleft O\n\n# newdoc\nRome LOC\nis O\n"
    corpus = read_corpus(write(tmp_path, "a.conll", content), options=ReadOptions(scheme="IO"))
    assert corpus.types == ("LOC", "PER")
    assert [(s.words, s.document) for s in corpus] == [(("Ann", "left"), 0), (("Rome", "is"), 1)]


@pytest.mark.parametrize(
    ("comment", "words"),
    [
        ("# sent_id = s0", "EU said"),
        ("# id two domain=en", "EU said"),
        ("#\tNN\tB-NP\tORG", "# EU said"),
        ("# NN B-NP O", "# EU said"),
    ],
)
def test_with_bare_types_a_comment_is_not_a_word(tmp_path, comment, words):
    content = f"{comment}\nEU NNP B-NP ORG\nsaid VBD B-VP O\n"
    corpus = read_corpus(write(tmp_path, "a.conll", content), options=ReadOptions(scheme="IO"))
    assert (" ".join(corpus.sentences[0].words), corpus.types) == (words, ("ORG",))
    said = "1 row before a sentence and with # first is read as comments, but could be words"
    assert any(note.startswith(said) for note in corpus.notes) == (comment == "# id two domain=en")


def test_a_comment_may_end_in_something_like_a_tag(tmp_path):
    rows = "EU x y B-ORG\nsaid x y O\n"
    sentences, notes = read(tmp_path, "a.conll", f"# text = I\n{rows}\n# text = O\n{rows}")
    assert sentences == [("EU said", "B-ORG O")] * 2
    assert notes.endswith("are read as comments, but could be words (line 1, line 5)")
    content = "# text = I\n7 EU x B-ORG\n9 said y O\n"
    assert read(tmp_path, "a.conll", content, word_column="1")[0] == [("EU said", "B-ORG O")]


def test_byte_order_marks_in_joined_files_are_skipped(tmp_path):
    part = "\ufeff-DOCSTART- O\n\nAnn B-PER\nleft O\n\n"
    corpus = read_corpus(write(tmp_path, "a.conll", part * 3 + "\ufeffBo B-PER\n\ufeff O\n"))
    found = [(" ".join(s.words), s.document) for s in corpus]
    assert found == [("Ann left", 0), ("Ann left", 1), ("Ann left", 2), ("Bo \ufeff", 2)]


def test_a_byte_order_mark_within_a_cell_is_text(tmp_path):
    """It begins a line but not a file, and span offsets count it."""
    text = "Hi\n\ufeffyo\n\ufeffa b c d"
    at = text.index("b")
    spans = json.dumps([{"start": at, "end": at + 1, "label": "PER"}]).replace('"', '""')
    sentences, _ = read(tmp_path, "a.csv", f'text,label\n"{text}","{spans}"\n')
    words, tags = (column.split(" ") for column in sentences[0])
    assert words[tags.index("B-PER")] == "b"
    rows = '"a\n\ufeffb",O,1\n\ufeff,B-X,1\n'
    assert read(tmp_path, "a.csv", f"word,tag,sid\n{rows}")[0] == [("a\n\ufeffb \ufeff", "O B-X")]


@pytest.mark.parametrize(
    ("marks", "read_as"),
    [
        (['""""', '"""Hi"""', "''"], ['"', '"Hi"', "''"]),
        (['"', '""""', '""'], None),
        (['""', "``"], None),
        (['"Hi"', '"""'], None),
        (['","', '"1,000"', '""""'], [",", "1,000", '"']),
        (['"Hi"', '""""'], None),
    ],
)
@pytest.mark.parametrize("head", ["", "sid\tword\ttag\n"])
def test_quotation_marks_between_tabs_are_words_unless_all_are_quoted(
    tmp_path, marks, read_as, head
):
    """Quoted as pandas does with sep="\\t", or plain as in CoNLL-2003."""
    first = "1\t" if head else ""
    rows = "".join(f"{first}{word}\tO\n" for word in marks) + f"{first}EU\tB-ORG\n"
    sentences, notes = read(tmp_path, "a.tsv", head + rows)
    assert sentences[0][0].split(" ") == [*(read_as or marks), "EU"]
    assert ('so """" is the word "' in notes) == (read_as is not None)


@pytest.mark.parametrize("rows", ['""""{}O\n', '"""Doc"""{}O\n', '# text = """"\nHe{}O\n'])
def test_space_separated_columns_are_never_csv(tmp_path, rows):
    sentences, notes = read(tmp_path, "a.conll", rows.format(" ") + "EU B-ORG\n")
    assert sentences[0][0].split(" ")[0] == rows.partition("{}")[0].rpartition("\n")[2]
    assert "CSV" not in notes


def test_words_are_unescaped_in_prediction_files(tmp_path):
    """Escapes are undone only in files that we wrote; escaped fields are counted, tags included."""
    words = ("New\u00a0York", "-X-", "\\u{20}", "\\u{1F600}", "\\u{e9}", "EU")
    tags = ("B-my place", "O", "O", "O", "O", "B-ORG")
    made = [Predicted(words, tags, tags)] * 3
    write_predictions(tmp_path / "a.conll", made)
    corpus = read_corpus(tmp_path / "a.conll", options=ReadOptions(tag_column="2"))
    assert corpus.sentences[2] == Sentence(words, tags)
    said = "15 fields are escaped as in flaxner's prediction files"
    assert corpus.notes[-1].startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("use O\n{} O\nEU B-ORG\n\n{} O\n", "2 fields have"),
        ("EU NNP B-ORG\n{} NN O\n", "1 field has"),
        ("EU B-NP B-ORG\n{} O O\n", "1 field has"),
        ("EU\tB-ORG\tB-ORG\n{}\tO\tO\n", "1 field has"),
        ("EU B-ORG B-ORG\n{} O O\nx\u00a0y O O\n", "1 field has"),
        ("EU B-ORG B-ORG\n{}  O O\n", "1 field has"),
    ],
)
def test_escape_like_words_in_other_files_stay_words(tmp_path, content, said):
    """Code in a text may look like an escape."""
    for code, is_escape in ((r"\u{a0}", True), (r"\u{1f600}", False), (r"\u{20}", True)):
        sentences, notes = read(tmp_path, "a.conll", content.replace("{}", code), tag_column="-1")
        assert code in sentences[0][0].split(" ")
        assert (f"{said} what looks like an escape of" in notes) == is_escape


def test_a_space_after_a_tag_is_not_part_of_its_type(tmp_path):
    spans = [{"text": "EU said", "spans": [[0, 2, kind]]} for kind in ("ORG", "ORG ")]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, spans)))
    assert read_corpus(path).types == ("ORG",)
    rows = "Ann\tB-PER \tx\nleft\tO \ty\nRome\tB-LOC\tz\n"
    corpus = read_corpus(write(tmp_path, "a.tsv", rows))
    assert corpus.types == ("LOC", "PER")
    assert corpus.sentences[0].tags == ("B-PER", "O", "B-LOC")


# -- JSON arrays ----------------------------------------------------------------------------------

ONE = '[{"tokens": ["Ann"], "ner_tags": ["B-PER"]}]'
TWO = '[{"tokens": ["Rome"], "ner_tags": ["B-LOC"]}]'


@pytest.mark.parametrize("between", ["\n", "", " \n\n", ONE.join("\n\n")])
def test_consecutive_arrays_are_all_read(tmp_path, between):
    sentences, _ = read(tmp_path, "a.json", f"{ONE}{between}{TWO}\n")
    middle = [("Ann", "B-PER")] * between.count("[{")
    assert sentences == [("Ann", "B-PER"), *middle, ("Rome", "B-LOC")]


@pytest.mark.parametrize("rest", ["garbage", TWO[1:-1], "]", ", " + TWO, '"x"'])
def test_only_an_array_may_follow_an_array(tmp_path, rest):
    said = refusal(tmp_path, "a.json", f"{ONE}\n\n{rest}")
    assert said.startswith("line 3: only another array may follow an array: got ")


def test_an_incomplete_second_array_is_refused(tmp_path):
    assert "line 2: the array is incomplete" in refusal(tmp_path, "a.json", f"{ONE}\n{TWO[:-1]}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"{ONE[1:-1]},\n" * 1100, "invalid JSON: Extra data"),
        ('{"tokens": ["EU", x,\n' + '"y",\n' * 1100 + '"z"]}\n', "invalid JSON: Expecting value"),
        ("{" + '\n"x": 1,' * 1100 + "}\n", "a record of more than 1,000 lines or 64 KiB must"),
    ],
)
def test_json_errors_are_precise_in_long_files_too(tmp_path, content, said):
    assert refusal(tmp_path, "a.jsonl", content).startswith(f"line 1: {said}")


# -- splits of data sets --------------------------------------------------------------------------


def saved(tmp_path, *splits):
    """Save a `datasets` folder in which the only word of each split is the split's name."""
    import datasets

    rows = {s: {"tokens": [[s.upper()]], "ner_tags": [["B-X"]]} for s in splits}
    made = {split: datasets.Dataset.from_dict(row) for split, row in rows.items()}
    datasets.DatasetDict(made).save_to_disk(str(tmp_path / "set"))
    return str(tmp_path / "set")


@pytest.mark.parametrize(
    ("splits", "wanted", "own"),
    [
        (("train", "validation", "dev"), "validation", "validation"),
        (("train", "validation", "dev"), "dev", "dev"),
        (("train", "dev"), "validation", "dev"),
        (("train", "dev"), "dev", "dev"),
        (("train", "validation"), "dev", "validation"),
        (("dev", "eval"), "eval", "eval"),
    ],
)
def test_an_exact_split_name_is_preferred_to_a_synonym(tmp_path, splits, wanted, own):
    corpus = read_corpus(saved(tmp_path, *splits), wanted)
    assert corpus.sentences[0].words == (own.upper(),)
    assert (f"read from the data set's split {own!r}" in corpus.notes) == (own != wanted)


def test_an_ambiguous_split_is_not_read(tmp_path):
    name = saved(tmp_path, "train", "dev", "eval")
    with pytest.raises(
        ValueError, match="several splits could be the validation split: dev, eval;"
    ):
        read_dataset(name, ["train", "validation"])
    with pytest.raises(ValueError, match="no split test; the data set has train, dev, eval"):
        read_corpus(name, "test")
    path = str(write(tmp_path, "a.conll", "Ann B-X\n"))
    config = TrainConfig(dataset=name, validation_file=path, output_dir=str(tmp_path / "out"))
    assert read_sources(config)["validation"].sentences[0].words == ("Ann",)


def test_a_configuration_of_a_local_data_set_is_read_or_refused(tmp_path):
    listed = "".join(
        f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("en", "de")
    )
    write(tmp_path, "README.md", f"---\nconfigs:\n{listed}---\n")
    for name in ("en", "de"):
        write(tmp_path, f"{name}.jsonl", json.dumps({"tokens": [name], "ner_tags": ["B-X"]}))

    def words(name=tmp_path, **options):
        return read_corpus(str(name), "train", ReadOptions(**options)).sentences[0].words

    assert [words(dataset_config=name) for name in ("en", "de")] == [("en",), ("de",)]
    for options, said in (
        ({}, "the data set has several configurations; choose one with --dataset-config: en, de"),
        ({"dataset_config": "x"}, "no configuration 'x'; choose one with --dataset-config: en, de"),
        ({"dataset_revision": "v1"}, "a folder has no revisions"),
    ):
        with pytest.raises(ValueError, match=said):
            words(**options)
    with pytest.raises(ValueError, match="saved by `datasets` has no configurations"):
        words(saved(tmp_path, "train"), dataset_config="en")


def test_the_choice_of_configurations_is_listed(tmp_path):
    names = [f"configuration_with_a_long_name_{i}" for i in range(10, 35)]
    listed = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in names)
    write(tmp_path, "README.md", f"---\nconfigs:\n{listed}---\n")
    for name in names:
        write(tmp_path, f"{name}.jsonl", json.dumps({"tokens": [name], "ner_tags": ["B-X"]}))
    with pytest.raises(ValueError, match=f"--dataset-config: {', '.join(names[:20])}, \\.\\.\\.$"):
        read_corpus(str(tmp_path), "train")
    with pytest.raises(ValueError, match="has no configurations or revisions"):
        read_corpus(tmp_path / "en.jsonl", options=ReadOptions(dataset_config="en"))


def test_label_names_come_from_the_revision_that_is_read(monkeypatch, tmp_path):
    from datasets import Dataset

    from flaxner.data.readers import hub_data

    asked = []
    table = write(tmp_path, "label.json", '{"O": 0, "B-PER": 1}')
    monkeypatch.setattr(hub_data, "dataset_file", lambda *which: asked.append(which) or table)
    features = Dataset.from_dict({"tokens": [["a"]], "tags": [[1]]}).features
    for revision in ("v1", hub_data.PARQUET):
        source = hub_data.Source("user/set", None, revision)
        assert hub_data._listed_names(source, features, None, set()) == {"tags": ["O", "B-PER"]}
    assert [revision for *_, revision in asked] == ["v1", None]


# -- texts and spans ------------------------------------------------------------------------------


def lines(*records):
    return "".join(json.dumps({"text": "Ann left Rome"} | record) + "\n" for record in records)


PER, LOC = [[0, 3, "PER"]], [[9, 13, "LOC"]]
PEOPLE, PLACES = ("Ann left Rome", "B-PER O O"), ("Ann left Rome", "O O B-LOC")
TAGGED = {"tokens": ["Ann", "left", "Rome"]}


def test_the_span_column_with_spans_is_read(tmp_path):
    content = lines({"entities": [], "labels": PER}, {"entities": [], "labels": LOC})
    sentences, notes = read(tmp_path, "a.jsonl", content)
    assert sentences == [PEOPLE, PLACES]
    assert "spans are read from 'labels'; 'entities' holds none" in notes
    content = lines({"label": "x", "answer": "accept", "spans": [], "entities": PER})
    assert read(tmp_path, "a.jsonl", content)[0] == [PEOPLE], "in Prodigy's records, too"
    content = lines({"entities": PER}, {"label": LOC}, {"spans": PER, "ents": PER})
    sentences, notes = read(tmp_path, "a.jsonl", content)
    assert sentences == [PEOPLE, PLACES, PEOPLE]
    assert "read from" not in notes


def test_a_comment_may_have_as_many_commas_as_a_row(tmp_path):
    rows = '1,Ann,B-PER,"PER, or LOC, hmm\nask Bo, Cy, and Di, please"\n1,left,O,\n'
    assert read(tmp_path, "a.csv", f"sid,word,tag,comment\n{rows}")[0] == [("Ann left", "B-PER O")]


@pytest.mark.parametrize(
    "other",
    [
        {"entities": [[0, 3, "PER"]]},
        {"labels": [{"start": 0, "end": 3, "label": "PER", "id": 1}]},
        {"ents": [{"start_offset": 0, "end_offset": 3, "type": "PER", "text": "Ann"}]},
        {"annotations": [{"start": 0, "end": 3, "comment": "sure?"}]},
    ],
)
def test_the_same_spans_in_two_notations_are_read(tmp_path, other):
    record = {"text": "Ann left", "spans": [{"start": 0, "end": 3, "label": "PER"}], **other}
    assert read(tmp_path, "a.jsonl", json.dumps(record))[0] == [("Ann left", "B-PER O")]


@pytest.mark.parametrize(
    "records",
    [
        [{"entities": PER, "spans": LOC}],
        [{"entities": [], "spans": LOC}, {"entities": PER, "spans": []}],
    ],
)
def test_two_span_columns_must_be_chosen_between(tmp_path, records):
    said = refusal(tmp_path, "a.jsonl", lines(*records))
    assert "the columns 'spans' and 'entities' hold different spans: choose" in said
    sentences, _ = read(tmp_path, "a.jsonl", lines(*records), spans_column="spans")
    assert sentences[0] == PLACES


def test_spans_next_to_parts_of_speech_are_read(tmp_path):
    content = lines(TAGGED | {"tags": ["PROPN", "VERB", "PROPN"], "entities": PER}) * 2
    sentences, notes = read(tmp_path, "a.jsonl", content)
    assert sentences == [PEOPLE] * 2
    assert notes.startswith("spans are read from 'entities'; no other column holds tags")
    content = lines(TAGGED | {"tags": ["B-LOC", "O", "O"], "entities": PER})
    sentences, notes = read(tmp_path, "a.jsonl", content)
    assert sentences == [("Ann left Rome", "B-LOC O O")]
    assert "; the spans in 'entities' are ignored (use --spans-column to read them)" in notes
    for options in ({"spans_column": "entities"}, {"text_column": "text"}):
        assert read(tmp_path, "a.jsonl", content, **options)[0] == [PEOPLE]
    for tags in (["O", "O", "O"], ["B-NP", "B-VP", "B-NP"]):
        content = lines(TAGGED | {"tags": tags, "entities": PER})
        said = refusal(tmp_path, "a.jsonl", content)
        assert said.endswith("choose --spans-column entities or --tag-column tags")
        assert read(tmp_path, "a.jsonl", content, tag_column="tags")[0][0][1] == " ".join(tags)


@pytest.mark.parametrize(
    "other",
    [
        {"form": "10-K", "tag": "news", "label": PER},
        {"token": "a1", "label": 0, "labels": PER},
        {"token": "a1", "label": "x", "sentence_id": 1, "ner": PER},
        {"word": "Ann", "tag": 1, "label": PER},
    ],
)
def test_labels_of_a_text_are_not_words_with_tags(tmp_path, other):
    assert read(tmp_path, "a.jsonl", lines(other))[0] == [PEOPLE]


@pytest.mark.parametrize("options", [{"spans_column": "spanss"}, {"text_column": "txt"}])
def test_a_missing_column_does_not_fall_back_to_tags(tmp_path, options):
    content = lines(TAGGED | {"ner_tags": ["B-LOC", "O", "O"], "spans": PER})
    said = refusal(tmp_path, "a.jsonl", content, **options)
    assert said.startswith(f"line 1: no column {next(iter(options.values()))!r}; the record has")
    content = json.dumps(TAGGED | {"ner_tags": ["B-LOC", "O", "O"]})  # beside a file with spans
    assert read(tmp_path, "a.jsonl", content, **options)[0] == [("Ann left Rome", "B-LOC O O")]


def test_the_choice_between_two_likely_columns_is_reported(tmp_path):
    tagged = TAGGED | {"ner_tags": ["B-LOC", "O", "O"]}
    for name, content, said in (
        ("a.csv", "sid,token,word,tag\n1,Ann,ann,B-X\n", "words are read from 'token'; 'word' is"),
        (
            "a.jsonl",
            json.dumps(tagged | {"words": list("abc")}),
            "from 'tokens'; 'words' is ignored",
        ),
        (
            "a.jsonl",
            lines({"sentence": "Bo left", "spans": PER}),
            "from 'text'; 'sentence' is ignored",
        ),
    ):
        assert said in read(tmp_path, name, content)[1]
    same_words = "sid,token,word,tag\n1,Ann,Ann,B-X\n"
    assert "is ignored" not in read(tmp_path, "a.csv", same_words)[1]
    for same in (tagged | {"words": TAGGED["tokens"]}, {"sentence": "Ann left Rome", "spans": PER}):
        assert "is ignored" not in read(tmp_path, "a.jsonl", lines(same))[1]
    assert "is ignored" not in read(tmp_path, "a.jsonl", lines(tagged | {"token": [1, 2, 3]}))[1]
    content = json.dumps(tagged | {"tokens": ["Ann"], "words": list("abc")})
    assert refusal(tmp_path, "a.jsonl", content).endswith(
        "1 word and 3 tags; --word-column can select words instead of tokens"
    )


def test_an_unread_key_of_the_last_column_is_named(tmp_path):
    content = UD.format(1, "Ann", "B-PER") + UD.format(2, "EU", "x").replace("NER=x", "Entity=B-X")
    assert (
        "from NER= in the last column; Entity= also holds" in read(tmp_path, "a.conll", content)[1]
    )
    for held, empty in (("NER", "Entity"), ("Entity", "NER")):
        content = UD.format(1, "Ann", "B-PER").replace("NER=B-PER", f"{held}=B-PER|{empty}=O")
        sentences, notes = read(tmp_path, "a.conll", content)
        assert sentences == [("Ann", "B-PER")]
        assert f"from {held}= in the last column" in notes
        assert f"{empty}= also holds" not in notes


def test_tokens_that_cover_only_part_of_a_text_lose_no_words(tmp_path):
    tokens = [{"text": "Ann", "start": 0, "end": 3, "id": 0}]
    for extra in ({"answer": "accept", "spans": PER}, {"entities": PER}, {"ents": PER}):
        sentences, notes = read(tmp_path, "a.jsonl", lines(extra | {"tokens": tokens}))
        assert sentences == [PEOPLE]
        assert (
            "1 text has tokens that do not cover all their words: these tokens are ignored" in notes
        )


def test_piece_tags_are_not_span_types(tmp_path):
    pieces = [{"entity": "B-PER", "start": 0, "end": 3}, {"entity": "I-PER", "start": 4, "end": 8}]
    said = refusal(tmp_path, "a.jsonl", lines({"entities": pieces}))
    assert said.startswith(
        "line 1: a span must be a whole entity with its type, not a tag: got 'I-"
    )
    sentences, notes = read(tmp_path, "a.jsonl", lines({"entities": pieces[:1]}))
    assert sentences[0][1] == "B-B-PER O O"
    assert "look like tags (B-PER) and are read as they are; --map-types B-PER=PER" in notes


# -- tables ---------------------------------------------------------------------------------------

SIDES = "word,tag,sentence_id\n"


def test_an_unclosed_quotation_mark_swallows_no_rows(tmp_path):
    for at, lone in enumerate(('",O,1\n', 'a,",1\n', 'a,O,"\n')):
        said = refusal(tmp_path, "a.csv", f"{SIDES}{lone}b,O,1\nAnn,B-PER,1\n{lone}c,O,1\n")
        assert said.startswith(
            "line 2: a cell contains other rows (an unclosed quotation mark?):"
        ), at
    meant = f'note,{SIDES}"a, b\nc",Ann,B-PER,1\nd,"\n",O,1\ne,"""",O,1\n'
    assert read(tmp_path, "a.csv", meant)[0] == [('Ann \n "', "B-PER O O")]


@pytest.mark.parametrize("blank", ["\n", "\r\n \n", "\ufeff\n\n"])
@pytest.mark.parametrize("mark", [",", "\t"])
def test_blank_lines_before_a_header_are_skipped(tmp_path, mark, blank):
    rows = f"{blank}sid,word,tag\n1,Ann,B-PER\n2,left,O\n".replace(",", mark)
    assert read(tmp_path, "a.csv", rows)[0] == [("Ann", "B-PER"), ("left", "O")]
    assert read(tmp_path, "a.csv", rows, format="table")[0] == [("Ann", "B-PER"), ("left", "O")]
    line = blank.count("\n") + 3
    said = refusal(tmp_path, "a.csv", f"{rows}2{mark}Bo\n")
    assert said.startswith(f"line {line + 1}: too few columns")
    spans = f"{blank}text;spans\nAnn left;[[0,3,PER]]\n"
    spans = f'{blank}text;spans\nAnn left;"[[0, 3, ""PER""]]"\n'
    assert read(tmp_path, "b.csv", spans)[0] == [("Ann left", "B-PER O")]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "EU,B-ORG\nleft,O\n", "line 1: CSV needs a header, such as word,tag, and one"),
        ("a.txt", "EU,B-ORG\nleft,O\n", "line 1: CSV needs a header"),
        ("a.csv", "id,text\n1,EU left\n", "line 1: CSV needs a header"),
        ("a.csv", "text,labels\nEU left,B-ORG O\nAnn,B-PER\n", "line 1: CSV needs a header"),
        (
            "a.csv",
            "text,labels\nEU left,\"['B-ORG', 'O']\"\n",
            "line 2: 'labels' must be a list: got \"['B-ORG', 'O']\", a list stored as text;",
        ),
    ],
)
def test_csv_of_another_shape_is_told_what_to_write(tmp_path, name, content, told):
    assert refusal(tmp_path, name, content).startswith(told)


def test_columns_in_a_file_named_csv_are_still_read(tmp_path):
    assert read(tmp_path, "a.csv", ", O\nAnn B-PER\n")[0] == [(", Ann", "O B-PER")]


@pytest.mark.parametrize("end", ["", "\n", ",\n\n"])
def test_blank_rows_at_the_end_separate_nothing(tmp_path, end):
    said = refusal(tmp_path, "a.csv", "\nword,tag\nAnn,B-PER\nleft,O\n".lstrip() + end)
    assert said.startswith("line 1: nothing separates the sentences; number them in")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'sid, word, tag\n1, Ann, B-PER\n1, "left, too", O\n2, Bo, B-PER\n'),
        ("a.csv", 'sid | word | tag\n1 | Ann | B-PER\n1 | left, too | O\n2 | Bo | B-PER\n'),
        ("a.csv", 'sid,word,tag\r1,Ann,B-PER\r1,"left, too",O\r2,Bo,B-PER\r'),
        ("a.jsonl", '{"sentence": 1, "word": "Ann", "label": "B-PER"}\n'
                    '{"sentence": 1, "word": "left, too", "label": "O"}\n'
                    '{"sentence": 2, "word": "Bo", "label": "B-PER"}\n'),
    ],
    ids=["spaces", "padded", "CR", "a label is no list of spans"],
)  # fmt: skip
def test_tables_as_other_programs_write_them(tmp_path, name, content):
    assert read(tmp_path, name, content)[0] == [("Ann left, too", "B-PER O"), ("Bo", "B-PER")]


def test_a_quotation_mark_in_a_padded_table_is_a_word(tmp_path):
    rows = '1 | " | O\n1 | EU | B-ORG\n2 | y" | O\n'
    sentences, _ = read(tmp_path, "a.csv", f"sid | word | tag\n{rows}")
    assert sentences == [('" EU', "O B-ORG"), ('y"', "O")]


def test_an_ambiguous_column_name_is_refused(tmp_path):
    content = "word,tag,tag,sid\nAnn,O,B-PER,1\nleft,B-X,O,1\n"
    assert "the header has 2 columns named 'tag'; give the column's number" in refusal(
        tmp_path, "a.csv", content
    )
    assert "the header has 2 columns named 'tag'" in refusal(
        tmp_path, "a.csv", content, tag_column="tag"
    )
    for column, tags in (("1", "O B-X"), ("2", "B-PER O")):
        assert read(tmp_path, "a.csv", content, tag_column=column)[0] == [("Ann left", tags)]
    assert "2 columns named 'word'" in refusal(
        tmp_path, "a.csv", content.replace(",tag,", ",word,", 1)
    )


def test_two_columns_of_one_name_in_a_table_of_texts(tmp_path):
    content = 'text,text,label\nfirst one,Ann left,"[[0, 3, ""PER""]]"\n'
    assert "line 1: the header has 2 columns named 'text'" in refusal(tmp_path, "a.csv", content)


def test_a_file_that_begins_with_many_blank_lines_is_not_empty(tmp_path):
    content = "\n" * 70_000 + "Ann B-PER\nleft O\n"
    assert read(tmp_path, "a.conll", content)[0] == [("Ann left", "B-PER O")]
    assert "empty" in refusal(tmp_path, "b.conll", "\n" * 70_000)


def test_a_word_column_that_is_absent_is_refused_beside_spans_too(tmp_path):
    content = '{"text": "Ann left", "label": [[0, 3, "PER"]]}\n'
    assert "'x'" in refusal(tmp_path, "a.jsonl", content, word_column="x")


def test_sentence_numbers_that_pandas_wrote_as_decimals(tmp_path):
    content = "sid,word,tag\n1,Ann,B-PER\n1.0,left,O\n2.0,Bo,B-PER\n"
    assert read(tmp_path, "a.csv", content)[0] == [("Ann left", "B-PER O"), ("Bo", "B-PER")]
    content = "sid,word,tag\nv1,Ann,B-PER\nv1.0,Bo,B-PER\n"  # names, not numbers
    assert read(tmp_path, "a.csv", content)[0] == [("Ann", "B-PER"), ("Bo", "B-PER")]


@pytest.mark.parametrize(("numbers", "said"), [("1 1 _ 2 2", True), ("1 _ _ 2 _", False)])
def test_a_missing_number_among_repeated_ones_is_announced(tmp_path, numbers, said):
    cells = [n.replace("_", "") for n in numbers.split()]
    rows = zip(cells, ("Ann", "left", "Bo", "went", "too"), strict=True)
    content = "sid,word,tag\n" + "".join(f"{n},{word},B-PER\n" for n, word in rows)
    sentences, notes = read(tmp_path, "a.csv", content)
    assert [words for words, _ in sentences] == ["Ann left Bo", "went too"]
    assert ("numbers in 'sid' are missing (1 times, first on line 4)" in notes) == said


def test_documents_of_one_sentence_do_not_merge(tmp_path):
    rows = "a,1,Ann,B-PER\na,1,left,O\nb,1,Bo,B-PER\nb,2,Rome,B-LOC\nc,1,Cy,B-PER\n"
    for name in ("doc", "document"):
        corpus = read_corpus(write(tmp_path, "a.csv", f"{name},sentence_id,word,tag\n{rows}"))
        found = [(" ".join(s.words), s.document) for s in corpus]
        assert found == [("Ann left", 0), ("Bo", 1), ("Rome", 1), ("Cy", 2)]
        assert f"documents are read from {name!r}" in corpus.notes
    sentences, notes = read(tmp_path, "a.csv", f"x,sentence_id,word,tag\n{rows}")
    assert sentences[0][0] == "Ann left Bo"
    assert "numbers in 'sentence_id' recur after other sentences (1 times), and no column" in notes


def test_a_table_of_texts_may_begin_without_spans(tmp_path):
    rows = 'Hello there,[]\nAnn left Rome,"[{""start"": 0, ""end"": 3, ""label"": ""PER""}]"\n'
    sentences, _ = read(tmp_path, "a.csv", f"text,entities\n{rows}")
    assert sentences == [("Hello there", "O O"), PEOPLE]
