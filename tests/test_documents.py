"""Document context: windows and the words they own, their batches, exactness when packed."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxner.aot.workload import plan
from flaxner.config.data import DataSettings
from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.data.chains import CONTINUES, ENDS, STARTS, most_words, sentence_borders, word_chains
from flaxner.data.corpus import Corpus, Sentence, join, read_corpus
from flaxner.data.document_batches import DocumentBatches
from flaxner.data.documents import document_numbers, document_windows, in_documents
from flaxner.data.labels import LabelScheme
from flaxner.data.packing import fill_rows, plan_rows
from flaxner.data.readers import ReadOptions
from flaxner.data.segments import IGNORED_LABEL, align
from flaxner.data.selection import divide, fraction_of_documents, select
from flaxner.devices.processes import Part
from flaxner.evaluation.predictions import Predicted, read_predictions, write_predictions
from tests.compare import assert_close, scaled_close
from tests.families import FAMILIES
from tests.test_packing import by_word, loss_and_gradient
from tests.tiny import random_segments
from tests.wordpiece import tiny_tokenizer

SCHEME = LabelScheme.from_types(["LOC", "PER"])
CORPORA = st.lists(  # documents of sentence lengths in tokens, with [CLS] and [SEP]
    st.lists(st.integers(3, 40), min_size=1, max_size=25), min_size=1, max_size=6
)


def corpus_of(documents, seed=0):
    """Return tokenised sentences of these lengths, and the document number of each."""
    lengths = [n for document in documents for n in document]
    plain = random_segments(np.random.default_rng(seed), lengths, sep=True)
    numbers = np.repeat(np.arange(len(documents)), [len(d) for d in documents])
    return plain, numbers.tolist()


def words_of(segments, index):
    words = segments.words[segments.starts[index] : segments.starts[index + 1]]
    return words[words >= 0]


@settings(deadline=None)
@given(documents=CORPORA, max_length=st.integers(42, 90))
def test_every_word_is_owned_once_and_no_window_crosses_a_document(documents, max_length):
    plain, numbers = corpus_of(documents)
    made = in_documents(plain, numbers, max_length)
    assert made.lengths.max() <= max_length
    assert sorted(made.words[made.words >= 0].tolist()) == list(range(plain.num_words))
    by_plain = plain.labels[np.argsort(np.where(plain.words >= 0, plain.words, 10**6))]
    own = made.words >= 0
    assert (made.labels[own] == by_plain[made.words[own]]).all()
    assert (made.labels[~own] == IGNORED_LABEL).all()
    inner = [plain.input_ids[a + 1 : b - 1] for a, b in itertools.pairwise(plain.starts)]
    for index in range(len(made)):
        tokens = made.input_ids[made.starts[index] : made.starts[index + 1]].tolist()
        sentences = np.flatnonzero(made.window_of == index)
        assert len({numbers[s] for s in sentences}) == 1
        assert made.sentences[index] == sentences[0]
        # Consecutive whole sentences of this document only, including the owned ones.
        assert any(_runs(inner, numbers, s, tokens[1:-1]) for s in range(sentences[0] + 1))


def _runs(inner, numbers, first, text):
    """Return whether `text` is whole sentences of one document, starting with `first`."""
    tokens, at = [], first
    while len(tokens) < len(text) and at < len(inner) and numbers[at] == numbers[first]:
        tokens += inner[at].tolist()
        at += 1
    return tokens == text


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=80), capacity=st.integers(60, 200))
def test_tokens_are_read_about_once_and_owned_where_context_is_largest(sizes, capacity):
    ends = np.concatenate([[0], np.cumsum(sizes)])
    windows = document_windows(ends, capacity)
    assert [s for _, _, low, high in windows for s in range(low, high)] == list(range(len(sizes)))
    read = sum(int(ends[end] - ends[first]) for first, end, _, _ in windows)
    assert ends[-1] <= read <= 1.1 * ends[-1]
    assert all(ends[end] - ends[first] <= capacity for first, end, _, _ in windows)
    # Even without overlap, the document does not fit in fewer windows.
    fewest = len(document_windows_without_overlap(sizes, capacity))
    assert len(windows) <= 1 + 1.3 * fewest
    for (_, end, _, border), (first, _, _, _) in itertools.pairwise(windows):
        middle = (ends[first] + ends[end]) / 2
        assert abs(ends[border] - middle) == min(abs(ends[first : end + 1] - middle))


def document_windows_without_overlap(sizes, capacity):
    windows, left = [], 0
    for size in sizes:
        if size > left:
            windows.append(0)
            left = capacity
        left -= size
    return windows


@pytest.mark.parametrize(
    ("total", "lengths"),
    [(510, [510]), (520, [290, 280]), (1000, [510, 510]), (1010, [370, 370, 370])],
)
def test_windows_are_few_and_of_equal_length(total, lengths):
    """Sentences of 10 tokens; each overlap has at least 25 tokens, all of them at most a tenth."""
    ends = np.arange(0, total + 1, 10)
    made = document_windows(ends, 510)
    assert [int(ends[end] - ends[first]) for first, end, _, _ in made] == lengths


def test_long_empty_and_single_sentences():
    """A sentence over the limit is read alone; no window owns a sentence without tokens."""
    tokenizer = tiny_tokenizer()
    short = ("Chelsea", "met", "Chen")
    sentences = [
        Sentence(short, document=0),
        Sentence((), document=0),
        Sentence(short, document=0),
        Sentence(("Berlin",) * 60, document=0),
        Sentence(short, document=0),
        Sentence(short, document=1),
    ]
    plain = align(sentences, tokenizer, None, 32)
    made = in_documents(plain, [s.document for s in sentences], 32)
    assert made.windowed == 1
    assert made.num_documents == 2
    assert sorted(made.words[made.words >= 0].tolist()) == list(range(72))
    pieces = len(plain) - 5
    assert made.owned.tolist() == [2, 1, *[0] * (pieces - 1), 1, 1]
    whole = tokenizer([*short, *short], is_split_into_words=True)["input_ids"]
    assert made.input_ids[: made.starts[1]].tolist() == whole
    assert len(in_documents(align([], tokenizer, None, 24), [], 24)) == 0


def test_consecutive_equal_names_are_a_document():
    assert document_numbers(["a", "a", "b", "a", None, None]).tolist() == [0, 0, 1, 2, 3, 3]
    assert document_numbers([]).tolist() == []


# Batches


def batches(documents=((12, 9, 7, 12, 14, 6, 8) * 4, (10, 11, 3, 5), (30,) * 9), **changes):
    plain, numbers = corpus_of(documents)
    made = in_documents(plain, numbers, 60)
    settings = {"batch_size": 6, "row_length": 60, "epochs": 2, "seed": 0, "share": 0.25, **changes}
    return DocumentBatches(made.joined, documents=made, window=60, **settings)


def sentences_at(made, step):
    members, windows = made.members(step), len(made.documents)
    whole = made.documents.owned[members[members < windows]].sum()
    return int(whole), int(made.documents.begins[members[members >= windows] - windows].sum())


@settings(max_examples=30, deadline=None)
@given(documents=CORPORA, batch_size=st.integers(1, 40), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_every_word_is_labelled_once_per_epoch(documents, batch_size, share):
    made = batches(documents, batch_size=batch_size, share=share)
    total, most = sum(map(len, documents)), most_words(made.segments, made.row_length)
    for epoch in (0, 1):
        steps = range(epoch * made.steps_per_epoch, (epoch + 1) * made.steps_per_epoch)
        rows = [made.at(step) for step in steps]
        words = np.concatenate([r.words[r.words >= 0] for r in rows])
        assert sorted(words.tolist()) == list(range(made.segments.num_words))
        assert max((r.words >= 0).sum(1).max() for r in rows) <= most
        counts = np.asarray([sentences_at(made, step) for step in steps])
        assert counts.sum() == total
        assert (counts.sum(1) > 0).all()
        window = made.documents.owned.max()
        assert abs(counts[:, 1].sum() - share * total) <= window / 2
    assert made.steps_per_epoch <= -(-total // batch_size)


def test_a_batch_is_a_function_of_seed_and_step_and_not_of_rows():
    once, again, other, long = batches(), batches(), batches(seed=1), batches(row_length=120)
    steps = range(once.num_steps)
    for step in steps[::-1]:
        for a, b in zip(once.at(step), again.at(step), strict=True):
            np.testing.assert_array_equal(a, b)
        assert sorted(once.members(step)) == sorted(long.members(step))
    assert any(sorted(once.members(s)) != sorted(other.members(s)) for s in steps)
    prints = {made.fingerprint() for made in (once, other, batches(share=0.5))}
    assert len(prints) == 3
    assert once.fingerprint() == batches(multiple=8).fingerprint()
    assert len({once.at(step).input_ids.shape for step in steps}) <= 3


def test_steps_hold_about_as_many_sentences_as_requested():
    made = batches([(9, 8, 12, 7, 10) * 30], batch_size=15, epochs=3)
    counts = [sum(sentences_at(made, step)) for step in range(made.num_steps)]
    assert made.steps_per_epoch == 10
    assert np.mean(counts) == 15
    assert max(counts) - min(counts) <= 2 * made.documents.owned.max() + 2
    assert made.described == "about 15 sentences"
    assert made.fill() > 0.8
    small = batches([(9, 8, 12, 7, 10) * 30], batch_size=1)
    assert "more than --batch-size 1" in small.described


@pytest.mark.parametrize("parts", [2, 4])
def test_the_parts_add_up_to_the_batch(parts):
    whole, split = batches(), batches(multiple=4)
    for step in range(whole.num_steps):
        pieces = [split.at(step, Part(i, parts)) for i in range(parts)]
        joined = [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]
        reference = whole.at(step)
        for a, b in zip(joined, reference, strict=True):
            np.testing.assert_array_equal(a[: len(b)], b)
        assert (joined[1][len(reference.segment_ids) :] == 0).all()
        assert int((reference.segment_ids > 0).sum()) == whole.tokens_at(step)


# Exactness


@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_packed_equals_unpacked(kind):
    """Windows and single sentences, mixed as in a step: logits, loss and all gradients."""
    documents = [(9, 5, 7, 4, 12, 6), (3, 8), (11, 4, 6, 5)]
    plain, numbers = corpus_of(documents)
    made = in_documents(plain, numbers, 28)
    table, apart = made.joined, np.flatnonzero(np.isin(made.window_of, [1, len(made) - 1]))
    kept = [i for i in range(len(made)) if i not in (1, len(made) - 1)]
    members = np.asarray([*kept, *(len(made) + apart)])
    rows = [members[row].tolist() for row in plan_rows(table.lengths[members], 40)]
    packed, single = fill_rows(table, rows, 40, 9), fill_rows(table, members[:, None].tolist(), 28)
    assert sorted(packed.words[packed.words >= 0].tolist()) == list(range(plain.num_words))
    model = FAMILIES[kind].model(initializer_range=0.2)
    params = model.init(0)
    loss_a, logits_a, gradient_a = loss_and_gradient(model, params, packed)
    loss_b, logits_b, gradient_b = loss_and_gradient(model, params, single)
    assert_close("packing", by_word(packed, logits_a), by_word(single, logits_b))
    assert_close("packing", loss_a, loss_b)
    scaled_close("packing", gradient_a, gradient_b)


@settings(max_examples=30, deadline=None)
@given(documents=CORPORA)
def test_crf_chains_are_sentences_in_windows_too(documents):
    """Each sentence starts and ends once and is one chain, whatever surrounds it."""
    plain, numbers = corpus_of(documents)
    sizes = [len(words_of(plain, index)) for index in range(len(plain))]
    made = in_documents(plain, numbers, 60)
    rows = fill_rows(made, plan_rows(made.lengths, 90), 90)
    _, links = word_chains(rows, sentence_borders(sizes), 90)
    some = [size for size in sizes if size]
    for mark, count in (
        (STARTS, len(some)),
        (ENDS, len(some)),
        (CONTINUES, sum(sizes) - len(some)),
    ):
        assert int((links & mark > 0).sum()) == count


def test_a_word_sees_its_window_and_no_other_document():
    documents = [(9, 5, 7), (6, 8)]
    plain, numbers = corpus_of(documents)
    made = in_documents(plain, numbers, 28)
    model = FAMILIES["bert"].model(initializer_range=0.2)
    params = model.init(0)

    def logits(segments):
        rows = fill_rows(segments, [[0, 1]], 40)
        return by_word(rows, np.asarray(forward(params, *rows[:3])))

    forward = jax.jit(model.apply)
    before = logits(made)
    changed = made.input_ids.copy()
    changed[2] = changed[2] % 90 + 1  # the first word of the first sentence
    after = logits(dataclasses.replace(made, input_ids=changed))
    first = words_of(made, 0)
    assert (np.abs(after - before)[first].max(1) > 0).all()
    np.testing.assert_array_equal(after[words_of(made, 1)], before[words_of(made, 1)])


# Where documents come from, and how they stay together


def test_documents_in_json_parquet_and_tables(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["x", "x", "y", None, "y"]
    records = [
        {"tokens": ["Ann", str(i)], "tags": ["B-PER", "O"], "doc_id": name}
        for i, name in enumerate(names)
    ]
    text = "\n".join(map(json.dumps, records))
    (tmp_path / "a.jsonl").write_text(text.replace("doc_id", "Doc_ID"))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    rows = ["doc_id,sentence_id,token,tag"]
    rows += [f"{d},{s},Ann,B-PER\n{d},{s},left,O" for d, s in (("x", 1), ("x", 2), ("y", 2))]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    for file in ("a.jsonl", "a.parquet"):
        corpus = read_corpus(tmp_path / file)
        assert corpus.documents == [0, 0, 1, None, 1]
        assert corpus.unmarked == ()
    assert read_corpus(tmp_path / "a.csv").documents == [0, 0, 1]
    (tmp_path / "a.conllu").write_text(
        "# newdoc id = p\n1\tAnn\t_\tB-PER\n\n# newdoc id = q\n1\tBo\t_\tB-PER\n"
    )
    assert read_corpus(tmp_path / "a.conllu").documents == [0, 1]


def test_a_source_that_marks_no_documents_is_one_document(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("Ann B-PER\n\nBo B-PER\n")
    (tmp_path / "c").write_text("Ann B-PER\n\n-DOCSTART- O\n\nBo B-PER\n\n-DOCSTART- O\n\nCy O\n")
    corpora = [read_corpus(tmp_path / name) for name in "abc"]
    assert corpora[2].documents == [None, 0, 1]
    joined = join(corpora)
    assert document_numbers(joined.documents).tolist() == [0, 0, 1, 1, 2, 3, 4]
    assert joined.unmarked == (str(tmp_path / "a"), str(tmp_path / "b"))


def marked(documents=12, sentences=6):
    made = [
        Sentence((f"w{d}", f"s{s}", "."), ("B-PER" if (d + s) % 2 else "B-LOC", "O", "O"), d)
        for d in range(documents)
        for s in range(sentences)
    ]
    return Corpus(made, "made", "IOB2", 0)


def test_held_out_splits_folds_and_samples_keep_documents_whole():
    corpus = marked()
    part = divide(corpus.sentences, [1 / 3] * 3, 0, whole_documents=True)
    by_document = part.reshape(12, 6)
    assert (by_document == by_document[:, :1]).all()
    assert np.bincount(part).tolist() == [24] * 3
    for changes in ({"held_out": 0.25}, {"cross_validation": 4, "fold": 2}):
        made = select({"train": corpus}, DataSettings(context="document", **changes))
        assert {len(c) for c in made.values()} == {54, 18}
        assert not set(made["train"].documents) & set(made["validation"].documents)
        assert "in whole documents" in made["train"].notes[-1]
    some = fraction_of_documents(corpus, 0.5, 0)
    more = fraction_of_documents(corpus, 0.75, 0)
    assert (len(some), len(more)) == (36, 54)
    assert set(some.documents) <= set(more.documents)
    with pytest.raises(
        ValueError, match="made: it has only 1 document, and --context document keeps"
    ):
        select({"train": marked(1)}, DataSettings(context="document", held_out=0.1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 127}, "needs windows of at least 128 tokens.*max_length is 127"),
        ({"few_shot": 5}, "--few-shot and --context document are mutually exclusive"),
        ({"context": "sentences", "context_share": 0.5}, "--context-share requires --context doc"),
        ({"context": "paragraph"}, "context must be one of sentences, document: got 'paragraph'"),
        ({"context_share": 1.5}, "context_share must be at most 1"),
    ],
)
def test_incompatible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**{"dataset": "x", "context": "document", **changes})


def test_preflight_plans_windows_of_documents():
    """Without a corpus, assume documents of CoNLL-2003's mean size, and say so."""
    config = TrainConfig(dataset="x", context="document", max_length=512, batch_size=64)
    made, plain = plan(config, 8), plan(config.replace(context="sentences"), 8)
    assert made.source.endswith("; documents of 15 sentences, CoNLL-2003's mean")
    assert (made.length, made.steps, made.sentences) == (512, plain.steps, plain.sentences)
    assert 0.9 * plain.tokens < made.tokens < plain.tokens  # fewer [CLS] and [SEP]


# Prediction files


def test_prediction_files_keep_documents(tmp_path):
    rows = [
        Predicted(("-DOCSTART-",), ("O",), ("O",), 0),
        Predicted(("Ann", "left"), ("B-PER", "O"), ("O", "O"), 0),
        Predicted(("-DOCSTART-", "x"), ("O", "O"), ("O", "O"), 1),
    ]
    path = tmp_path / "x.conll"
    write_predictions(path, rows)
    assert read_predictions(path) == rows
    assert path.read_text().split("\n\n")[0] == "-DOCSTART- O O"
    corpus = read_corpus(path, options=ReadOptions(tag_column="1"))
    assert corpus.documents == [0, 0, 1]
    plain = [Predicted(row.words, row.gold, row.tags) for row in rows]
    write_predictions(path, plain)
    assert read_predictions(path) == plain


def test_without_context_nothing_has_changed():
    plain, _ = corpus_of([(5, 9, 7), (4, 6)])
    made = TrainBatches(plain, 2, 16, 1, 0)
    assert [len(made.members(s)) for s in range(made.num_steps)] == [2, 2, 1]
    assert made.described == "2 sentences"
