"""id2label is looked up by number, as in `transformers`; incomplete tables are refused."""

import pytest

from flaxner.data.corpus import read_corpus
from flaxner.data.labels import label_names
from flaxner.inference.pipeline import pipeline
from flaxner.training.preparation import label_scheme
from tests.conll import write_conll
from tests.pipelines import (
    SCORES,
    TAGS,
    edited,
    largest_difference,
    torch_pipeline,
)
from tests.wordpiece import TEXTS

NAMED = dict(enumerate(TAGS))


@pytest.mark.parametrize(
    "table",
    [
        {str(i): NAMED[i] for i in (4, 0, 2, 1, 3)},
        {f"{i:02}": tag for i, tag in NAMED.items()},
        {f" +{i} ": tag for i, tag in NAMED.items()},
        {"0": "O", "1": "O", "2": "I-LOC", "3": "B-PER", "4": "I-PER"},
    ],
)
def test_tables_that_transformers_reads(folder, tmp_path, table):
    made = edited(folder, tmp_path / "hub", lambda fields: fields.update(id2label=table))
    ours, theirs = pipeline("ner", model=made), torch_pipeline(made)
    call = {"ignore_labels": []}
    assert largest_difference(ours([*TEXTS], **call), theirs([*TEXTS], **call)) < SCORES


FROM_ONE = {str(i + 1): tag for i, tag in NAMED.items()}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (FROM_ONE, "no name for label 0, only for 1, 2, 3, 4, 5"),
        ({**{str(i): NAMED[i] for i in range(4)}, "7": "I-PER"}, "no name for label 4"),
        ({**{str(i): NAMED[i] for i in range(4)}, "-1": "I-PER"}, "no name for label 4"),
        ({**NAMED, "01": "B-PER"}, "it has 1 twice"),
        (list(TAGS), r"must be an object: got \['O'"),
        ("O", "must be an object: got 'O'"),
        ({"a": "O", "b": "B-LOC"}, "must be numbers: got a, b"),
        ({"1.0": "O"}, "must be numbers: got 1.0"),
        ({str(i): i for i in range(5)}, "with a string"),
        ({str(i): None for i in range(5)}, "with a string"),
        ({str(i): [tag] for i, tag in NAMED.items()}, "with a string"),
        ({}, "has no id2label: add it"),
        (None, "has no id2label: add it"),
    ],
)
def test_tables_that_leave_a_label_without_a_name(folder, tmp_path, table, message):
    made = edited(folder, tmp_path / "hub", lambda fields: fields.update(id2label=table))
    with pytest.raises(ValueError, match=message) as failure:
        pipeline("ner", model=made)
    assert str(made) in str(failure.value)


def test_the_callers_table_takes_precedence(folder, tmp_path):
    shifted = edited(folder, tmp_path / "hub", lambda fields: fields.update(id2label=FROM_ONE))
    words = [text.split() for text in TEXTS]
    call = {"decoder": "argmax"}
    right = pipeline("ner", model=folder).predict_words(words, **call)
    for given in (TAGS, NAMED, {str(i): tag for i, tag in NAMED.items()}):
        assert pipeline("ner", model=shifted, id2label=given).predict_words(words, **call) == right
    with pytest.raises(ValueError, match="no name for label 0"):
        pipeline("ner", model=folder, id2label=FROM_ONE)
    with pytest.raises(ValueError, match="id2label must map numbers to names: got 'OOOOO'"):
        pipeline("ner", model=folder, id2label="OOOOO")


def test_many_labels_are_in_the_order_of_their_numbers():
    names = tuple(f"B-{i}" for i in range(23))
    table = {str(i): name for i, name in enumerate(names)}
    assert label_names(dict(sorted(table.items()))) == names


def test_training_looks_labels_up_too(tmp_path):
    """A head that is kept keeps its labels; a table that leaves a label unnamed is refused."""
    path = write_conll(tmp_path / "c", [(["a", "b"], ["B-LOC", "B-PER"])])
    corpora = {"train": read_corpus(path)}
    turned = {str(4 - i): tag for i, tag in NAMED.items()}
    assert label_scheme(corpora, {"id2label": turned}).tags == TAGS[::-1]
    assert label_scheme(corpora, {"id2label": {"1": "x"}}).tags == TAGS  # other labels: a new head
    with pytest.raises(ValueError, match=r"the model's config\.json .* no name for label 0"):
        label_scheme(corpora, {"id2label": FROM_ONE})
