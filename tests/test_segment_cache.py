"""Tokenised corpora on disk: the same segments, looked up by content, and never trusted blindly."""

import dataclasses

import numpy as np
import pytest

from flaxner.data import segment_cache
from flaxner.data.corpus import Sentence
from flaxner.data.labels import LabelScheme
from flaxner.data.segment_cache import align_cached
from tests.wordpiece import tiny_tokenizer

SCHEME = LabelScheme.from_types(["LOC", "PER"])
CORPUS = [
    Sentence(("Angela", "Merkel", "beat", "Chelsea"), ("B-PER", "I-PER", "O", "O")),
    Sentence(("Chelsea",), ("B-LOC",)),
]


@pytest.fixture
def calls(monkeypatch):
    """Record every corpus that is actually tokenised; corpora of any size are cached."""
    made = []

    def counted(sentences, *rest):
        made.append(sentences)
        return align(sentences, *rest)

    align = segment_cache.align
    monkeypatch.setattr(segment_cache, "align", counted)
    monkeypatch.setattr(segment_cache, "FEWEST", 1)
    return made


def equal(a, b):
    for field in dataclasses.fields(a):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))
        assert type(getattr(a, field.name)) is type(getattr(b, field.name))


def test_the_second_time_is_read_from_the_cache(tmp_path, calls):
    once = align_cached(CORPUS, tiny_tokenizer(), SCHEME, 16, str(tmp_path))
    again = align_cached(list(CORPUS), tiny_tokenizer(), SCHEME, 16, str(tmp_path))
    assert len(calls) == 1
    equal(once, again)
    assert len(list(tmp_path.iterdir())) == 1


def test_any_difference_makes_another_file(tmp_path, calls):
    tokenizer = tiny_tokenizer()
    retagged = [CORPUS[0], Sentence(("Chelsea",), ("O",))]
    other = LabelScheme.from_types(["PER", "LOC", "ORG"])
    for sentences, scheme, limit in [
        (CORPUS, SCHEME, 16),
        (retagged, SCHEME, 16),
        (CORPUS[::-1], SCHEME, 16),
        (CORPUS, other, 16),
        (CORPUS, None, 16),
        (CORPUS, SCHEME, 12),
    ]:
        align_cached(sentences, tokenizer, scheme, limit, str(tmp_path))
    assert len(calls) == 6
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_a_damaged_file_is_rebuilt(tmp_path, calls, content):
    good = align_cached(CORPUS, tiny_tokenizer(), SCHEME, 16, str(tmp_path))
    (path,) = tmp_path.rglob("*.npz")
    path.write_bytes(path.read_bytes()[:200] if content is None else content)
    equal(good, align_cached(CORPUS, tiny_tokenizer(), SCHEME, 16, str(tmp_path)))
    assert len(calls) == 2
    align_cached(CORPUS, tiny_tokenizer(), SCHEME, 16, str(tmp_path))
    assert len(calls) == 2


def test_the_least_recently_used_is_dropped(tmp_path, calls, monkeypatch):
    tokenizer = tiny_tokenizer()
    for limit in (16, 17):
        align_cached(CORPUS, tokenizer, SCHEME, limit, str(tmp_path))
    size = sum(path.stat().st_size for path in tmp_path.rglob("*.*"))
    monkeypatch.setattr(segment_cache, "MOST_BYTES", size)
    align_cached(CORPUS, tokenizer, SCHEME, 18, str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 2
    align_cached(CORPUS, tokenizer, SCHEME, 18, str(tmp_path))
    assert len(calls) == 3


def test_without_a_folder_nothing_is_cached(tmp_path, calls):
    blocked = tmp_path / "file"
    blocked.write_text("")
    for folder in ("", str(blocked)):
        align_cached(CORPUS, tiny_tokenizer(), SCHEME, 16, folder)
    assert len(calls) == 2
    assert list(tmp_path.iterdir()) == [blocked]
