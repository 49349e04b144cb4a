"""The block of config.json for our own pipeline: written and read in one place."""

import json
from unittest import mock

import pytest

from flaxner.data.labels import LabelScheme
from flaxner.data.tag_rules import table_scheme
from flaxner.inference.facts import Facts, read_facts
from flaxner.inference.saving import config_fields
from flaxner.models.config_json import OURS, hub_config, our_block, read_config
from flaxner.models.distilbert.config import DistilBertConfig
from flaxner.models.encoders import ENCODERS
from flaxner.models.modernbert.config import FULL
from flaxner.models.network import Model
from tests.tiny import tiny_config

SCHEME = LabelScheme.from_types(["LOC", "PER"])


def written(fields, max_length=None):
    return hub_config(Model(tiny_config()), SCHEME, fields, max_length=max_length)


def test_what_is_written_is_read():
    assert our_block(written({}, 64), "x") == {"scheme": "IOB2", "max_length": 64}
    kept = {OURS: {"scheme": "BIOES", "max_length": 32, "other": 1}}
    assert our_block(written(kept), "x") == {"scheme": "IOB2", "max_length": 32, "other": 1}
    assert our_block({}, "x") == {}


BI = SCHEME.tags
IO = ("O", "I-LOC", "I-PER")
BIOES = (*BI, "E-LOC", "S-LOC", "E-PER", "S-PER")


def numbered(names):
    return {str(number): name for number, name in enumerate(names)}


@pytest.mark.parametrize(
    ("names", "fields", "scheme"),
    [
        (BI, {}, "IOB2"),
        (BI, {"id2label": numbered(IO), OURS: {"scheme": "IO"}}, "IOB2"),
        (BI, {"id2label": numbered(BI)}, None),  # someone else's model, without our block
        (BI, {"id2label": numbered(BI), OURS: {"scheme": "IOB1"}}, "IOB1"),
        (BI, {"id2label": numbered(BI), OURS: {"scheme": "BIOES"}}, None),
        (IO, {"id2label": numbered(IO)}, "IO"),
        (IO, {"id2label": numbered(BI), OURS: {"scheme": "IOB2"}}, "IO"),
        (BIOES, {OURS: {"scheme": "any"}}, "any"),
        (BIOES, {}, "BIOES"),
    ],
)
def test_the_scheme_matches_the_labels(names, fields, scheme, caplog):
    """A wrong scheme makes every tag sequence of the model illegal, so nothing is found."""
    made = hub_config(Model(tiny_config()), LabelScheme(names), fields)
    assert made[OURS].get("scheme") == scheme
    assert read_facts(made, "x", len(names), 64).scheme == scheme
    assert not caplog.records
    told = fields.get(OURS, {}).get("scheme")
    edited = {"id2label": numbered(names), OURS: fields.get(OURS)}
    found = read_facts(edited, "x", len(names), 64).scheme
    assert found == (told if told == scheme else table_scheme(names))
    assert bool(caplog.records) == (told not in (None, scheme))


def test_given_labels_have_the_scheme_in_config_json_if_it_fits_them(caplog):
    fields = {"id2label": numbered(BI), OURS: {"scheme": "IOB2"}}
    renamed = [name.replace("PER", "MENSCH") for name in BI]
    for labels, scheme in ((renamed, "IOB2"), (IO, "IO"), (BIOES, "BIOES")):
        assert read_facts(fields, "x", len(labels), 64, labels=labels).scheme == scheme
    assert not caplog.records  # what the caller gives contradicts nobody


def test_other_labels_are_saved_with_their_scheme():
    model = Model(tiny_config())
    block = {"scheme": "IOB2", "max_length": 24}
    for labels, scheme in ((IO, "IO"), (BIOES, "BIOES"), (BI, None)):
        facts = Facts(labels, scheme, window=None, context="sentences", temperature=None)
        given = mock.Mock(model=model, facts=facts, fields={OURS: block})
        saved = config_fields(given)[OURS]
        assert saved == ({"max_length": 24} | ({"scheme": scheme} if scheme else {}))


@pytest.mark.parametrize("block", ["text", [1], 3, {"max_length": "64"}, {"max_length": 2}])
def test_a_malformed_block_is_refused_when_read_and_when_written(block):
    with pytest.raises(ValueError, match=r"the config\.json of x must have in 'flaxner'"):
        our_block({OURS: block}, "x")
    with pytest.raises(ValueError, match=r"the config\.json of the model to start from must have"):
        written({OURS: block}, 64)


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("deberta", {"pos_att_type": 3}, "pos_att_type .* must be a list of strings: got 3"),
        ("deberta", {"pos_att_type": [["c2p"]]}, "pos_att_type .* must be a list of strings"),
        ("modernbert", {"layer_types": 3}, "layer_types .* must be a list of strings: got 3"),
        ("modernbert", {"rope_parameters": [1]}, r"rope_parameters must map .*: got \[1\]"),
        ("modernbert", {"rope_parameters": {FULL: [1]}}, "rope_parameters must map"),
        ("modernbert", {"rope_parameters": {FULL: {"rope_theta": "x"}}}, "rope_theta must be"),
        ("modernbert", {"rope_parameters": {FULL: {"rope_theta": -1.0}}}, "rope_theta must be"),
        ("modernbert", {"local_rope_theta": 0}, "local_rope_theta must be above 0: got 0"),
        ("distilbert", {"hidden_size": "x"}, "^hidden_size .* must be a whole number: got 'x'"),
        ("distilbert", {"num_hidden_layers": 10**6}, "^num_hidden_layers .* whole number from"),
    ],
)
def test_malformed_fields_of_every_family_are_refused(tmp_path, model_type, changes, message):
    fields = {"model_type": model_type, **ENCODERS[model_type].tiny, **changes}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=message):
        Model.from_fields(read_config(tmp_path))


def test_distilbert_reads_the_names_that_transformers_reads():
    transformers = pytest.importorskip("transformers")
    stray = {"hidden_act": "relu", "intermediate_size": 7, "hidden_dropout_prob": 0.5}
    fields = {"dim": 60, "hidden_size": 96, "n_layers": 2, **stray}
    theirs = transformers.DistilBertConfig(**fields)
    ours = DistilBertConfig.from_hf(fields)
    assert (ours.hidden_size, ours.num_hidden_layers) == (theirs.dim, theirs.n_layers) == (96, 2)
    assert ours.hidden_act == theirs.activation == "gelu"
    assert ours.intermediate_size == theirs.hidden_dim == 3072
    assert ours.hidden_dropout_prob == theirs.dropout == 0.1


def test_num_labels_may_be_null():
    assert Model.from_fields({"model_type": "bert", "num_labels": None}).config.num_labels == 2
