"""The CRF against sums over all sequences, pytorch-crf, and itself when packed or sharded."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxner.data.chains import CONTINUES, ENDS, STARTS, sentence_borders, word_chains
from flaxner.data.packing import Rows, fill_rows
from flaxner.data.segments import IGNORED_LABEL, Segments
from flaxner.data.tag_rules import ANY, rules
from flaxner.devices.mesh import make_mesh, place_batch
from flaxner.inference import crf as reading
from flaxner.inference import viterbi
from flaxner.models import crf
from flaxner.models.crf import Scores
from flaxner.models.network import Model
from flaxner.training import crf as learning
from flaxner.training import partition
from flaxner.training.crf import Crf
from flaxner.training.loss import Softmax
from flaxner.training.optimizer import make_optimizer
from flaxner.training.rates import rates_by
from flaxner.training.step import INPUTS, init_state, make_steps
from tests.compare import scaled_close
from tests.tiny import tiny_config

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
FREE, IOB2 = rules(TAGS, ANY), rules(TAGS, "IOB2")
C = len(TAGS)
WAYS = {"words": partition.sum_by_words, "pairs": partition.sum_in_pairs}


@pytest.fixture
def way(request, monkeypatch):
    """The sum over all sequences as computed on CPUs, or as on GPUs and TPUs."""
    monkeypatch.setattr(learning, "log_partition", WAYS[request.param])
    return request.param


both_ways = pytest.mark.parametrize("way", WAYS, indirect=True)


def random_scores(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"transitions": (C, C), "starts": (C,), "ends": (C,)}
    return Scores(**{k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()})


def one_sentence_rows(sizes, labels):
    """Return `Rows` of one sentence each, one token per word; `labels` are concatenated."""
    L = max(sizes)
    words = np.full((len(sizes), L), -1, np.int32)
    gold = np.full((len(sizes), L), IGNORED_LABEL, np.int32)
    first = 0
    for b, size in enumerate(sizes):
        words[b, :size] = np.arange(first, first + size)
        gold[b, :size] = labels[first : first + size]
        first += size
    own = (words >= 0).astype(np.int32)
    return Rows(own, own, own, gold, words)


def loss_of(decoder, scores, logits_BLC, rows):
    arrays = {name: jnp.asarray(value) for name, value in decoder.arrays(rows).items()}
    return decoder.batch_loss(scores.params(), jnp.asarray(logits_BLC), arrays)


def all_scores(legal, own_NC, scores):
    """Yield (labels, score) of every legal sequence of a sentence, in float64."""
    for path in itertools.product(range(C), repeat=len(own_NC)):
        moves = list(itertools.pairwise(path))
        if not (legal.starts[path[0]] and legal.ends[path[-1]]):
            continue
        if not all(legal.follows[move] for move in moves):
            continue
        score = sum(own_NC[n][label] for n, label in enumerate(path))
        score = score + sum(scores.transitions[move] for move in moves)
        yield path, score + scores.starts[path[0]] + scores.ends[path[-1]]


@both_ways
@pytest.mark.parametrize("legal", [FREE, IOB2], ids=["any", "IOB2"])
def test_loss_and_gradients_equal_the_sum_over_all_sequences(legal, way):
    sizes, labels = [3, 1, 4], np.asarray([0, 1, 2, 3, 3, 4, 4, 0], np.int32)
    logits = np.random.default_rng(1).normal(size=(3, 4, C)).astype(np.float32) * 2
    own = logits - np.asarray(jax.nn.logsumexp(logits, axis=-1, keepdims=True))
    decoder, scores = Crf(legal, sentence_borders(sizes), 8), random_scores()
    rows = one_sentence_rows(sizes, labels)
    value, gradient = jax.jit(
        jax.value_and_grad(lambda s, x: loss_of(decoder, s, x, rows)[0], (0, 1))
    )(scores, logits)

    expected, first = 0.0, 0
    wanted = (np.zeros((C, C)), np.zeros(C), np.zeros(C), np.zeros((3, 4, C)))
    for b, size in enumerate(sizes):
        gold = tuple(labels[first : first + size].tolist())
        every = dict(all_scores(legal, own[b, :size].astype(float), scores))
        log_z = np.logaddexp.reduce(list(every.values()))
        expected += log_z - every[gold]
        for path, score in every.items():  # the gradient: expected counts minus those of the gold
            count = np.exp(score - log_z) - (path == gold)
            wanted[1][path[0]] += count
            wanted[2][path[-1]] += count
            for n, label in enumerate(path):
                wanted[3][b, n, label] += count
            for move in itertools.pairwise(path):
                wanted[0][move] += count
        first += size
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(gradient), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@both_ways
def test_loss_and_gradients_equal_pytorch_crf(way):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchcrf").CRF(C, batch_first=True)
    rng = np.random.default_rng(0)
    sizes = [7, 3, 12, 1, 5]
    labels = rng.integers(0, C, sum(sizes)).astype(np.int32)
    logits = rng.normal(size=(5, 12, C)).astype(np.float32) * 3
    scores, rows = random_scores(3), one_sentence_rows(sizes, labels)
    names = ("transitions", "start_transitions", "end_transitions")
    with torch.no_grad():
        for name, value in zip(names, scores, strict=True):
            getattr(theirs, name).copy_(torch.tensor(value))
    emissions = torch.tensor(logits, requires_grad=True)
    gold = torch.tensor(np.maximum(rows.labels, 0)).long()
    expected = -theirs(emissions, gold, mask=torch.tensor(rows.words >= 0))
    expected.backward()
    decoder = Crf(FREE, sentence_borders(sizes), 12)
    value, (gradient, of_logits) = jax.jit(
        jax.value_and_grad(lambda s, x: loss_of(decoder, s, x, rows)[0], (0, 1))
    )(scores, logits)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(of_logits, emissions.grad.numpy(), atol=2e-5)
    for name, ours in zip(names, gradient, strict=True):
        np.testing.assert_allclose(ours, getattr(theirs, name).grad.numpy(), atol=5e-5)


def test_without_scores_and_rules_it_equals_the_softmax():
    sizes = [4, 2, 9]
    labels = np.random.default_rng(0).integers(0, C, sum(sizes)).astype(np.int32)
    rows = one_sentence_rows(sizes, labels)
    logits = np.random.default_rng(1).normal(size=(3, 9, C)).astype(np.float32)
    zeros = Scores(np.zeros((C, C)), np.zeros(C), np.zeros(C))
    decoder = Crf(FREE, sentence_borders(sizes), 16)
    total, words = loss_of(decoder, zeros, logits, rows)
    expected, count = Softmax().loss(jnp.asarray(logits), jnp.asarray(rows.labels))
    assert words == count == 15
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_part_of_the_loss_can_be_the_softmax_of_the_head():
    sizes = [4, 2, 9]
    labels = np.random.default_rng(0).integers(0, C, sum(sizes)).astype(np.int32)
    rows = one_sentence_rows(sizes, labels)
    logits = np.random.default_rng(1).normal(size=(3, 9, C)).astype(np.float32)
    borders, scores = sentence_borders(sizes), random_scores()
    alone, words = loss_of(Crf(FREE, borders, 16), scores, logits, rows)
    shared, count = loss_of(Crf(FREE, borders, 16, 0.3), scores, logits, rows)
    head, _ = Softmax().loss(jnp.asarray(logits), jnp.asarray(rows.labels))
    assert words == count
    np.testing.assert_allclose(shared, 0.7 * alone + 0.3 * head, rtol=1e-5)


def chained_segments(rng, pieces):
    """Return segments that own the words of several sentences, or parts of one.

    pieces: for each segment, the sizes of the sentences it owns; a negative size is part of a
    sentence that continues in the next piece.
    """
    ids, labels, words, starts, sizes, open_size = [], [], [], [0], [], 0
    for owned in pieces:
        length = 2
        ids.append(1)
        labels.append(IGNORED_LABEL)
        words.append(-1)
        for piece in owned:
            for _ in range(abs(piece)):
                later = int(rng.integers(0, 3))  # further tokens of the word
                number = 1 + max(words, default=-1)
                ids += rng.integers(1, 99, 1 + later).tolist()
                labels += [int(rng.choice([0, 1, 3])), *[IGNORED_LABEL] * later]  # legal anywhere
                words += [number, *[-1] * later]
                length += 1 + later
            open_size += abs(piece)
            if piece > 0:
                sizes.append(open_size)
                open_size = 0
        ids.append(2)
        labels.append(IGNORED_LABEL)
        words.append(-1)
        starts.append(starts[-1] + length)
    return sizes, Segments(
        input_ids=np.asarray(ids, np.int32),
        labels=np.asarray(labels, np.int32),
        words=np.asarray(words, np.int32),
        starts=np.asarray(starts, np.int64),
        sentences=np.arange(len(pieces), dtype=np.int32),
        num_words=sum(sizes),
        num_sentences=len(sizes),
    )


# Sentences on their own, a sentence in three windows, several sentences in a window, and one that
# begins in one window and ends in another.
PIECES = [[3], [-2], [-1], [4], [2, 1, 3], [1, -2], [2, 5], [1]]


def test_chains_by_hand():
    sizes, segments = chained_segments(np.random.default_rng(0), PIECES)
    assert sizes == [3, 7, 2, 1, 3, 1, 4, 5, 1]
    rows = fill_rows(segments, [[0, 1, 2], [3, 4], [7]], 60, 4)
    places, links = word_chains(rows, sentence_borders(sizes), 16)
    s, c, e = STARTS, CONTINUES, ENDS
    assert links[0].tolist() == [s, c, c + e, s, c, 0] + [0] * 10  # a window begins: no transition
    assert links[1].tolist() == [0, c, c, c + e, s, c + e, s + e, s, c, c + e] + [0] * 6
    assert links[2].tolist() == [s + e] + [0] * 15
    assert not links[3].any()
    for b, row in enumerate(places):
        there = row < 60
        assert (rows.words[b, row[there]] >= 0).all()
        assert there.sum() == (rows.words[b] >= 0).sum()
        assert len(set(row.tolist())) == 16


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(8)), cuts=st.sets(st.integers(1, 7), max_size=4))
def test_packed_chains_equal_unpacked_chains(order, cuts):
    """Loss, words and gradients do not depend on how segments share rows."""
    sizes, segments = chained_segments(np.random.default_rng(0), PIECES)
    decoder = Crf(IOB2, sentence_borders(sizes), 32)
    token_logits = np.random.default_rng(5).normal(size=(len(segments.input_ids), C)) * 3
    bounds = [0, *sorted(cuts), 8]
    packed = [list(order[a:b]) for a, b in itertools.pairwise(bounds)]
    plans = [packed, [[i] for i in range(8)]]
    made = [gradient_of(decoder, segments, plan, token_logits) for plan in plans]
    made.append(gradient_of(decoder, segments, packed, token_logits, way="pairs"))
    named = [dict(zip("twijkl", map(np.asarray, one), strict=True)) for one in made]
    scaled_close("packing", *named[:2])
    scaled_close("packing", named[2], named[0])


def gradient_of(decoder, segments, plan, token_logits, way="words"):
    """Return loss, words, and the gradients of scores and token logits, for rows so planned."""
    L = 120
    rows = fill_rows(segments, plan, L, 8)
    logits_BLC = np.zeros((8, L, C), np.float32)
    where = []
    for b, row in enumerate(plan):
        column = 0
        for index in row:
            low, high = segments.starts[index], segments.starts[index + 1]
            logits_BLC[b, column : column + high - low] = token_logits[low:high]
            where += [(t, b, column + t - low) for t in range(low, high)]
            column += high - low
    arrays = decoder.arrays(rows)
    made = _compiled(decoder, way)(random_scores(), logits_BLC, arrays)
    (total, words), (scores, of_logits) = made
    by_token = np.zeros((len(token_logits), C), np.float32)
    for token, b, column in where:
        by_token[token] = of_logits[b, column]
    return total, words, *scores, by_token


_MADE = {}


def _compiled(decoder, way="words"):
    def loss(scores, logits, arrays):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(learning, "log_partition", WAYS[way])
            return decoder.batch_loss(scores.params(), logits, arrays)

    legal = tuple(rule.tobytes() for rule in decoder.rules)
    key = decoder.width, decoder.head_share, legal, way
    if key not in _MADE:
        _MADE[key] = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    return _MADE[key]


@pytest.mark.parametrize("way", WAYS)
def test_empty_rows_and_confident_words_give_finite_numbers(way):
    sizes, segments = chained_segments(np.random.default_rng(0), PIECES)
    decoder = Crf(IOB2, sentence_borders(sizes), 32)
    rows = fill_rows(segments, [], 120, 8)
    logits = np.random.default_rng(5).normal(size=(8, 120, C)).astype(np.float32) * 300
    out = _compiled(decoder, way)(random_scores(), logits, decoder.arrays(rows))
    assert out[0] == (0, 0)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(out[1]))
    rows = fill_rows(segments, [[i] for i in range(8)], 120, 8)
    out = _compiled(decoder, way)(random_scores(), logits, decoder.arrays(rows))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(out))


@pytest.mark.parametrize("width", [1, 13])
def test_summing_in_pairs_equals_summing_by_words(width):
    """Full, one-word and empty rows; chains of all lengths; nothing legal; two seeds at once."""
    rng = np.random.default_rng(width)
    there = np.arange(width) < np.asarray([width, 1, 0, width // 2, width - 1, width])[:, None]
    continues = (rng.random(there.shape) < 0.6) & (np.arange(width) > 0)
    own = rng.normal(size=(2, *there.shape, C)).astype(np.float32) * 4
    never = (rng.random(own[:, 0].shape) < 0.9) & (np.arange(C) > 0)
    own[:, 0] += partition.NEVER * never  # label 0 is always possible
    moves = rng.normal(size=(2, C, C)).astype(np.float32)
    moves[:, 1] += partition.NEVER
    own[:, 5, 0] += partition.NEVER * (np.arange(C) != 1)  # only label 1, which nothing may follow
    continues[5, 1:] = True

    def of(sums):
        def total(moves, own, weights):
            values = sums(moves, own, jnp.asarray(continues), jnp.asarray(there))
            return values @ weights, values

        gradient = jax.vmap(jax.grad(total, (0, 1), has_aux=True), in_axes=(0, 0, None))
        return functools.partial(jax.jit(gradient), moves, own)

    by_words, in_pairs = (of(sums) for sums in WAYS.values())
    legal = np.asarray([1, 1, 1, 1, 1, 0], np.float32)
    (gradient, values), (wanted, expected) = in_pairs(legal), by_words(legal)
    lost, _ = in_pairs(1 - legal)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-5)
    assert not np.asarray(values)[:, 2].any()
    for ours, theirs in zip(gradient, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)
    assert (np.asarray(gradient[1])[:, 0][never] == 0).all()  # exactly
    assert all(np.isfinite(leaf).all() for leaf in lost)
    weights = (gradient[1] + lost[1]).sum(-1)  # sum of each word's probabilities
    np.testing.assert_allclose(weights, np.broadcast_to(there, weights.shape), atol=1e-5)


def test_each_platform_has_its_way_of_summing():
    def loops(labels, platform):
        shapes = [(labels, labels), (1, 2, labels), (1, 2), (1, 2)]
        given = [
            jax.ShapeDtypeStruct(shape, kind)
            for shape, kind in zip(shapes, [np.float32] * 2 + [bool] * 2, strict=True)
        ]
        traced = jax.jit(partition.log_partition).trace(*given)
        return "while" in traced.lower(lowering_platforms=(platform,)).as_text()

    most, on_tpus = partition.MOST_LABELS, partition.MOST_ON_TPUS
    assert loops(3, "cpu")
    assert [loops(n, "cuda") for n in (on_tpus + 1, most, most + 1)] == [False, False, True]
    assert [loops(n, "tpu") for n in (on_tpus, on_tpus + 1)] == [False, True]


@functools.cache
def trained(way, devices=1, fsdp=1, steps=6):
    model = Model(tiny_config(initializer_range=0.1), crf=True)
    mesh = make_mesh(fsdp, jax.devices()[:devices])
    sizes, segments = chained_segments(np.random.default_rng(0), PIECES * 2)
    decoder = Crf(IOB2, sentence_borders(sizes), 48)
    rows = fill_rows(segments, [[2 * i, 2 * i + 1] for i in range(8)], 62, 8)
    # With its default epsilon, AdamW takes full steps on gradients that are only rounding error.
    rates = rates_by("linear", steps, 0.0, 1e-3, dict.fromkeys(crf.shapes(C), 1e-2))
    optimizer = make_optimizer(epsilon=1e-3)
    made = make_steps(model, decoder, optimizer, rates, mesh, seed=0)
    state = init_state(model.init(0) | random_scores().params(), optimizer, mesh)
    batch = {n: getattr(rows, n) for n in INPUTS} | decoder.arrays(rows)
    losses = []
    for _ in range(steps):
        state, metrics = made.train(state, place_batch(batch, mesh))
        losses.append(float(metrics["loss"]))
    return {path: np.asarray(value) for path, value in state.params.items()}, losses


@pytest.mark.skipif(jax.device_count() < 8, reason="needs 8 devices")
@pytest.mark.parametrize(
    "way", ["words", pytest.param("pairs", marks=pytest.mark.slow)], indirect=True
)
def test_eight_devices_equal_one(way):
    one, losses = trained(way)
    many, their_losses = trained(way, 8, fsdp=4)
    assert losses[-1] < losses[0] < 100
    moved = np.abs(one["crf/transitions"] - random_scores().transitions)
    assert moved.max() > 1e-2
    assert (moved[~IOB2.follows] == 0).all()  # illegal transitions are not trained
    scaled_close("devices", many, one)
    np.testing.assert_allclose(their_losses, losses, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    sharp=st.sampled_from([1.0, 30.0]),
)
def test_the_best_legal_sequence_and_its_certainty(lengths, seed, sharp):
    rng = np.random.default_rng(seed)
    borders = np.cumsum([0, *lengths])
    logits = rng.normal(size=(borders[-1], C)) * sharp
    log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    scores = random_scores(seed)
    labels, probs = reading.read(log_probs, borders, IOB2, scores)
    assert (labels == viterbi.decode(log_probs, borders, IOB2, scores)).all()
    for low, high in itertools.pairwise(borders.tolist()):
        if low == high:
            continue
        every = dict(all_scores(IOB2, log_probs[low:high], scores))
        found = tuple(labels[low:high].tolist())
        assert every[found] == pytest.approx(max(every.values()))  # legal and optimal
        weights = np.exp(np.asarray(list(every.values())) - max(every.values()))
        for n, label in enumerate(found):
            share = sum(w for path, w in zip(every, weights, strict=True) if path[n] == label)
            assert probs[low + n] == pytest.approx(share / weights.sum(), abs=1e-5)
