"""The real corpora against counts made by a few lines independent of our readers."""

import collections

import pytest

from flaxner.data.corpus import read_corpus

FILES = {
    "wnut17/train.conll": "IOB2",
    "wnut17/dev.conll": "IOB2",
    "wnut17/test.conll": "IOB2",
    "sec_filings/train.conll": None,
    "sec_filings/test.conll": None,
    "wikigold/wikigold.conll": "IO",
}


def count(path):
    """Count sentences, words, and entities per type as conlleval sees them."""
    sentences, words, types = 0, 0, collections.Counter()
    open_sentence, before = False, "O"
    for line in path.read_bytes().decode().split("\n"):
        if not line.strip() or line.startswith("-DOCSTART-"):
            sentences += open_sentence
            open_sentence, before = False, "O"
            continue
        open_sentence, words = True, words + 1
        tag = line.rstrip("\r").replace("\t", " ").split(" ")[-1]
        if tag != "O" and (tag[0] == "B" or before == "O" or before[2:] != tag[2:]):
            types[tag[2:]] += 1
        before = tag
    return sentences + open_sentence, words, dict(types)


@pytest.mark.shared
@pytest.mark.parametrize("name", FILES)
def test_counts_equal_an_independent_count(shared_data, name):
    corpus = read_corpus(shared_data / name)
    types = collections.Counter(
        tag[2:] for sentence in corpus for tag in sentence.tags if tag.startswith("B-")
    )
    assert (len(corpus), corpus.words, dict(types)) == count(shared_data / name)
    if FILES[name]:
        assert corpus.scheme == FILES[name]
