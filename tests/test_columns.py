"""Column files: published ones as they are, and errors that give the file and line."""

import gzip
import subprocess
from collections import Counter

import pytest

from flaxner.data.corpus import read_corpus
from flaxner.data.tags import tags_to_spans

# Count the sentences, words and entities of a file with awk, independently of the reader: an entity
# begins at B-, or at I- after anything but the same type.
AWK = r"""
BEGIN { FS = "[\t ]+" }
$1 == "-DOCSTART-" { next }
$0 ~ /^[\t ]*$/ { if (n) s++; n = 0; last = ""; next }
{ n++; w++; tag = $NF; kind = substr(tag, 3)
  if (tag != "O" && (tag ~ /^B/ || kind != last)) e[kind]++
  last = tag == "O" ? "" : kind }
END { if (n) s++; print "sentences", s; print "words", w; for (k in e) print k, e[k] }
"""
FILES = [
    "sec_filings/test.conll",
    "sec_filings/train.conll",
    "wikigold/wikigold.conll",
    "wnut17/dev.conll",
    "wnut17/test.conll",
    "wnut17/train.conll",
]


def counts(corpus):
    kinds = Counter(kind for s in corpus for *_, kind in tags_to_spans(s.tags))
    return {"sentences": len(corpus), "words": corpus.words, **kinds}


@pytest.mark.shared
@pytest.mark.parametrize("name", FILES)
def test_published_files_hold_what_awk_counts(shared_data, name):
    path = shared_data / name
    output = subprocess.run(["awk", AWK, path], capture_output=True, text=True, check=True).stdout
    wanted = {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in output.splitlines()}
    assert counts(read_corpus(path)) == wanted


def write(tmp_path, content, name="a.conll"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path, content, name="a.conll", **options):
    corpus = read_corpus(write(tmp_path, content, name), **options)
    return [(" ".join(s.words), " ".join(s.tags)) for s in corpus]


WHOLE = [("Ann left", "B-PER O"), ("Rome", "B-LOC")]


@pytest.mark.parametrize(
    "content",
    [
        "Ann B-PER\nleft O\n\nRome B-LOC\n",
        "Ann B-PER\nleft O\n\nRome B-LOC",
        "\ufeffAnn\tB-PER\r\nleft\tO\r\n\r\nRome\tB-LOC\r\n",
        "Ann B-PER\rleft O\r\rRome B-LOC\r",
        "\n\nAnn\tB-PER\nleft\tO\t\n\t\n \nRome\tB-LOC\n\n\n",
        "Ann NNP I-NP I-PER\nleft VBD I-VP O\n\nRome NNP I-NP I-LOC\n",
        "-DOCSTART- -X- O O\n\nAnn NNP x B-PER\nleft VBD x O\n\nRome NNP x B-LOC\n",
        "-DOCSTART-\tO\nAnn\tB-PER\nleft\tO\n-DOCSTART-\tO\nRome\tB-LOC\n",
        "# sent_id = 1\n1\tAnn\tB-PER\t-\t-\n2\tleft\tO\t-\t-\n"
        "\n# text = Rome\n1\tRome\tB-LOC\t-\t-\n",
        "#\thttp://x\n1\tAnn\tB-PER\tO\n2\tleft\tO\tO\n\n1\tRome\tB-LOC\tI-PER\n",
        "# id 1 domain=en\nAnn _ _ B-PER\nleft _ _ O\n\n# id 2\nRome _ _ B-LOC\n",
        "Ann  S-PER\nleft   O\n\nRome    S-LOC\n",
        "Ann U-PER\nleft O\n\nRome U-LOC\n",
        gzip.compress(b"Ann B-PER\nleft O\n\nRome B-LOC\n", mtime=0),
        "1-2\tx\t_\t_\n1\tAnn\tNNP\tNER=B-PER|a=b\n2\tleft\tV\t_\n2.1\te\tV\t_\n"
        "\n1\tRome\tN\tNER=B-LOC\n",
    ],
)
def test_layouts_of_columns(tmp_path, content):
    assert read(tmp_path, content) == WHOLE


def test_unicode_inside_fields_does_not_split_them(tmp_path):
    words = ["10\u00a0000", "\u2028", "a\u3000b", "x\x85y", "\u200b", "#tag", "#", "\x0c"]
    content = "".join(f"{word}\tO\n" for word in words) + "Ann\tB-PER\n"
    assert read_corpus(write(tmp_path, content)).sentences[0].words == (*words, "Ann")


def test_documents_are_numbered(tmp_path):
    content = "-DOCSTART- O\n\na O\n\nb O\n\n-DOCSTART- O\n\nc B-X\n"
    corpus = read_corpus(write(tmp_path, content))
    assert [s.document for s in corpus] == [0, 0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: the corpus is empty"),
        ("\n \n\t\n", "line 1: the corpus is empty"),
        ("-DOCSTART- O\n\n", "line 1: the corpus is empty: it has no sentences"),
        ("a O\nb B-X\nc\n", "line 3: too few columns: got 1, expected 2: 'c'"),
        ("a O\nb B-X\nc d O\n", "line 3: too many columns: got 3, expected 2: 'c d O'"),
        ("a O\nb B-X\nc XY\n", "line 3: a tag must be O, or a prefix .* got 'XY'"),
        ("a O\nb B-X\nc B-\n", "line 3: a tag must be O, .* got 'B-'"),
        ("a\tO\nb\tB-X\n\tB-X\n", "line 3: a word tagged 'B-X' must not be empty"),
        ("hello\nworld\n", "line 1: too few columns: got 1, expected a word and a tag"),
        ("hello big\nwide world\n", "line 1: no column holds tags such as O and B-PER"),
        (
            b"a O\nb B-X\n\xff O\n",
            "line 3: the file must be UTF-8; the byte 0xff is not .*iconv -f windows-1252",
        ),
        (b'[{"tokens": ["\xff"]}]', "line 1: the file must be UTF-8; .* is not .*windows-1252"),
        (b"a O\nb B-X\nc\0 O\n", "line 3: expected a text file, but it contains a zero byte"),
        ("a O\n".encode("utf-16"), "line 1: the file must be UTF-8; it is UTF-16 .iconv"),
        ("word,tag\na,O\n".encode("utf-16"), "line 1: the file must be UTF-8; it is UTF-16 "),
        (gzip.compress(b"a O\n" * 99, mtime=0)[:16], "line 1: cannot read the corpus: "),
    ],
)
def test_errors_name_the_line(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=f"^{path}, {message}") as caught:
        read_corpus(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.conll: cannot read the corpus: No such file"):
        read_corpus(tmp_path / "nowhere.conll")
    with pytest.raises(ValueError, match=r"it is a folder, not a file: name .* --dataset"):
        read_corpus(tmp_path)
