"""A tiny random model as a Hub folder, its two pipelines, and comparisons of their answers."""

import json
import random
import shutil
import warnings

import pytest

from flaxner.data.corpus import read_corpus
from flaxner.data.labels import LabelScheme
from flaxner.models.network import Model
from flaxner.publishing.hub_folder import export_folder
from tests.tiny import tiny_config
from tests.wordpiece import tiny_tokenizer

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
STRATEGIES = ("none", "simple", "first", "average", "max")
SCORES = 1e-5  # largest difference between scores
ODD = (
    *("", "   ", "\n\t", "a\x00b", "[SEP] [MASK] x [UNK] [CLS]", "😀 Barack 👩‍👩‍👧 Obama"),
    *("e\u0301cole", "北京 is in 中国。", "שלום ירושלים Berlin", "zero\u200bwidth \u200b"),
    *("x" * 130 + " Berlin", "Ａｐｐｌｅ in Berlin", "Berlin." * 30, "naïve  café,Zürich"),
)


def make_folder(path, max_length=None, **changes):
    """Write a folder with a tiny random model whose predictions vary."""
    config = tiny_config(initializer_range=0.35, **changes)
    model = Model(config)
    scheme, tokenizer = LabelScheme(TAGS), tiny_tokenizer()
    return export_folder(path, model, model.init(3), scheme, tokenizer, max_length=max_length)


def edited(folder, path, edit):
    """Copy a model folder and change its config.json."""
    shutil.copytree(folder, path)
    fields = json.loads((path / "config.json").read_text())
    edit(fields)
    (path / "config.json").write_text(json.dumps(fields))
    return path


def torch_pipeline(folder):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return transformers.pipeline("ner", model=str(folder))


def largest_difference(ours, theirs):
    """Assert that answers are equal apart from scores; return the largest difference of those."""
    worst = 0.0
    for place, (mine, yours) in enumerate(zip(ours, theirs, strict=True)):
        assert len(mine) == len(yours), place
        for a, b in zip(mine, yours, strict=True):
            assert list(a) == list(b)  # also the order of keys
            assert type(a["score"]) is type(b["score"])
            worst = max(worst, abs(float(a["score"]) - float(b["score"])))
            rest = [{k: v for k, v in entity.items() if k != "score"} for entity in (a, b)]
            assert rest[0] == rest[1], place
    return worst


def remembering(theirs):
    """Cache the forward passes of torch's pipeline, which are the same for every strategy."""
    forward, kept = theirs.model.forward, {}

    def once(**inputs):
        key = tuple((name, x.shape, x.numpy().tobytes()) for name, x in sorted(inputs.items()))
        if key not in kept:
            kept[key] = forward(**inputs)
        return kept[key]

    theirs.model.forward = once
    return theirs


def detokenised(words):
    text = " ".join(words)
    for mark in (",", ".", ";", ":", "!", "?", ")", "'s", "n't"):
        text = text.replace(f" {mark}", mark)
    return text.replace("( ", "(")


def real_sentences(shared_data):
    """Return every sentence of the real corpora as running text, shuffled."""
    files = sorted(shared_data.glob("*/*.conll"))
    every = [detokenised(s.words) for file in files for s in read_corpus(file)]
    random.Random(0).shuffle(every)
    return every
