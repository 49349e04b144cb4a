"""`predict.py --format conll` sees the same words as the JSON output counts."""

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from flaxner.data.column_text import escape, unescape
from flaxner.data.tokenizer_training import train_wordpiece
from flaxner.inference.pipeline import pipeline
from flaxner.inference.printing import print_answers, texts_from
from tests.pipelines import ODD, make_folder
from tests.wordpiece import TEXTS

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "predict.py"
CHINESE = "北京 is in 中国。Obama访问了北京。"
WORDS = ["北", "京", "is", "in", "中", "国", "。", "Obama", "访", "问", "了", "北", "京", "。"]
ONE_LINE = [text for text in ODD if text.strip() and text == " ".join(text.splitlines())]


def answers(capsys, folder, form, *texts, file=None):
    given = {"texts": list(texts), "file": file, "model": str(folder), "format": form}
    call = {"aggregation_strategy": "word", "decoder": "viterbi", "engine": None}
    print_answers(argparse.Namespace(**given, **call))
    return capsys.readouterr().out


def test_ideographs_are_words(folder, ours):
    assert ours.split_words(CHINESE) == WORDS
    done = subprocess.run(
        [sys.executable, SCRIPT, "--model", folder, "--format", "conll", CHINESE],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" ") for line in done.stdout.splitlines() if line]
    assert [word for word, _ in rows] == WORDS
    assert [tag for _, tag in rows] == ours.predict_words([WORDS])[0]


def test_both_formats_name_the_same_words(folder, ours, capsys):
    """Each JSON entity appears in the CoNLL lines at the position of its word numbers."""
    texts = [CHINESE, *TEXTS, *ONE_LINE]
    objects = [json.loads(line) for line in answers(capsys, folder, "jsonl", *texts).splitlines()]
    blocks = answers(capsys, folder, "conll", *texts).split("\n\n")[:-1]
    assert len(objects) == len(blocks) == len(texts)
    entities = 0
    for text, block, found in zip(texts, blocks, objects, strict=True):
        rows = [line.split() for line in block.splitlines()]
        assert all(len(row) == 2 for row in rows), text
        words = [unescape(word) for word, _ in rows]
        assert words == ours.split_words(text)
        every = ours(text, aggregation_strategy="word", ignore_labels=[])
        assert sum(e["end_word"] - e["start_word"] for e in every) == len(words), text
        for entity in found["entities"]:
            place = slice(entity["start_word"], entity["end_word"])
            assert entity["text"].replace(" ", "") == "".join(words[place]).replace(" ", "")
            kinds = {tag[2:] for _, tag in rows[place]}
            assert kinds == {entity["entity_group"]}
            entities += 1
    assert entities >= len(texts)


@pytest.mark.parametrize(("texts", "file"), [(["-"], None), ([], "-")])
def test_what_is_typed_is_answered_line_by_line(capsys, folder, monkeypatch, texts, file):
    answered = []

    class Keyboard:
        def isatty(self):
            return True

        def __iter__(self):
            for line in ("Angela\n", "Paris\n", "Berlin\n"):
                yield line
                answered.append(capsys.readouterr().out.count("\n"))

    monkeypatch.setattr("sys.stdin", Keyboard())
    answers(capsys, folder, "jsonl", *texts, file=file)
    assert answered == [1, 1, 1]


@pytest.mark.parametrize("redirected", [True, False])
def test_progress_is_shown_while_answers_go_to_a_file(
    tmp_path, folder, monkeypatch, capsys, redirected
):
    """Not beside a pipe, whose reader may be using the terminal."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    with (tmp_path / "answers.jsonl").open("w") as file:
        if redirected:
            monkeypatch.setattr("sys.stdout", file)
        given = {"texts": ["Angela"] * 40, "file": None, "model": str(folder)}
        call = {"aggregation_strategy": "word", "decoder": "viterbi", "engine": None}
        print_answers(argparse.Namespace(**given, **call, format="jsonl"))
    assert ("40 texts read" in terminal.getvalue()) == redirected
    written = (tmp_path / "answers.jsonl").read_text() if redirected else capsys.readouterr().out
    assert [json.loads(line)["text"] for line in written.splitlines()] == ["Angela"] * 40


def test_any_word_fits_on_one_line(capsys, folder, ours):
    """Whatever Python takes for white space, or a reader for a line end, is escaped."""
    text = "x\x1fy Berlin a\u00a0b"
    rows = [line.split() for line in answers(capsys, folder, "conll", text).splitlines() if line]
    assert [unescape(word) for word, _ in rows] == ours.split_words(text)
    for word in ("a b", "", "\u2028", "-X-", r"\u{20}", "北京"):
        assert unescape(escape(word)) == word
        assert len(f"{escape(word)} O".split()) == 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["-DOCSTART- O", "", "EU B-ORG", "left O", ". O"], "columns of words and tags"),
        (['{"text": "EU left."}'] * 30, "JSON Lines"),
        (["EU left.", "My blood group is O", "Type A or O", "{x}"], None),
        (["It was O"], None),
    ],
)
def test_a_corpus_read_as_texts_is_announced(tmp_path, capsys, lines, said):
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(lines) + "\n")
    assert list(texts_from(str(file), [])) == [line for line in lines if line]
    told = capsys.readouterr().err
    assert told.count("but every line is read as a text") == (said is not None)
    assert said is None or f"texts.txt looks like {said}" in told


def test_a_tokenizer_that_splits_by_ideographs(tmp_path):
    """Trained on Chinese text, so that the words are in the vocabulary."""
    tokenizer = train_wordpiece([CHINESE] * 3, 99)
    ner = pipeline("ner", model=make_folder(tmp_path / "hub"), tokenizer=tokenizer)
    assert ner.split_words(CHINESE) == WORDS
    [tags] = ner.predict_words([WORDS], decoder="argmax")
    found = ner(CHINESE, aggregation_strategy="word", decoder="argmax", ignore_labels=[])
    from_text = [e["entity_group"] for e in found for _ in range(e["end_word"] - e["start_word"])]
    assert from_text == [tag[2:] or "O" for tag in tags]
