"""Label names in other people's models, and tags that can be read in two ways."""

import json
import shutil

import pytest

from flaxner.data.corpus import read_corpus
from flaxner.data.tag_rules import label_parts
from flaxner.data.tags import parse_tag
from flaxner.evaluation.classifier_scores import evaluate
from tests.conll import sentences, write_conll


def relabelled(folder, path, change):
    """The same model with its labels spelt differently."""
    shutil.copytree(folder, path)
    fields = json.loads((path / "config.json").read_text())
    fields["id2label"] = {key: change(name) for key, name in fields["id2label"].items()}
    fields["label2id"] = {name: int(key) for key, name in fields["id2label"].items()}
    fields.pop("flaxner", None)
    (path / "config.json").write_text(json.dumps(fields))
    return path


@pytest.mark.parametrize(
    "change", [lambda n: n.replace("-", "_"), lambda n: n.replace("I-", "M-")], ids=["B_X", "M-X"]
)
def test_a_dialect_of_labels_is_scored_as_its_plain_form(folder, tmp_path, change):
    corpus = write_conll(tmp_path / "a.conll", sentences(12))
    plain = evaluate(relabelled(folder, tmp_path / "plain", str), file=corpus)
    other = evaluate(relabelled(folder, tmp_path / "other", change), file=corpus)
    assert other.report.to_dict() == plain.report.to_dict()
    assert not [note for note in other.notes if "M-" in note or "_" in note]


def test_labels_are_split_into_prefix_and_type():
    assert label_parts(["O", "B_PER", "M-PER", "W-LOC", "E-LOC", "S-LOC", "U-X", "L-X"]) == {
        "O": ("O", ""),
        "B_PER": ("B", "PER"),
        "M-PER": ("I", "PER"),
        "W-LOC": ("S", "LOC"),
        "E-LOC": ("E", "LOC"),
        "S-LOC": ("S", "LOC"),
        "U-X": ("S", "X"),
        "L-X": ("E", "X"),
    }
    assert label_parts(["O", "PER", "LOC", "E-mail"])["E-mail"] == ("I", "E-mail")
    assert label_parts(["I-O", "B-O", "I-PER"]) == {
        "I-O": ("O", ""),
        "B-O": ("O", ""),
        "I-PER": ("I", "PER"),
    }


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("I-O", "no type may be named O, which means no entity: write O"),
        ("B_O", "no type may be named O"),
        ("B-PER|B-LOC", "a word must have one tag, not several"),
        ("B-PER,I-LOC", "a word must have one tag, not several"),
        ("B-PER/B-LOC", "a word must have one tag, not several"),
        ("B-PER|O", "a word must have one tag, not several"),
    ],
)
@pytest.mark.parametrize("name", ["a.conll", "a.jsonl", "a.csv"])
def test_ambiguous_tags_are_refused_with_their_line(tmp_path, tag, message, name):
    text = {
        "a.conll": f"Ann\tB-PER\nleft\t{tag}\n",
        "a.jsonl": f'{{"tokens": ["a"], "tags": ["O"]}}\n{{"tokens": ["b"], "tags": ["{tag}"]}}\n',
        "a.csv": f'sentence_id,word,tag\n1,Ann,"{tag}"\n',
    }[name]
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"a\.\w+, line 2: {message}"):
        read_corpus(path)


def test_types_may_contain_separators():
    for tag, kind in [
        ("B-NN|SYM", "NN|SYM"),
        ("I-Job Title", "Job Title"),
        ("B-/person/artist", "/person/artist"),
        ("B-/contact/E-mail", "/contact/E-mail"),
        ("S-E-mail", "E-mail"),
    ]:
        assert parse_tag(tag)[1] == kind
