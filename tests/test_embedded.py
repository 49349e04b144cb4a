"""The embedded corpus: reproducible, with disjoint splits, and unsolvable without context."""

import collections

import pytest

from flaxner.data import embedded as sample
from flaxner.data.labels import LabelScheme
from flaxner.data.tag_rules import rules
from flaxner.evaluation.metrics import score


def entities(sentences):
    """Yield (name, type) of every entity, read from the tags without the library."""
    for words, tags in sentences:
        start = None
        for i, tag in enumerate([*tags, "O"]):
            if start is not None and not tag.startswith("I-"):
                yield " ".join(words[start:i]), tags[start][2:]
                start = None
            if tag.startswith("B-"):
                start = i


@pytest.fixture(scope="module")
def corpus():
    return {split: list(sample.generate(split)) for split in sample.SIZES}


def test_sizes_and_tags(corpus):
    assert len(corpus["train"]) >= 3000
    assert min(len(corpus["validation"]), len(corpus["test"])) >= 500
    scheme = LabelScheme.from_types(["PER", "ORG", "LOC", "MISC"])
    starts, follows, _ = rules(scheme.tags, "IOB2")
    for sentences in corpus.values():
        assert {kind for _, kind in entities(sentences)} == set(scheme.types)
        for words, tags in sentences:
            assert len(words) == len(tags)
            labels = scheme.encode(tags)
            assert starts[labels[0]]
            assert follows[labels[:-1], labels[1:]].all()
            assert all(word and not set(word) & set("{}<> ") for word in words)


def test_a_seed_gives_the_same_corpus(corpus):
    import subprocess
    import sys

    code = "import hashlib; from flaxner.data.embedded import generate"
    code += "; print(hashlib.sha256(repr([*generate('test')])"
    runs = {
        subprocess.check_output([sys.executable, "-c", f"{code}.encode()).hexdigest())"])
        for _ in range(2)
    }
    assert len(runs) == 1
    assert list(sample.generate("test", seed=1)) != corpus["test"]


def test_no_sentence_is_in_two_splits(corpus):
    sentences = [words for split in corpus.values() for words, _ in split]
    assert len(sentences) == len(set(sentences))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_most_names_are_unseen(corpus, split):
    known = {name for name, _ in entities(corpus["train"])}
    names = {name for name, _ in entities(corpus[split])}
    assert len(names - known) > 0.5 * len(names)


def test_ambiguous_names_have_every_type(corpus):
    kinds = collections.defaultdict(set)
    for name, kind in entities(corpus["train"]):
        kinds[name].add(kind)
    ambiguous = sample.read_data()["ambiguous"]
    assert len(ambiguous) >= 30
    assert all(kinds[name] >= {"PER", "LOC", "ORG"} for name in ambiguous)


def test_words_in_isolation_are_not_enough(corpus):
    """Guessing each word's most frequent training tag fails on ambiguous names."""
    counts = collections.defaultdict(collections.Counter)
    for words, tags in corpus["train"]:
        for word, tag in zip(words, tags, strict=True):
            counts[word][tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    gold = [list(tags) for _, tags in corpus["test"]]
    guessed = [[best.get(word, "O") for word in words] for words, _ in corpus["test"]]
    count = sum(map(len, gold))
    assert score(gold, guessed, words_in_corpus=count).overall_f1 < 0.6
    ambiguous = set(sample.read_data()["ambiguous"])
    right, total = 0, 0
    for (words, tags), guess in zip(corpus["test"], guessed, strict=True):
        for word, tag, found in zip(words, tags, guess, strict=True):
            if word in ambiguous and tag.startswith("B-"):
                right, total = right + (tag == found), total + 1
    assert total > 200
    assert right < 0.6 * total


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="has the splits train, validation, test: got 'dev'"):
        next(sample.generate("dev"))


@pytest.mark.slow
def test_the_quick_start_needs_context(tmp_path, corpus):
    """A model trained on sentences finds ambiguous names in sentences but not in isolation."""
    from rich.console import Console

    from flaxner import TrainConfig, pipeline, train
    from flaxner.config.files import load_preset

    config = TrainConfig(**{**load_preset("quickstart"), "output_dir": str(tmp_path / "run")})
    result = train(config, console=Console(quiet=True))
    assert result.results["validation"]["overall_f1"] >= 0.95
    ner = pipeline("ner", model=result.hub_dir, aggregation_strategy="first")
    ambiguous = set(sample.read_data()["ambiguous"])
    names = [e for e in entities(corpus["test"]) if e[0] in ambiguous]
    alone = ner([name for name, _ in names])
    right = [
        len(found) == 1 and found[0]["entity_group"] == kind
        for found, (_, kind) in zip(alone, names, strict=True)
    ]
    assert len(names) > 200
    assert sum(right) < 0.6 * len(names)
