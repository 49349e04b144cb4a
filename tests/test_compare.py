"""Comparing two systems: checked against exact enumeration, and from the command line."""

import itertools
import json
import shutil
import tracemalloc

import numpy as np
import pytest

from flaxner.commands import console
from flaxner.evaluation.comparison import comparison_table, read_system, verdict
from flaxner.evaluation.metrics import entity_counts, f1, score
from flaxner.evaluation.predictions import Predicted, write_predictions
from flaxner.evaluation.significance import compare, intervals


def system(errors, sentences=40, seed=0):
    """Return predictions that miss every entity in the sentences in `errors`."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(sentences):
        gold = ("B-PER", "O", "B-LOC")[: 1 + number % 3]
        words = tuple(f"w{number}-{i}" for i in range(len(gold)))
        invented = random.random() < 0.1 and len(gold) > 1
        tags = tuple("O" for _ in gold) if number in errors else gold
        if invented:
            tags = (tags[0], "B-ORG", *tags[2:])
        found.append(Predicted(words, gold, tags))
    return found


def test_counts_add_up_to_seqevals_f1():
    predicted = system({1, 5, 7, 20})
    gold, tags = [s.gold for s in predicted], [s.tags for s in predicted]
    words = sum(map(len, gold))
    report = score(gold, tags, words_in_corpus=words)
    assert float(f1(entity_counts(gold, tags).sum(0))) == pytest.approx(report.overall_f1, 1e-12)
    assert float(f1(np.zeros(3))) == 0.0


def test_randomization_is_exact_on_few_sentences():
    """Of the 4,096 ways to swap twelve sentences, the p-value counts those as far apart or more."""
    a, b = system({0, 1, 2, 3, 4}, 12), system({4}, 12, seed=1)
    counts = [entity_counts([s.gold for s in p], [s.tags for s in p]) for p in (a, b)]
    differences = []
    for swaps in itertools.product((False, True), repeat=12):
        swap = np.array(swaps)[:, None]
        one, two = np.where(swap, counts[1], counts[0]), np.where(swap, counts[0], counts[1])
        differences.append(float(f1(two.sum(0)) - f1(one.sum(0))))
    observed = float(f1(counts[1].sum(0)) - f1(counts[0].sum(0)))
    above = np.mean(np.array(differences) >= observed - 1e-12)
    below = np.mean(np.array(differences) <= observed + 1e-12)
    found = compare([a], [b])
    assert found.difference == pytest.approx(observed)
    assert found.p_sentences == pytest.approx(min(1.0, 2 * min(above, below)), abs=1e-9)


def test_swaps_are_drawn_if_there_are_too_many_to_try(monkeypatch):
    """SciPy's permutation test of many pairs takes time in proportion to their square."""
    a, b = system({0, 1, 2, 3, 4}, 40), system(set(range(5, 15)), 40)
    exact = compare([a], [b], resamples=2**15).p_sentences
    monkeypatch.delattr("scipy.stats.permutation_test")
    drawn = compare([a], [b], resamples=2**14).p_sentences
    assert 0.1 < exact < 0.9
    assert drawn == pytest.approx(exact, abs=0.02)


def test_seeds_are_compared_one_by_one():
    a = [system(set(range(seed, seed + 12)), 200) for seed in range(6)]
    b = [system(set(range(seed, seed + 4)), 200) for seed in range(6)]
    found = compare(a, b, resamples=500)
    assert found.p_seeds == found.smallest_p_seeds == 2 / 2**6
    assert found.differ
    assert found.interval[0] > 0
    same = compare(a, a, resamples=500)
    assert same.p_sentences == same.p_seeds == 1.0
    assert same.interval == (0.0, 0.0)
    assert not same.differ


@pytest.mark.parametrize("paired", [True, False])
def test_few_seeds_must_agree(paired):
    """Two seeds are too few for a test of their own, but enough to contradict each other."""
    a = [system(set(range(60)), 300), system(set(range(15)), 300)]
    best = system(set(range(10)), 300)
    found = compare(a, [best, best], resamples=500, paired=paired)
    assert found.differ
    told = verdict("a", "b", found)
    assert "p = 0.5, the lowest" in told or "p = 0.33, the lowest" in told
    assert "other seeds may give another result" in told
    found = compare(a, [best, system(set(range(16)), 300)], resamples=500, paired=paired)
    assert found.p_sentences < 0.05
    assert not found.differ, "one seed is better, one is worse"
    told = verdict("a", "b", found)
    assert (
        "do not differ significantly: the sentences tell them apart, but the seeds do not" in told
    )


def test_the_false_positive_rate_is_as_stated():
    """Equally good systems are found to differ on about one corpus in twenty, no more."""
    random = np.random.default_rng(3)
    told = 0
    for _ in range(60):
        a, b = (system(set(np.flatnonzero(random.random(60) < 0.3)), 60) for _ in range(2))
        told += compare([a], [b], resamples=300).differ
    assert told <= 8  # more has a probability of 0.4% in a binomial with n=60, p=0.05


def test_the_interval_contains_the_score():
    predicted = system({1, 5, 7, 20})
    counts = entity_counts([s.gold for s in predicted], [s.tags for s in predicted])[None]
    (low, high), *rest = intervals(counts, counts, n_resamples=500)
    assert low < float(f1(counts[0].sum(0))) < high
    assert rest == [(low, high), (0.0, 0.0)]
    assert intervals(counts[:, :1], counts[:, :1], n_resamples=500)[0] == (1.0, 1.0)


def test_a_large_corpus_is_resampled_in_little_memory():
    counts = np.ones((1, 400_000, 3), np.int64)
    tracemalloc.start()
    try:
        assert intervals(counts, counts, 30)[0] == (1.0, 1.0)
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a group of two runs and a single run."""
    folder = tmp_path_factory.mktemp("runs")
    for place, seed, errors in (("many/one", 10, {1}), ("many/two", 2, {2, 3}), ("single", 2, {9})):
        run = folder / place
        (run / "predictions").mkdir(parents=True)
        (run / "checkpoints").mkdir()
        (run / "config.toml").write_text(f"# flaxner: repeat this run with\nseed = {seed}\n")
        write_predictions(run / "predictions" / "test.conll", system(errors))
    return folder


def test_runs_are_read_by_their_seeds(runs):
    found = read_system(runs / "many")
    assert found.seeds == [2, 10]
    assert found.predictions[0] == system({2, 3})
    assert read_system(runs / "single").seeds == [2]
    with (runs / "single" / "config.toml").open("a") as config:
        config.write("of_another_version = 1\n")
    assert read_system(runs / "single").seeds == [2]
    file = runs / "single" / "predictions" / "test.conll"
    assert read_system(file).predictions == [system({9})]


def test_the_table_names_the_whole_confidence():
    for confidence, heading in ((0.95, "95% interval"), (0.995, "99.5% interval")):
        found = compare([system({1})], [system({3})], resamples=100, confidence=confidence)
        assert comparison_table("a", "b", found).columns[2].header == heading


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            'seed = 3\nmodel = "b"\nlearning_rate = 0.2',
            "model differs between .*one and .*three .'a' and 'b'.",
        ),
        ('seed = 3\nmodel = "./a"\nlearning_rate = 0.2', None),
        ('seed = 3\nmodel = "a"\nlearning_rate = 0.2\ntrain_file = "x"', "train_file differs"),
        (
            'seed = 3\nmodel = "a"\nlearning_rate = 0.2\ndropout = 0.5',
            r"dropout differs .*None and 0.5",
        ),
        ('seed = 3\nmodel = "a"\nlearning_rate = 0.1', "learning_rate differs"),
        ('seed = 2\nmodel = "a"\nlearning_rate = 0.2', "two have the same seed, 2"),
        ('seed = 2\nfold = 1\nmodel = "a"\nlearning_rate = 0.2\neval_batch_size = 1', None),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_refused(runs, tmp_path, settings, told):
    many = shutil.copytree(runs / "many", tmp_path / "many")
    for name in ("one", "two"):
        with (many / name / "config.toml").open("a") as config:
            config.write('model = "a"\nlearning_rate = 0.2\neval_batch_size = 2\n')
    shutil.copytree(many / "two", many / "three")
    (many / "three" / "config.toml").write_text(f"# flaxner: repeat this run with\n{settings}\n")
    if told is None:
        assert len(read_system(many).seeds) == 3
    else:
        with pytest.raises(ValueError, match=told):
            read_system(many)


def test_the_command(runs, capsys):
    one, other = str(runs / "many" / "one"), str(runs / "single")
    assert console.main(["compare", one, other, "--resamples", "200", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["differ"] is False
    assert "do not differ significantly" in printed["verdict"]
    assert printed["scores_a"] == [compare([system({1})], [system({9})]).scores_a[0]]
    assert console.main(["compare", one, other, "--resamples", "200"]) == 0
    assert "difference" in capsys.readouterr().out
    few = compare([system({1}), system({2})], [system({3}), system({4})], resamples=100)
    assert "which cannot go below 0.5 with so few seeds" in verdict("a", "b", few)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"many": "single"}, "equally many seeds: got 2 and 1"),
        ({"many/one": "nothing"}, "nothing does not exist"),
        ({"many/one": "single/checkpoints"}, "checkpoints is not a run"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, change, told, capsys):
    ((a, b),) = change.items()
    assert console.main(["compare", str(runs / a), str(runs / b)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("folder", "run"), [("single", "single"), ("many", "many/one")])
def test_a_missing_split_names_those_that_are_there(runs, tmp_path, folder, run):
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    predictions = tmp_path / run / "predictions"
    (predictions / "test.conll").rename(predictions / "validation.conll")
    with pytest.raises(ValueError, match=r"test\.conll is missing: choose --split validation"):
        read_system(tmp_path / folder)
    (predictions / "validation.conll").unlink()
    with pytest.raises(ValueError, match=r"test\.conll is missing: has the run finished\?"):
        read_system(tmp_path / folder)


def test_other_corpora_are_refused():
    a = system({1})
    with pytest.raises(ValueError, match=r"corpus: they have 40 and 39 sentences$"):
        compare([a], [a[:-1]])
    with pytest.raises(
        ValueError, match="40 and 39 sentences; in sentence 1, word 1 is 'w0-0' and"
    ):
        compare([a], [a[1:]])
    other = [*a[:-1], Predicted(a[-1].words, ("B-ORG",), ("O",))]
    told = (
        r"^predictions 0 and predictions 3 must .*: in sentence 40, tag 1 is 'B-PER' and 'B-ORG'$"
    )
    with pytest.raises(ValueError, match=told):
        compare([a, a], [a, other])
    with pytest.raises(ValueError, match=r"^one and two must be predictions on one"):
        compare([a], [other], names=["one", "two"])
    longer = [*a[:-1], Predicted((*a[-1].words, "x"), ("B-PER", "O"), ("O", "O"))]
    with pytest.raises(ValueError, match="in sentence 40, they have 1 and 2 words"):
        compare([a], [longer])
    with pytest.raises(ValueError, match="no sentence"):
        compare([[]], [[]])
