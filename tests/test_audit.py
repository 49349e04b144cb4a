"""Label errors: planted ones are found, accepted ones are corrected, nothing else is changed."""

import dataclasses
import difflib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flaxner.audit.correcting import correct
from flaxner.audit.evidence import Occurrences, rank
from flaxner.audit.exports import write_doccano, write_label_studio
from flaxner.audit.findings import Decision, Finding, read_decisions, write_findings
from flaxner.audit.held_out import HeldOut, read_held_out
from flaxner.audit.run import AUDIT, audit, page
from flaxner.audit.second_opinion import second_opinion
from flaxner.audit.views import VIEWS
from flaxner.config.train import TrainConfig
from flaxner.data import embedded
from flaxner.data.corpus import read_corpus
from flaxner.data.labels import LabelScheme
from flaxner.data.readers import ReadOptions
from flaxner.data.selection import select
from flaxner.data.sources import read_sources, read_unmixed
from flaxner.data.tags import Span, spans_to_tags, tags_to_spans
from flaxner.evaluation.predictions import Predicted, predicted, write_predictions
from flaxner.evaluation.word_scores import WordScores, write_scores
from tests.conll import sentences, write_conll
from tests.hostile import trees
from tests.planting import measure, plant

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "audit.py"


def held_out(made, truth, scheme, *, sure=0.9, slips=0.1, seed=0):
    """Return what a model that knows the truth, apart from random slips, predicts for a corpus."""
    rng = np.random.default_rng(seed)
    found = []
    for number, ((words, tags), (_, right)) in enumerate(zip(made, truth, strict=True), 1):
        labels = scheme.encode(right)
        wrong = rng.random(len(labels)) < slips
        labels = np.where(wrong, rng.integers(0, len(scheme), len(labels)), labels)
        probs = np.full((len(labels), len(scheme)), (1 - sure) / (len(scheme) - 1), np.float32)
        probs[np.arange(len(labels)), labels] = sure
        predicted = tuple(scheme.decode(labels))
        found.append(HeldOut("x.conll", number, tuple(words), tuple(tags), predicted, probs))
    return found


@pytest.fixture(scope="module")
def planted():
    """Held-out predictions for a generated corpus with 5% of its entities wrong, and which ones."""
    truth = [(words, tags) for words, tags in embedded.generate("test")]
    made, wrong = plant(truth, 0.05)
    types = {span.type for _, tags in truth for span in tags_to_spans(tags)}
    return (
        held_out(made, truth, LabelScheme.from_types(types)),
        wrong,
        LabelScheme.from_types(types),
    )


def spanned(finding):
    spans = (*finding.given, *finding.suggested)
    return finding.sentence, min(s.start for s in spans), max(s.end for s in spans)


def test_planting_does_what_it_says(planted):
    held, wrong, _ = planted
    truth = [tuple(tags) for _, tags in embedded.generate("test")]
    changed = [i for i, sentence in enumerate(held, 1) if sentence.tags != truth[i - 1]]
    assert sorted(i for i, *_ in wrong) == changed
    entities = sum(len(tags_to_spans(tags)) for tags in truth)
    assert len(wrong) == round(0.05 * entities)
    assert {kind for *_, kind in wrong} == {"dropped", "type", "border", "invented"}


def test_planted_errors_are_found_again(planted):
    """The model gets every tenth word wrong; the corpus itself supplies what it cannot know."""
    held, wrong, scheme = planted
    findings = rank(held, scheme, set())
    ours = measure([spanned(finding) for finding in findings], wrong)
    loss = np.concatenate([s.probs[range(len(s.tags)), scheme.encode(s.tags)] for s in held])
    places = [(s.number, word, word + 1) for s in held for word in range(len(s.words))]
    theirs = measure([places[at] for at in np.argsort(loss, kind="stable")], wrong)
    assert ours["precision"] > 0.6 > 0.3 > theirs["precision"]
    scores = [finding.score for finding in findings]
    assert scores == sorted(scores, reverse=True)
    by_kind = {kind: [f for f in findings[: len(wrong)] if f.kind == kind] for *_, kind in wrong}
    assert all(by_kind.values())
    for finding in findings:
        tags = held[finding.sentence - 1].tags
        assert set(finding.given) <= set(tags_to_spans(tags))
        rest = [s for s in tags_to_spans(tags) if s not in finding.given]
        spans_to_tags([*rest, *finding.suggested], len(tags))  # raises if entities overlap


def test_confident_learning_raises_a_finding(planted):
    held, _, scheme = planted
    plain = rank(held, scheme, set())
    last = plain[-1]
    doubted = {(last.sentence - 1, (*last.given, *last.suggested)[0].start)}
    moved = next(f for f in rank(held, scheme, doubted) if spanned(f) == spanned(last))
    assert moved.score > last.score
    assert "confident learning" in moved.reason


def test_cleanlab_doubts_planted_words(planted):
    pytest.importorskip("cleanlab")
    from flaxner.audit.confident import doubted_words

    held, wrong, scheme = planted
    doubted = doubted_words(held, scheme)
    hit = {i for i, a, b, _ in wrong if any(s == i - 1 and a <= w < b for s, w in doubted)}
    assert len(hit) > 0.8 * len(wrong)


def test_a_second_opinion_finds_more(planted):
    """Similar words supply what a model that gets every tenth word wrong cannot know."""
    pytest.importorskip("sklearn")
    held, wrong, scheme = planted
    second = second_opinion(held, scheme)
    assert [s.words for s in second] == [s.words for s in held]
    assert [s.tags for s in second] == [s.tags for s in held]
    assert {s.by for s in second} == {"the second opinion"}
    assert all(np.allclose(s.probs.sum(-1), 1, atol=1e-5) for s in second)
    first, again = (
        measure([spanned(finding) for finding in rank(sentences, scheme, set())], wrong)
        for sentences in (held, second)
    )
    assert again["precision"] > first["precision"] + 0.05
    assert rank(second, scheme, set())[0].reason.startswith("the second opinion gives ")


def test_a_model_that_knows_better_needs_no_second_opinion(planted):
    pytest.importorskip("sklearn")
    held, _, scheme = planted
    made = [(s.words, s.tags) for s in held[:200]]
    knows = held_out(made, made, scheme, sure=1 - 1e-6, slips=0)
    assert second_opinion(knows, scheme) == knows


@pytest.mark.parametrize("made", [[], [(["a"], ["O"])], [(["a", "b"], ["O", "O"])] * 20])
def test_there_is_no_second_opinion_if_nothing_can_be_learnt(made):
    pytest.importorskip("sklearn")
    scheme = LabelScheme.from_types(["PER"])
    held = held_out(made, made, scheme)
    assert second_opinion(held, scheme) == held


def test_a_second_opinion_does_not_use_the_words_own_annotation(planted):
    """The annotation of a word changes its second opinion only through the trained weights."""
    pytest.importorskip("sklearn")
    held, scheme = planted[0][:300], planted[2]
    at = next(i for i, s in enumerate(held) if s.tags[0] == "O")
    other = dataclasses.replace(held[at], tags=("B-PER", *held[at].tags[1:]))
    changed = [*held[:at], other, *held[at + 1 :]]
    before, after = (second_opinion(sentences, scheme)[at] for sentences in (held, changed))
    np.testing.assert_allclose(before.probs[0], after.probs[0], atol=0.01)


def test_views_by_hand():
    words = ["McDonald", "paid", "1,024", "été"]
    assert [view(words) for view in VIEWS] == [
        words,
        ["mcdonald", "paid", "1,024", "été"],
        ["^XxXx+", "x+", "d,d+", "x+"],
        ["\n^XxXx+\nx+", "^XxXx+\nx+\nd,d+", "x+\nd,d+\nx+", "d,d+\nx+\n"],
        ["ald\n^XxXx+", "aid\nx+", "024\nd,d+", "été\nx+"],
        ["", "mcdonald", "paid", "1,024"],
        ["paid", "1,024", "été", ""],
    ]


def test_the_same_words_in_similar_contexts_weigh_more():
    def sentence(text, tags):
        words = tuple(text.split())
        return HeldOut("x", 1, words, tuple(tags.split()), tuple(tags.split()), np.zeros((0, 0)))

    held = [
        sentence("in Jordan today", "O B-LOC O"),
        sentence("in Jordan now", "O B-LOC O"),
        sentence("Jordan scored today", "B-PER O O"),
        sentence("River Jordan", "B-LOC I-LOC"),
        sentence("in Jordan today", "O O O"),
    ]
    seen = Occurrences(held, [tags_to_spans(s.tags) for s in held])
    assert seen.votes(4, 1, 2) == {"LOC": 3 + 2, "PER": 1, None: 1}


SPAN = Span(1, 2, "LOC")
FINDING = Finding("x", 1, ("A", "B"), (SPAN,), (), 0.75, "invented", "because")


def test_the_page_says_how_many_findings_there_are_in_all():
    assert "<p>1 finding, the most likely error first" in page("x", [FINDING], [[SPAN]], 1)
    assert "<p>1 of 7 findings, the most likely error first" in page("x", [FINDING], [[SPAN]], 7)


def test_decisions_are_read_and_invalid_ones_refused(tmp_path):
    write_findings(tmp_path / "f.jsonl", [FINDING])
    row = json.loads((tmp_path / "f.jsonl").read_text())
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({**row, "decision": "accept"}) + "\n")
    assert read_decisions(path) == [Decision("x", 1, ("A", "B"), (SPAN,), (), f"{path}, line 1")]
    path.write_text(json.dumps({**row, "decision": "reject"}) + "\n")
    assert read_decisions(path) == []
    for text, message in [
        ("", "has no decision"),
        (json.dumps(row), "must have 'decision'"),
        (json.dumps({**row, "decision": "maybe"}), "accept or reject"),
        (json.dumps({**row, "decision": "accept", "given": [[1, 9, "X"]]}), "exceeds the 2 words"),
        ("[1]", "line 1: not a decision"),
        ("{", "line 1: not a decision"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_decisions(path)


CONLL = """-DOCSTART- -X- O O

U.N. NNP I-NP I-ORG
official NN I-NP O
Ann NNP I-NP I-PER
Bob NNP I-NP B-PER

Berlin NNP I-NP I-LOC
"""
FILES = {  # text, sentence, given, suggested, changed lines
    "conll2003, IOB1": (CONLL, 1, [Span(3, 4, "PER")], [], ["Bob NNP I-NP O"]),
    "IOB1, neighbours become one": (
        *(CONLL, 1, [Span(2, 3, "PER"), Span(3, 4, "PER")], [Span(2, 4, "PER")]),
        ["Bob NNP I-NP I-PER"],
    ),
    "tabs, CRLF, no line end": (
        *("a\tO\r\nb\tB-X\r\n\r\nc\tB-X\r\nd\tI-X", 2, [Span(0, 2, "X")], [Span(0, 1, "X")]),
        ["d\tO"],
    ),
    "BIOES": (
        *("a S-X\nb O\nc B-X\nd E-X\n", 1, [Span(0, 1, "X")], [Span(0, 2, "X")]),
        ["a B-X", "b E-X"],
    ),
    "tags first": ("O a\nB-X b\nI-X c\n", 1, [Span(1, 3, "X")], [], ["O b", "O c"]),
    "comments, and words twice": (
        *("# text\na O\nB-X O\nO B-X\nB-X B-X\n", 1, [Span(3, 4, "X")], []),
        ["B-X O"],
    ),
    "a byte-order mark": (
        "\ufeffa O\nb B-X\n",
        1,
        [Span(1, 2, "X")],
        [Span(0, 2, "X")],
        ["\ufeffa B-X", "b I-X"],
    ),
    "a type that was never inside": (
        *("a B-X\nb O\n\nc B-Y\nd I-Y\n", 1, [Span(0, 1, "X")], [Span(0, 2, "X")]),
        ["b I-X"],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_only_what_was_decided_changes(tmp_path, name):
    text, number, given, suggested, lines = FILES[name]
    file, output = tmp_path / "in.conll", tmp_path / "out.conll"
    file.write_bytes(text.encode())
    words = read_corpus(file).sentences[number - 1].words
    decision = Decision(str(file), number, words, tuple(given), tuple(suggested), "here")
    done = correct(file, [decision], output)
    assert done.words == len(lines)
    changes = [
        line.rstrip("\r\n")
        for line in difflib.ndiff(
            text.splitlines(True), output.read_bytes().decode().splitlines(True)
        )
        if line.startswith("+ ")
    ]
    assert changes == [f"+ {line}" for line in lines]
    assert file.read_bytes() == text.encode()


def test_types_without_a_prefix_are_written_without_one(tmp_path):
    file, options = tmp_path / "in.tsv", ReadOptions(scheme="IO")
    rest = "b\tO\nb\tO\nb\tO\n\nc\tplace\nd\tO\n"
    file.write_text(f"a\tperson\nb\tO\n{rest}")
    decision = Decision(str(file), 1, ("a", *"bbbb"), (), (Span(1, 2, "place"),), "here")
    correct(file, [decision], tmp_path / "out.tsv", options)
    assert (tmp_path / "out.tsv").read_text() == f"a\tperson\nb\tplace\n{rest}"


def test_a_file_is_the_audited_one_wherever_it_was_read_from(tmp_path):
    file, out = tmp_path / "in.conll", tmp_path / "out.conll"
    file.write_text("a B-X\nb O\n")
    words, suggested = ("a", "b"), (Span(1, 2, "X"),)
    sources = "in.conll", "other/dev.conll"
    correct(file, [Decision(name, 1, words, (), suggested, "here") for name in sources], out)
    assert out.read_text() == "a B-X\nb B-X\n"


@pytest.mark.parametrize("word", [r"\u{a0}", '""""'])
def test_words_that_look_escaped_are_found(tmp_path, word):
    file, out = tmp_path / "in.conll", tmp_path / "out.conll"
    file.write_text(f"use O\n{word} O\nRust O\n\nEU B-Lang\n")
    words = ("use", word, "Rust")
    correct(file, [Decision(str(file), 1, words, (), (Span(2, 3, "Lang"),), "here")], out)
    assert out.read_text() == file.read_text().replace("Rust O", "Rust B-Lang")


RECORD = (
    '{"id": 7,  "tokens": ["a", "b\\"]", "c"],"ner_tags" :["B-X", "I-X",\t"O"], "n": [1, 2, 3]}'
)
JSON = {
    "tags": (RECORD, RECORD.replace('"I-X",\t"O"', '"O",\t"O"')),
    "a tag that is new": (
        RECORD.replace('"I-X"', '"O"'),
        RECORD.replace('"I-X"', '"O"').replace('"B-X", "O"', '"B-X", "I-X"'),
    ),
}


@pytest.mark.parametrize("name", JSON)
def test_json_lines_are_corrected_in_place(tmp_path, name):
    before, after = JSON[name]
    rest = '{"tokens": ["d"], "ner_tags": ["O"], "n": [1]}\r\n'
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_bytes(f"\ufeff{rest}{before}\n{rest}".encode())
    sides = [tags_to_spans(json.loads(text)["ner_tags"]) for text in (before, after)]
    words = ("a", 'b"]', "c")
    done = correct(file, [Decision(str(file), 2, words, *map(tuple, sides), "here")], out)
    assert done.words == 1
    assert out.read_bytes() == f"\ufeff{rest}{after}\n{rest}".encode()


def test_what_cannot_be_applied_is_refused(tmp_path):
    file, out = tmp_path / "in.conll", tmp_path / "out.conll"
    file.write_text("a B-X\nb I-X\nc O\n")

    def decision(given, suggested, *, words=("a", "b", "c"), number=1, source=file):
        return Decision(
            str(source), number, words, tuple(given), tuple(suggested), "d.jsonl, line 1"
        )

    whole = Span(0, 2, "X")
    for decisions, message in [
        ([decision([], [Span(1, 3, "X")])], "overlaps another"),
        ([decision([Span(0, 1, "X")], [])], "has no entity"),
        ([decision([whole], []), decision([whole], [])], "another decision has changed it"),
        ([decision([whole], [], words=("a",))], "does not match"),
        ([decision([whole], [], number=7)], "does not match"),
        ([decision([whole], [], source="other")], "no accepted decision is about"),
        ([], "no accepted decision is about"),
    ]:
        with pytest.raises(ValueError, match=message):
            correct(file, decisions, out)
    other = tmp_path / "in.jsonl"
    other.write_text('{"text": "a b", "label": [[0, 1, "X"]]}\n')
    with pytest.raises(ValueError, match="annotation tool"):
        correct(other, [decision([], [], words=("a", "b"), source=other)], out)
    io = tmp_path / "io.conll"
    io.write_text("a I-X\nb O\n\nc I-Y\n")
    touching = decision([], [Span(1, 2, "X")], words=("a", "b"), source=io)
    with pytest.raises(ValueError, match=r"decisions on sentence 1, it would not be read back"):
        correct(io, [touching], out)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(ValueError, match="exists"):
        correct(file, [decision([whole], [])], out)


def renamed(words, given, suggested, file, **names):
    """Return a decision made on a run with --map-types."""
    spans = ([Span(*span) for span in side] for side in (given, suggested))
    return Decision(str(file), 1, words, *map(tuple, spans), "here", names)


def test_a_corpus_keeps_its_own_type_names(tmp_path):
    """A type that --map-types renamed from PERSON to PER is written back as PERSON."""
    words, rows = ("Anna", "met", "Otto"), "Anna B-PERSON\nmet O\nOtto O\n"
    file = tmp_path / "x.conll"
    file.write_text(rows)
    cases = (
        ([], [(2, 3, "PER")], "Anna B-PERSON\nmet O\nOtto B-PERSON\n"),
        ([(0, 1, "PER")], [(0, 2, "PER")], "Anna B-PERSON\nmet I-PERSON\nOtto O\n"),
        ([(0, 1, "PER")], [], "Anna O\nmet O\nOtto O\n"),
    )
    for place, (given, suggested, right) in enumerate(cases):
        decision = renamed(words, given, suggested, file, PERSON="PER")
        correct(file, [decision], tmp_path / f"{place}.conll")
        assert (tmp_path / f"{place}.conll").read_text() == right
    file.write_text(rows.replace("met O", "met B-PLAYER"))
    both = {"PERSON": "PER", "PLAYER": "PER"}
    with pytest.raises(ValueError, match="--map-types made PER of PERSON, PLAYER: choose"):
        correct(file, [renamed(words, [], [(2, 3, "PER")], file, **both)], tmp_path / "no.conll")
    decision = renamed(words, [(1, 2, "PER")], [(1, 3, "PER")], file, **both)
    correct(file, [decision], tmp_path / "player.conll")
    assert (tmp_path / "player.conll").read_text().endswith("met B-PLAYER\nOtto I-PLAYER\n")


def test_decisions_about_words_with_line_separators_are_read(tmp_path):
    words = ("A\u2028B", "Anna", "\u0085")
    finding = Finding("x", 1, words, (), (Span(1, 2, "PER"),), 0.9, "dropped", "r", {"P": "PER"})
    row = json.dumps({**finding.to_dict(), "decision": "accept"}, ensure_ascii=False)
    (tmp_path / "decisions.jsonl").write_text(row + "\n", "utf-8")
    (decision,) = read_decisions(tmp_path / "decisions.jsonl")
    assert (decision.words, decision.renamed) == (words, {"P": "PER"})


def test_exports_for_annotation_tools_contain_the_suggestion(tmp_path):
    words = ("😀", "Ann", "in", "New", "York")
    given = [Span(1, 2, "LOC"), Span(3, 4, "LOC")]
    finding = Finding("x", 7, words, (given[0],), (Span(1, 2, "PER"),), 0.9, "type", "because")
    write_doccano(tmp_path / "doccano.jsonl", [finding], [given])
    read = read_corpus(tmp_path / "doccano.jsonl").sentences[0]
    assert read.tags == ("O", "B-PER", "O", "B-LOC", "O")
    write_label_studio(tmp_path / "tasks.json", [finding], [given])
    read = read_corpus(tmp_path / "tasks.json").sentences[0]
    assert (read.words, read.tags) == (words, ("O", "B-LOC", "O", "B-LOC", "O"))
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    regions = task["predictions"][0]["result"]
    assert [r["value"]["labels"] for r in regions] == [["PER"], ["LOC"]]
    assert regions[0]["value"]["start"] == 3, "an emoji should count as two"


@pytest.fixture
def run(tmp_path):
    """The files of a finished run that an audit reads; its validation split has two errors."""
    folder = tmp_path / "run"
    for part in ("model", "predictions", "checkpoints"):
        (folder / part).mkdir(parents=True)
    truth = [*sentences(40, shift=1), (["<script>", "x"], ["O", "O"])]
    made = [(list(words), list(tags)) for words, tags in truth]
    made[0][1][:2] = ["O", "O"]
    made[5][1][6] = "B-ORG"
    files = {f"{split}_file": str(write_conll(tmp_path / f"{split}.conll", rows))
             for split, rows in (("train", truth), ("validation", made))}  # fmt: skip
    config = TrainConfig(model="flaxner:tiny", output_dir=str(folder), **files)
    (folder / "config.toml").write_text(config.to_toml())
    scheme = LabelScheme.from_types(["PER", "LOC", "ORG"])
    fields = {"model_type": "bert", "id2label": {str(k): v for k, v in scheme.id2label.items()}}
    (folder / "model" / "config.json").write_text(json.dumps(fields))
    (folder / "results.json").write_text('{"train": {"best_step": 1}, "validation": {}}')
    held = held_out(made, truth, scheme, slips=0)
    rows = [Predicted(s.words, s.tags, s.predicted) for s in held]
    write_predictions(folder / "predictions" / "validation.conll", rows)
    logits = np.log(np.concatenate([s.probs for s in held]))
    scores = WordScores(logits.max(1), logits)
    write_scores(folder / "predictions" / "validation.safetensors", scores)
    return folder


def test_held_out_sentences_have_their_place_in_the_corpus(run):
    held, scheme = read_held_out(run)
    corpus = read_corpus(run.parent / "validation.conll")
    assert [(s.words, s.tags) for s in held] == [(s.words, s.tags) for s in corpus]
    assert [s.number for s in held] == list(range(1, 42))
    assert held[0].probs.max(1) == pytest.approx(0.9)
    assert set(scheme.types) == {"PER", "LOC", "ORG"}
    text = (run.parent / "validation.conll").read_text()
    (run.parent / "validation.conll").write_text(text.replace("Google", "Gogle"))
    with pytest.raises(ValueError, match="has changed since"):
        read_held_out(run)


def test_equal_sentences_in_documents_of_several_folds_keep_their_places(tmp_path):
    """Folds divide whole documents, which often begin with the same line."""
    corpus = tmp_path / "train.conll"
    document = "-DOCSTART- O\n\nLONDON B-LOC\n\nAnn{} B-PER\nruns O\n\n"
    corpus.write_text("".join(map(document.format, range(6))))
    whole = tmp_path / "run"
    settings = TrainConfig(
        model="flaxner:tiny", train_file=str(corpus), cross_validation=2, context="document"
    )
    scheme = LabelScheme.from_types(["LOC", "PER"])
    fields = {"model_type": "bert", "id2label": {str(k): v for k, v in scheme.id2label.items()}}
    for fold, folder in enumerate((whole, whole / "fold-1", whole / "fold-2")):
        for part in ("model", "predictions", "checkpoints"):
            (folder / part).mkdir(parents=True)
        config = settings.replace(fold=fold, output_dir=str(folder))
        (folder / "config.toml").write_text(config.to_toml())
        (folder / "model" / "config.json").write_text(json.dumps(fields))
        (folder / "results.json").write_text('{"train": {"best_step": 1}, "validation": {}}')
        if fold:
            held = select(read_sources(config), config)["validation"]
            rows = predicted(held, [s.tags for s in held], in_documents=True)
            write_predictions(folder / "predictions" / "validation.conll", rows)
            scores = WordScores(np.ones(held.words), np.zeros((held.words, len(scheme))))
            write_scores(folder / "predictions" / "validation.safetensors", scores)
    assert [s.number for s in read_held_out(whole)[0]] == list(range(1, 13))


def test_the_sources_of_a_split_one_by_one(tmp_path):
    """Data sets mixed as in training: one lacks the split, each has its own configuration."""
    rows = sentences(3)
    for name, splits in (
        ("one", ("train", "validation")),
        ("two", ("train",)),
        ("only", ("test",)),
    ):
        for split in splits:
            (tmp_path / name).mkdir(exist_ok=True)
            records = [json.dumps({"tokens": words, "ner_tags": tags}) for words, tags in rows]
            (tmp_path / name / f"{split}.jsonl").write_text("\n".join(records))
    folders = tuple(str(tmp_path / name) for name in ("one", "two", "only"))
    file = str(write_conll(tmp_path / "more.conll", rows))
    config = TrainConfig(dataset=folders, dataset_config=("", "", ""), train_file=file)
    there = [corpus.source for corpus in read_unmixed(config, "train")]
    assert there == [f"{folders[0]} (train)", f"{folders[1]} (train)", file]
    one = [corpus.source for corpus in read_unmixed(config, "validation")]
    assert one == [f"{folders[0]} (validation)"]
    (tmp_path / "two" / "dev.jsonl").write_text(json.dumps({"tokens": ["x"], "ner_tags": ["O"]}))
    (tmp_path / "two" / "eval.jsonl").write_text(json.dumps({"tokens": ["y"], "ner_tags": ["O"]}))
    assert [c.source for c in read_unmixed(config.replace(validation_file=file), "train")] == there


def test_from_a_run_to_a_corrected_file(run, tmp_path):
    """Run as a user would; the page's decisions are rows of findings.jsonl with one key added."""
    pytest.importorskip("cleanlab")
    lines = audit(run, tmp_path / "found", 10)
    assert "a score of 0.5 or more" in lines[0]
    made = (tmp_path / "found" / "audit.html").read_text()
    assert made.count("<script") == 4
    assert "<pre>flaxner audit --apply decisions.jsonl --file CORPUS --output-file" in made
    assert "\\u003cscript\\u003e" not in made, "the page should show suspicions only"
    rows = [json.loads(line) for line in (tmp_path / "found" / "findings.jsonl").open()]
    assert {(row["sentence"], row["kind"]) for row in rows[:2]} == {(1, "dropped"), (6, "type")}
    decided = tmp_path / "decisions.jsonl"
    decided.write_text("".join(json.dumps({**r, "decision": "accept"}) + "\n" for r in rows[:2]))
    file = run.parent / "validation.conll"
    command = [sys.executable, str(SCRIPT), "--apply", decided, "--file", file]
    command += ["--output-file", tmp_path / "right.conll"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("applied 2 decisions: 3 tags in 2 sentences changed")
    truth = write_conll(
        tmp_path / "truth.conll", [*sentences(40, shift=1), (["<script>", "x"], ["O", "O"])]
    )
    assert (tmp_path / "right.conll").read_text() == truth.read_text()
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert again.stderr.startswith("audit.py: ")
    assert "exists" in again.stderr


def test_an_audit_beside_the_files_of_others(run, tmp_path):
    pytest.importorskip("cleanlab")
    out = tmp_path / "found"
    trees.plant(out)
    with trees.unchanged(out, run):
        audit(run, out, 10)
    with trees.unchanged(out / "src", out / ".env", run):
        audit(run, out, 5)
    (out / "audit.html").write_text("with my remarks")
    for target, message in ((out, r"audit\.html is in the way"), (run, "choose another folder")):
        with trees.unchanged(tmp_path), pytest.raises(ValueError, match=message):
            audit(run, target, 10)
    findings = out / "findings.jsonl"
    rows = [json.loads(line) for line in findings.open()][:2]
    accepted = [json.dumps({**row, "decision": "accept"}) + "\n" for row in rows]
    decisions = tmp_path / "decisions.jsonl"
    decisions.write_text("".join(accepted))
    file = run.parent / "validation.conll"
    with trees.unchanged(tmp_path):
        correct(file, read_decisions(decisions), tmp_path / "right.conll")
        with pytest.raises(ValueError, match="exists"):
            correct(file, read_decisions(decisions), file)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "give a run, or --apply, --file and --output-file together"),
        (["--apply", "x"], "give a run, or --apply"),
        (["run", "--apply", "x"], "a run takes only --output-dir and --limit"),
        (["--no-such"], "unknown argument '--no-such'"),
    ],
)
def test_wrong_flags_are_a_one_line_error(flags, message, capsys):
    from flaxner.commands.audit import main

    with pytest.raises(SystemExit) as end:
        main(flags)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_an_audit_of_the_working_folder_is_written_beside_it(run, monkeypatch, capsys):
    from flaxner.commands.audit import main

    pytest.importorskip("cleanlab")
    monkeypatch.chdir(run)
    assert main(["."]) == 0
    page = run.parent / "run-audit" / "audit.html"
    assert page.is_file()
    assert capsys.readouterr().out.splitlines()[-1] == str(page)


def test_an_audit_refuses_a_folder_that_it_did_not_write(tmp_path):
    from flaxner.files import check_folder

    (tmp_path / "findings.jsonl").write_text("mine")
    with pytest.raises(ValueError, match="not written by flaxner"):
        check_folder(tmp_path, AUDIT)
