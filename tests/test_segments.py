"""From words to tokens: labels on first tokens, and windows in which each word is owned once."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxner.data.corpus import Corpus, Sentence
from flaxner.data.documents import in_documents
from flaxner.data.labels import LabelScheme
from flaxner.data.readers import excerpt
from flaxner.data.segments import IGNORED_LABEL, align, windows
from flaxner.data.tokenizer import load_tokenizer, require_fast
from flaxner.training.doubts import shortened_words
from tests.wordpiece import tiny_tokenizer

SCHEME = LabelScheme.from_types(["LOC", "PER"])


def sentence(text, tags=None):
    return Sentence(tuple(text.split(" ")), None if tags is None else tuple(tags.split(" ")))


def test_first_tokens_carry_the_labels():
    tokenizer = tiny_tokenizer()
    segments = align([sentence("Angela Merkel", "B-PER I-PER")], tokenizer, SCHEME, 64)
    tokens = tokenizer.convert_ids_to_tokens(segments.input_ids.tolist())
    assert tokens[0] == "[CLS]"
    assert tokens[-1] == "[SEP]"
    pairs = [(t, label) for t, label in zip(tokens, segments.labels.tolist(), strict=True)]
    labelled = [(t, SCHEME.tags[label]) for t, label in pairs if label != IGNORED_LABEL]
    assert [tag for _, tag in labelled] == ["B-PER", "I-PER"]
    assert all(not token.startswith("##") for token, _ in labelled)
    assert segments.words[segments.words >= 0].tolist() == [0, 1]


def test_tokens_equal_those_of_transformers():
    tokenizer = tiny_tokenizer()
    words = ["Chelsea's", "beat", "U.S.", "Stamford-Bridge", ",", "2-1", "zzz"]
    expected = tokenizer(words, is_split_into_words=True)
    segments = align([Sentence(tuple(words))], tokenizer, None, 128)
    assert segments.input_ids.tolist() == expected["input_ids"]
    first = [
        i
        for i, w in enumerate(expected.word_ids())
        if w is not None and w != expected.word_ids()[i - 1]
    ]
    assert np.flatnonzero(segments.words >= 0).tolist() == first


def test_special_tokens_among_the_words_are_read_as_the_tokenizer_says():
    words = ("Berlin", "[SEP]", "zzz")
    tokenizer = copy.deepcopy(tiny_tokenizer())
    lengths = set()
    for tokenizer.split_special_tokens in (False, True):
        ids = align([Sentence(words)], tokenizer, None, 64).input_ids.tolist()
        assert ids == tokenizer(list(words), is_split_into_words=True)["input_ids"]
        lengths.add(len(ids))
    assert len(lengths) == 2


def test_a_word_without_tokens_is_scored_as_unknown():
    tokenizer = tiny_tokenizer()
    words = ("\u200b", "Berlin", "\u00ad", "\ufe0f")
    segments = align([Sentence(words, ("O", "B-LOC", "O", "O"))], tokenizer, SCHEME, 64)
    assert segments.words[segments.words >= 0].tolist() == [0, 1, 2, 3]
    tokens = tokenizer.convert_ids_to_tokens(segments.input_ids.tolist())
    assert tokens.count("[UNK]") == 3


@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=80), capacity=st.integers(6, 40))
def test_windows_own_every_word_once(sizes, capacity):
    word_ids = np.repeat(np.arange(len(sizes)), sizes)
    cut = windows(word_ids, len(sizes), capacity)
    owned = [w for _, _, low, high in cut for w in range(low, high)]
    assert owned == list(range(len(sizes)))
    for first, end, low, high in cut:
        assert first <= low < high <= end
        tokens = sum(sizes[first:end])
        assert tokens <= capacity or end - first == 1


@given(sizes=st.lists(st.integers(1, 4), min_size=60, max_size=120))
def test_owned_words_have_context_on_both_sides(sizes):
    """At a cut, a word keeps some tokens of context: about half of the 10 tokens that overlap."""
    capacity = 40
    word_ids = np.repeat(np.arange(len(sizes)), sizes)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    for first, end, low, high in windows(word_ids, len(sizes), capacity):
        assert first == 0 or ends[low] - ends[first] >= 1
        assert end == len(sizes) or ends[end] - ends[high] >= 1


def test_long_sentences_lose_no_word():
    tokenizer = tiny_tokenizer()
    words = tuple(
        ["Angela", "Merkel", "met", "Barack", "Obama", "in", "Berlin", "on", "Tuesday", "."] * 30
    )
    tags = ("B-PER", "I-PER", "O", "B-PER", "I-PER", "O", "B-LOC", "O", "O", "O") * 30
    segments = align([Sentence(words, tags), Sentence(("x",), ("O",))], tokenizer, SCHEME, 32)
    assert segments.lengths.max() <= 32
    assert len(segments) > 5
    assert segments.windowed == 1
    assert segments.num_words == 301
    owned = segments.words >= 0
    assert sorted(segments.words[owned].tolist()) == list(range(301))
    by_word = segments.labels[owned][np.argsort(segments.words[owned])]
    assert SCHEME.decode(by_word) == [*tags, "O"]
    assert (segments.labels[~owned] == IGNORED_LABEL).all()


def test_a_word_longer_than_a_window_keeps_its_first_tokens():
    segments = align([Sentence(("a", "q" * 90, "b"))], tiny_tokenizer(), None, 16)
    assert segments.lengths.max() <= 16
    assert sorted(segments.words[segments.words >= 0].tolist()) == [0, 1, 2]
    assert segments.shortened.tolist() == [1]


@pytest.mark.parametrize(("size", "shortened"), [(14, []), (15, [4]), (90, [4])])
def test_words_that_exceed_a_window_are_counted_and_the_first_is_named(size, shortened):
    tags = ("B-LOC", "O", "O")
    sentences = [sentence("a b c", "O O O"), Sentence(("d", "q" * size, "e"), tags)] * 2
    segments = align(sentences, tiny_tokenizer(), SCHEME, 16)
    assert (np.bincount(segments.sentences) > 1).tolist() == [False, True] * 2
    assert segments.shortened.tolist() == [*shortened, *(10 for _ in shortened)]
    assert in_documents(segments, [0] * 4, 16).shortened.tolist() == segments.shortened.tolist()
    corpora = {"train": Corpus(sentences, "a.conll", "IOB2", 0)}
    said = list(shortened_words(corpora, {"train": segments}, 16))
    assert said == [
        "2 words of a.conll have more tokens than fit a window of 16; the rest is not read unless "
        f"--max-length is larger: {excerpt('q' * size, 20)} in sentence 2 is the first"
        for _ in shortened
    ]


def test_no_sentences():
    segments = align([], tiny_tokenizer(), SCHEME, 16)
    assert len(segments) == 0
    assert segments.num_words == 0


def test_an_unknown_tag_is_named():
    with pytest.raises(ValueError, match="B-ORG"):
        align([sentence("Google", "B-ORG")], tiny_tokenizer(), SCHEME, 16)


def test_slow_tokenizers_are_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ValueError, match=r"the tokenizer of x is slow \(Slow\)"):
        require_fast(Slow(), "x")


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no loadable tokenizer"):
        load_tokenizer(tmp_path)


def test_training_a_tokenizer_is_reproducible():
    from flaxner.data.tokenizer_training import train_wordpiece
    from tests.wordpiece import TEXTS

    vocabularies = [train_wordpiece(iter(TEXTS), 150).get_vocab() for _ in range(3)]
    assert vocabularies[0] == vocabularies[1] == vocabularies[2]
