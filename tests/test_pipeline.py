"""Our pipeline against `transformers`' own, on a tiny model; and what ours has beyond it."""

import warnings

import pytest

from flaxner.export import export_folder
from flaxner.labels import LabelScheme
from flaxner.models import Model
from flaxner.pipeline import pipeline
from tests.tiny import tiny_config
from tests.wordpiece import TEXTS, tiny_tokenizer

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
STRATEGIES = ("none", "simple", "first", "average", "max")
SCORES = 1e-5  # largest difference of a score
ODD = (
    *("", "   ", "\n\t", "a\x00b", "[SEP] [MASK] x [UNK] [CLS]", "😀 Barack 👩‍👩‍👧 Obama"),
    *("e\u0301cole", "北京 is in 中国。", "שלום ירושלים Berlin", "zero\u200bwidth \u200b"),
    *("x" * 130 + " Berlin", "Ａｐｐｌｅ in Berlin", "Berlin." * 30, "naïve  café,Zürich"),
)


def make_folder(path, **changes):
    """A folder with a tiny random model whose labels vary."""
    config = tiny_config(initializer_range=0.35, **changes)
    model = Model(config)
    return export_folder(path, model, model.init(3), LabelScheme(TAGS), tiny_tokenizer())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model") / "hub")


@pytest.fixture(scope="module")
def ours(folder):
    return pipeline("ner", model=folder)


@pytest.fixture(scope="module")
def theirs(folder):
    return torch_pipeline(folder)


def torch_pipeline(folder):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.pipeline("ner", model=str(folder))


def largest_difference(ours, theirs):
    """Assert that answers are equal but for the scores; how far those are apart."""
    worst = 0.0
    for place, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
        assert len(mine) == len(yours), place
        for a, b in zip(mine, yours, strict=True):
            assert list(a) == list(b)  # the order of keys, too
            assert type(a["score"]) is type(b["score"])
            worst = max(worst, abs(float(a["score"]) - float(b["score"])))
            rest = [{k: v for k, v in entity.items() if k != "score"} for entity in (a, b)]
            assert rest[0] == rest[1], place
    return worst


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("stride", [None, 7])
def test_pipeline_equals_hf(ours, theirs, strategy, stride):
    if stride and strategy == "none":
        with pytest.raises(ValueError, match="stride needs an aggregation_strategy"):
            ours(["a"], aggregation_strategy=strategy, stride=stride)
        return
    texts = [*TEXTS, *ODD, " ".join(TEXTS), " ".join(TEXTS * 3)]
    call = {"aggregation_strategy": strategy, "stride": stride}
    got = ours(texts, **call, truncation=True)
    assert largest_difference(got, theirs(texts, **call)) < SCORES
    assert sum(map(len, got)) > 25
    assert len({e.get("entity", e.get("entity_group")) for es in got for e in es}) > 1


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_words_equal_hf(ours, theirs, strategy):
    sentences = [text.split() for text in TEXTS] + [["x\u200b", "\u200b", "New York"], ["Berlin"]]
    call = {"aggregation_strategy": strategy, "is_split_into_words": True}
    assert largest_difference(ours(sentences, **call), theirs(sentences, **call)) < SCORES
    call["delimiter"] = "--"
    assert largest_difference(ours(sentences, **call), theirs(sentences, **call)) < SCORES


def test_ignored_labels_equal_hf(ours, theirs):
    for ignored in ([], ["O", "PER"], ["B-PER"], ["LOC"]):
        for strategy in STRATEGIES:
            call = {"aggregation_strategy": strategy, "ignore_labels": ignored}
            assert largest_difference(ours([*TEXTS], **call), theirs([*TEXTS], **call)) < SCORES


def test_shapes_of_answers_equal_hf(ours, theirs):
    for inputs in (TEXTS[0], [TEXTS[0]], list(TEXTS), ""):
        a, b = ours(inputs), theirs(inputs)
        assert isinstance(a, list)
        assert [type(x) for x in a] == [type(x) for x in b]
        assert len(a) == len(b)
    words = TEXTS[0].split()
    a, b = (p(words, is_split_into_words=True) for p in (ours, theirs))
    assert largest_difference(a, b) < SCORES
    stream = ours(text for text in TEXTS)
    assert not isinstance(stream, list)
    assert list(stream) == ours(list(TEXTS))
