"""Which column holds the tags: decided from the whole file, reported, and asked for if in doubt."""

import json
import re

import pytest

from flaxner.config.command_line import parse_train_config
from flaxner.data.corpus import read_corpus
from flaxner.inspection.report import inspect
from flaxner.training.preparation import load_corpora
from tests import scripts

CHUNKED = "Oda NNP B-NP B-PER\nleft VBD B-VP O\nTarvik NNP B-NP B-LOC\n\n"
NOTHING = "a NN B-NP O\nb VB B-VP O\n\n"
WORDS = ["Oda", "left"]
CHUNKS = ["B-NP", "B-VP"]


def read(tmp_path, name, content, *flags):
    """Return what `train.py --train-file NAME FLAGS` reads."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_corpora(parse_train_config(["--train-file", str(path), *flags]))["train"]


def records(*items):
    return "".join(json.dumps(item) + "\n" for item in items)


def parquet(columns):
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def test_an_invalid_tag_is_named_and_chunks_are_not_learnt(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(CHUNKED * 5 + CHUNKED.replace("B-VP O", "B-VP 0") + CHUNKED * 600)
    done = scripts.run("train.py", "--inspect", "--model", "flaxner:tiny", "--train-file", path)
    told = done.stderr
    assert done.returncode == 2
    assert f"{path}, line 22: a tag must be O, or a prefix such as B- and a type: got '0'" in told
    assert "in column 3; column 2 holds chunks (NP, VP)" in told
    assert "Traceback" not in told


def test_the_choice_and_its_reason_are_printed(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_text(records({"tokens": WORDS, "tags": CHUNKS, "ner": ["B-PER", "O"]}))
    inspect(parse_train_config(["--inspect", "--model", "flaxner:tiny", "--train-file", str(path)]))
    assert "tags are read from 'ner'; 'tags' holds chunks (NP, VP)" in capsys.readouterr().out


CHOSEN = {
    "late.conll": (NOTHING * 1500 + CHUNKED, "column 3; column 2 holds chunks"),
    "indexed.conll": ("1\tOda\tNN\tB-NP\tB-PER\n2\tx\tVB\tB-VP\tO\n\n" * 3, "column 4; column 3"),
    "nested.conll": ("1\tOda\tB-PER\tB-PER\n2\tx\tB-PER\tO\n\n" * 3, "column 2; column 3 holds"),
    "swapped.tsv": ("B-PER\tOda\nO\tleft\n\n" * 3, "column 0, .* words are read from column 1"),
    "equal.conll": ("Oda B-PER B-PER\nx O O\n\n", "column 1; column 2 holds entities"),
    "segmented.conll": ("Oda B B-PER\nx E O\ny S O\n\n", "column 2; column 1 holds segments"),
    "german.conll": ("Oda NE I-NC I-PER\nx VV I-VC O\n\n", "column 3; column 2 holds chunks"),
    "two.jsonl": (
        records({"tokens": WORDS, "labels": ["B-AGE", "O"], "ner_tags": ["B-PER", "O"]}),
        "'ner_tags'; 'labels' holds entities",
    ),
    "unknown.jsonl": (
        records({"tokens": WORDS, "chunk_tags": CHUNKS, "iob": ["B-PER", "O"]}),
        "'iob'; 'chunk_tags' holds chunks",
    ),
    "speech.jsonl": (
        records({"tokens": WORDS, "tags": ["NNP", "VBD"], "ner": ["B-PER", "O"]}),
        "'ner', the only one that holds tags",
    ),
    "many.csv": (
        "sid,word,tag,ner\n1,Oda,B-NP,B-PER\n1,left,B-VP,O\n",
        "'ner'; 'tag' holds chunks",
    ),
    "lists.parquet": (
        parquet({"tokens": [WORDS], "tags": [CHUNKS], "ner": [["B-PER", "O"]]}),
        "'ner'; 'tags' holds chunks",
    ),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_column_is_chosen_from_the_whole_file(tmp_path, name):
    content, reason = CHOSEN[name]
    corpus = read(tmp_path, name, content)
    assert "PER" in corpus.types
    assert not {"NP", "VP", "NC", "AGE"} & set(corpus.types)
    assert len([n for n in corpus.notes if n.startswith("tags are read from")]) == 1
    assert re.match(f"tags are read from {reason}", corpus.notes[0])


def test_a_split_without_entities_does_not_make_chunks_the_tags(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(NOTHING * 4)
    assert read_corpus(path).types == ()


def test_chunks_are_read_and_named_if_there_are_no_other_tags(tmp_path):
    corpus = read(tmp_path, "a.conll", "Oda NN B-NP\nleft VB B-VP\nx VB O\n\n")
    assert corpus.types == ("NP", "VP")
    assert corpus.notes[0].endswith("it holds chunks (NP, VP), not entities")


ASKED = {
    "two.conll": ("Oda B-PER B-AGE\nx O B-AGE\n\n", "--tag-column 1 or --tag-column 2"),
    "scored.conll": ("Oda B-PER O\nx O B-PER\n\n", "--tag-column 1 or --tag-column 2"),
    "indexed.conll": ("1\tOda\tB-PER\tB-AGE\n2\tx\tO\tB-AGE\n\n", "--tag-column 2 or"),
    "bare.conll": ("Oda B-FOO ORG\nx B-BAR O\ny O O\nz O O\n\n", "--tag-column 1 or"),
    "outside.conll": ("Oda B-FOO O\nx B-BAR O\n\n", "column 2 holds O only; choose --tag-column 1"),
    "two.jsonl": (
        records({"tokens": WORDS, "tags": ["B-PER", "O"], "labels": ["B-AGE", "O"]}),
        "--tag-column tags or --tag-column labels",
    ),
    "outside.jsonl": (
        records({"tokens": WORDS, "tags": ["B-FOO", "O"], "ner": ["O", "O"]}),
        "--tag-column tags or --tag-column ner",
    ),
    "two.csv": ("sid,word,tag,label\n1,Oda,B-PER,B-AGE\n", "--tag-column tag or --tag-column"),
}


@pytest.mark.parametrize("name", ASKED)
def test_an_ambiguous_tag_column_must_be_chosen(tmp_path, name):
    content, flags = ASKED[name]
    with pytest.raises(ValueError, match=f"line 1: several columns could be the tags: .*{flags}"):
        read(tmp_path, name, content)
    chosen = flags.split("--tag-column ")[1].split()[0]
    corpus = read(tmp_path, name, content, "--tag-column", chosen)
    assert corpus.types
    assert f"column {chosen}" in corpus.notes[0] or repr(chosen) in corpus.notes[0]
    assert "as --tag-column says" in corpus.notes[0]


BARE = {
    "gum.conll": "Oda\tperson\nleft\tO\nfor\tO\nTarvik\tplace\n\n",
    "beside.conll": "Oda I-NP person\nleft I-VP O\nfor I-PP O\nTarvik I-NP place\n\n",
    "dense.conll": "Oda person\nleft O\nfor O\nTarvik place\n\n" + "Oda person\n\n" * 2,
    "dense_beside.conll": "Oda B-NP person\nleft B-VP O\nfor B-PP O\nTarvik B-NP place\n\n"
    + "Oda B-NP person\n\n" * 2,
    "a.csv": "sid,word,tag\n1,Oda,person\n1,left,O\n1,for,O\n1,Tarvik,place\n",
    "a.jsonl": records(
        {"tokens": ["Oda", "left", "for", "Tarvik"], "ner": ["person", "O", "O", "place"]}
    ),
}


@pytest.mark.parametrize("name", BARE)
def test_bare_types_need_scheme_io(tmp_path, name):
    with pytest.raises(
        ValueError, match=r"got 'person' in .*, which holds O and few .*: --scheme IO reads bare"
    ):
        read(tmp_path, name, BARE[name])
    corpus = read(tmp_path, name, BARE[name], "--scheme", "IO")
    assert corpus.sentences[0].tags == ("B-person", "O", "O", "B-place")
    assert corpus.scheme == "IO"
    assert (
        "its types have no prefix, so adjacent words of one type are one entity" in corpus.notes[0]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Oda\tB-PER\nleft\tO\n", "line 1: --scheme IO is for types without a prefix: .* B-PER"),
        (BARE["gum.conll"] * 9 + "x\t0\n", "line 46: with --scheme IO a tag must be O or a type"),
    ],
)
def test_scheme_io_refuses_prefixes_and_other_tags(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "a.conll", content, "--scheme", "IO")


def test_ids_without_names_do_not_fall_back_to_chunks(tmp_path):
    content = records({"tokens": WORDS, "tags": CHUNKS, "ner_tags": [1, 0]})
    with pytest.raises(ValueError, match="line 1: the ids in 'ner_tags' have no names"):
        read(tmp_path, "a.jsonl", content)
    content += records({"tokens": WORDS, "tags": CHUNKS})
    with pytest.raises(ValueError, match="ids in 'ner_tags'"):
        read(tmp_path, "a.jsonl", content)


def test_a_record_without_the_tag_column_is_refused(tmp_path):
    content = records(
        {"tokens": WORDS, "tags": CHUNKS, "ner": ["B-PER", "O"]}, {"tokens": WORDS, "tags": CHUNKS}
    )
    with pytest.raises(ValueError, match="line 2: no column 'ner', unlike in other records"):
        read(tmp_path, "a.jsonl", content)


def test_an_unusual_outside_tag_is_refused(tmp_path):
    content = "Oda NN B-NP B-PER\nx VB B-VP _\ny VB O _\n\n"
    with pytest.raises(ValueError, match=r"line 2: .* got '_' in column 3, where O is expected"):
        read(tmp_path, "a.conll", content)


# One word per row, in formats other than CSV.
ROWS = {
    "sentence_id": [1.0, float("nan"), 2.0],
    "word": ["Oda", "left", "Tarvik"],
    "tag": ["B-PER", "O", "B-LOC"],
}


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_one_word_per_row_is_read_as_in_csv(tmp_path, name):
    lines = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
    content = parquet(ROWS) if name == "a.parquet" else records(*lines)
    corpus = read(tmp_path, name, content)
    assert [(s.words, s.tags) for s in corpus] == [
        (("Oda", "left"), ("B-PER", "O")),
        (("Tarvik",), ("B-LOC",)),
    ]
    alone = {key: ROWS[key] for key in ("word", "tag")}
    if name == "a.parquet":
        with pytest.raises(
            ValueError, match="nothing separates the sentences; number them in a column"
        ):
            read(tmp_path, name, parquet(alone))


def test_one_word_per_row_with_named_ids(tmp_path):
    import datasets

    names = datasets.ClassLabel(names=["O", "B-PER", "I-PER"])
    features = {"sid": datasets.Value("int64"), "word": datasets.Value("string"), "tag": names}
    table = {"sid": [1, 1, 2], "word": ["Oda", "left", "Ann"], "tag": [1, 0, 1]}
    data = datasets.Dataset.from_dict(table, features=datasets.Features(features))
    data.to_parquet(str(tmp_path / "b.parquet"))
    corpus = read_corpus(tmp_path / "b.parquet")
    assert [s.tags for s in corpus] == [("B-PER", "O"), ("B-PER",)]


NAN = float("nan")
VALUES = [
    ("tokens", None, "'tokens' must be a list with one item per word: got null"),
    ("tokens", "['Oda', 'left']", "'tokens' must be a list .*: got .*, a list stored as text"),
    ("tokens", ["Oda", None], "'tokens' must hold words: word 2 is null"),
    ("tokens", [NAN, "left"], "'tokens' must hold words: word 1 is NaN"),
    ("tokens", [1, "left"], "'tokens' must hold words: word 1 is 1"),
    ("ner_tags", None, "'ner_tags' must be a list with one item per word: got null"),
    ("ner_tags", "['O', 'O']", "'ner_tags' must be a list .*, a list stored as text"),
    ("ner_tags", ["O", None], "'ner_tags' must hold tags or their ids: got null"),
    ("ner_tags", [0.5, 1.0], "'ner_tags' must hold tags or their ids: got 0.5"),
    ("ner_tags", [NAN, 1.0], "'ner_tags' must hold tags or their ids: got NaN"),
    ("ner_tags", [True, "O"], "'ner_tags' must hold tags or their ids: got True"),
]


@pytest.mark.parametrize(("column", "value", "message"), VALUES)
def test_values_of_the_wrong_kind_are_named(tmp_path, column, value, message):
    good = {"tokens": WORDS, "ner_tags": ["B-PER", "O"]}
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 2: {message}"):
        read(tmp_path, "a.jsonl", records(good, good | {column: value}))
    with pytest.raises(ValueError, match=rf"a\.jsonl, line 1: {message}"):
        read(tmp_path, "a.jsonl", records(good | {column: value}))


def test_bytes_and_null_rows_of_parquet_are_named(tmp_path):
    for columns, message in (
        ({"tokens": [[b"Oda"]], "ner_tags": [["O"]]}, "word 1 is the bytes b'Oda', which are not"),
        ({"tokens": [["Oda"], None], "ner_tags": [["B-X"], None]}, "line 2: 'tokens' must be a"),
        ({"sid": [1], "word": [b"Oda"], "tag": ["O"]}, "'word' must be a list"),
        ({"sid": [1, 1], "word": ["a", None], "tag": ["B-X", "O"]}, "'word' must be a word: got n"),
        ({"sid": [1, 1], "word": ["a", "b"], "tag": ["B-X", None]}, "'tag' must hold tags .* null"),
    ):
        with pytest.raises(ValueError, match=message):
            read(tmp_path, "a.parquet", parquet(columns))
    with pytest.raises(
        ValueError, match=r"'ner_tags' must hold one tag per word: got .*, a list stored as"
    ):
        read(tmp_path, "a.csv", "tokens,ner_tags\n\"['Oda']\",\"['B-PER']\"\n")


def test_ids_that_pandas_turned_into_floats_keep_their_names(tmp_path):
    import datasets

    names = datasets.List(datasets.ClassLabel(names=["O", "B-PER"]))
    metadata = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "tags": names})
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"tokens": [WORDS], "tags": [[1.0, 0.0]]})
    table = table.replace_schema_metadata(metadata.arrow_schema.metadata)
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_corpus(tmp_path / "a.parquet").sentences[0].tags == ("B-PER", "O")


@pytest.mark.parametrize(
    "record",
    [
        {"tokens": ["a\ud83d", "b"], "ner_tags": ["O", "B-X"]},
        {"tokens": ["a", "b"], "ner_tags": ["O", "B-\ud83d"]},
        {"text": "a\ud83d b", "label": [[3, 4, "X"]]},
        {"text": "a b", "label": [[2, 3, "X\ud83d"]]},
    ],
)
def test_half_a_surrogate_pair_is_refused(tmp_path, record):
    with pytest.raises(ValueError, match=r"line 1: a (word|type) must .*'\\ud83d', half of a su"):
        read(tmp_path, "a.jsonl", records(record))


EMPTY = {
    "a.conll": "Oda\tB-PER\n\tO\nx\tO\n\n",
    "a.csv": "sid,word,tag\n1,Oda,B-PER\n1,,O\n1,x,O\n",
    "a.jsonl": records({"tokens": ["Oda", "", "x"], "ner_tags": ["B-PER", "O", "O"]}),
}


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_word_outside_keeps_its_place_and_is_counted(tmp_path, name):
    corpus = read(tmp_path, name, EMPTY[name])
    assert corpus.sentences[0].words == ("Oda", "_", "x")
    assert any(
        n.startswith("1 word with the tag O is empty and kept as '_' (line") for n in corpus.notes
    )
    broken = EMPTY[name].replace(",,O", ",,B-PER").replace("\tO\nx", "\tB-PER\nx")
    broken = broken.replace('"O", "O"', '"B-PER", "O"')
    with pytest.raises(ValueError, match=r"line \d: a word tagged 'B-PER' must not be empty"):
        read(tmp_path, name, broken)


def test_a_missing_blank_line_is_reported(tmp_path):
    corpus = read(tmp_path, "a.conll", "Oda\tB-PER\nleft\tO\n" * 600)
    assert corpus.notes[-1].startswith(
        "the whole corpus is one sentence of 1,200 words, so an epoch is one step: the blank lines"
    )
    corpus = read(tmp_path, "a.conll", "Oda\tB-PER\n\n" + "left\tO\n" * 1200)
    assert corpus.notes[-1].startswith("the sentence that begins at line 3 has 1,200 words")


def test_a_type_named_o_of_a_span_is_refused_with_its_line(tmp_path):
    with pytest.raises(ValueError, match=r"line 1: no type may be named O.* got 'B-O'"):
        read(tmp_path, "a.jsonl", records({"text": "a b", "label": [[2, 3, "O"]]}))


SWAPPED = "Oda NNP B-PER B-NP\nleft VBD O B-VP\nTarvik NNP B-LOC B-NP\n\n"


@pytest.mark.parametrize(
    ("train", "test", "told"),
    [
        (("a.conll", CHUNKED), ("b.conll", SWAPPED), "column 3.* column 2"),
        (
            ("a.jsonl", records({"tokens": WORDS, "ner": ["B-PER", "O"], "chunks": CHUNKS})),
            ("b.jsonl", records({"tokens": WORDS, "chunks": CHUNKS})),
            "column ner.* column chunks",
        ),
    ],
    ids=["columns", "records"],
)
def test_one_run_reads_one_tag_column(tmp_path, train, test, told):
    """Trained on entities and scored on chunks: that is how the files would be read separately."""
    flags = []
    for flag, (name, content) in (("--train-file", train), ("--test-file", test)):
        (tmp_path / name).write_text(content)
        flags += [flag, str(tmp_path / name)]
    with pytest.raises(ValueError, match=f"{told}: choose one with --tag-column"):
        load_corpora(parse_train_config(flags))


def test_files_of_different_layouts_are_read_separately(tmp_path):
    four, two = tmp_path / "four.conll", tmp_path / "two.conll"
    four.write_text(CHUNKED)
    two.write_text("Oda B-PER\nleft O\n\n")
    swapped = tmp_path / "swapped.conll"
    swapped.write_text(SWAPPED)
    flags = ["--train-file", str(four), "--test-file", str(two)]
    assert load_corpora(parse_train_config(flags))["test"].types == ("PER",)
    mixed = [*flags[:2], "--train-file", str(swapped), "--test-file", str(swapped)]
    assert load_corpora(parse_train_config(mixed))["test"].types == ("LOC", "PER")
    named = [*flags[:2], "--test-file", str(swapped), "--tag-column", "-2"]
    with pytest.raises(ValueError, match="lacks: LOC, PER"):  # read as told and refused
        load_corpora(parse_train_config(named))
