"""The block of config.json that speaks to our own pipeline: written and read in one place."""

import pytest

from flaxner.data.labels import LabelScheme
from flaxner.models.config_json import OURS, hub_config, our_block
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


@pytest.mark.parametrize("block", ["text", [1], 3, {"max_length": "64"}, {"max_length": 2}])
def test_a_block_of_another_form_is_refused_where_it_is_read_and_written(block):
    with pytest.raises(ValueError, match=r"the config\.json of x must say"):
        our_block({OURS: block}, "x")
    with pytest.raises(ValueError, match=r"the config\.json of the model to start from must say"):
        written({OURS: block}, 64)
