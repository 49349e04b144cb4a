"""Renamed types, held-out parts, folds and samples: what they select, and what they report."""

import collections
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxner.config.train import TrainConfig
from flaxner.data.corpus import Corpus, Sentence, read_corpus
from flaxner.data.selection import divide, few_shot, fraction, select
from flaxner.data.tags import tags_to_spans
from flaxner.training.preparation import load_corpora
from tests.conll import sentences, write_conll


def corpus(made, source="train.conll"):
    return Corpus([Sentence(tuple(w), tuple(t)) for w, t in made], source, "IOB2", 0)


def entities(chosen):
    """Count the entities of every type, independently of the module."""
    return collections.Counter(kind for s in chosen for *_, kind in tags_to_spans(s.tags))


def made_of(**changes):
    return TrainConfig(train_file="train.conll", **changes)


def different(count):
    """Return `count` sentences of which no two are equal."""
    return [([*words, str(i)], [*tags, "O"]) for i, (words, tags) in enumerate(sentences(count))]


TRAIN = corpus(different(80))


def test_corpora_are_unchanged_by_default():
    assert select({"train": TRAIN}, made_of()) == {"train": TRAIN}


def test_types_are_renamed_merged_and_dropped():
    train = corpus([(["Ann", "of", "Acme", "in", "Rome"], ["B-PER", "O", "B-ORG", "O", "B-LOC"]),
                    (["New", "York", "Bob"], ["B-LOC", "I-LOC", "B-PER"])])  # fmt: skip
    config = made_of(map_types=("PER=name", "LOC=name"), drop_types=("ORG",))
    found = select({"train": train, "test": train}, config)
    for split in ("train", "test"):
        tags = [" ".join(sentence.tags) for sentence in found[split]]
        assert tags == ["B-name O O O B-name", "B-name I-name B-name"]
        assert found[split].types == ("name",)
        told = ("PER renamed to name", "LOC renamed to name", "1 entity of ORG dropped")
        assert found[split].notes == told


def test_a_type_found_only_in_the_test_split_may_be_dropped(tmp_path):
    train = write_conll(tmp_path / "train.conll", sentences(8))
    test = write_conll(tmp_path / "test.conll", [(["Python", "Rome"], ["B-LANG", "B-LOC"])])
    files = {"train_file": str(train), "test_file": str(test)}
    with pytest.raises(ValueError, match=r"lacks: LANG \("):
        load_corpora(TrainConfig(**files))
    assert load_corpora(TrainConfig(**files, drop_types=("LANG",)))["test"].types == ("LOC",)
    mapped = load_corpora(TrainConfig(**files, map_types=("LANG=LOC",)))["test"]
    assert mapped.sentences[0].tags == ("B-LOC", "B-LOC")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"map_types": ("PERS=x",)}, "no type 'PERS' to rename or drop: train.conll has "
                                     "LOC, ORG, PER"),
        ({"drop_types": ("X",)}, "no type 'X' to rename or drop"),
        ({"map_types": ("PER",)}, "map_types must be OLD=NEW, such as PER=person: got 'PER'"),
        ({"map_types": ("PER=a b",)}, "map_types must be OLD=NEW"),
        ({"map_types": ("PER=O",)}, "map_types cannot rename a type to O: use --drop-types PER"),
        ({"map_types": ("PER=a", "PER=b")}, "map_types renames the type 'PER' twice"),
        ({"map_types": ("PER=a",), "drop_types": ("PER",)}, "both renamed and dropped"),
        ({"map_types": "PER=a"}, "map_types must be a list of texts: got 'PER=a'"),
        ({"held_out": 0.1, "cross_validation": 3}, "are mutually exclusive"),
        ({"held_out": 0.1, "validation_file": "x"}, "are mutually exclusive"),
        ({"held_out": 1.0}, "held_out must be at most 0.9: got 1.0"),
        ({"held_out": float("nan")}, "held_out must be a finite number: got nan"),
        ({"cross_validation": 1}, "cross_validation must be at least 2 folds"),
        ({"cross_validation": 3, "fold": 4}, "fold must be at most cross_validation: 4 > 3"),
        ({"fold": 1}, "fold must be at most cross_validation: 1 > 0"),
        ({"train_fraction": 0.0}, "train_fraction must be above 0"),
        ({"train_fraction": 0.5, "few_shot": 5}, "are mutually exclusive"),
        ({"few_shot": -1}, "few_shot must be at least 0"),
        ({"class_weights": ("heavy",)}, "class_weights must be one of none, balanced, sqrt, or"),
        ({"class_weights": ("O=0",)}, "with weights above 0: got 'O=0'"),
        ({"class_weights": ("O=1", "O=2")}, "class_weights lists the type 'O' twice"),
        ({"label_tokens": "last"}, "label_tokens must be one of first, all: got 'last'"),
    ],
)  # fmt: skip
def test_refusals(changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        select({"train": TRAIN}, made_of(**changes))
    assert "\n" not in str(caught.value)


def test_a_part_is_held_out_and_said_so():
    found = select({"train": TRAIN}, made_of(held_out=0.25))
    train, held = found["train"], found["validation"]
    assert sorted(s.words for s in (*train, *held)) == sorted(s.words for s in TRAIN)
    assert len(held) == 20
    assert held.source == "train.conll (held out)"
    note = "20 of 80 sentences are used for validation (held out, data seed 0)"
    assert train.notes == (note,)
    again = select({"train": TRAIN}, made_of(held_out=0.25, seed=9))
    assert again == found
    other = select({"train": TRAIN}, made_of(held_out=0.25, data_seed=9))
    assert other["validation"].sentences != held.sentences
    with pytest.raises(ValueError, match="--held-out requires data without a validation split"):
        select({"train": TRAIN, "validation": TRAIN}, made_of(held_out=0.25))


def test_folds_divide_the_corpus_and_share_every_type():
    whole = entities(TRAIN)
    seen = []
    for fold in range(1, 5):
        found = select({"train": TRAIN, "test": TRAIN}, made_of(cross_validation=4, fold=fold))
        validation = found["validation"]
        assert validation.source == f"train.conll (fold {fold} of 4)"
        assert len(found["train"]) + len(validation) == len(TRAIN)
        assert not {s.words for s in found["train"]} & {s.words for s in validation}
        for kind, count in entities(validation).items():
            assert abs(count - whole[kind] / 4) <= 2, (fold, kind)
        seen += [s.words for s in validation]
        assert found["test"] == TRAIN
    assert sorted(seen) == sorted(s.words for s in TRAIN)
    few = corpus(sentences(2))
    told = r"--cross-validation cannot divide .* 2 sentences without repetitions; use fewer folds"
    with pytest.raises(ValueError, match=told):
        select({"train": few}, made_of(cross_validation=3, fold=1))
    told = r"--held-out cannot divide .*; hold out a larger share, or set --validation-file"
    with pytest.raises(ValueError, match=told):
        select({"train": few}, made_of(held_out=0.2))


def test_equal_sentences_stay_together():
    twice = corpus(different(30) * 2)
    part = divide(twice.sentences, [0.7, 0.3], 0)
    assert part[:30].tolist() == part[30:].tolist()
    assert 0.25 <= part.mean() <= 0.35


def test_a_fraction_is_nested_and_keeps_the_label_table():
    small, large = (fraction(TRAIN, share, 3) for share in (0.1, 0.5))
    assert (len(small), len(large)) == (8, 40)
    assert {s.words for s in small} < {s.words for s in large}
    assert small.notes == ("8 of 80 sentences are used (0.1 of them, data seed 3)",)
    found = select({"train": TRAIN}, made_of(train_fraction=0.01))["train"]
    assert len(found) == 1
    assert found.types == TRAIN.types
    assert found.absent_types == tuple(sorted(set(TRAIN.types) - set(entities(found))))
    assert found.notes[-1].startswith("no ")


ROWS = st.lists(st.lists(st.sampled_from("ABCD"), max_size=6), min_size=1, max_size=40)


@given(st.integers(1, 6), st.integers(0, 50), ROWS)
@settings(max_examples=200, deadline=None)
def test_few_shot_has_k_of_every_type(k, seed, kinds):
    """K of each type, or all there are; more than 2K only where a rarer type needs the sentence."""
    made = [(["x", *row], ["O", *(f"B-{kind}" for kind in row)]) for row in kinds]
    whole = corpus(made)
    if not entities(whole):
        return
    sample = few_shot(whole, k, seed)
    counts, available = entities(sample), entities(whole)
    for kind, count in available.items():
        assert min(k, count) <= counts[kind] <= count
    if not any(note.startswith(f"more than {2 * k} of") for note in sample.notes):
        assert max(counts.values()) <= 2 * k
    assert all(entities([s]) for s in sample)
    assert few_shot(whole, k, seed) == sample


def test_few_shot_reports_what_it_took():
    sample = select({"train": TRAIN}, made_of(few_shot=5, data_seed=1))["train"]
    counts = entities(sample)
    assert all(5 <= count <= 10 for count in counts.values())
    told = f"LOC {counts['LOC']}, ORG {counts['ORG']}, PER {counts['PER']}"
    where = "5~10-shot, greedy as in Few-NERD, data seed 1"
    assert sample.notes == (f"{len(sample)} of 80 sentences are used: {where}: {told}",)
    few = few_shot(corpus(sentences(4)), 3, 0)
    assert "LOC has only 2 entities" in few.notes


def test_interrupted_documents_stay_whole(tmp_path):
    made = "".join(f"{name},{i},w,B-X\n" for i, name in enumerate("abab"))
    (tmp_path / "a.csv").write_text(f"doc_id,sid,word,tag\n{made}")
    said = "2 documents are in 4 pieces, interrupted by other sentences: only adjacent sentences"
    assert f"{said} can be each other" in read_corpus(tmp_path / "a.csv").notes[-1]
    rows = [Sentence((f"w{i}",), ("B-X",), None if i > 17 else i % 4) for i in range(20)]
    made = Corpus(rows, "train.conll", "IOB2", 0)
    for changes in ({"held_out": 0.3}, {"cross_validation": 4, "fold": 1}):
        parts = select({"train": made}, made_of(context="document", **changes))
        names = [{s.document for s in parts[split]} for split in ("train", "validation")]
        assert set.union(*names) == {0, 1, 2, 3, None}
        assert not set.intersection(*names)
    part = select({"train": made}, made_of(context="document", train_fraction=0.5))["train"]
    assert "2 of 5 documents are used" in part.notes[0]
    one = dataclasses.replace(corpus(sentences(9)), unmarked=("train.conll",))
    told = r"--train-fraction cannot divide .* has only 1 document, and .* not mark documents\)"
    with pytest.raises(ValueError, match=told):
        select({"train": one}, made_of(context="document", train_fraction=0.5))


def test_repaired_tags_are_reported_for_the_full_corpus():
    made = dataclasses.replace(TRAIN, repaired=3)
    for changes in ({"held_out": 0.2}, {"train_fraction": 0.5}, {"few_shot": 2}):
        for corpus_ in select({"train": made}, made_of(**changes)).values():
            assert corpus_.notes.count("3 tags repaired in the full 80 sentences") == 1


def test_seeds_choose_other_sentences():
    chosen = [tuple(s.words for s in few_shot(TRAIN, 3, seed)) for seed in range(5)]
    assert len(set(chosen)) == 5
    parts = [tuple(divide(TRAIN.sentences, [0.5, 0.5], seed)) for seed in range(5)]
    assert len(set(parts)) == 5
    assert np.mean(parts[0]) == pytest.approx(0.5, abs=0.05)
