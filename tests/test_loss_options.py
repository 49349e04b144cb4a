"""Label weights, and labels on every token: exact under packing, and equal to torch's weighting."""

import functools

import jax
import numpy as np
import pytest

from flaxner.data.batches import TrainBatches
from flaxner.data.corpus import Sentence
from flaxner.data.labels import LabelScheme
from flaxner.data.segment_cache import align_cached
from flaxner.data.segments import IGNORED_LABEL, align
from flaxner.devices.mesh import make_mesh, place_batch
from flaxner.models.network import Model
from flaxner.training import loss
from flaxner.training.accumulation import summed_gradient
from flaxner.training.loss import Softmax, label_weights
from flaxner.training.optimizer import make_optimizer
from flaxner.training.rates import rates_by
from flaxner.training.step import INPUTS, init_state, make_steps
from tests.compare import assert_close, scaled_close
from tests.tiny import random_segments, tiny_config
from tests.wordpiece import tiny_tokenizer

WEIGHTS = (0.25, 3.0, 1.0, 2.0, 0.5)


def test_the_weighted_loss_equals_torchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 7, 5)).astype(np.float32)
    labels = rng.integers(0, 5, (3, 7)).astype(np.int32)
    labels[rng.random((3, 7)) < 0.5] = IGNORED_LABEL
    total, weight = Softmax(WEIGHTS).loss(logits, labels)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits).reshape(-1, 5),
        torch.tensor(labels.reshape(-1)).long(),
        weight=torch.tensor(WEIGHTS),
    )
    np.testing.assert_allclose(total / weight, expected.item(), rtol=1e-6)
    assert Softmax(WEIGHTS).loss(logits, np.full_like(labels, IGNORED_LABEL))[1] == 0


def test_the_gradient_on_a_gpu_has_no_scatter():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(3, 7, 5)) * 9, rng.integers(0, 5, (3, 7))
    given = logits.astype(np.float32), labels.astype(np.int32)

    def summed(function):
        return jax.jit(jax.value_and_grad(lambda *given: function(*given).sum()))

    made = [summed(f)(*given) for f in (loss.by_one_hot, loss.cross_entropy)]
    for ours, theirs in zip(*made, strict=True):
        assert_close("packing", ours, theirs)
    traced = summed(loss.cross_entropy).trace(*given)
    texts = [traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "cuda")]
    assert ["scatter" in text for text in texts] == [True, False]


@functools.cache
def gradient(weights, *, devices=1, accumulate=1, row_length=24):
    """Return (loss sum, weight sum) and gradient of a batch laid out in rows of `row_length`."""
    model = Model(tiny_config(initializer_range=0.1))
    mesh = make_mesh(1, jax.devices()[:devices])
    lengths = np.random.default_rng(3).integers(3, 20, 16)
    segments = random_segments(np.random.default_rng(4), lengths)
    rows = TrainBatches(segments, 16, row_length, 1, 0, multiple=devices * accumulate).at(0)
    batch = place_batch({n: getattr(rows, n) for n in (*INPUTS, "labels")}, mesh)

    def loss_sum(params, batch, key):
        logits = model.apply(params, *(batch[name] for name in INPUTS))
        return Softmax(weights).loss(logits, batch["labels"])

    made = jax.jit(functools.partial(summed_gradient, loss_sum), static_argnums=3)
    (total, weight), grads = made(model.init(0), batch, jax.random.key(0), accumulate)
    return total, weight, {path: np.asarray(value) / weight for path, value in grads.items()}


LAYOUTS = [
    {"row_length": 60},
    {"accumulate": 4},
    {"devices": 8},
    {"devices": 2, "accumulate": 2},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_weights_are_exact_under_packing_accumulation_and_devices(layout):
    """The loss is one quotient of global sums, whatever the layout of the batch."""
    total, weight, grads = gradient(WEIGHTS)
    other_total, other_weight, others = gradient(WEIGHTS, **layout)
    np.testing.assert_allclose(other_weight, weight, rtol=1e-6)
    assert_close("packing", other_total / other_weight, total / weight)
    scaled_close("packing", others, grads)


def test_equal_weights_change_nothing_and_others_change_the_loss():
    total, count, grads = gradient(None)
    ones_total, ones_weight, ones = gradient((1.0,) * 5)
    assert ones_weight == count
    assert_close("packing", ones_total, total)
    scaled_close("packing", ones, grads)
    weighted_total, weight, _ = gradient(WEIGHTS)
    assert abs(weighted_total / weight - total / count) > 1e-3


def test_a_step_reports_the_mean_and_counts_words():
    """A batch without labels changes nothing and yields no NaN."""
    model, mesh = Model(tiny_config()), make_mesh(1, jax.devices()[:1])
    segments = random_segments(np.random.default_rng(4), [9, 5, 12])
    rows = TrainBatches(segments, 3, 24, 1, 0).at(0)
    rates = rates_by("linear", 3, 0.0, 1e-3)
    optimizer = make_optimizer()
    made = make_steps(model, Softmax(WEIGHTS), optimizer, rates, mesh, seed=0)
    batch = place_batch({n: getattr(rows, n) for n in (*INPUTS, "labels")}, mesh)
    state, metrics = made.train(init_state(model.init(0), optimizer, mesh), batch)
    assert metrics["words"] == segments.num_words
    assert 0.5 < metrics["loss"] < 5
    empty = place_batch({**{n: getattr(rows, n) for n in INPUTS},
                         "labels": np.full_like(rows.labels, IGNORED_LABEL)}, mesh)  # fmt: skip
    state, metrics = made.train(state, empty)
    assert metrics["loss"] == metrics["words"] == metrics["grad_norm"] == 0
    assert all(np.isfinite(value).all() for value in state.params.values())


SCHEME = LabelScheme.from_types(["LOC", "PER"])  # O, B-LOC, I-LOC, B-PER, I-PER


def test_balanced_weights_give_every_label_the_same_share():
    labels = np.asarray([0] * 60 + [1] * 20 + [2] * 10 + [3] * 10 + [IGNORED_LABEL] * 7)
    weights = label_weights(("balanced",), SCHEME, labels)
    counts = np.asarray([60, 20, 10, 10])
    np.testing.assert_allclose(np.asarray(weights[:4]) * counts, 25.0)
    assert weights[4] == 1.0  # does not occur
    roots = label_weights(("sqrt",), SCHEME, labels)
    np.testing.assert_allclose(np.square(roots), weights)
    assert label_weights(("none",), SCHEME, labels) is None
    assert label_weights(("O=0.5", "PER=2"), SCHEME, labels) == (0.5, 1.0, 1.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="names the unknown type 'ORG'; choose from: O, LOC, PER"):
        label_weights(("ORG=2",), SCHEME, labels)


def test_later_tokens_carry_the_inside_label(tmp_path):
    words, tags = ("Angela", "Merkel", "unhappily"), ("B-PER", "I-PER", "O")
    sentence, tokenizer = [Sentence(words, tags)], tiny_tokenizer()
    first = align(sentence, tokenizer, SCHEME, 64)
    every = align(sentence, tokenizer, SCHEME, 64, SCHEME.inside)
    pieces = tokenizer(list(words), is_split_into_words=True).word_ids()
    wanted, before = [], None
    for word in pieces:
        tag = None if word is None else tags[word]
        if word == before and tag:
            tag = tag.replace("B-", "I-")
        wanted.append(IGNORED_LABEL if tag is None else SCHEME.label2id[tag])
        before = word
    assert len(pieces) > 5, "the words must have several tokens each"
    assert every.labels.tolist() == wanted
    assert every.words.tolist() == first.words.tolist()  # the scored words stay the same
    both = first.labels != IGNORED_LABEL
    assert every.labels[both].tolist() == first.labels[both].tolist()
    unlabelled = align([Sentence(words)], tokenizer, SCHEME, 64, SCHEME.inside)
    assert set(unlabelled.labels.tolist()) == {IGNORED_LABEL}


def test_windows_label_the_tokens_of_owned_words_once():
    words = tuple(f"unhappily{'ab'[i % 2]}" for i in range(30))
    tags = ("B-PER", "I-PER", "O") * 10
    segments = align([Sentence(words, tags)], tiny_tokenizer(), SCHEME, 24, SCHEME.inside)
    assert len(segments) > 1
    whole = align([Sentence(words, tags)], tiny_tokenizer(), SCHEME, 512, SCHEME.inside)
    assert np.sum(segments.labels != IGNORED_LABEL) == np.sum(whole.labels != IGNORED_LABEL)


def test_the_segment_cache_tells_both_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("flaxner.data.segment_cache.FEWEST", 1)
    sentence = [Sentence(("Merkel",), ("B-PER",))]
    made = [
        align_cached(sentence, tiny_tokenizer(), SCHEME, 16, str(tmp_path), later).labels.tolist()
        for later in (None, SCHEME.inside, None, SCHEME.inside)
    ]
    assert made[0] == made[2] != made[1] == made[3]
