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
